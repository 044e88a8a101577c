"""What is stored of a task reads, put together, as the task it was."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from google.longrunning.operations_pb2 import Operation as OperationMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata, RecordCounts
from batchyard.v1.payload_pb2 import Payload
from batchyard_server.codec import task_bytes
from batchyard_server.model import limits
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.states import StopReason, TaskState, WaitingReason
from batchyard_server.model.task import Operation, Task
from tests.support import store as make

FIXED = make.fixed_info(
    "projects/p/batchTasks/t",
    "u",
    1_000_001,
    Payload(text="{}").SerializeToString(),
    display_name="Night run",
    labels={"b": "2", "a": "1"},
    constraints={"record_timeout": timedelta(seconds=1.5)},
)


def task(**fields: object) -> Task:
    plain: dict[str, object] = {
        "key": 1,
        "project": "p",
        "task_id": "t",
        "uid": "u",
        "operation": "o",
        "handler": "echo",
        "state": TaskState.RUNNING,
        "fixed": FIXED,
        "create_us": 1_000_001,
        "update_us": 3_000_000,
        "transition_us": 4_000_000,
        "total": 10,
    }
    return Task(**{**plain, **fields})  # pyright: ignore[reportArgumentType]


def test_info_is_the_fixed_part_and_the_changing_part() -> None:
    info = BatchTaskInfo.FromString(
        task_bytes.info(task(start_us=2_500_000, succeeded=3, failed=1, stop_reason=StopReason.CANCEL))
    )
    expected = BatchTaskInfo(
        name="projects/p/batchTasks/t",
        uid="u",
        display_name="Night run",
        handler="echo",
        parameters=Payload(text="{}"),
        labels={"a": "1", "b": "2"},
        state=BatchTaskInfo.RUNNING,
        stop_reason=BatchTaskInfo.CANCEL,
        generation=1,
        operation="projects/p/operations/o",
        counts=RecordCounts(total=10, pending=6, succeeded=3, failed=1),
    )
    expected.constraints.record_timeout.FromMilliseconds(1500)
    expected.create_time.FromMicroseconds(1_000_001)
    expected.start_time.FromMicroseconds(2_500_000)
    expected.update_time.FromSeconds(3)
    expected.state_transition_time.FromSeconds(4)
    expected.etag = '"u-1"'
    assert info == expected


def test_equal_tasks_have_equal_bytes_whatever_the_order_of_their_labels() -> None:
    def fixed(labels: dict[str, str]) -> bytes:
        return make.fixed_info("n", "u", 1, labels=labels)

    names = [f"label-{n}" for n in range(20)]
    assert fixed(dict.fromkeys(names, "x")) == fixed(dict.fromkeys(reversed(names), "x"))


def test_a_deleted_operation_leaves_no_name() -> None:
    assert BatchTaskInfo.FromString(task_bytes.info(task(operation=""))).operation == ""


def test_the_error_is_shown_in_a_final_state_only() -> None:
    error = task_bytes.cancelled_error("enough")
    assert not BatchTaskInfo.FromString(task_bytes.info(task(error=error))).HasField("error")
    shown = BatchTaskInfo.FromString(task_bytes.info(task(state=TaskState.CANCELLED, error=error))).error
    assert (shown.code, shown.message) == (Code.CANCELLED, "the batch task was cancelled: enough")


@given(
    stored=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    now=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    running=st.integers(1, 30),
    waiting=st.sampled_from(WaitingReason),
)
def test_an_overlay_is_right_over_any_older_info(
    stored: tuple[int, int], now: tuple[int, int], running: int, waiting: WaitingReason
) -> None:
    """Zeros override too, and the sum holds even if more records seem to run than are left."""
    older = task(total=20, succeeded=stored[0], failed=stored[1])
    newer = task(total=20, succeeded=now[0], failed=now[1])
    shown = BatchTaskInfo.FromString(task_bytes.info(older) + task_bytes.live_overlay(newer, running, waiting))
    counts = shown.counts
    left = 20 - sum(now)
    assert (counts.succeeded, counts.failed, counts.running) == (*now, min(running, left))
    assert counts.pending == left - counts.running
    assert counts.total == counts.pending + counts.running + counts.succeeded + counts.failed + counts.cancelled
    assert shown.waiting_reason == waiting


def test_no_overlay_when_nothing_lives() -> None:
    assert task_bytes.live_overlay(task(), 0, WaitingReason.NONE) == b""


def test_metadata_names_the_failures_and_says_if_there_are_more() -> None:
    failure = Status(code=3, message="bad")
    failures = [(4, failure.SerializeToString())]
    metadata = BatchTaskMetadata.FromString(
        task_bytes.metadata(
            task(failed=2, subtasks=7, live_subtasks=2), create_us=5_000_000, failures=failures, running=3
        )
    )
    assert metadata.batch_task == "projects/p/batchTasks/t"
    assert metadata.counts == RecordCounts(total=10, pending=5, running=3, failed=2)
    assert (metadata.subtask_count, metadata.live_subtask_count, metadata.create_time.seconds) == (7, 2, 5)
    assert dict(metadata.failed_requests) == {4: failure}
    assert metadata.failed_requests_truncated
    whole = BatchTaskMetadata.FromString(task_bytes.metadata(task(failed=1), failures=failures))
    assert not whole.failed_requests_truncated


def operation(**fields: object) -> Operation:
    plain: dict[str, object] = {
        "operation_id": "o",
        "project": "p",
        "task_key": 1,
        "generation": 1,
        "create_us": 1_000_001,
    }
    return Operation(**{**plain, **fields})  # pyright: ignore[reportArgumentType]


def test_an_operation_that_is_not_done_follows_its_task() -> None:
    message = OperationMessage.FromString(task_bytes.operation(operation(), task(succeeded=4), running=1))
    metadata = BatchTaskMetadata()
    assert message.metadata.Unpack(metadata)
    assert (message.name, message.done, message.WhichOneof("result")) == ("projects/p/operations/o", False, None)
    assert metadata.counts == RecordCounts(total=10, pending=5, running=1, succeeded=4)


def test_a_done_operation_is_its_snapshot_whatever_became_of_the_task() -> None:
    final = task(state=TaskState.SUCCEEDED, succeeded=8, failed=2, end_us=9_000_000)
    done = operation(metadata=task_bytes.metadata(final), result=task_bytes.final_result(final))
    later = replace(final, generation=2, state=TaskState.RUNNING, operation="o2", succeeded=0)
    failures = [(3, Status(code=3).SerializeToString())]
    message = OperationMessage.FromString(task_bytes.operation(done, later, failures=failures))
    info, metadata = BatchTaskInfo(), BatchTaskMetadata()
    assert message.done
    assert message.response.Unpack(info)
    assert message.metadata.Unpack(metadata)
    assert info == BatchTaskInfo.FromString(task_bytes.info(final))
    assert (metadata.state, metadata.counts.succeeded) == (BatchTaskInfo.SUCCEEDED, 8)
    assert list(metadata.failed_requests) == [3]
    assert metadata.failed_requests_truncated


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.CANCELLED])
def test_a_task_that_did_not_succeed_ends_its_operation_with_its_error(state: TaskState) -> None:
    error = task_bytes.cancelled_error()
    message = OperationMessage.FromString(task_bytes.final_result(task(state=state, error=error)))
    assert message.error == Status.FromString(error)
    assert message.WhichOneof("result") == "error"


def test_the_error_of_a_failed_task_stays_within_its_bound() -> None:
    large = Status(code=3, message="x" * 7_000).SerializeToString()
    failures = [(n, large) for n in range(10)]
    failed = task(failed=10)
    error = task_bytes.with_failures(task_bytes.all_failed_error(failed, failures), failed, failures)
    assert len(error) <= limits.ERROR.maximum
    first = BatchTaskMetadata()
    assert Status.FromString(error).details[1].Unpack(first)
    assert list(first.failed_requests) == [0, 1]
    assert first.failed_requests_truncated


def test_processes_that_were_not_reaped_are_the_reason() -> None:
    error = task_bytes.add_unreaped(task_bytes.cancelled_error("enough"), [7, 8])
    status = Status.FromString(task_bytes.add_unreaped(error, [9]))
    assert status.message == "the batch task was cancelled: enough"
    (detail,) = status.details
    reason = ErrorInfo()
    assert detail.Unpack(reason)
    assert (reason.reason, reason.metadata["process_ids"]) == (Reason.PROCESS_NOT_REAPED, "7,8,9")
