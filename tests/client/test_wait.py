"""wait: the end is seen at once, over restarts; stopping to wait changes nothing."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from google.rpc import code_pb2

import batchyard
from batchyard import BatchTaskStatus
from tests.client.fake_operations import status_of
from tests.client.fake_server import FakeServer, State


def later(server: FakeServer, action: Any) -> threading.Thread:
    """Do something as soon as a client waits."""

    def act() -> None:
        server.until(lambda: server.waiting > 0)
        action()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_the_end_wakes_the_waiter(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", [1, 2])
    thread = later(server, lambda: server.echo(operation.task_name))
    result = operation.wait()
    thread.join()
    assert server.calls["WaitOperation"] == 1
    assert result.info.state is batchyard.BatchTaskState.SUCCEEDED
    assert (result.counts.total, result.counts.succeeded) == (2, 2)
    assert operation.get_status() is BatchTaskStatus.COMPLETED
    assert operation.get_result().info == result.info


def test_a_long_poll_asks_for_a_second_less_than_its_deadline(client: Any, server: FakeServer) -> None:
    asked: list[tuple[float, float]] = []
    real = server.WaitOperation

    def seen(request: Any, context: Any) -> Any:
        asked.append((request.timeout.seconds + request.timeout.nanos / 1e9, context.time_remaining()))
        return real(request, context)

    server.WaitOperation = seen  # type: ignore[method-assign]
    server.restart()
    operation = client.batch.run("echo", [1])
    thread = later(server, lambda: server.echo(operation.task_name))
    operation.wait(timeout=30)
    thread.join()
    ((want, deadline),) = asked
    assert want == 29
    assert 29 < deadline < 30.5  # gRPC rounds a deadline on the wire


def test_the_server_restarts(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", [1])

    def act() -> None:
        server.stop()
        server.echo(operation.task_name)
        server.start()

    thread = later(server, act)
    assert list(operation.wait().outputs()) == [1]
    thread.join()


def test_the_server_is_gone_for_a_while(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", [1])
    back = threading.Event()

    def act() -> None:
        server.stop()
        back.wait(1.5)
        server.start()
        server.until(lambda: server.waiting > 0)
        server.echo(operation.task_name)

    thread = later(server, act)
    assert list(operation.wait(poll_timeout=30).outputs()) == [1]
    thread.join()


@pytest.mark.parametrize("code", [code_pb2.UNAVAILABLE, code_pb2.CANCELLED])
def test_faults_of_a_dying_server(client: Any, server: FakeServer, code: int) -> None:
    operation = client.batch.run("echo", [1])
    server.echo(operation.task_name)
    server.fail_next("WaitOperation", code, times=4)
    operation.wait()
    assert server.calls["WaitOperation"] == 5


def test_a_draining_server_answers_early_and_is_not_hammered(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", [1])
    server.early_waits = 5
    thread = later(server, lambda: server.echo(operation.task_name))
    began = time.monotonic()
    operation.wait()
    thread.join()
    assert time.monotonic() - began > 0.2
    assert server.calls["WaitOperation"] == 6


def test_the_timeout_carries_what_was_known_and_changes_nothing(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", [1, 2])
    server.complete(operation.task_name, 0)
    began = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        operation.wait(poll_timeout=0.4)
    assert 0.35 < time.monotonic() - began < 1.5
    assert isinstance(caught.value, batchyard.WaitTimeoutError)
    assert caught.value.id == operation.id
    assert caught.value.last_status.is_running
    assert caught.value.last_status.metadata.counts.succeeded == 1
    assert operation.id in str(caught.value)
    assert operation.get_status() is BatchTaskStatus.IN_PROGRESS
    assert "CancelOperation" not in server.calls
    server.until(lambda: server.waiting == 0)


def test_poll_timeout_zero_looks_once(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", [1])
    with pytest.raises(TimeoutError):
        operation.wait(poll_timeout=0)
    assert server.calls["WaitOperation"] == 1
    server.echo(operation.task_name)
    operation.wait(poll_timeout=0)


def test_the_timeout_holds_while_no_server_answers(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", [1])
    server.stop()
    began = time.monotonic()
    with pytest.raises(batchyard.WaitTimeoutError) as caught:
        operation.wait(poll_timeout=0.6)
    assert 0.5 < time.monotonic() - began < 2
    assert caught.value.last_status is None
    server.start()


def test_the_timeout_holds_while_the_server_is_frozen(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", [1])
    began = time.monotonic()
    with server.lock, pytest.raises(batchyard.WaitTimeoutError):
        operation.wait(poll_timeout=0.6, timeout=0.3)
    assert time.monotonic() - began < 2


def test_poll_interval_is_the_least_time_between_two_calls(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", [1])
    server.early_waits = 1000
    with pytest.raises(TimeoutError):
        operation.wait(poll_interval=0.2, poll_timeout=1)
    assert server.calls["WaitOperation"] <= 6


def test_progress_hears_the_counts(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", [1, 2])
    seen: list[tuple[int, int]] = []

    def progress(counts: Any) -> None:
        seen.append((counts.succeeded, counts.total))
        if counts.succeeded == 0:
            server.complete(operation.task_name, 0)
        elif counts.succeeded == 1:
            server.complete(operation.task_name, 1)
            server.end(operation.task_name, State.SUCCEEDED)

    operation.wait(progress=progress, poll_interval=0.05)
    assert seen == [(0, 2), (1, 2), (2, 2)]
    with pytest.raises(ValueError, match="progress must be"):
        operation.wait(progress="bars")


def test_a_failed_task(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", ["a", "b"])
    for index in range(2):
        server.complete(operation.task_name, index, error=status_of(3, "bad", "RECORD_ERROR"))
    server.end(operation.task_name, State.FAILED, status_of(10, "all 2 failed", "ALL_RECORDS_FAILED"))
    for ask in (operation.wait, operation.get_result):
        with pytest.raises(batchyard.AllRecordsFailedError) as caught:
            ask()
        error = caught.value
        assert isinstance(error, batchyard.BatchTaskError)
        assert (error.id, error.error.code, error.error.message) == (operation.id, 10, "all 2 failed")
        assert "ALL_RECORDS_FAILED" in next(iter(error.error.details))
        assert error.last_status.is_failed
        assert error.partial.info.state is batchyard.BatchTaskState.FAILED
        assert [record.index for record in error.partial.failed()] == [0, 1]
    assert operation.get_status() is BatchTaskStatus.FAILED


def test_a_cancelled_task(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", ["a", "b"])
    server.complete(operation.task_name, 0, server.tasks[operation.task_name].inputs[0].payload)
    operation.cancel()
    operation.cancel()
    with pytest.raises(batchyard.BatchTaskCancelled) as caught:
        operation.wait()
    assert caught.value.error.code == 1
    assert list(caught.value.partial.outputs(on_failure="skip")) == ["a"]
    assert caught.value.partial.counts.cancelled == 1
    assert operation.get_status() is BatchTaskStatus.CANCELED


def test_a_failed_task_that_is_deleted_meanwhile_is_described_by_its_operation(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", ["a"])
    operation.cancel()
    server.fail_next("GetBatchTask", code_pb2.NOT_FOUND)
    with pytest.raises(batchyard.BatchTaskCancelled) as caught:
        operation.wait()
    info = caught.value.partial.info
    assert (info.name, info.state.name, info.counts.cancelled) == (operation.task_name, "CANCELLED", 1)


def test_a_result_before_the_end(client: Any) -> None:
    operation = client.batch.run("echo", ["a"])
    with pytest.raises(batchyard.WrongOperationStatusError) as caught:
        operation.get_result()
    assert caught.value.last_status.is_running


def test_a_task_that_is_deleted(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", ["a"])
    with pytest.raises(batchyard.IllegalStateError) as caught:
        operation.delete()
    assert caught.value.metadata == {"state": "QUEUED", "verb": "delete"}
    server.echo(operation.task_name)
    operation.delete()
    for ask in (operation.wait, operation.get_status, operation.get_task_info, operation.get_result):
        with pytest.raises(batchyard.NotFoundError):
            ask()


def test_a_task_whose_operation_was_forgotten(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", ["a"])
    generic = client.operations.get(operation.id)
    with pytest.raises(batchyard.OperationNotDoneError):
        generic.delete()
    server.echo(operation.task_name)
    assert generic.get_status().is_succeeded
    generic.delete()
    with pytest.raises(batchyard.NotFoundError):
        client.operations.get(operation.name)
    assert operation.get_status() is BatchTaskStatus.COMPLETED
    again = client.batch.get(operation.task_id)
    assert again.name == ""
    assert again.get_status() is BatchTaskStatus.COMPLETED
    assert list(again.wait().outputs()) == list(again.get_result().outputs()) == ["a"]
    again.cancel()


def test_the_generic_operation(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", ["a"])
    generic = client.operations.get(operation.id)
    status = generic.get_status()
    assert (status.done, status.is_running, status.error, status.response) == (False, True, None, None)
    assert status.metadata.batch_task == operation.task_name
    server.echo(operation.task_name)
    status = generic.get_status()
    assert status.is_succeeded
    assert status.response.name == operation.task_name
    assert list(generic.wait().outputs()) == ["a"]
