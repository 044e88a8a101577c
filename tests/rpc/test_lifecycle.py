"""What does each verb answer, and what is there afterwards?"""

from __future__ import annotations

import pathlib

import pytest
from google.longrunning import operations_pb2 as lro
from google.rpc.error_details_pb2 import ErrorInfo

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata
from batchyard.v1.handler_pb2 import Handler
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.names import parse_task
from batchyard_server.model.states import WaitingReason
from tests.rpc import world
from tests.rpc.test_errors import fail
from tests.rpc.world import PROJECT, create, name
from tests.support.clock import FakeClock
from tests.support.server import Served, serving

State = BatchTaskInfo


async def info(server: Served, task_id: str) -> BatchTaskInfo:
    return await server.tasks.GetBatchTask(service.GetBatchTaskRequest(name=name(task_id)))


def metadata(operation: lro.Operation) -> BatchTaskMetadata:
    found = BatchTaskMetadata()
    assert operation.metadata.Unpack(found)
    return found


def response(operation: lro.Operation) -> BatchTaskInfo:
    found = BatchTaskInfo()
    assert operation.done
    assert operation.WhichOneof("result") == "response"
    assert operation.response.Unpack(found)
    return found


async def test_create_keeps_what_the_caller_said_and_nothing_that_is_not_his(tmp_path: pathlib.Path) -> None:
    clock = FakeClock()
    async with serving(tmp_path, clock=clock) as server:
        request = create("t", records=3)
        request.batch_task.MergeFrom(
            BatchTaskInfo(
                name="nonsense", uid="x", state=State.FAILED, generation=7, operation="x", display_name="A task",
                labels={"team": "a", "stage": ""}, stop_reason=State.CANCEL,
            )
        )  # fmt: skip
        request.batch_task.counts.total = 99
        request.batch_task.parameters.json.struct_value.fields["depth"].number_value = 2
        request.batch_task.constraints.record_timeout.FromSeconds(5)
        operation = await server.tasks.CreateBatchTask(request)
        made = await info(server, "t")

        wanted = BatchTaskInfo(name=name("t"), uid=made.uid, display_name="A task", handler="echo", state=State.QUEUED)
        wanted.parameters.CopyFrom(request.batch_task.parameters)
        wanted.generation, wanted.operation = 1, operation.name
        wanted.labels.update({"team": "a", "stage": ""})
        wanted.constraints.record_timeout.FromSeconds(5)
        wanted.counts.total = wanted.counts.pending = 3
        for each in (wanted.create_time, wanted.update_time, wanted.state_transition_time):
            each.FromMicroseconds(clock.now_us())
        wanted.etag = f'"{made.uid[-12:]}-1"'
        assert made == wanted
        assert made.uid[14] == "7"
        assert made.uid == made.uid.lower()


async def test_create_answers_the_operation(server: Served) -> None:
    operation = await server.tasks.CreateBatchTask(create("t", records=2))
    assert operation.name.startswith(f"{PROJECT}/operations/")
    assert not operation.done
    found = metadata(operation)
    assert (found.batch_task, found.generation, found.state) == (name("t"), 1, State.QUEUED)
    assert (found.counts.total, found.counts.pending) == (2, 2)
    assert found.create_time == (await info(server, "t")).create_time
    assert operation == await server.operations.GetOperation(lro.GetOperationRequest(name=operation.name))


async def test_ids_of_the_server_are_lower_case_and_sort_by_time(tmp_path: pathlib.Path) -> None:
    clock = FakeClock()
    async with serving(tmp_path, clock=clock) as server:
        ids: list[str] = []
        for _ in range(5):
            operation = await server.tasks.CreateBatchTask(create())
            ids.append(parse_task(metadata(operation).batch_task).task)
            clock.advance(0.001)
        assert ids == sorted(ids)
        assert [each.lower() for each in ids] == ids


async def test_validate_only_makes_nothing(server: Served) -> None:
    request = create("t", records=2)
    request.validate_only = True
    operation = await server.tasks.CreateBatchTask(request)
    assert operation.name == ""
    made = response(operation)
    assert (made.name, made.state, made.counts.total) == (name("t"), State.QUEUED, 2)
    found = await fail(server, "GetBatchTask", service.GetBatchTaskRequest(name=name("t")))
    assert found.code is Code.NOT_FOUND
    listed = await server.operations.ListOperations(lro.ListOperationsRequest(name=PROJECT))
    assert not listed.operations


