"""Does each RPC answer each error that the contract documents for it?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2 as lro
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import PreconditionFailure, ResourceInfo

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.model.errors import Code, Reason
from tests.rpc import world
from tests.rpc.world import PROJECT, create, name
from tests.support.errors import Answer, answer, provokes
from tests.support.server import Served

R = Reason
NO_UUID = "00000000-0000-1000-8000-000000000000"  # version 1
TASK = "batchyard.dev/BatchTask"


@dataclass
class Case:
    """A call that must fail. `names`: the field (INVALID_ARGUMENT), resource, or subject that the details name."""

    method: str
    request: Message
    code: Code
    reason: Reason
    names: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """For pytest."""
        return f"{self.method}-{self.reason}-{self.names.rsplit('/', 1)[-1]}"


def invalid(method: str, request: Message, names: str, reason: Reason = R.INVALID_FIELD) -> Case:
    """INVALID_ARGUMENT."""
    return Case(method, request, Code.INVALID_ARGUMENT, reason, names)


def missing(method: str, request: Message, names: str) -> Case:
    """NOT_FOUND."""
    return Case(method, request, Code.NOT_FOUND, R.RESOURCE_NOT_FOUND, names, {"resource": names})


def taken(method: str, request: Message, reason: Reason, names: str) -> Case:
    """ALREADY_EXISTS."""
    return Case(method, request, Code.ALREADY_EXISTS, reason, names)


def refused(method: str, request: Message, reason: Reason, names: str = "state", **metadata: str) -> Case:
    """FAILED_PRECONDITION."""
    return Case(method, request, Code.FAILED_PRECONDITION, reason, names, metadata)


def changed(request: Any, **fields: Any) -> Any:
    """`request` with other fields."""
    for key, value in fields.items():
        setattr(request, key, value)
    return request


Create, Start, Cancel = "CreateBatchTask", "StartBatchTask", "CancelBatchTask"
Delete, Append = "DeleteBatchTask", "AppendRecords"
NOWHERE = name("nowhere")
NO_RECORD = f"{name('draft')}/records/2"
NO_HANDLER = f"{PROJECT}/handlers/nowhere"
NO_OPERATION = f"{PROJECT}/operations/nowhere"

CREATE = [
    invalid(Create, changed(create(), parent="default"), "parent"),
    invalid(Create, changed(create(), parent=""), "parent"),
    invalid(Create, changed(create(), parent="projects/a/b"), "parent"),
    invalid(Create, changed(create(), batch_task_id="a b"), "batch_task_id"),
    invalid(Create, changed(create(), batch_task_id="ä"), "batch_task_id"),
    invalid(Create, service.CreateBatchTaskRequest(parent=PROJECT), "batch_task.handler"),
    invalid(Create, changed(create(), request_id="1"), "request_id"),
    invalid(Create, changed(create(), request_id=NO_UUID), "request_id"),
    invalid(Create, create(records=0), "records", R.NO_RECORDS),
    invalid(Create, create(records=0, start=True), "records", R.NO_RECORDS),
    invalid(
        Create,
        create(records=[world.record("1", "a"), world.record("2", "b"), world.record("3", "a")]),
        "records[2].record_id",
        R.DUPLICATE_RECORD_ID,
    ),
    missing(
        Create,
        service.CreateBatchTaskRequest(
            parent=PROJECT, batch_task=BatchTaskInfo(handler="nowhere"), records=[world.record()]
        ),
        NO_HANDLER,
    ),
    taken(Create, create("draft"), R.RESOURCE_EXISTS, name("draft")),
    taken(Create, create("DRAFT"), R.RESOURCE_EXISTS, name("DRAFT")),
    taken(Create, changed(create("DRAFT"), validate_only=False), R.RESOURCE_EXISTS, name("DRAFT")),
    taken(Create, changed(create("draft"), validate_only=True), R.RESOURCE_EXISTS, name("draft")),
    taken(Create, create("other", request_id=world.REQUEST_ID), R.REQUEST_ID_REUSED, ""),
]

CHANGES = [
    case
    for method, request in (
        (Start, service.StartBatchTaskRequest),
        (Cancel, service.CancelBatchTaskRequest),
        (Delete, service.DeleteBatchTaskRequest),
        ("PauseBatchTask", service.PauseBatchTaskRequest),
        ("ResumeBatchTask", service.ResumeBatchTaskRequest),
        ("ReactivateBatchTask", service.ReactivateBatchTaskRequest),
    )
    for case in (
        invalid(method, request(name="draft"), "name"),
        invalid(method, request(), "name"),
        invalid(method, request(name=name("draft"), request_id="x"), "request_id"),
        missing(method, request(name=NOWHERE), NOWHERE),
        missing(method, request(name=name("Draft")), name("Draft")),  # looked up exactly
        taken(method, request(name=name("draft"), request_id=world.REQUEST_ID), R.REQUEST_ID_REUSED, ""),
    )
]

STATES = [
    refused(Start, service.StartBatchTaskRequest(name=name("empty")), R.NO_RECORDS, "records"),
    refused(
        Start, service.StartBatchTaskRequest(name=name("cancelling")), R.ILLEGAL_STATE, state="CANCELLING", verb="start"
    ),
    *(
        refused(method, request(name=name(state)), R.TASK_COMPLETED, state=state.upper(), verb=verb)
        for state in ("succeeded", "failed", "cancelled")
        for method, request, verb in (
            (Start, service.StartBatchTaskRequest, "start"),
            (Cancel, service.CancelBatchTaskRequest, "cancel"),
            (Append, service.AppendRecordsRequest, "append"),
        )
    ),
    *(
        refused(method, request(name=name(state)), R.ILLEGAL_STATE, state=state.upper(), verb=verb)
        for state in ("queued", "running", "cancelling")
        for method, request, verb in (
            (Delete, service.DeleteBatchTaskRequest, "delete"),
            (Append, service.AppendRecordsRequest, "append"),
        )
    ),
]

APPEND = [
    invalid(Append, service.AppendRecordsRequest(), "name"),
    invalid(Append, service.AppendRecordsRequest(name="draft"), "name"),
    invalid(Append, service.AppendRecordsRequest(name=name("draft"), records=[world.record()]), "first_index"),
    invalid(
        Append,
        service.AppendRecordsRequest(name=name("draft"), first_index=-1, records=[world.record()]),
        "first_index",
    ),
    invalid(
        Append,
        service.AppendRecordsRequest(
            name=name("draft"), first_index=2, records=[world.record("1", "a"), world.record("1", "a")]
        ),
        "records[1].record_id",
        R.DUPLICATE_RECORD_ID,
    ),
    missing(Append, service.AppendRecordsRequest(name=NOWHERE), NOWHERE),
    Case(
        Append,
        service.AppendRecordsRequest(name=name("draft"), first_index=3, records=[world.record()]),
        Code.OUT_OF_RANGE,
        R.INDEX_MISMATCH,
        metadata={"next_index": "2", "first_index": "3"},
    ),
    Case(
        Append,
        service.AppendRecordsRequest(name=name("draft"), first_index=1, records=[world.record(), world.record()]),
        Code.OUT_OF_RANGE,
        R.INDEX_MISMATCH,
        metadata={"next_index": "2", "first_index": "1"},
    ),
]

READS = [
    invalid("GetBatchTask", service.GetBatchTaskRequest(name="x"), "name"),
    missing("GetBatchTask", service.GetBatchTaskRequest(name=NOWHERE), NOWHERE),
    missing("GetBatchTask", service.GetBatchTaskRequest(name="projects/p/batchTasks/t"), "projects/p/batchTasks/t"),
    invalid("GetRecord", service.GetRecordRequest(name=name("draft")), "name"),
    invalid("GetRecord", service.GetRecordRequest(name=f"{name('draft')}/records/01"), "name"),
    invalid("GetRecord", service.GetRecordRequest(name=f"{name('draft')}/records/0", view=9), "view"),
    missing("GetRecord", service.GetRecordRequest(name=f"{NOWHERE}/records/0"), NOWHERE),
    missing("GetRecord", service.GetRecordRequest(name=NO_RECORD), NO_RECORD),
    invalid("GetHandler", service.GetHandlerRequest(name="echo"), "name"),
    missing("GetHandler", service.GetHandlerRequest(name=NO_HANDLER), NO_HANDLER),
]

LISTS = [
    case
    for method, request, parent, token in (
        ("ListBatchTasks", service.ListBatchTasksRequest, "parent", "page_token"),
        ("StreamBatchTasks", service.StreamBatchTasksRequest, "parent", "resume_token"),
        ("ListHandlers", service.ListHandlersRequest, "parent", "page_token"),
        ("ListRecords", service.ListRecordsRequest, "parent", "page_token"),
        ("StreamRecords", service.StreamRecordsRequest, "parent", "resume_token"),
        ("ListSubtasks", service.ListSubtasksRequest, "parent", "page_token"),
        ("ListOperations", lro.ListOperationsRequest, "name", "page_token"),
    )
    for of_task in (method.endswith(("Records", "Subtasks")),)
    for right in ({parent: name("draft") if of_task else PROJECT},)
    for case in (
        invalid(method, request(**{parent: "x"}), parent),
        invalid(method, request(), parent),
        invalid(method, request(**right, page_size=-1), "page_size"),
        invalid(method, request(**right, **{token: "x"}), token, R.INVALID_TOKEN),
        invalid(method, request(**right, **{token: "ä" * 10_000}), token, R.INVALID_TOKEN),
        *((missing(method, request(**{parent: NOWHERE}), NOWHERE),) if of_task else ()),
        *(
            (
                invalid(method, request(**right, order=9), "order"),
                invalid(method, request(**right, view=-1), "view"),
            )
            if "Records" in method
            else ()
        ),
    )
]

WATCHES = [
    case
    for method, request, field_name, right in (
        ("WatchBatchTask", service.WatchBatchTaskRequest, "name", name("draft")),
        ("WatchBatchTasks", service.WatchBatchTasksRequest, "parent", PROJECT),
    )
    for case in (
        invalid(method, request(**{field_name: "x"}), field_name),
        invalid(method, request(), field_name),
        invalid(method, request(**{field_name: right}, view=9), "view"),
        invalid(method, request(**{field_name: right}, view=2), "view"),
        invalid(method, request(**{field_name: right}, resume_token="x"), "resume_token", R.INVALID_TOKEN),
        invalid(method, request(**{field_name: right}, resume_token="ä" * 10_000), "resume_token", R.INVALID_TOKEN),
        *(
            (invalid(method, request(parent=PROJECT, filter="colour=red"), "filter", R.INVALID_FILTER),)
            if field_name == "parent"
            else ()
        ),
    )
] + [missing("WatchBatchTask", service.WatchBatchTaskRequest(name=NOWHERE), NOWHERE)]

OPERATIONS = [
    *(
        invalid(method, request(name="operations/x"), "name")
        for method, request in (
            ("GetOperation", lro.GetOperationRequest),
            ("WaitOperation", lro.WaitOperationRequest),
            ("CancelOperation", lro.CancelOperationRequest),
            ("DeleteOperation", lro.DeleteOperationRequest),
        )
    ),
    *(
        missing(method, request(name=NO_OPERATION), NO_OPERATION)
        for method, request in (
            ("GetOperation", lro.GetOperationRequest),
            ("WaitOperation", lro.WaitOperationRequest),
            ("CancelOperation", lro.CancelOperationRequest),
            ("DeleteOperation", lro.DeleteOperationRequest),
        )
    ),
    *(
        invalid("ListOperations", lro.ListOperationsRequest(name=PROJECT, filter=wrong), "filter", R.INVALID_FILTER)
        for wrong in ("done", "done<true", "state=QUEUED", "metadata.state=NOBODY", "(done=true")
    ),
]


async def fail(server: Served, method: str, request: Message) -> Answer:
    """Make a call that must fail."""
    stub = server.operations if hasattr(server.operations, method) else server.tasks
    with pytest.raises(grpc.RpcError) as caught:
        await _call(getattr(stub, method), method, request)
    return answer(caught.value)


async def _call(rpc: Any, method: str, request: Message) -> None:
    if method == "AppendRecords":
        await drained(rpc(_once(request)))
    elif method.startswith(("Stream", "Watch", "Read")):
        await drained(rpc(request))
    else:
        await rpc(request)


async def drained(messages: Any) -> list[Any]:
    """Read a stream to its end, also one that `read` was called on."""
    found: list[Any] = []
    while (message := await messages.read()) is not grpc.aio.EOF:
        found.append(message)
    return found


async def _once(request: Message) -> AsyncIterator[Message]:
    yield request


def _parameters(cases: list[Case]) -> list[Any]:
    return [pytest.param(case, id=case.id, marks=provokes(case.reason)) for case in cases]


@pytest.mark.parametrize(
    "case", _parameters([*CREATE, *CHANGES, *STATES, *APPEND, *READS, *LISTS, *WATCHES, *OPERATIONS])
)
async def test_error(server: Served, case: Case) -> None:
    await world.populate(server)
    found = await fail(server, case.method, case.request)
    assert (found.code, found.reason) == (case.code, case.reason)
    assert case.metadata.items() <= found.metadata.items()
    match found.code:
        case Code.INVALID_ARGUMENT:
            assert found.field == case.names
        case Code.NOT_FOUND | Code.ALREADY_EXISTS if case.names:
            assert found.detail(ResourceInfo).resource_name == case.names
        case Code.FAILED_PRECONDITION:
            (violation,) = found.detail(PreconditionFailure).violations
            assert (violation.type, violation.subject) == (case.reason, case.names)
        case _:
            pass


@provokes(Reason.OPERATION_NOT_DONE)
async def test_an_operation_that_is_not_done_cannot_be_deleted(server: Served) -> None:
    operations = await world.populate(server)
    for state in ("draft", "queued", "running", "cancelling"):
        found = await fail(server, "DeleteOperation", lro.DeleteOperationRequest(name=operations[state].name))
        assert (found.code, found.reason) == (Code.FAILED_PRECONDITION, Reason.OPERATION_NOT_DONE)
        assert found.detail(PreconditionFailure).violations[0].subject == operations[state].name


@provokes(Reason.INVALID_FIELD)
async def test_a_wait_takes_no_impossible_timeout(server: Served) -> None:
    operations = await world.populate(server)
    request = lro.WaitOperationRequest(name=operations["queued"].name)
    request.timeout.seconds = -1
    assert (await fail(server, "WaitOperation", request)).field == "timeout"
    request.timeout.seconds, request.timeout.nanos = 1, -1
    assert (await fail(server, "WaitOperation", request)).field == "timeout"
