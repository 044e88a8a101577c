"""Generations over the scripted server: what runs again, and that a result stays what it was."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from google.rpc import code_pb2

import batchyard
from batchyard import BatchTaskState, BatchTaskStatus, StopReason
from batchyard.v1 import batch_task_service_pb2
from tests.client.fake_operations import status_of
from tests.client.fake_server import FakeServer, State

Reactivate = batch_task_service_pb2.ReactivateBatchTaskRequest


@pytest.fixture
def operation(client: Any) -> Any:
    """A task of four records, t."""
    return client.batch.run("echo", ["a", "b", "c", "d"], task_id="t")


def fail_two(server: FakeServer, operation: Any, state: int = State.SUCCEEDED) -> None:
    """End the task: a and c succeed, b and d fail."""
    for index in range(4):
        error = status_of(14, f"no {index}", "RECORD_ERROR") if index % 2 else None
        server.complete(operation.task_name, index, server.tasks[operation.task_name].inputs[index].payload, error)
    error = status_of(10, "too many", "FAILURE_POLICY") if state == State.FAILED else None
    server.end(operation.task_name, state, error)


def test_a_reactivation_is_a_new_generation(operation: Any, server: FakeServer) -> None:
    fail_two(server, operation)
    first = operation.wait()
    assert (operation.generation, first.info.generation, first.counts.failed) == (1, 1, 2)
    again = operation.reactivate()
    request = server.last["ReactivateBatchTask"]
    assert request.scope == Reactivate.FAILED_AND_UNFINISHED
    assert uuid.UUID(request.request_id).version == 4
    assert (again.generation, again.task_name) == (2, operation.task_name)
    assert again.name != operation.name
    assert again.get_status() is BatchTaskStatus.PENDING
    assert operation.get_status() is BatchTaskStatus.COMPLETED
    counts = again.get_task_info().counts
    assert (counts.succeeded, counts.pending, counts.failed) == (2, 2, 0)
    for index in (1, 3):
        server.complete(operation.task_name, index, server.tasks[operation.task_name].inputs[index].payload)
    server.end(operation.task_name, State.SUCCEEDED)
    second = again.wait()
    assert list(second.outputs()) == ["a", "b", "c", "d"]
    assert [record.generation for record in second.records()] == [1, 2, 1, 2]
    # What was is still there, under both the old result and the old handle's own wait.
    for result in (first, operation.wait(), operation.get_result()):
        assert (result.info.generation, result.counts.failed) == (1, 2)
        assert [record.index for record in result.failed()] == [1, 3]
        assert list(result.outputs(on_failure="none")) == ["a", None, "c", None]
        assert result.get_record(1).is_failed
        assert list(result.outputs(generation=2)) == ["a", "b", "c", "d"]
    assert list(operation.failed()) == []
    assert list(operation.failed(generation=1)) == list(first.failed())
    assert operation.get_record(1).output == "b"
    assert operation.get_record(1, generation=1).error.message == "no 1"


def test_every_outcome_of_every_generation(operation: Any, server: FakeServer) -> None:
    fail_two(server, operation)
    again = operation.reactivate()
    for index in (3, 1):
        server.complete(operation.task_name, index)
    outcomes = [(r.index, r.generation, r.state.name) for r in again.records(order="completion", generation=-1)]
    assert outcomes == [
        (0, 1, "SUCCEEDED"),
        (1, 1, "FAILED"),
        (2, 1, "SUCCEEDED"),
        (3, 1, "FAILED"),
        (3, 2, "SUCCEEDED"),
        (1, 2, "SUCCEEDED"),
    ]
    assert [record.index for record in again.failed(generation=-1)] == [1, 3]
    for wrong in ({"generation": -1}, {"generation": 3}, {"generation": 3, "order": "completion"}):
        with pytest.raises(batchyard.InvalidFieldError) as caught:
            list(again.records(**wrong))
        assert caught.value.detail.field_violations[0].field == "generation"
    with pytest.raises(batchyard.NotFoundError):
        again.get_record(1, generation=3)


def test_all_of_a_task_again_by_its_id(operation: Any, client: Any, server: FakeServer) -> None:
    fail_two(server, operation)
    request_id = str(uuid.uuid4())
    first = client.batch.reactivate("t", scope="all", request_id=request_id)
    second = client.batch.reactivate("t", scope="all", request_id=request_id)
    assert server.last["ReactivateBatchTask"].scope == Reactivate.ALL
    assert first.name == second.name
    assert first.get_task_info().counts.pending == 4
    with pytest.raises(ValueError, match="scope must be one of"):
        client.batch.reactivate("t", scope="failed")


def test_what_cannot_be_reactivated(operation: Any, client: Any, server: FakeServer) -> None:
    with pytest.raises(batchyard.TaskNotCompletedError) as caught:
        operation.reactivate()
    assert caught.value.metadata == {"state": "QUEUED"}
    server.echo(operation.task_name)
    for scope in ("failed_and_unfinished", "all"):
        with pytest.raises(batchyard.TaskSucceededError) as caught:
            operation.reactivate(scope=scope)
        assert isinstance(caught.value, batchyard.FailedPreconditionError)
    empty = client.batch.run("echo", [], start=False)
    empty.cancel()
    with pytest.raises(batchyard.NoRecordsError) as caught:
        empty.reactivate()
    assert isinstance(caught.value, batchyard.FailedPreconditionError)
    with pytest.raises(batchyard.NotFoundError):
        client.batch.reactivate("nothing")


def test_a_lost_answer_reactivates_once(operation: Any, server: FakeServer) -> None:
    fail_two(server, operation)
    for method in ("ReactivateBatchTask", "PauseBatchTask", "ResumeBatchTask", "UpdateBatchTask", "DeleteBatchTask"):
        server.fail_next(method, code_pb2.UNAVAILABLE, times=3)
    again = operation.reactivate()
    assert again.get_task_info().generation == 2
    again.pause()
    again.resume()
    again.update(priority=1)
    again.delete(force=True)
    assert [server.calls[m] for m in ("ReactivateBatchTask", "UpdateBatchTask", "DeleteBatchTask")] == [4, 4, 4]


def test_the_error_of_a_generation_that_is_over(operation: Any, client: Any, server: FakeServer) -> None:
    fail_two(server, operation, State.FAILED)
    server.tasks[operation.task_name].info.stop_reason = State.FAILURE_POLICY
    again = operation.reactivate()
    assert again.get_task_info().error is None
    with pytest.raises(batchyard.FailurePolicyError) as caught:
        operation.wait()
    info = caught.value.partial.info
    assert (info.generation, info.state, info.stop_reason) == (1, BatchTaskState.FAILED, StopReason.FAILURE_POLICY)
    assert (info.counts.failed, info.operation, info.error.message) == (2, operation.name, "too many")
    assert (info.start_time, info.end_time is None, info.expire_time) == (None, False, None)
    assert [record.index for record in caught.value.partial.failed()] == [1, 3]
    assert again.get_status() is BatchTaskStatus.PENDING
    with pytest.raises(TimeoutError):
        again.wait(poll_timeout=0)
    operation.cancel()
    assert again.get_status() is BatchTaskStatus.PENDING, "a cancel of a generation that is over is none"
    again.cancel()
    with pytest.raises(batchyard.BatchTaskCancelled):
        again.wait()
    assert client.batch.get("t").generation == 2


def test_a_generation_whose_operation_was_forgotten(operation: Any, client: Any, server: FakeServer) -> None:
    """A handle does not take the next generation for its own."""
    fail_two(server, operation)
    client.operations.get(operation.id).delete()
    assert operation.wait().counts.failed == 2
    again = operation.reactivate()
    server.echo(operation.task_name)
    assert list(again.wait().outputs()) == ["a", "b", "c", "d"]
    for ask in (operation.wait, operation.get_result, operation.get_status):
        with pytest.raises(batchyard.NotFoundError, match="operation of generation 1"):
            ask()
    assert [handle.generation for handle in client.batch.list_operations()] == [2]