async def test_a_draft_starts_once(server: Served) -> None:
    made = await server.tasks.CreateBatchTask(create("t", records=1, start=False))
    assert (await info(server, "t")).state == State.DRAFT
    for _ in range(2):
        started = await server.tasks.StartBatchTask(service.StartBatchTaskRequest(name=name("t")))
        assert started.name == made.name
        assert metadata(started).state == State.QUEUED
    lease = await server.lease(name("t"), [0])
    started = await server.tasks.StartBatchTask(service.StartBatchTaskRequest(name=name("t")))
    assert metadata(started).state == State.RUNNING
    await server.end(name("t"), lease, ok=[0])


async def test_the_end_is_the_response(server: Served) -> None:
    operation = await server.tasks.CreateBatchTask(create("t", records=3))
    await server.finish(name("t"), failed=[1])
    done = await server.operations.GetOperation(lro.GetOperationRequest(name=operation.name))
    made = response(done)
    assert made == await info(server, "t")
    assert (made.state, made.counts.succeeded, made.counts.failed) == (State.SUCCEEDED, 2, 1)
    found = metadata(done)
    assert dict(found.failed_requests)[1].code == 3
    assert not found.failed_requests_truncated
    assert (found.state, found.subtask_count, found.live_subtask_count) == (State.SUCCEEDED, 1, 0)
    (listed,) = (await server.operations.ListOperations(lro.ListOperationsRequest(name=PROJECT))).operations
    assert not metadata(listed).failed_requests
    assert response(listed) == made


async def test_a_task_of_which_all_failed_is_an_error(server: Served) -> None:
    operation = await server.tasks.CreateBatchTask(create("t", records=2))
    await server.finish(name("t"), failed=[0, 1])
    done = await server.operations.GetOperation(lro.GetOperationRequest(name=operation.name))
    assert done.done
    assert done.WhichOneof("result") == "error"
    assert done.error == (await info(server, "t")).error
    assert done.error.code == Code.ABORTED


@pytest.mark.parametrize("state", ["draft", "queued", "running"])
async def test_cancel_stops_for_good(server: Served, state: str) -> None:
    operations = await world.populate(server)
    request = service.CancelBatchTaskRequest(name=name(state), reason="changed my mind")
    stopped = await server.tasks.CancelBatchTask(request)
    assert stopped.stop_reason == State.CANCEL
    assert stopped == await info(server, state)
    done = await server.operations.GetOperation(lro.GetOperationRequest(name=operations[state].name))
    if state == "running":
        assert stopped.state == State.CANCELLING
        assert not done.done
        assert (await server.tasks.CancelBatchTask(request)).state == State.CANCELLING
        return
    assert stopped.state == State.CANCELLED
    assert stopped.counts.cancelled == stopped.counts.total == 2
    assert stopped.end_time == stopped.state_transition_time
    assert done.error.code == Code.CANCELLED
    assert "changed my mind" in done.error.message
    detail = ErrorInfo()
    assert done.error.details[0].Unpack(detail)
    assert detail.reason == Reason.TASK_CANCELLED


@pytest.mark.parametrize("state", ["draft", "queued", "running", "cancelling", "succeeded", "failed", "cancelled"])
async def test_cancel_of_an_operation(server: Served, state: str) -> None:
    operations = await world.populate(server)
    before = await info(server, state)
    await server.operations.CancelOperation(lro.CancelOperationRequest(name=operations[state].name))
    after = await info(server, state)
    wanted = {"draft": State.CANCELLED, "queued": State.CANCELLED, "running": State.CANCELLING}
    assert after.state == wanted.get(state, before.state)
    if state not in wanted:
        assert after == before


@pytest.mark.parametrize("state", ["empty", "draft", "succeeded", "failed", "cancelled"])
async def test_delete_frees_the_name(server: Served, state: str) -> None:
    operations = await world.populate(server)
    uid = (await info(server, state)).uid
    await server.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=name(state)))
    for method, request in (
        ("GetBatchTask", service.GetBatchTaskRequest(name=name(state))),
        ("ListRecords", service.ListRecordsRequest(parent=name(state))),
        ("GetRecord", service.GetRecordRequest(name=f"{name(state)}/records/0")),
        ("GetOperation", lro.GetOperationRequest(name=operations[state].name)),
        ("DeleteBatchTask", service.DeleteBatchTaskRequest(name=name(state))),
    ):
        assert (await fail(server, method, request)).code is Code.NOT_FOUND
    await server.tasks.CreateBatchTask(create(state))
    assert (await info(server, state)).uid != uid


