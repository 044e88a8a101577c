"""Both clients, the command line and the real server over the whole life of a task."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import batchyard
from batchyard import BatchTaskState, BatchTaskStatus, FailurePolicy, RetryPolicy, StopReason, SubtaskState
from tests.support.eventually import eventually
from tests.support.server import SECONDS, Process, process

HANDLERS = """
[handlers.lives]
kind = "python"
callable = "lives:lives"
path = ["{folder}"]
"""
pytestmark = pytest.mark.xdist_group("real server")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("life")
    file = folder / "handlers.toml"
    file.write_text(HANDLERS.format(folder=Path(__file__).with_name("handlers")))
    with ExitStack() as stack:
        yield stack.enter_context(process(folder, "--handlers", str(file)))


@pytest.fixture
def client(connect: Any, real: Process) -> Any:
    return connect(real.target, project=f"p{uuid.uuid4().hex[:12]}")


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def until_waited(gate: Path) -> None:
    """Return once a record waits at the gate."""
    eventually(gate.with_suffix(".waited").exists, SECONDS)


def state(operation: Any) -> BatchTaskState:
    return operation.get_task_info().state


def test_what_failed_runs_again(client: Any) -> None:
    records = [{"value": i, "until": 2 if i in {3, 7} else 0} for i in range(10)]
    first = client.batch.run("lives", records, task_id="t")
    old = first.wait(poll_timeout=30)
    assert (old.counts.succeeded, old.counts.failed) == (8, 2)
    second = client.batch.reactivate("t")
    assert (second.generation, second.task_name) == (2, first.task_name)
    assert second.name != first.name
    new = second.wait(poll_timeout=30)
    assert (new.counts.succeeded, new.counts.failed, new.info.generation) == (10, 0, 2)
    assert list(new.outputs()) == list(range(10))
    assert [record.generation for record in new.records()] == [2 if i in {3, 7} else 1 for i in range(10)]
    # The first generation is what it was, under every name that it has.
    for result in (old, first.wait(poll_timeout=5), client.operations.get(first.id).wait(poll_timeout=5)):
        assert (result.info.generation, result.counts.failed) == (1, 2)
        assert sorted(record.index for record in result.failed()) == [3, 7]
        assert result.get_record(3).error.message == "not before generation 2"
    assert list(first.failed()) == []
    assert [(a.generation, a.state.name) for a in first.attempts(3)] == [(1, "FAILED"), (2, "SUCCEEDED")]
    assert [(a.generation, a.attempt) for a in first.attempts(0)] == [(1, 1)]
    outcomes = sorted((r.index, r.generation) for r in second.records(order="completion", generation=-1))
    assert outcomes == sorted([*((i, 1) for i in range(10)), (3, 2), (7, 2)])
    for wrong in ({"generation": -1}, {"generation": 3}):
        with pytest.raises(batchyard.InvalidFieldError) as caught:
            list(second.records(**wrong))
        assert caught.value.detail.field_violations[0].field == "generation"
    with pytest.raises(batchyard.ResourceNotFoundError):
        second.get_record(0, generation=3)


def test_everything_runs_again(client: Any) -> None:
    operation = client.batch.run("lives", [{"value": 1}, {"fail": "always"}])
    operation.wait(poll_timeout=30)
    request_id = str(uuid.uuid4())
    again = operation.reactivate(scope="all", request_id=request_id)
    assert operation.reactivate(scope="all", request_id=request_id).name == again.name
    result = again.wait(poll_timeout=30)
    assert [record.generation for record in result.records()] == [2, 2]
    assert (result.counts.succeeded, result.counts.failed) == (1, 1)


def test_the_error_of_an_earlier_generation(client: Any) -> None:
    operation = client.batch.run("lives", [{"value": 1, "until": 2}, {"value": 2, "until": 2}])
    with pytest.raises(batchyard.AllRecordsFailedError):
        operation.wait(poll_timeout=30)
    again = operation.reactivate()
    assert list(again.wait(poll_timeout=30).outputs()) == [1, 2]
    assert again.get_task_info().error is None
    with pytest.raises(batchyard.AllRecordsFailedError) as caught:
        operation.get_result()
    assert (caught.value.partial.info.generation, caught.value.partial.counts.failed) == (1, 2)
    assert sorted(record.index for record in caught.value.partial.failed()) == [0, 1]


def test_what_cannot_be_reactivated(client: Any, gate: Path) -> None:
    operation = client.batch.run("lives", [{"hold": str(gate)}])
    until_waited(gate)
    with pytest.raises(batchyard.TaskNotCompletedError) as caught:
        operation.reactivate()
    assert caught.value.metadata["state"] == "RUNNING"
    gate.touch()
    operation.wait(poll_timeout=30)
    for scope in ("failed_and_unfinished", "all"):
        with pytest.raises(batchyard.TaskSucceededError):
            operation.reactivate(scope=scope)
    empty = client.batch.run("lives", [], start=False)
    empty.cancel()
    with pytest.raises(batchyard.NoRecordsError):
        empty.reactivate()


def test_a_cancelled_task_goes_on(client: Any, gate: Path) -> None:
    operation = client.batch.run("lives", [{"value": 1}, {"value": 2, "hold": str(gate)}, {"value": 3}])
    until_waited(gate)
    operation.cancel()
    with pytest.raises(batchyard.BatchTaskCancelled) as caught:
        operation.wait(poll_timeout=30)
    gate.touch()
    assert list(operation.reactivate().wait(poll_timeout=30).outputs()) == [1, 2, 3]
    assert caught.value.partial.get_record(1).state.name == "CANCELLED"


def test_a_token_of_the_handle_goes_on_in_the_result(client: Any) -> None:
    operation = client.batch.run("lives", [{"value": i} for i in range(10)])
    operation.wait(poll_timeout=30)
    page = next(iter(operation.pages(order="completion", page_size=4)))
    rest = operation.wait().records(order="completion", resume_token=page.resume_token)
    assert len(list(rest)) == 10 - len(page.records)


def test_pause_and_resume(client: Any, gate: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"
    records = [{"value": 0, "hold": str(gate)}, *({"value": i, "hold": str(later)} for i in range(1, 4))]
    operation = client.batch.run("lives", records, parallel_count=1)
    until_waited(gate)
    assert operation.pause().state is BatchTaskState.PAUSING
    assert operation.get_status() is BatchTaskStatus.IN_PROGRESS
    gate.touch()
    eventually(lambda: state(operation) is BatchTaskState.PAUSED, SECONDS)
    assert operation.get_status() is BatchTaskStatus.PENDING
    counts = operation.get_task_info().counts
    assert (counts.succeeded, counts.pending, counts.running) == (1, 3, 0)
    assert not later.with_suffix(".waited").exists()
    assert operation.pause().state is BatchTaskState.PAUSED
    with pytest.raises(batchyard.WaitTimeoutError):
        operation.wait(poll_timeout=0)
    later.touch()
    assert operation.resume().state in {BatchTaskState.QUEUED, BatchTaskState.RUNNING}
    assert list(operation.wait(poll_timeout=30).outputs()) == [0, 1, 2, 3]
    for verb in (operation.pause, operation.resume):
        with pytest.raises(batchyard.TaskCompletedError):
            verb()
    draft = client.batch.run("lives", [], start=False)
    for verb in (draft.pause, draft.resume):
        with pytest.raises(batchyard.IllegalStateError):
            verb()


def test_settings_come_back(client: Any) -> None:
    settings: dict[str, Any] = {
        "priority": -1000,
        "parallel_count": 1,
        "max_wall_clock_time": timedelta(hours=1),
        "record_timeout": timedelta(seconds=30),
        "retention_time": timedelta(days=2),
        "max_retry_count": -1,
        "retry_policy": RetryPolicy(0.5, 60, 3, ["UNAVAILABLE"]),
        "failure_policy": FailurePolicy(5, 0.5),
        "labels": {"a": "b"},
    }
    info = client.batch.run("lives", [{"value": 1}], **settings).wait(poll_timeout=30).info
    assert {field: getattr(info, field) for field in settings} == settings
    assert info.expire_time - info.end_time == timedelta(days=2)
    assert not info.archived
    for field, value in {"priority": 1001, "parallel_count": 0, "max_retry_count": -2, "retention_time": -1}.items():
        with pytest.raises(batchyard.InvalidFieldError) as caught:
            client.batch.run("lives", [{"value": 1}], **{field: value})
        assert field in caught.value.detail.field_violations[0].field


def test_update(client: Any) -> None:
    operation = client.batch.run("lives", [{"value": 1}], start=False, parameters={"p": 1}, max_retry_count=3)
    first = operation.get_task_info()
    info = operation.update(priority=7, display_name="d", labels={"a": "b"}, record_timeout=9, etag=first.etag)
    assert (info.priority, info.display_name, info.labels) == (7, "d", {"a": "b"})
    assert (info.record_timeout, info.max_retry_count) == (timedelta(seconds=9), 3)
    assert info.etag != first.etag
    assert operation.update(display_name="d").etag == info.etag, "nothing changed"
    with pytest.raises(batchyard.EtagMismatchError) as caught:
        client.batch.update(operation.task_id, priority=8, etag=first.etag)
    assert caught.value.metadata["etag"] == info.etag
    info = operation.update(priority=None, labels=None, max_retry_count=None, handler="echo", parameters=None)
    assert (info.priority, info.labels, info.max_retry_count, info.handler) == (0, {}, 0, "echo")
    assert info.parameters is None
    with pytest.raises(batchyard.InvalidFieldError):
        operation.update(priority=1001)
    with pytest.raises(batchyard.ResourceNotFoundError):
        operation.update(handler="nothing")
    operation.start()
    done = operation.wait(poll_timeout=30)
    assert list(done.outputs()) == [{"value": 1}]
    assert operation.update(archived=True, retention_time=timedelta(days=1)).archived
    info = operation.get_task_info()
    assert info.expire_time - info.end_time == timedelta(days=1)
    assert [each.archived for each in client.batch.list_info()] == [True]
    for change in ({"priority": 1}, {"record_timeout": 1}, {"failure_policy": FailurePolicy(1)}):
        with pytest.raises(batchyard.TaskCompletedError):
            operation.update(**change)
    assert done.info.archived is False, "a result is a snapshot"


def test_handler_and_parameters_stay_after_the_start(client: Any, gate: Path) -> None:
    operation = client.batch.run("lives", [{"hold": str(gate)}])
    until_waited(gate)
    for change in ({"handler": "echo"}, {"parameters": 1}):
        with pytest.raises(batchyard.IllegalStateError):
            operation.update(**change)
    gate.touch()
    operation.wait(poll_timeout=30)


def test_retries(client: Any) -> None:
    quick = RetryPolicy(initial_backoff=0.01, max_backoff=0.02)
    records = [{"value": 1, "tries": 3}, {"value": 2, "tries": 9}, {"fail": "not retryable"}]
    operation = client.batch.run("lives", records, max_retry_count=2, retry_policy=quick)
    result = operation.wait(poll_timeout=30)
    assert [(record.state.name, record.attempt) for record in result.records()] == [
        ("SUCCEEDED", 3),
        ("FAILED", 3),
        ("FAILED", 1),
    ]
    assert [(a.attempt, a.state.name) for a in operation.attempts(0)] == [
        (1, "FAILED"),
        (2, "FAILED"),
        (3, "SUCCEEDED"),
    ]
    assert {a.error.code for a in operation.attempts(1)} == {14}
    never = RetryPolicy(retryable_codes=["INTERNAL"])
    other = client.batch.run("lives", records, max_retry_count=-1, retry_policy=never)
    with pytest.raises(batchyard.AllRecordsFailedError):
        other.wait(poll_timeout=30)


def test_too_many_failures(client: Any, gate: Path) -> None:
    records = [{"fail": "a"}, {"hold": str(gate)}, {"value": 2}]
    operation = client.batch.run("lives", records, failure_policy=FailurePolicy(max_failed_records=0))
    with pytest.raises(batchyard.FailurePolicyError) as caught:
        operation.wait(poll_timeout=30)
    assert (caught.value.error.code, caught.value.reason) == (10, "FAILURE_POLICY")
    info = caught.value.partial.info
    assert (info.state, info.stop_reason) == (BatchTaskState.FAILED, StopReason.FAILURE_POLICY)
    assert (info.counts.failed, info.counts.cancelled) == (1, 2)
    gate.touch()
    fine = client.batch.run("lives", [{"fail": "a"}, {"value": 2}], failure_policy=FailurePolicy(max_failed_ratio=0.5))
    assert fine.wait(poll_timeout=30).counts.failed == 1


def test_a_task_that_takes_too_long(client: Any, gate: Path) -> None:
    operation = client.batch.run("lives", [{"value": 1}, {"hold": str(gate)}], max_wall_clock_time=3)
    with pytest.raises(batchyard.WallClockExceededError) as caught:
        operation.wait(poll_timeout=30)
    assert (caught.value.error.code, caught.value.reason) == (4, "WALL_CLOCK_EXCEEDED")
    info = caught.value.partial.info
    assert (info.stop_reason, info.counts.cancelled, info.counts.succeeded) == (StopReason.DEADLINE, 1, 1)
    assert list(caught.value.partial.outputs(on_failure="skip")) == [1]


def test_delete_with_force(client: Any, gate: Path) -> None:
    operation = client.batch.run("lives", [{"hold": str(gate)}], task_id="t")
    until_waited(gate)
    with pytest.raises(batchyard.IllegalStateError):
        operation.delete()
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            operation.wait(poll_timeout=SECONDS)
        except batchyard.BatchyardError as error:
            ended.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    operation.delete(force=True, etag=operation.get_task_info().etag)
    waiter.join()
    assert [type(error) for error in ended] == [batchyard.ResourceNotFoundError]
    for ask in (operation.get_task_info, operation.get_status, operation.delete, lambda: list(operation.records())):
        with pytest.raises(batchyard.ResourceNotFoundError):
            ask()
    operation.delete(allow_missing=True)
    gate.touch()
    again = client.batch.run("lives", [{"value": 1}], task_id="t")
    assert list(again.wait(poll_timeout=30).outputs()) == [1]


def test_subtasks(client: Any, gate: Path) -> None:
    operation = client.batch.run("lives", [{"value": 1}, {"value": 2}, {"value": 3, "hold": str(gate)}])
    until_waited(gate)
    # A lease may become durable some milliseconds after its first record has begun.
    newest = eventually(lambda: next((each for each in operation.subtasks() if 2 in each.ranges[-1]), None), SECONDS)
    assert (newest.state, newest.end_time) == (SubtaskState.RUNNING, None)
    assert newest.worker
    assert newest.start_time is not None
    gate.touch()
    operation.wait(poll_timeout=30)
    found = list(operation.subtasks(page_size=1))
    assert [subtask.epoch for subtask in found] == sorted((subtask.epoch for subtask in found), reverse=True)
    assert all(subtask.state.is_final and subtask.end_time is not None for subtask in found)
    assert {index for subtask in found for each in subtask.ranges for index in each} == {0, 1, 2}
    metadata = operation.get_operation_status().metadata
    assert (metadata.subtask_count, metadata.live_subtask_count) == (len(found), 0)


def test_the_command_line(real: Process, tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text('{"value": 1}\n{"value": 2, "until": 2}\n')
    project = f"c{uuid.uuid4().hex[:8]}"
    command = [sys.executable, "-m", "batchyard.cli", "--target", real.target, "--project", project]

    def run(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    assert run("submit", str(file), "--handler", "lives", "--task-id", "t", "--priority", "3", "--wait")[0] == 3
    code, out, _ = run("reactivate", "t", "--wait")
    assert code == 0
    assert "generation:     2" in out
    assert "settings:       priority=3" in out
    assert run("results", "t")[1] == "0\t\tSUCCEEDED\t1\n1\t\tSUCCEEDED\t2\n"
    assert run("results", "t", "--generation", "1", "--failed")[1] == "1\t\tFAILED\tnot before generation 2\n"
    assert [line.split("\t")[:3] for line in run("attempts", "t", "1")[1].splitlines()[1:]] == [
        ["1", "1", "FAILED"],
        ["2", "1", "SUCCEEDED"],
    ]
    assert "COMPLETED" in run("subtasks", "t")[1]
    assert run("update", "t", "--archived", "--retention-time", "1h") == (0, "", "")
    assert "archived:       yes" in run("get", "t")[1]
    code, _, err = run("reactivate", "t")
    assert (code, "TASK_SUCCEEDED" in err) == (1, True)
    code, _, err = run("pause", "t")
    assert (code, "TASK_COMPLETED" in err) == (1, True)
    assert run("delete", "t", "--force") == (0, "", "")
