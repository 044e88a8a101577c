"""Leases: exactly one outcome for each record, whoever sends it and however often."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from google.longrunning.operations_pb2 import Operation as OperationMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.codec import task_bytes
from batchyard_server.model.errors import Code, Reason, StaleLease
from batchyard_server.model.record import Order
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Attempts, Lease, Task
from batchyard_server.store.protocols import Store
from tests.conformance.store.conftest import Driver
from tests.support import store as make
from tests.support.outcomes import FAILURE, flush


async def made(store: Store, records: int, task_id: str = "a") -> Task:
    return await store.create_task(make.new_task(task_id, records), None)


def a_lease(task: Task, *ranges: tuple[int, int]) -> Lease:
    return Lease(task_key=task.key, generation=task.generation, ranges=list(ranges), worker="w")


async def test_the_first_lease_starts_the_task(driver: Driver) -> None:
    store = await driver.open()
    task = await made(store, 10)
    driver.clock.advance(5)
    lease = a_lease(task, (0, 4))
    running = await store.grant(lease)
    assert (running.state, running.start_us) == (TaskState.RUNNING, driver.clock.us)
    assert (running.subtasks, running.live_subtasks, lease.epoch) == (1, 1, 1)
    second = a_lease(task, (4, 6), (8, 10))
    running = await store.grant(second)
    assert (running.subtasks, running.live_subtasks, second.epoch) == (2, 2, 2)
    assert await store.get_task(task.name) == running


@pytest.mark.parametrize(
    "ranges", [[(0, 1)], [(3, 5)], [(3, 4), (9, 10)], [(8, 9)], [], [(9, 11)], [(-1, 1)], [(5, 5)]], ids=str
)
async def test_a_lease_on_what_is_leased_or_not_there_is_refused(store: Store, ranges: list[tuple[int, int]]) -> None:
    task = await made(store, 10)
    await store.grant(a_lease(task, (0, 4), (8, 9)))
    refused = a_lease(task, *ranges)
    with pytest.raises(StaleLease):
        await store.grant(refused)
    assert refused.epoch == 0
    assert (await store.get_task(task.name)).subtasks == 1


@pytest.mark.parametrize("stored", [[(3, 4)], [(0, 2), (6, 7)], [(2, 3), (9_000, 9_001)], [(0, 9_999)]], ids=str)
async def test_a_lease_on_a_record_with_an_outcome_is_refused(store: Store, stored: list[tuple[int, int]]) -> None:
    """Dense, sparse and wide segments: an outcome is found wherever it is."""
    task = await made(store, 10_000)
    lease = await make.lease(store, task, *stored)
    await store.record_outcomes(lease, flush(task.name, ok=[i for a, b in stored for i in range(a, b)]))
    taken = {i for a, b in stored for i in range(a, b)}
    for index in {i for a, b in stored for i in (a, b - 1)}:
        for around in ((index, index + 1), (max(0, index - 2), min(10_000, index + 3))):
            with pytest.raises(StaleLease):
                await store.grant(a_lease(task, around))
    free = next(i for i in range(10_000) if i not in taken)
    await store.grant(a_lease(task, (free, free + 1)))


async def test_a_lease_needs_a_task_that_runs(store: Store) -> None:
    draft = await store.create_task(make.new_task("draft", 2, draft=True), None)
    with pytest.raises(StaleLease):
        await store.grant(a_lease(draft, (0, 1)))
    task = await made(store, 2)
    with pytest.raises(StaleLease):
        await store.grant(replace_generation(a_lease(task, (0, 1)), 2))
    await make.lease(store, task, (0, 1))
    await store.update_task(task.name, make.cancel, None)
    with pytest.raises(StaleLease):
        await store.grant(a_lease(task, (1, 2)))
    with pytest.raises(StaleLease):
        await store.grant(Lease(task_key=999, generation=1, ranges=[(0, 1)], worker="w"))


def replace_generation(lease: Lease, generation: int) -> Lease:
    lease.generation = generation
    return lease


async def test_outcomes_are_counted_and_shrink_the_lease(store: Store) -> None:
    task = await made(store, 10)
    lease = await make.lease(store, task, (0, 5))
    running = await store.record_outcomes(lease, flush(task.name, ok=[0, 2], failed=[1]))
    assert (running.succeeded, running.failed, running.next_sequence) == (2, 1, 3)
    assert (running.state, running.live_subtasks) == (TaskState.RUNNING, 1)
    running = await store.record_outcomes(lease, flush(task.name, ok=[3, 4]))
    assert (running.succeeded, running.failed, running.live_subtasks) == (4, 1, 0)
    assert await store.get_task(task.name) == running


async def test_the_same_outcome_twice_is_stored_once(store: Store) -> None:
    task = await made(store, 10)
    lease = await make.lease(store, task, (0, 5))
    sent = flush(task.name, ok=[0, 1, 2])
    await store.record_outcomes(lease, sent)
    for again in (sent, flush(task.name, ok=[2, 3]), flush(task.name, failed=[0])):
        with pytest.raises(StaleLease):
            await store.record_outcomes(lease, again)
    assert (await store.get_task(task.name)).succeeded == 3
    assert make.indexes(await make.read_all(store, task, Order.COMPLETION)) == [0, 1, 2]


async def test_the_same_outcome_from_many_senders_at_once_is_stored_once(store: Store) -> None:
    task = await made(store, 10)
    lease = await make.lease(store, task)
    sent = flush(task.name, ok=range(10))
    results = await asyncio.gather(*(store.record_outcomes(lease, sent) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(result, Task) for result in results) == 1
    assert sum(isinstance(result, StaleLease) for result in results) == 19
    assert make.indexes(await make.read_all(store, task, Order.COMPLETION)) == list(range(10))


async def test_an_older_epoch_stores_nothing(store: Store) -> None:
    task = await made(store, 10)
    old = await make.lease(store, task, (0, 5))
    await store.release(old, {})
    new = await make.lease(store, task, (0, 5))
    with pytest.raises(StaleLease):
        await store.record_outcomes(old, flush(task.name, ok=[0]))
    assert (await store.record_outcomes(new, flush(task.name, ok=[0]))).succeeded == 1
    never_granted = a_lease(task, (5, 10))
    with pytest.raises(StaleLease):
        await store.record_outcomes(never_granted, flush(task.name, ok=[5]))


async def test_outcomes_after_their_grant_need_not_wait_for_it(store: Store) -> None:
    """The dispatcher sends the subtask while the grant is on its way: the order of the calls decides."""
    task = await made(store, 4)
    lease = a_lease(task, (0, 4))
    granted, stored = await asyncio.gather(
        store.grant(lease), store.record_outcomes(lease, flush(task.name, ok=range(4)))
    )
    assert (granted.state, stored.state) == (TaskState.RUNNING, TaskState.SUCCEEDED)


async def test_a_flush_that_contradicts_itself_is_refused(store: Store) -> None:
    task = await made(store, 4)
    lease = await make.lease(store, task)
    for wrong in (
        replace(flush(task.name, ok=[0, 1]), count=3),
        replace(flush(task.name, ok=[0, 1]), ranges=[(0, 2), (1, 2)]),
        replace(flush(task.name, ok=[0, 1]), ranges=[(1, 2), (0, 1)]),
        flush(task.name),
    ):
        with pytest.raises(ValueError):
            await store.record_outcomes(lease, wrong)
    assert (await store.get_task(task.name)).succeeded == 0


async def test_the_last_outcome_ends_the_task_in_its_own_commit(driver: Driver) -> None:
    store = await driver.open()
    task = await made(store, 4)
    lease = await make.lease(store, task)
    driver.clock.advance(9)
    done = await store.record_outcomes(lease, flush(task.name, ok=[0, 2, 3], failed=[1]))
    assert (done.state, done.error, done.live_subtasks) == (TaskState.SUCCEEDED, b"", 0)
    assert done.end_us == done.transition_us == driver.clock.us
    operation, again = await store.get_operation(task.operation_name)
    assert again == done
    result = OperationMessage.FromString(operation.result)
    info = BatchTaskInfo.FromString(result.response.value)
    assert info == BatchTaskInfo.FromString(task_bytes.info(done))
    metadata = BatchTaskMetadata.FromString(operation.metadata)
    assert (metadata.state, metadata.counts.failed, metadata.subtask_count) == (BatchTaskInfo.SUCCEEDED, 1, 1)
    assert await store.failures(task.key, 1) == [(1, FAILURE.SerializeToString())]
    with pytest.raises(StaleLease):
        await store.record_outcomes(lease, flush(task.name, ok=[0]))


async def test_a_task_of_which_every_record_failed_is_failed(store: Store) -> None:
    task = await made(store, 3)
    done = await make.finish(store, task, failed=[0, 1, 2])
    assert done.state is TaskState.FAILED
    error = Status.FromString(done.error)
    assert error.code == Code.ABORTED
    info, first = ErrorInfo(), BatchTaskMetadata()
    assert error.details[0].Unpack(info)
    assert error.details[1].Unpack(first)
    assert info.reason == Reason.ALL_RECORDS_FAILED
    assert dict(first.failed_requests) == dict.fromkeys(range(3), FAILURE)
    operation, _ = await store.get_operation(task.operation_name)
    assert OperationMessage.FromString(operation.result).error == error


async def test_a_task_of_one_record_fails_with_that_records_error(store: Store) -> None:
    done = await make.finish(store, await made(store, 1), failed=[0])
    assert (done.state, Status.FromString(done.error)) == (TaskState.FAILED, FAILURE)


async def test_only_the_first_failures_are_kept(store: Store) -> None:
    task = await made(store, 400)
    lease = await make.lease(store, task)
    for first in (0, 90, 180):
        await store.record_outcomes(lease, flush(task.name, failed=range(first, first + 90)))
    assert [index for index, _ in await store.failures(task.key, 1)] == list(range(100))
    assert (await store.get_task(task.name)).failed == 270


async def test_kept_failures_are_bounded_by_bytes(store: Store) -> None:
    task = await made(store, 20)
    lease = await make.lease(store, task)
    large = Status(code=3, message="x" * 15_000).SerializeToString()
    for index in range(20):
        sent = replace(flush(task.name, failed=[index]), failures=[(index, large)])
        await store.record_outcomes(lease, sent)
    assert [index for index, _ in await store.failures(task.key, 1)] == [0, 1, 2, 3]


async def test_a_released_lease_gives_its_open_records_back(store: Store) -> None:
    task = await made(store, 10)
    lease = await make.lease(store, task, (0, 5))
    await store.record_outcomes(lease, flush(task.name, ok=[0]))
    released = await store.release(lease, {2: Attempts(begun=1, lost=1)})
    assert released is not None
    assert (released.state, released.live_subtasks) == (TaskState.RUNNING, 0)
    assert await store.release(lease, {}) == released  # again: nothing happens
    await store.grant(a_lease(task, (1, 5)))
    assert await store.release(Lease(task_key=999, generation=1, ranges=[], worker="w", epoch=1), {}) is None


async def test_a_lease_gives_some_of_its_records_back(driver: Driver) -> None:
    store = await driver.open()
    task = await made(store, 10)
    lease = await make.lease(store, task, (0, 3), (5, 9))
    await store.record_outcomes(lease, flush(task.name, ok=[0]))
    shrunk = await store.shrink(lease, [(2, 3), (6, 9)])
    assert (shrunk.state, shrunk.live_subtasks, shrunk.subtasks, shrunk.succeeded) == (TaskState.RUNNING, 1, 1, 1)
    for given_back in ([2], [1, 2], [8]):
        with pytest.raises(StaleLease):
            await store.record_outcomes(lease, flush(task.name, ok=given_back))
    other = a_lease(task, (2, 3), (6, 9))
    await store.grant(other)
    await store.record_outcomes(other, flush(task.name, ok=[2, 6, 7, 8]))
    with pytest.raises(StaleLease):
        await store.grant(a_lease(task, (5, 6)))
    counted = await store.record_outcomes(lease, flush(task.name, ok=[1, 5]))
    assert (counted.succeeded, counted.live_subtasks) == (7, 0)
    store = await driver.reopen()
    live = await store.recover()
    assert [each.pending for each in live] == [[(3, 5), (9, 10)]]


@pytest.mark.parametrize("ranges", [[(0, 1)], [(3, 5)], [(1, 2), (6, 7)], [(0, 10)]], ids=str)
async def test_a_lease_gives_back_only_what_it_holds(store: Store, ranges: list[tuple[int, int]]) -> None:
    task = await made(store, 10)
    lease = await make.lease(store, task, (0, 4))
    await make.lease(store, task, (4, 7))
    await store.record_outcomes(lease, flush(task.name, ok=[0]))
    with pytest.raises(StaleLease):
        await store.shrink(lease, ranges)
    assert (await store.record_outcomes(lease, flush(task.name, ok=[1, 2, 3]))).succeeded == 4
    with pytest.raises(StaleLease):
        await store.shrink(lease, [(1, 2)])


async def test_a_lease_that_gives_back_everything_is_gone(store: Store) -> None:
    task = await made(store, 10)
    lease = await make.lease(store, task, (0, 5))
    assert await store.shrink(lease, []) == await store.get_task(task.name)
    shrunk = await store.shrink(lease, [(0, 5)])
    assert (shrunk.state, shrunk.live_subtasks) == (TaskState.RUNNING, 0)
    assert await store.get_task(task.name) == shrunk
    for again in ([(0, 5)], [(4, 5)], []):
        with pytest.raises(StaleLease):
            await store.shrink(lease, again)
    assert await store.release(lease, {3: Attempts(begun=1, lost=0)}) == shrunk
    await store.grant(a_lease(task, (0, 10)))


async def test_only_a_lease_that_was_granted_shrinks(store: Store) -> None:
    task = await made(store, 10)
    never_granted = a_lease(task, (0, 5))
    with pytest.raises(StaleLease):
        await store.shrink(never_granted, [(0, 1)])
    with pytest.raises(StaleLease):
        await store.shrink(Lease(task_key=999, generation=1, ranges=[(0, 1)], worker="w", epoch=1), [(0, 1)])
    lease = a_lease(task, (0, 5))
    granted, shrunk, regranted = await asyncio.gather(
        store.grant(lease), store.shrink(lease, [(1, 5)]), store.grant(a_lease(task, (1, 5)))
    )
    assert (granted.live_subtasks, shrunk.live_subtasks, regranted.live_subtasks) == (1, 1, 2)


async def test_a_lease_shrinks_in_a_cancelled_task(store: Store) -> None:
    task = await made(store, 10)
    lease = await make.lease(store, task, (0, 5))
    await store.update_task(task.name, make.cancel, None)
    await store.shrink(lease, [(1, 5)])
    shrunk = await store.shrink(lease, [(0, 1)])
    assert (shrunk.state, shrunk.live_subtasks) == (TaskState.CANCELLING, 0)
    done = await store.release(lease, {})
    assert done is not None
    assert (done.state, done.cancelled) == (TaskState.CANCELLED, 10)


async def test_a_cancelled_task_keeps_what_arrives_under_a_live_lease(store: Store) -> None:
    task = await made(store, 10)
    first, second = await make.lease(store, task, (0, 5)), await make.lease(store, task, (5, 10))
    stopped = await store.update_task(task.name, make.cancel, None)
    assert (stopped.state, stopped.cancelled) == (TaskState.CANCELLING, 0)
    await store.record_outcomes(first, flush(task.name, ok=range(5)))
    waiting = await store.release(first, {})
    assert waiting is not None
    assert waiting.state is TaskState.CANCELLING
    await store.record_outcomes(second, flush(task.name, ok=range(5, 10)))
    done = await store.release(second, {})
    assert done is not None
    # An acknowledged cancel never ends in SUCCEEDED, not even with every record.
    assert (done.state, done.succeeded, done.cancelled) == (TaskState.CANCELLED, 10, 0)
    assert Status.FromString(done.error).code == Code.CANCELLED


async def test_a_cancelled_task_without_a_lease_ends_by_an_empty_release(store: Store) -> None:
    task = await made(store, 10)
    lease = await make.lease(store, task, (0, 5))
    await store.record_outcomes(lease, flush(task.name, ok=range(5)))
    await store.update_task(task.name, make.cancel, None)
    done = await store.release(a_lease(task), {})
    assert done is not None
    assert (done.state, done.succeeded, done.cancelled) == (TaskState.CANCELLED, 5, 5)
    assert await store.release(a_lease(task), {}) == done


async def test_a_cancel_ends_also_when_a_repeated_call_came_between(store: Store) -> None:
    """What the store had in memory of its tasks is read again after a conflict, their leases only when needed."""
    request = make.request()
    task = await store.create_task(make.new_task("a", 2), request)
    lease = a_lease(task, (0, 1))
    await store.grant(lease)
    await store.release(lease, {})
    assert (await store.create_task(make.new_task("a", 2), request)).key == task.key
    await store.update_task(task.name, make.cancel, None)
    ended = await store.release(a_lease(task), {})
    assert ended is not None
    assert ended.state is TaskState.CANCELLED


async def test_a_release_may_leave_the_end_of_a_cancel_to_another(store: Store) -> None:
    task = await made(store, 10)
    lease = await make.lease(store, task)
    await store.update_task(task.name, make.cancel, None)
    waiting = await store.release(lease, {}, ends_cancel=False)
    assert waiting is not None
    assert (waiting.state, waiting.live_subtasks) == (TaskState.CANCELLING, 0)
    done = await store.release(a_lease(task), {})
    assert done is not None
    assert done.state is TaskState.CANCELLED


async def test_processes_that_would_not_die_are_named_in_the_error(store: Store) -> None:
    task = await made(store, 10)
    first, second = await make.lease(store, task, (0, 5)), await make.lease(store, task, (5, 10))
    await store.update_task(task.name, make.cancel, None)
    waiting = await store.release(first, {}, [41, 42])
    assert waiting is not None
    assert waiting.state is TaskState.CANCELLING
    assert not BatchTaskInfo.FromString(task_bytes.info(waiting)).HasField("error")  # shown at the end only
    done = await store.release(second, {})
    assert done is not None
    detail = ErrorInfo()
    assert Status.FromString(done.error).details[-1].Unpack(detail)
    assert (detail.reason, detail.metadata["process_ids"]) == (Reason.PROCESS_NOT_REAPED, "41,42")


async def test_counts_are_those_of_the_stored_records(store: Store) -> None:
    task = await made(store, 200)
    lease = await make.lease(store, task)
    for index in range(0, 150, 3):
        await store.record_outcomes(lease, flush(task.name, ok=[index, index + 2], failed=[index + 1]))
    await store.update_task(task.name, make.cancel, None)
    done = await store.release(lease, {})
    assert done is not None
    states = [record.state for record in make.parse(await make.read_all(store, task))]
    ends = (RecordInfo.SUCCEEDED, RecordInfo.FAILED, RecordInfo.CANCELLED)
    assert [states.count(state) for state in ends] == [done.succeeded, done.failed, done.cancelled]
    assert done.ended == done.total == 200
