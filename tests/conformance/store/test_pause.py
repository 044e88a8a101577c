"""A pause: no lease is granted, those that live may end, with the last of them the task is PAUSED; nothing is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from batchyard_server.model.errors import FailedPrecondition, StaleLease
from batchyard_server.model.settings import Settings
from batchyard_server.model.states import StopReason, TaskState
from batchyard_server.model.task import Attempts, Lease, Task
from batchyard_server.store.protocols import Change, Store, TaskEvent
from tests.conformance.store.conftest import Driver
from tests.support import store as make
from tests.support.outcomes import flush


async def pausing(store: Store, records: int = 10, *leased: tuple[int, int], task_id: str = "a") -> tuple[Task, Lease]:
    """A PAUSING task with a lease on its first five records, or on these."""
    task = await store.create_task(make.new_task(task_id, records), None)
    lease = await make.lease(store, task, *(leased or [(0, 5)]))
    return await store.update_task(task.name, make.pause, None), lease


async def by_outcome(store: Store, task: Task, lease: Lease) -> None:
    await store.record_outcomes(lease, flush(task.name, ok=[0, 1], failed=[2]))
    await store.record_outcomes(lease, flush(task.name, ok=[3, 4]))


async def by_release(store: Store, task: Task, lease: Lease) -> None:
    await store.record_outcomes(lease, flush(task.name, ok=[0]))
    await store.release(lease, {1: Attempts(begun=1, lost=1)})


async def by_shrink(store: Store, task: Task, lease: Lease) -> None:
    await store.record_outcomes(lease, flush(task.name, ok=[0]))
    await store.shrink(lease, [(1, 5)])


End = Callable[[Store, Task, Lease], Awaitable[None]]
ENDS = pytest.mark.parametrize("end", [by_outcome, by_release, by_shrink])


@ENDS
async def test_with_the_last_lease_it_is_paused(driver: Driver, end: End) -> None:
    store = await driver.open()
    task, lease = await pausing(store)
    assert (task.state, task.live_subtasks) == (TaskState.PAUSING, 1)
    events: list[TaskEvent] = []
    store.subscribe(events.extend)
    driver.clock.advance(7)
    await end(store, task, lease)
    paused = await store.get_task(task.name)
    assert (paused.state, paused.live_subtasks, paused.subtasks) == (TaskState.PAUSED, 0, 1)
    assert (paused.transition_us, paused.start_us) == (driver.clock.us, task.start_us)
    assert (paused.end_us, paused.cancelled, paused.stop_reason) == (0, 0, StopReason.NONE)
    assert (events[-1].change, events[-1].task) == (Change.STATE, paused)
    assert [event.change for event in events[:-1]] == [Change.COUNTS] * (len(events) - 1)
    assert not (await store.get_operation(task.operation_name))[0].done


@ENDS
async def test_not_with_the_last_but_one(store: Store, end: End) -> None:
    task = await store.create_task(make.new_task("a", 20), None)
    first = await make.lease(store, task, (0, 5))
    second = await make.lease(store, task, (5, 10))
    await store.update_task(task.name, make.pause, None)
    await end(store, task, first)
    assert (await store.get_task(task.name)).state is TaskState.PAUSING
    await store.release(second, {})
    assert (await store.get_task(task.name)).state is TaskState.PAUSED


@ENDS
async def test_what_is_left_after_a_resume(store: Store, end: End) -> None:
    task, lease = await pausing(store)
    await end(store, task, lease)
    before = await store.get_task(task.name)
    resumed = await store.update_task(task.name, make.resume, None)
    assert (resumed.state, resumed.start_us) == (TaskState.QUEUED, task.start_us)
    assert (resumed.succeeded, resumed.failed) == (before.succeeded, before.failed)
    left = await store.unfinished(resumed)
    assert left.pending == [(5, 10) if end is by_outcome else (1, 10)]
    assert dict(left.attempts) == ({1: Attempts(begun=1, lost=1)} if end is by_release else {})
    again = await make.lease(store, resumed, *left.pending)
    assert again.epoch == 2
    running = await store.get_task(task.name)
    assert (running.state, running.start_us) == (TaskState.RUNNING, task.start_us)
    indexes = [index for low, high in left.pending for index in range(low, high)]
    done = await store.record_outcomes(again, flush(task.name, ok=indexes))
    assert (done.state, done.succeeded + done.failed) == (TaskState.SUCCEEDED, 10)


async def test_nothing_is_granted_while_it_is_paused(store: Store) -> None:
    task, lease = await pausing(store)
    for _ in range(2):
        with pytest.raises(StaleLease):
            await make.lease(store, task, (5, 10))
        await store.release(lease, {})
    assert (await store.get_task(task.name)).state is TaskState.PAUSED
    await store.update_task(task.name, make.resume, None)
    await make.lease(store, task, (0, 10))


async def test_a_queued_task_is_paused_at_once(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 3), None)
    paused = await store.update_task(task.name, make.pause, None)
    assert (paused.state, paused.start_us) == (TaskState.PAUSED, 0)
    with pytest.raises(StaleLease):
        await make.lease(store, task)
    resumed = await store.update_task(task.name, make.resume, None)
    left = await store.unfinished(resumed)
    assert (left.task, left.pending, dict(left.attempts)) == (resumed, [(0, 3)], {})
    assert (await make.finish(store, resumed)).state is TaskState.SUCCEEDED


async def test_a_pausing_task_that_is_resumed_keeps_its_leases(store: Store) -> None:
    task, lease = await pausing(store)
    resumed = await store.update_task(task.name, make.resume, None)
    assert (resumed.state, resumed.live_subtasks) == (TaskState.RUNNING, 1)
    other = await make.lease(store, task, (5, 10))
    await store.record_outcomes(lease, flush(task.name, ok=range(5)))
    done = await store.record_outcomes(other, flush(task.name, ok=range(5, 10)))
    assert (done.state, done.succeeded) == (TaskState.SUCCEEDED, 10)


async def test_a_running_task_without_a_lease_is_paused_at_once(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 10), None)
    await store.release(await make.lease(store, task, (0, 5)), {})
    assert (await store.get_task(task.name)).state is TaskState.RUNNING
    assert (await store.update_task(task.name, make.pause, None)).state is TaskState.PAUSED


@pytest.mark.parametrize(("failed", "state"), [((), TaskState.SUCCEEDED), ((0, 1, 2), TaskState.FAILED)])
async def test_every_record_ends_while_pausing(store: Store, failed: tuple[int, ...], state: TaskState) -> None:
    task, lease = await pausing(store, 3, (0, 3))
    ok = [index for index in range(3) if index not in failed]
    done = await store.record_outcomes(lease, flush(task.name, ok=ok, failed=failed))
    assert (done.state, done.stop_reason, done.ended) == (state, StopReason.NONE, 3)
    assert (await store.get_operation(task.operation_name))[0].done
    with pytest.raises(FailedPrecondition):
        await store.update_task(task.name, make.resume, None)


async def test_too_many_fail_while_pausing(store: Store) -> None:
    new = make.new_task("a", 10, settings=Settings(max_failed_records=1))
    task = await store.create_task(new, None)
    lease = await make.lease(store, task, (0, 5))
    await store.update_task(task.name, make.pause, None)
    stopped = await store.record_outcomes(lease, flush(task.name, failed=[0, 1]))
    assert (stopped.state, stopped.stop_reason) == (TaskState.CANCELLING, StopReason.FAILURE_POLICY)
    done = await store.release(lease, {})
    assert done is not None
    assert (done.state, done.failed, done.cancelled) == (TaskState.FAILED, 2, 8)


@pytest.mark.parametrize("paused", [False, True])
async def test_cancel(store: Store, paused: bool) -> None:
    task, lease = await pausing(store)
    await store.record_outcomes(lease, flush(task.name, ok=[0]))
    if paused:
        await store.release(lease, {})
    stopped = await store.update_task(task.name, make.cancel, None)
    assert stopped.state is (TaskState.CANCELLED if paused else TaskState.CANCELLING)
    await store.release(lease, {})
    done = await store.get_task(task.name)
    assert (done.state, done.succeeded, done.cancelled) == (TaskState.CANCELLED, 1, 9)


async def test_a_restart_ends_its_leases(driver: Driver) -> None:
    store = await driver.open()
    task, lease = await pausing(store)
    await store.record_outcomes(lease, flush(task.name, ok=[0, 2]))
    other, _ = await pausing(store, 1, (0, 1), task_id="b")
    at_rest = await store.create_task(make.new_task("c", 2), None)
    at_rest = await store.update_task(at_rest.name, make.pause, None)
    store = await driver.reopen()
    assert await store.recover() == []
    for each in (task, other):
        paused = await store.get_task(each.name)
        assert (paused.state, paused.live_subtasks, paused.start_us) == (TaskState.PAUSED, 0, each.start_us)
    assert await store.get_task(at_rest.name) == at_rest
    with pytest.raises(StaleLease):
        await store.record_outcomes(lease, flush(task.name, ok=[1]))
    store = await driver.reopen()
    assert await store.recover() == []
    resumed = await store.update_task(task.name, make.resume, None)
    assert (await store.unfinished(resumed)).pending == [(1, 2), (3, 10)]
    store = await driver.reopen()
    (live,) = await store.recover()
    assert (live.task, live.pending) == (resumed, [(1, 2), (3, 10)])


async def test_hundreds_of_pauses(store: Store) -> None:
    """Each round a lease, a pause under it, one outcome: one record after the other, each once."""
    task = await store.create_task(make.new_task("a", 100), None)
    for index in range(100):
        left = await store.unfinished(task)
        assert left.pending == [(index, 100)]
        lease = await make.lease(store, task, (index, min(index + 2, 100)))
        await store.update_task(task.name, make.pause, None)
        task = await store.record_outcomes(lease, flush(task.name, ok=[index]))
        if index < 99:
            assert task.state is TaskState.PAUSING
            assert (await store.shrink(lease, [(index + 1, index + 2)])).state is TaskState.PAUSED
            task = await store.update_task(task.name, make.resume, None)
            assert (task.state, task.subtasks) == (TaskState.QUEUED, index + 1)
    assert (task.state, task.succeeded) == (TaskState.SUCCEEDED, 100)
    assert make.indexes(await make.read_all(store, task, make.Order.COMPLETION)) == list(range(100))


async def test_a_pause_is_no_change_twice(store: Store) -> None:
    task, _ = await pausing(store)
    events: list[TaskEvent] = []
    store.subscribe(events.extend)
    assert await store.update_task(task.name, make.pause, None) == task
    assert events == []