async def test_a_deleted_operation_is_forgotten_and_its_task_stays(server: Served) -> None:
    operations = await world.populate(server)
    operation = operations["succeeded"].name
    await server.operations.DeleteOperation(lro.DeleteOperationRequest(name=operation))
    for method, request in (
        ("GetOperation", lro.GetOperationRequest),
        ("WaitOperation", lro.WaitOperationRequest),
        ("CancelOperation", lro.CancelOperationRequest),
        ("DeleteOperation", lro.DeleteOperationRequest),
    ):
        assert (await fail(server, method, request(name=operation))).code is Code.NOT_FOUND
    listed = await server.operations.ListOperations(lro.ListOperationsRequest(name=PROJECT))
    assert operation not in {each.name for each in listed.operations}
    assert (await info(server, "succeeded")).operation == ""


async def test_a_record_is_read_with_its_outcome(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("t", records=[world.record('"in"', "first"), world.record("2")]))
    lease = await server.lease(name("t"), [0, 1])
    await server.end(name("t"), lease, ok=[0])
    first = await server.tasks.GetRecord(service.GetRecordRequest(name=f"{name('t')}/records/0"))
    assert (first.state, first.input.text, first.output.text) == (RecordInfo.SUCCEEDED, '"in"', "0")
    basic = service.GetRecordRequest(name=f"{name('t')}/records/0", view=RecordInfo.BASIC)
    assert not (await server.tasks.GetRecord(basic)).HasField("input")
    second = await server.tasks.GetRecord(service.GetRecordRequest(name=f"{name('t')}/records/1"))
    assert (second.state, second.index, second.input.text) == (RecordInfo.PENDING, 1, "2")


class _Alive:
    """A dispatcher that says: of every task record 1 runs, and there is no slot for more."""

    def is_live(self, task_key: int) -> bool:
        return True

    def running(self, task_key: int) -> frozenset[int]:
        return frozenset({1})

    def waiting(self, task_key: int) -> WaitingReason:
        return WaitingReason.NO_SLOT


async def test_what_only_the_living_server_knows_is_shown(tmp_path: pathlib.Path) -> None:
    async with serving(tmp_path, live=_Alive()) as server:
        operation = await server.tasks.CreateBatchTask(create("t", records=3))
        await server.lease(name("t"), [0, 1, 2])
        one = await info(server, "t")
        (listed,) = (await server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT))).batch_tasks
        found = metadata(await server.operations.GetOperation(lro.GetOperationRequest(name=operation.name)))
        for each in (one, listed, found):
            assert (each.counts.total, each.counts.pending, each.counts.running) == (3, 2, 1)
        assert one.waiting_reason == listed.waiting_reason == State.NO_SLOT
        assert one == listed
        records = (await server.tasks.ListRecords(service.ListRecordsRequest(parent=name("t")))).records
        assert [each.state for each in records] == [RecordInfo.PENDING, RecordInfo.RUNNING, RecordInfo.PENDING]


async def test_handlers_are_the_same_under_every_project(server: Served) -> None:
    for project in ("projects/default", "projects/never-used"):
        page = await server.tasks.ListHandlers(service.ListHandlersRequest(parent=project, page_size=1))
        assert [each.name for each in page.handlers] == [f"{project}/handlers/echo"]
        rest = service.ListHandlersRequest(parent=project, page_token=page.next_page_token)
        page = await server.tasks.ListHandlers(rest)
        wanted = [f"{project}/handlers/python_audit", f"{project}/handlers/thumbnail"]
        assert [each.name for each in page.handlers] == wanted
        assert not page.next_page_token
        one = await server.tasks.GetHandler(service.GetHandlerRequest(name=f"{project}/handlers/python_audit"))
        assert one == page.handlers[0]
        assert one.kind == Handler.PYTHON
        assert one.available
        assert one.description


async def test_a_project_that_nobody_used_is_empty(server: Served) -> None:
    other = "projects/never-used"
    assert not (await server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=other))).batch_tasks
    assert not (await server.operations.ListOperations(lro.ListOperationsRequest(name=other))).operations
    messages = [each async for each in server.tasks.StreamBatchTasks(service.StreamBatchTasksRequest(parent=other))]
    assert [len(each.batch_tasks) for each in messages] == [0]
    assert messages[0].resume_token
