"""How many records may fail? A task is stopped with the commit of the failure that is one too many."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from google.longrunning.operations_pb2 import Operation as OperationMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchyard.v1.batch_task_pb2 import BatchTaskMetadata
from batchyard_server.model.errors import Code, Reason, StaleLease
from batchyard_server.model.settings import DEFAULTS, Settings
from batchyard_server.model.states import Event, StopReason, TaskState, after
from batchyard_server.model.task import Attempts, Task
from batchyard_server.store.protocols import Change, Store, TaskEvent
from tests.conformance.store.conftest import Driver
from tests.support import store as make
from tests.support.outcomes import FAILURE, flush, retries

NUMBER = Settings(max_failed_records=2)
RATIO = Settings(max_failed_ratio=0.2)
BOTH = Settings(max_failed_records=5, max_failed_ratio=0.2)


async def made(store: Store, records: int, settings: Settings, task_id: str = "a") -> Task:
    return await store.create_task(make.new_task(task_id, records, settings=settings), None)


async def record(store: Store, task: Task, *, ok: Sequence[int] = (), failed: Sequence[int] = ()) -> Task:
    """Outcomes under a lease of their own."""
    wanted = [(index, index + 1) for index in sorted([*ok, *failed])]
    lease = await make.lease(store, task, *wanted)
    return await store.record_outcomes(lease, flush(task.name, ok=ok, failed=failed))


def check_error(task: Task, failed: int, shown: Sequence[int]) -> None:
    """It says that the failure policy was crossed, by how many, and which the first ones were."""
    error = Status.FromString(task.error)
    assert error.code == Code.ABORTED
    assert error.message == f"{failed} of {task.total} records failed, more than the failure policy allows"
    info, first = ErrorInfo(), BatchTaskMetadata()
    assert error.details[0].Unpack(info)
    assert error.details[1].Unpack(first)
    assert len(error.details) == 2
    assert (info.reason, dict(info.metadata)) == (Reason.FAILURE_POLICY, {"failed": str(failed)})
    assert dict(first.failed_requests) == dict.fromkeys(shown, FAILURE)


@pytest.mark.parametrize("policy", [NUMBER, RATIO, BOTH], ids=["number", "ratio", "both"])
async def test_one_failure_too_many_stops_the_task(driver: Driver, policy: Settings) -> None:
    store = await driver.open()
    task = await made(store, 10, policy)
    other = await make.lease(store, task, (8, 10))
    assert (await record(store, task, ok=[0], failed=[1, 2])).state is TaskState.RUNNING
    heard: list[TaskEvent] = []
    store.subscribe(heard.extend)
    driver.clock.advance(3)
    stopped = await record(store, task, ok=[3], failed=[4])
    assert (stopped.state, stopped.stop_reason) == (TaskState.CANCELLING, StopReason.FAILURE_POLICY)
    assert (stopped.failed, stopped.cancelled, stopped.end_us) == (3, 0, 0)
    assert [event.change for event in heard] == [Change.COUNTS, Change.STATE], "the grant, and the stop"
    with pytest.raises(StaleLease):
        await make.lease(store, task, (5, 6))
    kept = await store.record_outcomes(other, flush(task.name, ok=[8], failed=[9]))
    assert (kept.state, kept.succeeded, kept.failed) == (TaskState.CANCELLING, 3, 4)
    done = await store.release(other, {})
    assert done is not None
    assert (done.state, done.stop_reason, done.cancelled) == (TaskState.FAILED, StopReason.FAILURE_POLICY, 3)
    check_error(done, 3, [1, 2, 4, 9])
    operation, _ = await store.get_operation(task.operation_name)
    assert OperationMessage.FromString(operation.result).error == Status.FromString(done.error)
    assert BatchTaskMetadata.FromString(operation.metadata).counts.failed == 4


async def test_as_many_failures_as_are_allowed_are_a_success(store: Store) -> None:
    for number, policy in enumerate((NUMBER, RATIO, BOTH, DEFAULTS)):
        task = await made(store, 10, policy, f"t{number}")
        done = await make.finish(store, task, failed=[3, 7])
        assert (done.state, done.stop_reason, done.error) == (TaskState.SUCCEEDED, StopReason.NONE, b"")


@pytest.mark.parametrize("policy", [NUMBER, RATIO], ids=["number", "ratio"])
async def test_the_last_record_may_be_the_one_too_many(store: Store, policy: Settings) -> None:
    task = await made(store, 10, policy)
    await record(store, task, ok=range(6), failed=[7, 8])
    done = await record(store, task, ok=[6], failed=[9])
    assert (done.state, done.stop_reason, done.cancelled) == (TaskState.FAILED, StopReason.FAILURE_POLICY, 0)
    assert done.end_us == done.transition_us
    check_error(done, 3, [7, 8, 9])


async def test_the_first_failure_may_be_one_too_many(store: Store) -> None:
    for number, policy in enumerate((Settings(max_failed_records=0), Settings(max_failed_ratio=0.0))):
        task = await made(store, 10, policy, f"t{number}")
        assert (await record(store, task, ok=[0])).state is TaskState.RUNNING
        stopped = await record(store, task, failed=[1])
        assert stopped.state is TaskState.CANCELLING


async def test_that_every_record_failed_counts_more_than_the_policy(store: Store) -> None:
    for number, policy in enumerate((NUMBER, RATIO, BOTH, Settings(max_failed_records=0))):
        task = await made(store, 3, policy, f"t{number}")
        done = await make.finish(store, task, failed=[0, 1, 2])
        assert (done.state, done.stop_reason) == (TaskState.FAILED, StopReason.NONE)
        info = ErrorInfo()
        assert Status.FromString(done.error).details[0].Unpack(info)
        assert info.reason == Reason.ALL_RECORDS_FAILED


async def test_a_task_of_one_record_keeps_that_records_error(store: Store) -> None:
    task = await made(store, 1, Settings(max_failed_records=0, max_failed_ratio=0.0))
    done = await make.finish(store, task, failed=[0])
    assert (done.state, done.stop_reason) == (TaskState.FAILED, StopReason.NONE)
    assert Status.FromString(done.error) == FAILURE


async def test_what_is_tried_again_has_not_failed(store: Store) -> None:
    task = await made(store, 10, Settings(max_failed_records=1, max_retry_count=1))
    lease = await make.lease(store, task, (0, 5))
    sent = flush(task.name, ok=[0], failed=[1, 2, 3])
    again = dict.fromkeys([1, 2, 3], Attempts(begun=1, failures=1))
    running = await store.record_outcomes(lease, sent, retries(sent, again))
    assert (running.state, running.failed) == (TaskState.RUNNING, 0)
    assert (await record(store, task, failed=[1])).state is TaskState.RUNNING
    stopped = await record(store, task, failed=[2])
    assert (stopped.state, stopped.failed) == (TaskState.CANCELLING, 2)


async def test_the_rest_of_a_flush_may_be_too_many(store: Store) -> None:
    """What is tried again of it goes back as ever, and is CANCELLED with the task."""
    task = await made(store, 10, Settings(max_failed_records=0, max_retry_count=1))
    lease = await make.lease(store, task, (0, 3))
    sent = flush(task.name, ok=[0], failed=[1, 2])
    stopped = await store.record_outcomes(lease, sent, retries(sent, {1: Attempts(begun=1, failures=1)}))
    assert (stopped.state, stopped.failed, stopped.live_subtasks) == (TaskState.CANCELLING, 1, 0)
    done = await store.release(lease, {})
    assert done is not None
    assert (done.state, done.failed, done.cancelled) == (TaskState.FAILED, 1, 8)
    check_error(done, 1, [2])


async def test_a_pausing_task_is_stopped_too(store: Store) -> None:
    task = await made(store, 10, NUMBER)
    lease = await make.lease(store, task, (0, 5))
    await store.update_task(task.name, lambda task: task.enter(after(task.state, Event.PAUSE), 1), None)
    stopped = await store.record_outcomes(lease, flush(task.name, failed=[0, 1, 2]))
    assert (stopped.state, stopped.stop_reason) == (TaskState.CANCELLING, StopReason.FAILURE_POLICY)


async def test_a_task_that_is_being_cancelled_stays_so(store: Store) -> None:
    task = await made(store, 10, Settings(max_failed_records=0))
    lease = await make.lease(store, task, (0, 5))
    await store.update_task(task.name, make.cancel, None)
    kept = await store.record_outcomes(lease, flush(task.name, failed=[0, 1]))
    assert (kept.state, kept.stop_reason) == (TaskState.CANCELLING, StopReason.CANCEL)
    done = await store.release(lease, {})
    assert done is not None
    assert (done.state, done.failed) == (TaskState.CANCELLED, 2)


async def test_a_restart_finishes_a_task_that_was_stopped(driver: Driver) -> None:
    store = await driver.open()
    task = await made(store, 10, NUMBER)
    await make.lease(store, task, (5, 10))
    await record(store, task, failed=[0, 1, 2])
    store = await driver.reopen()
    assert await store.recover() == []
    done = await store.get_task(task.name)
    assert (done.state, done.stop_reason, done.cancelled) == (TaskState.FAILED, StopReason.FAILURE_POLICY, 7)
    check_error(done, 3, [0, 1, 2])


_names = iter(range(10**9))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    failures=st.lists(st.booleans(), min_size=2, max_size=25),
    most=st.integers(-1, 6),
    hundredths=st.integers(0, 100),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=25),
)
async def test_any_order_of_failures(
    store: Store, failures: list[bool], most: int, hundredths: int, sizes: list[int]
) -> None:
    """A plain model: after each commit the task runs on, or is stopped, or has ended."""
    total = len(failures)
    policy = Settings(max_failed_records=most, max_failed_ratio=hundredths / 100)
    task = await made(store, total, policy, f"t{next(_names)}")
    lease = await make.lease(store, task)
    at = failed = 0
    for size in [*sizes, *[total] * 2]:
        indexes = range(at, min(at + size, total))
        bad = [index for index in indexes if failures[index]]
        seen = await store.record_outcomes(lease, flush(task.name, ok=[i for i in indexes if i not in bad], failed=bad))
        at += len(indexes)
        failed += len(bad)
        crossed = (0 <= most < failed) or failed * 100 > hundredths * total
        if at == total:
            assert seen.state is (TaskState.FAILED if crossed or failed == total else TaskState.SUCCEEDED)
            assert (seen.stop_reason is StopReason.FAILURE_POLICY) == (crossed and failed < total)
            return
        assert seen.state is (TaskState.CANCELLING if crossed else TaskState.RUNNING)
        if crossed:
            done = await store.release(lease, {})
            assert done is not None
            assert (done.state, done.failed, done.cancelled) == (TaskState.FAILED, failed, total - at)
            return
