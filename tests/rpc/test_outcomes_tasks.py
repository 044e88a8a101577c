"""What does a caller see of a task in each of its states, while it runs, when it is cancelled, and afterwards?"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

import grpc
import pytest
from google.longrunning import operations_pb2 as lro
from google.protobuf.duration_pb2 import Duration

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, RecordCounts
from batchyard.v1.payload_pb2 import Payload
from batchyard.v1.record_pb2 import RecordInfo, RecordInput
from batchyard_server.model.errors import Code, Reason
from tests.rpc.runs import ACT, HANDLERS, Server, Stage, as_payload, metadata, running, seen, staged
from tests.rpc.world import PROJECT
from tests.support.errors import Answer, answer, provokes
from tests.support.eventually import eventually
from tests.support.server import SECONDS

pytestmark = pytest.mark.xdist_group("outcomes-tasks")
WORKERS = 2
TOML = f"""\
{ACT}
[handlers.patient]
kind = "python"
callable = "acting:act"
path = ["{HANDLERS}"]
kill_grace = "300ms"
"""
State, R = BatchTaskInfo, RecordInfo
WELL = {"do": "echo", "value": "well"}
BAD = {"do": "refuse"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("tasks"), TOML, workers=WORKERS) as server:
        yield server


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


def named(value: object, index: int) -> RecordInput:
    return RecordInput(record_id=f"id {index}", payload=as_payload(value))


def refused(server: Server, method: str, request: object) -> Answer:
    """A call that fails."""
    stub = server.operations if hasattr(server.operations, method) else server.tasks
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, method)(request, timeout=SECONDS)
    return answer(caught.value)


def check(server: Server, name: str, state: BatchTaskInfo.State, **counts: int) -> BatchTaskInfo:
    """The task and its operation say the same: this state and these counts."""
    info = server.info(name)
    assert info.state == state, info
    total = counts.pop("total", sum(counts.values()))
    assert info.counts == RecordCounts(total=total, **counts)
    if info.operation:
        operation = server.operation(name)
        found = metadata(operation)
        assert (found.batch_task, found.generation, found.state) == (name, 1, state)
        assert (found.counts, found.stop_reason) == (info.counts, info.stop_reason)
        assert (found.start_time, found.end_time) == (info.start_time, info.end_time)
        assert found.create_time == info.create_time
        assert operation.done == (state in (State.SUCCEEDED, State.FAILED, State.CANCELLED))
    return info


def states(records: Sequence[RecordInfo]) -> list[RecordInfo.State]:
    return [each.state for each in records]


# -- from state to state ----------------------------------------------------------------------------------------------


def test_a_draft_that_is_filled_started_and_run(server: Server) -> None:
    name = server.submit("act", start=False)
    made = check(server, name, State.DRAFT, total=0)
    assert not made.HasField("start_time")
    wait = lro.WaitOperationRequest(name=made.operation, timeout=Duration(nanos=50_000_000))
    assert not server.operations.WaitOperation(wait, timeout=SECONDS).done
    start = service.StartBatchTaskRequest(name=name, request_id=str(uuid.uuid4()))
    assert refused(server, "StartBatchTask", service.StartBatchTaskRequest(name=name)).reason is Reason.NO_RECORDS
    messages = (
        service.AppendRecordsRequest(name=name, first_index=2 * i, records=[named(WELL, 2 * i), named(BAD, 2 * i + 1)])
        for i in range(3)
    )
    answers = server.tasks.AppendRecords(messages, timeout=SECONDS)
    assert [each.next_index for each in answers] == [2, 4, 6]
    assert check(server, name, State.DRAFT, pending=6).update_time == made.update_time
    records = server.records(name, view=R.FULL)
    assert states(records) == [R.PENDING] * 6
    assert [each.record_id for each in records] == [f"id {i}" for i in range(6)]
    assert [each.input for each in records] == [as_payload(each) for each in [WELL, BAD] * 3]
    assert server.tasks.StartBatchTask(start, timeout=SECONDS).name == made.operation
    run = server.finish(name)
    assert server.tasks.StartBatchTask(start, timeout=SECONDS) == run.operation, "repeated with the same request_id"
    done = check(server, name, State.SUCCEEDED, succeeded=3, failed=3)
    assert made.create_time.ToNanoseconds() < done.start_time.ToNanoseconds() <= done.end_time.ToNanoseconds()
    assert done.end_time == done.state_transition_time == done.update_time
    assert (done.generation, done.uid, done.operation) == (1, made.uid, made.operation)
    for method, request, reason in (
        ("AppendRecords", iter([service.AppendRecordsRequest(name=name)]), Reason.TASK_COMPLETED),
        ("CancelBatchTask", service.CancelBatchTaskRequest(name=name), Reason.TASK_COMPLETED),
        ("StartBatchTask", service.StartBatchTaskRequest(name=name), Reason.TASK_COMPLETED),
    ):
        if method == "AppendRecords":
            with pytest.raises(grpc.RpcError) as caught:
                list(server.tasks.AppendRecords(request, timeout=SECONDS))
            assert answer(caught.value).reason is reason
        else:
            assert refused(server, method, request).reason is reason


@provokes(Reason.TASK_CANCELLED)
def test_a_draft_that_is_cancelled(server: Server) -> None:
    name = server.submit("act", WELL, BAD, start=False)
    server.cancel(name, "it was a draft")
    info = check(server, name, State.CANCELLED, cancelled=2)
    assert not info.HasField("start_time")
    assert info.end_time == info.state_transition_time
    check_cancelled(server, name, "the batch task was cancelled: it was a draft")
    assert states(server.records(name)) == [R.CANCELLED] * 2
    assert server.record(name, 1).input == as_payload(BAD)


def check_cancelled(server: Server, name: str, message: str) -> None:
    """The task's error and its operation's say so."""
    info, operation = server.info(name), server.operation(name)
    found = seen(Answer(info.error), Reason.TASK_CANCELLED)
    assert (found.code, found.metadata, found.status.message) == (Code.CANCELLED, {}, message)
    assert operation.WhichOneof("result") == "error"
    assert operation.error == info.error
    assert info.stop_reason == metadata(operation).stop_reason == State.CANCEL


def test_partial_outcomes_are_read_while_it_runs(server: Server, stage: Stage) -> None:
    # However it is cut, the first and the last record run at the same time.
    records = [named(each, i) for i, each in enumerate([stage.record, WELL, WELL, WELL, BAD, stage.record])]
    name = server.submit("act", *records)
    actors = [stage.enter(), stage.enter()]
    eventually(lambda: server.info(name).counts.failed == 1)
    ended = [each.index for each in server.records(name) if each.state in (R.SUCCEEDED, R.FAILED)]
    rest = [i for i in range(1, 5) if i not in ended]
    info = check(server, name, State.RUNNING, succeeded=len(ended) - 1, failed=1, running=2, pending=len(rest))
    assert info.waiting_reason == State.WAITING_REASON_UNSPECIFIED
    assert not info.HasField("error")
    assert not info.HasField("end_time")
    # A subtask may run a moment before its lease is durable.
    eventually(lambda: metadata(server.operation(name)).live_subtask_count == 2)
    found = metadata(server.operation(name))
    assert dict(found.failed_requests).keys() == {4}
    assert found.subtask_count >= 2
    for view in (R.BASIC, R.FULL):
        listed = server.records(name, view=view)
        assert [each.index for each in listed] == list(range(6))
        assert [each.record_id for each in listed] == [f"id {i}" for i in range(6)]
        assert [each.index for each in listed if each.state == R.RUNNING] == [0, 5]
        assert [each.index for each in listed if each.state == R.PENDING] == rest
        assert [each.HasField("input") for each in listed] == [view == R.FULL] * 6
        assert [each for each in listed if each.generation != 1] == []
        completed = server.records(name, view=view, order=R.COMPLETION)
        assert sorted(each.index for each in completed) == ended
        assert [listed[each.index] for each in completed] == completed
        assert [server.record(name, i, view) for i in range(6)] == listed
    assert [server.record(name, i) for i in range(6)] == listed, "one record is shown whole unless asked otherwise"
    for actor in actors:
        actor.go(**WELL)
    run = server.finish(name)
    check(server, name, State.SUCCEEDED, succeeded=5, failed=1)
    assert metadata(run.operation).live_subtask_count == 0
    assert metadata(run.operation).subtask_count >= found.subtask_count
    after = server.records(name, order=R.COMPLETION)
    assert [each.index for each in after[: len(ended)]] == [each.index for each in completed], "the order stays"
    assert sorted(each.index for each in after) == list(range(6))


def test_who_has_no_slot_waits(server: Server, stage: Stage) -> None:
    busy = server.submit("act", *[stage.record] * WORKERS)
    actors = [stage.enter() for _ in range(WORKERS)]
    name = server.submit("patient", WELL, WELL, WELL)  # of the same handler short work may lie ready at a busy worker
    info = check(server, name, State.QUEUED, pending=3)
    assert info.waiting_reason == State.NO_SLOT
    page = server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT, page_size=2), timeout=SECONDS)
    assert list(page.batch_tasks) == [info, server.info(busy)]
    assert not info.HasField("start_time")
    deletion = service.DeleteBatchTaskRequest(name=name)
    assert refused(server, "DeleteBatchTask", deletion).metadata == {"state": "QUEUED", "verb": "delete"}
    server.cancel(name)
    check(server, name, State.CANCELLED, cancelled=3)
    check(server, busy, State.RUNNING, running=2)
    assert refused(server, "DeleteBatchTask", service.DeleteBatchTaskRequest(name=busy)).reason is Reason.ILLEGAL_STATE
    deletion = lro.DeleteOperationRequest(name=server.info(busy).operation)
    assert refused(server, "DeleteOperation", deletion).reason is Reason.OPERATION_NOT_DONE
    for actor in actors:
        actor.go()
    server.finish(busy)


# -- cancel -----------------------------------------------------------------------------------------------------------


@provokes(Reason.TASK_CANCELLED, Reason.ILLEGAL_STATE)
def test_cancelling_keeps_outcomes_and_kills_what_runs(server: Server, stage: Stage) -> None:
    stubborn = stage.record | {"stubborn": True}
    records = [stubborn, *[WELL] * 7, BAD, stubborn]
    name = server.submit("patient", *[named(each, i) for i, each in enumerate(records)])
    actors = [stage.enter(), stage.enter()]
    eventually(lambda: server.info(name).counts.failed)
    before = {each.index: each for each in server.records(name) if each.state in (R.SUCCEEDED, R.FAILED)}
    info = server.cancel(name, "changed my mind")
    assert (info.state, info.stop_reason) == (State.CANCELLING, State.CANCEL)
    assert not info.HasField("error")
    assert not info.HasField("end_time")
    assert info.counts.running + info.counts.pending == 10 - len(before)
    assert server.cancel(name, "again").state == State.CANCELLING
    deletion = service.DeleteBatchTaskRequest(name=name)
    assert refused(server, "DeleteBatchTask", deletion).metadata == {"state": "CANCELLING", "verb": "delete"}
    assert all(actor.is_gone() for actor in actors)
    run = server.finish(name)
    ended = {each.index: each for each in run.records if each.state in (R.SUCCEEDED, R.FAILED)}
    assert before.keys() <= ended.keys()
    failed = sum(each.state == R.FAILED for each in ended.values())
    check(server, name, State.CANCELLED, succeeded=len(ended) - failed, failed=failed, cancelled=10 - len(ended))
    check_cancelled(server, name, "the batch task was cancelled: changed my mind")
    assert dict(metadata(run.operation).failed_requests).keys() == {i for i in ended if ended[i].state == R.FAILED}
    check_placeholders(server, name, set(ended))
    assert run.operation == server.operation(name)


def check_placeholders(server: Server, name: str, ended: set[int]) -> None:
    """Every record without an outcome is CANCELLED: in its place by INDEX, at the end by COMPLETION."""
    total = server.info(name).counts.total
    cancelled = [i for i in range(total) if i not in ended]
    for view in (R.BASIC, R.FULL):
        by_index = server.records(name, view=view)
        assert [each.index for each in by_index] == list(range(total))
        for each in (by_index[i] for i in cancelled):
            assert (each.state, each.record_id, each.generation) == (R.CANCELLED, f"id {each.index}", 1)
            assert not each.HasField("error")
            assert not each.HasField("output")
            assert not each.HasField("end_time")
            assert each.HasField("input") == (view == R.FULL)
            assert server.record(name, each.index, view) == each
        by_completion = server.records(name, view=view, order=R.COMPLETION)
        assert {each.index for each in by_completion[: len(ended)]} == ended
        assert [each.index for each in by_completion[len(ended) :]] == cancelled
        assert [by_index[each.index] for each in by_completion] == by_completion
        for order, wanted in ((R.INDEX, by_index), (R.COMPLETION, by_completion)):
            for size in (1, 3):
                assert paged(server, name, order, view, size) == wanted


def paged(server: Server, name: str, order: RecordInfo.Order, view: RecordInfo.View, size: int) -> list[RecordInfo]:
    """All records, page by page."""
    found: list[RecordInfo] = []
    request = service.ListRecordsRequest(parent=name, page_size=size, order=order, view=view)
    while True:
        page = server.tasks.ListRecords(request, timeout=SECONDS)
        assert len(page.records) <= size
        found += page.records
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


@provokes(Reason.TASK_CANCELLED)
def test_cancel_of_the_operation_says_no_reason(server: Server, stage: Stage) -> None:
    name = server.submit("act", named(stage.record, 0), named(stage.record, 1), named(WELL, 2))
    actors = [stage.enter(), stage.enter()]
    request = lro.CancelOperationRequest(name=server.info(name).operation)
    for _ in range(2):
        server.operations.CancelOperation(request, timeout=SECONDS)
    assert all(actor.is_gone() for actor in actors)
    run = server.finish(name)
    assert run.info.counts.cancelled + run.info.counts.succeeded == 3
    check_cancelled(server, name, "the batch task was cancelled")
    check_placeholders(server, name, {each.index for each in run.records if each.state == R.SUCCEEDED})
    server.operations.CancelOperation(request, timeout=SECONDS)
    assert server.operation(name) == run.operation


# -- the end ----------------------------------------------------------------------------------------------------------


def test_the_end_is_the_operations_response(server: Server) -> None:
    run = server.run("act", WELL, BAD)
    response = BatchTaskInfo()
    assert run.operation.WhichOneof("result") == "response"
    assert run.operation.response.type_url == "type.googleapis.com/batchyard.v1.BatchTaskInfo"
    assert run.operation.metadata.type_url == "type.googleapis.com/batchyard.v1.BatchTaskMetadata"
    assert run.operation.response.Unpack(response)
    assert response == run.info
    assert not response.HasField("error")


def test_what_the_caller_said_of_the_task_comes_back_everywhere(server: Server) -> None:
    wanted = BatchTaskInfo(
        handler="act", display_name="Größte Aufgabe \u2028", labels={"a": "ü", "b.c-d_e": "", "z9": "x" * 256}
    )
    wanted.constraints.record_timeout.FromMilliseconds(60_500)
    wanted.parameters.CopyFrom(Payload(data=b"\0\xff", content_type="image/png"))
    request = service.CreateBatchTaskRequest(
        parent=PROJECT, batch_task=wanted, batch_task_id="My-Task_1", records=[RecordInput(payload=as_payload(WELL))]
    )
    server.tasks.CreateBatchTask(request, timeout=SECONDS)
    run = server.finish(f"{PROJECT}/batchTasks/My-Task_1")
    response = BatchTaskInfo()
    run.operation.response.Unpack(response)
    listing = service.ListBatchTasksRequest(parent=PROJECT, page_size=1)
    stream = server.tasks.StreamBatchTasks(service.StreamBatchTasksRequest(parent=PROJECT, page_size=1))
    listed = [*server.tasks.ListBatchTasks(listing, timeout=SECONDS).batch_tasks, *next(stream).batch_tasks]
    stream.cancel()
    assert [response, *listed] == [run.info] * 3
    assert run.info.name.endswith("/My-Task_1")
    for field in ("handler", "display_name", "labels", "parameters", "constraints"):
        assert getattr(run.info, field) == getattr(wanted, field)


@pytest.mark.parametrize("records", [[WELL, BAD], [BAD, BAD]], ids=["response", "error"])
def test_a_done_operation_never_changes(server: Server, records: list[dict[str, str]]) -> None:
    run = server.run("act", *records)
    name, operation = run.info.name, run.operation
    server.operations.CancelOperation(lro.CancelOperationRequest(name=operation.name), timeout=SECONDS)
    assert refused(server, "CancelBatchTask", service.CancelBatchTaskRequest(name=name)).reason is Reason.TASK_COMPLETED
    assert server.operation(name) == operation
    wait = lro.WaitOperationRequest(name=operation.name)
    assert server.operations.WaitOperation(wait, timeout=SECONDS) == operation
    other = server.run("act", WELL).operation
    deletion = lro.DeleteOperationRequest(name=operation.name)
    server.operations.DeleteOperation(deletion, timeout=SECONDS)
    info = server.info(name)
    assert info.operation == ""
    run.info.operation = ""
    assert info == run.info
    assert server.records(name, view=R.FULL) == run.records
    for method, request in (
        ("GetOperation", lro.GetOperationRequest(name=operation.name)),
        ("WaitOperation", wait),
        ("CancelOperation", lro.CancelOperationRequest(name=operation.name)),
        ("DeleteOperation", deletion),
    ):
        assert refused(server, method, request).reason is Reason.RESOURCE_NOT_FOUND
    server.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=name), timeout=SECONDS)
    assert refused(server, "GetBatchTask", service.GetBatchTaskRequest(name=name)).reason is Reason.RESOURCE_NOT_FOUND
    assert server.operations.GetOperation(lro.GetOperationRequest(name=other.name), timeout=SECONDS) == other


@provokes(Reason.RESOURCE_NOT_FOUND)
def test_a_handler_that_nobody_knows(server: Server) -> None:
    request = service.CreateBatchTaskRequest(
        parent=PROJECT, batch_task=BatchTaskInfo(handler="Act"), records=[RecordInput(payload=as_payload(1))]
    )
    found = refused(server, "CreateBatchTask", request)
    assert found.metadata == {"resource": f"{PROJECT}/handlers/Act"}
