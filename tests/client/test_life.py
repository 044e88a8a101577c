"""The verbs on a task over the scripted server: their arguments, their refusals, and what they answer."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

import batchyard
from batchyard import UNDEFINED, BatchTaskState, BatchTaskStatus, FailurePolicy, RetryPolicy
from batchyard.v1 import batch_task_pb2, record_pb2, subtask_pb2
from batchyard.v1.record_pb2 import RecordInfo
from tests.client.fake_operations import status_of
from tests.client.fake_server import FakeServer


@pytest.fixture
def operation(client: Any) -> Any:
    """A task of four records, t."""
    return client.batch.run("echo", ["a", "b", "c", "d"], task_id="t")


def is_uuid4(text: str) -> bool:
    return uuid.UUID(text).version == 4


def test_a_run_carries_every_setting(client: Any, server: FakeServer) -> None:
    operation = client.batch.run(
        "echo",
        [1],
        priority=-5,
        parallel_count=3,
        max_wall_clock_time=timedelta(hours=1),
        record_timeout=0.25,
        retention_time=0,
        max_retry_count=-1,
        retry_policy=RetryPolicy(0.5, timedelta(minutes=1), 3.0, ["unavailable", 4, grpc.StatusCode.ABORTED]),
        failure_policy=FailurePolicy(7, 0.5),
        display_name=None,
        labels=UNDEFINED,
    )
    sent = server.tasks[operation.task_name].info
    assert sent.constraints == batch_task_pb2.Constraints(
        max_wall_clock_time=Duration(seconds=3600),
        record_timeout=Duration(nanos=250_000_000),
        retention_time=Duration(),
        max_retry_count=-1,
    )
    assert sent.constraints.HasField("retention_time")
    assert sent.retry_policy == batch_task_pb2.RetryPolicy(
        initial_backoff=Duration(nanos=500_000_000),
        max_backoff=Duration(seconds=60),
        multiplier=3.0,
        retryable_codes=["UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED"],
    )
    assert sent.failure_policy == batch_task_pb2.FailurePolicy(max_failed_records=7, max_failed_ratio=0.5)
    info = operation.get_task_info()
    assert (info.priority, info.parallel_count, info.max_retry_count) == (-5, 3, -1)
    assert (info.max_wall_clock_time, info.record_timeout) == (timedelta(hours=1), timedelta(seconds=0.25))
    assert info.retention_time == timedelta(0)
    assert info.retry_policy == RetryPolicy(
        timedelta(seconds=0.5), 60, 3, ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED")
    )
    assert info.failure_policy == FailurePolicy(7, 0.5)
    assert (info.archived, info.expire_time) == (False, None)
    assert info.etag.startswith('"')


def test_what_is_not_set_is_not_sent(operation: Any, server: FakeServer) -> None:
    sent = server.tasks[operation.task_name].info
    for field in ("priority", "parallel_count", "constraints", "retry_policy", "failure_policy"):
        assert not sent.HasField(field)
    info = operation.get_task_info()
    assert (info.priority, info.parallel_count, info.max_retry_count) == (0, None, 0)
    assert (info.max_wall_clock_time, info.retention_time, info.retry_policy, info.failure_policy) == (None,) * 4


def test_an_update_names_what_it_changes(operation: Any, client: Any, server: FakeServer) -> None:
    first = operation.get_task_info()
    changed = operation.update(priority=9, labels={"a": "1"}, record_timeout=2, max_retry_count=None, etag=first.etag)
    request = server.last["UpdateBatchTask"]
    assert sorted(request.update_mask.paths) == [
        "constraints.max_retry_count",
        "constraints.record_timeout",
        "labels",
        "priority",
    ]
    assert request.batch_task.etag == first.etag
    assert is_uuid4(request.request_id)
    assert (changed.priority, changed.labels, changed.record_timeout) == (9, {"a": "1"}, timedelta(seconds=2))
    assert changed.etag != first.etag
    request_id = str(uuid.uuid4())
    for _ in range(2):
        changed = client.batch.update("t", priority=None, display_name="d", parallel_count=2, request_id=request_id)
    assert server.last["UpdateBatchTask"].request_id == request_id
    assert (changed.priority, changed.display_name, changed.parallel_count) == (0, "d", 2)
    assert not server.tasks[operation.task_name].info.HasField("priority")
    assert changed.labels == {"a": "1"}
    assert operation.update(labels=None).labels == {}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"archived": True}, "archived"),
        ({"max_wall_clock_time": 60}, "constraints.max_wall_clock_time"),
        ({"retention_time": timedelta(days=1)}, "constraints.retention_time"),
        ({"retry_policy": RetryPolicy(multiplier=5)}, "retry_policy"),
        ({"failure_policy": FailurePolicy(max_failed_ratio=0)}, "failure_policy"),
        ({"parallel_count": None}, "parallel_count"),
    ],
)
def test_each_change_has_its_path(operation: Any, server: FakeServer, change: dict[str, Any], path: str) -> None:
    info = operation.update(**change)
    assert list(server.last["UpdateBatchTask"].update_mask.paths) == [path]
    for field, value in change.items():
        expected = timedelta(seconds=value) if field == "max_wall_clock_time" else value
        assert getattr(info, field) == expected


def test_a_draft_may_change_its_handler_and_parameters(client: Any, server: FakeServer) -> None:
    draft = client.batch.run("echo", [1], parameters={"p": 1}, start=False)
    info = draft.update(handler="projects/default/handlers/other", parameters=[2])
    assert (info.handler, info.parameters) == ("other", [2])
    assert draft.update(parameters=None).parameters is None
    draft.start()
    with pytest.raises(batchyard.IllegalStateError):
        draft.update(handler="echo")


def test_updates_that_say_nothing_or_nonsense(operation: Any, client: Any, server: FakeServer) -> None:
    for nothing in ({}, {"priority": UNDEFINED}):
        with pytest.raises(ValueError, match="nothing to change"):
            operation.update(**nothing)
    with pytest.raises(TypeError, match="unexpected keyword arguments colour; possible are archived, display_name"):
        operation.update(colour="red")
    with pytest.raises(TypeError, match="unexpected keyword arguments archived"):
        client.batch.run("echo", [1], archived=True)
    for wrong in ({"priority": "high"}, {"display_name": 7}, {"record_timeout": "soon"}):
        with pytest.raises(TypeError):
            operation.update(**wrong)
    for wrong in ({"priority": 2**40}, {"record_timeout": float("inf")}, {"record_timeout": float("nan")}):
        with pytest.raises(ValueError, match=r"."):
            operation.update(**wrong)
    assert "UpdateBatchTask" not in server.calls


def test_an_update_after_the_end(operation: Any, server: FakeServer) -> None:
    server.echo(operation.task_name)
    assert operation.update(archived=True, display_name="old", retention_time=5).archived
    with pytest.raises(batchyard.TaskCompletedError):
        operation.update(priority=1)


def test_pause_and_resume(operation: Any, client: Any, server: FakeServer) -> None:
    assert operation.pause().state is BatchTaskState.PAUSED
    assert is_uuid4(server.last["PauseBatchTask"].request_id)
    assert operation.get_status() is BatchTaskStatus.PENDING
    assert client.batch.pause("t").state is BatchTaskState.PAUSED
    assert operation.resume().state is BatchTaskState.QUEUED
    assert is_uuid4(server.last["ResumeBatchTask"].request_id)
    server.complete(operation.task_name, 0)
    assert operation.pause().state is BatchTaskState.PAUSING
    assert operation.get_status() is BatchTaskStatus.IN_PROGRESS
    with pytest.raises(TimeoutError):
        operation.wait(poll_timeout=0)
    assert client.batch.resume("t").state is BatchTaskState.RUNNING
    operation.pause()
    server.last_lease_ends(operation.task_name)
    assert operation.get_task_info().status is BatchTaskStatus.PENDING
    operation.resume()
    server.echo(operation.task_name)
    assert list(operation.wait().outputs()) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_what_cannot_be_paused_or_resumed(client: Any, server: FakeServer, verb: str) -> None:
    draft = client.batch.run("echo", [1], start=False)
    with pytest.raises(batchyard.IllegalStateError) as caught:
        getattr(draft, verb)()
    assert caught.value.metadata == {"state": "DRAFT", "verb": verb}
    draft.start()
    server.echo(draft.task_name)
    with pytest.raises(batchyard.TaskCompletedError):
        getattr(draft, verb)()
    with pytest.raises(batchyard.NotFoundError):
        getattr(client.batch, verb)("nothing")


def test_an_etag_that_is_no_longer_the_present_one(operation: Any, client: Any, server: FakeServer) -> None:
    old = operation.get_task_info().etag
    new = operation.update(priority=1).etag
    verbs: dict[str, dict[str, Any]] = {
        "pause": {},
        "resume": {},
        "reactivate": {},
        "delete": {},
        "update": {"priority": 2},
    }
    for verb, arguments in verbs.items():
        for call in (getattr(operation, verb), lambda v=verb, **more: getattr(client.batch, v)("t", **more)):
            with pytest.raises(batchyard.EtagMismatchError) as caught:
                call(etag=old, **arguments)
            assert caught.value.metadata == {"etag": new}
            assert isinstance(caught.value, batchyard.AbortedError)
    assert operation.pause(etag=new).etag == new


def test_delete_with_force_and_of_what_is_missing(operation: Any, client: Any, server: FakeServer) -> None:
    for call in (operation.delete, lambda: client.batch.delete("t")):
        with pytest.raises(batchyard.IllegalStateError):
            call()
    operation.delete(force=True)
    assert server.last["DeleteBatchTask"].force
    for ask in (operation.get_task_info, operation.delete, operation.wait, lambda: list(operation.subtasks())):
        with pytest.raises(batchyard.NotFoundError):
            ask()
    operation.delete(allow_missing=True)
    client.batch.delete("t", allow_missing=True)
    client.batch.delete("never was", allow_missing=True, force=True)
    again = client.batch.run("echo", [1], task_id="t")
    client.batch.delete("t", force=True, etag=again.get_task_info().etag)


def test_subtasks(operation: Any, server: FakeServer) -> None:
    assert list(operation.subtasks()) == []
    name = operation.task_name
    lost = subtask_pb2.Subtask(
        name=f"{name}/subtasks/3",
        state=subtask_pb2.Subtask.LOST,
        ranges=[subtask_pb2.IndexRange(start=0, end=2), subtask_pb2.IndexRange(start=3, end=4)],
        epoch=3,
        worker="w1",
        node="n",
        exit_code=-9,
        error=status_of(10, "killed by signal 9", "WORKER_LOST"),
    )
    lost.start_time.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
    lost.end_time.FromDatetime(datetime(2026, 1, 3, tzinfo=UTC))
    others = [
        subtask_pb2.Subtask(name=f"{name}/subtasks/{epoch}", state=state, epoch=epoch)
        for epoch, state in [(5, subtask_pb2.Subtask.RUNNING), (4, subtask_pb2.Subtask.RETURNED), (2, 99), (1, 5)]
    ]
    server.tasks[name].subtasks = [*others[:2], lost, *others[2:]]
    found = list(operation.subtasks())
    assert [subtask.epoch for subtask in found] == [5, 4, 3, 2, 1]
    assert server.calls["ListSubtasks"] == 1 + 3
    assert [subtask.epoch for subtask in operation.subtasks(page_size=10)] == [5, 4, 3, 2, 1]
    assert server.last["ListSubtasks"].page_size == 10
    assert [subtask.state.name for subtask in found] == ["RUNNING", "RETURNED", "LOST", "SUBTASKSTATE_99", "KILLED"]
    assert [subtask.state.is_final for subtask in found[:3]] == [False, True, True]
    seen = found[2]
    assert (seen.name, seen.worker, seen.node, seen.exit_code) == (f"{name}/subtasks/3", "w1", "n", -9)
    assert seen.ranges == [range(2), range(3, 4)]
    assert (seen.error.code, seen.error.message) == (10, "killed by signal 9")
    assert seen.end_time - seen.start_time == timedelta(days=1)
    assert (found[0].exit_code, found[0].error, found[0].end_time) == (None, None, None)
    assert repr(seen) == f"<Subtask {name}/subtasks/3 LOST>"
    assert seen == batchyard.Subtask(lost)


def test_attempts(operation: Any, server: FakeServer) -> None:
    assert list(operation.attempts(1)) == []
    made = [
        record_pb2.RecordAttempt(
            attempt=1, generation=1, state=RecordInfo.FAILED, error=status_of(2, "bad", "NONZERO_EXIT"), exit_code=7
        ),
        record_pb2.RecordAttempt(
            attempt=2, generation=1, state=RecordInfo.CANCELLED, error=status_of(14, "server ended")
        ),
        record_pb2.RecordAttempt(attempt=1, generation=2, state=RecordInfo.SUCCEEDED, worker="w"),
    ]
    made[2].start_time.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
    made[2].end_time.FromDatetime(datetime(2026, 1, 2, 1, tzinfo=UTC))
    server.tasks[operation.task_name].attempts[1] = made
    found = list(operation.attempts(1))
    assert server.calls["ListRecordAttempts"] == 1 + 2
    assert [(a.generation, a.attempt, a.state.name) for a in found] == [
        (1, 1, "FAILED"),
        (1, 2, "CANCELLED"),
        (2, 1, "SUCCEEDED"),
    ]
    assert isinstance(found[0].error, batchyard.NonzeroExitError)
    assert (found[0].error.index, found[0].exit_code, str(found[0].error)) == (1, 7, "record 1: bad")
    assert type(found[1].error) is batchyard.RecordFailedError
    assert (found[2].error, found[2].exit_code, found[2].worker) == (None, None, "w")
    assert found[2].end_time - found[2].start_time == timedelta(hours=1)
    assert repr(found[2]) == "<RecordAttempt 1 2.1 SUCCEEDED>"
    assert found[2] == batchyard.RecordAttempt(made[2], 1)
    with pytest.raises(batchyard.NotFoundError):
        list(operation.attempts(4))
    server.echo(operation.task_name)
    assert [attempt.index for attempt in operation.wait().attempts(1, page_size=1)] == [1, 1, 1]
