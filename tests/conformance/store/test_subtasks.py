"""Subtasks: live leases are listed, and how those that ended did; the last of them, newest first."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from google.rpc.status_pb2 import Status

from batchyard.v1.subtask_pb2 import Subtask
from batchyard_server.codec import subtasks as codec
from batchyard_server.model import limits
from batchyard_server.model.errors import AlreadyExists, Code, NotFound, Reason, StaleLease
from batchyard_server.model.states import Event, SubtaskState, TaskState, after
from batchyard_server.model.subtask import LeaseEnd
from batchyard_server.model.task import Attempts, Lease, Task
from batchyard_server.store.protocols import Store
from tests.conformance.store.conftest import Driver
from tests.support import store as make
from tests.support.outcomes import flush
from tests.support.subtasks import LATEST, listed, ranges, why

LOST = LeaseEnd(state=SubtaskState.LOST, exit_code=-11, error=codec.lost_error("signal 11 (SIGSEGV)"))
KILLED = LeaseEnd(state=SubtaskState.KILLED, error=codec.timeout_error(1_500_000))


async def made(store: Store, records: int = 100, task_id: str = "a") -> Task:
    return await store.create_task(make.new_task(task_id, records), None)


async def granted(store: Store, task: Task, *leased: tuple[int, int], worker: str = "worker-3") -> Lease:
    lease = Lease(task_key=task.key, generation=task.generation, ranges=list(leased), worker=worker, node="a-machine")
    await store.grant(lease)
    return lease


async def states(store: Store, task: Task) -> list[Subtask.State]:
    """Of its subtasks, the oldest first."""
    return [each.state for each in reversed(await listed(store, task.key))]


async def test_a_live_lease_is_listed_as_it_was_granted(driver: Driver) -> None:
    store = await driver.open()
    task = await made(store)
    assert await listed(store, task.key) == []
    driver.clock.advance(3)
    lease = await granted(store, task, (0, 4), (8, 9))
    found = Subtask(
        name=f"{task.name}/subtasks/1",
        state=Subtask.RUNNING,
        ranges=[{"start": 0, "end": 4}, {"start": 8, "end": 9}],
        epoch=1,
        worker="worker-3",
        node="a-machine",
    )
    found.start_time.FromMicroseconds(driver.clock.us)
    assert await listed(store, task.key) == [found]
    driver.clock.advance(1)
    await store.record_outcomes(lease, flush(task.name, ok=[0, 8]))
    await store.shrink(lease, [(3, 4)])
    assert await listed(store, task.key) == [found]
    store = await driver.reopen()
    assert await listed(store, task.key) == [found]


async def test_a_lease_is_completed_by_its_last_outcomes(driver: Driver) -> None:
    store = await driver.open()
    task = await made(store)
    lease = await granted(store, task, (0, 4), (8, 9))
    await store.shrink(lease, [(3, 4)])
    driver.clock.advance(2)
    await store.record_outcomes(lease, flush(task.name, ok=[0, 1], failed=[2]))
    driver.clock.advance(2)
    await store.record_outcomes(lease, flush(task.name, failed=[8]))
    [found] = await listed(store, task.key)
    assert found.state == Subtask.COMPLETED
    assert ranges(found) == [(0, 4), (8, 9)]
    assert (found.worker, found.node, found.epoch) == ("worker-3", "a-machine", 1)
    assert found.end_time.ToMicroseconds() == driver.clock.us
    assert found.start_time.ToMicroseconds() == driver.clock.us - 4_000_000
    assert not found.HasField("error")
    assert not found.HasField("exit_code")


async def test_a_lease_that_came_and_went_in_one_commit_is_listed(store: Store) -> None:
    task = await made(store, 1)
    lease = Lease(task_key=task.key, generation=1, ranges=[(0, 1)], worker="w", node="n")
    await asyncio.gather(store.grant(lease), store.record_outcomes(lease, flush(task.name, ok=[0])))
    assert [(each.epoch, each.state, each.node) for each in await listed(store, task.key)] == [
        (1, Subtask.COMPLETED, "n")
    ]


async def test_the_last_outcomes_may_end_it_otherwise(store: Store) -> None:
    task = await made(store)
    lease = await granted(store, task, (0, 2))
    await store.record_outcomes(lease, flush(task.name, ok=[0]), end=KILLED)
    assert await states(store, task) == [Subtask.RUNNING]
    await store.record_outcomes(lease, flush(task.name, failed=[1]), end=KILLED)
    [found] = await listed(store, task.key)
    assert (found.state, found.error) == (Subtask.KILLED, Status.FromString(KILLED.error))


async def test_a_lease_that_gives_back_its_last_records_is_returned(store: Store) -> None:
    task = await made(store)
    released, shrunk = await granted(store, task, (0, 5)), await granted(store, task, (5, 9))
    await store.record_outcomes(released, flush(task.name, ok=[0]))
    await store.release(released, {1: Attempts(begun=1)})
    await store.record_outcomes(shrunk, flush(task.name, ok=[6]))
    await store.shrink(shrunk, [(5, 6), (7, 9)])
    found = await listed(store, task.key)
    assert [each.state for each in found] == [Subtask.RETURNED] * 2
    assert [ranges(each) for each in found] == [[(5, 9)], [(0, 5)]]
    assert not any(each.HasField("error") or each.HasField("exit_code") for each in found)
    assert all(each.HasField("end_time") for each in found)


async def test_whoever_releases_it_says_how_it_ended(driver: Driver) -> None:
    store = await driver.open()
    task = await made(store)
    lost, killed, unknown = [await granted(store, task, (i, i + 1)) for i in range(3)]
    await store.release(lost, {0: Attempts(begun=1, lost=1)}, end=LOST)
    await store.release(killed, {}, end=KILLED)
    await store.release(unknown, {}, end=LeaseEnd(state=SubtaskState.LOST, exit_code=0, error=LOST.error))
    store = await driver.reopen()
    newest, second, first = await listed(store, task.key)
    assert (first.state, first.exit_code) == (Subtask.LOST, -11)
    assert why(first.error) == (Code.ABORTED, Reason.WORKER_LOST, {"exit": "signal 11 (SIGSEGV)"})
    assert (second.state, second.HasField("exit_code")) == (Subtask.KILLED, False)
    assert why(second.error) == (Code.DEADLINE_EXCEEDED, Reason.RECORD_TIMEOUT, {"record_timeout": "1.5s"})
    assert (newest.HasField("exit_code"), newest.exit_code) == (True, 0)


async def test_a_lease_ends_once(store: Store) -> None:
    task = await made(store)
    lease = await granted(store, task, (0, 2))
    await store.release(lease, {}, end=LOST)
    before = await listed(store, task.key)
    await store.release(lease, {}, end=KILLED)
    with pytest.raises(StaleLease):
        await store.record_outcomes(lease, flush(task.name, ok=[0]))
    with pytest.raises(StaleLease):
        await store.shrink(lease, [(0, 2)])
    assert await listed(store, task.key) == before
    again = await granted(store, task, (0, 2))
    await store.record_outcomes(again, flush(task.name, ok=[0, 1]))
    assert await states(store, task) == [Subtask.LOST, Subtask.COMPLETED]


async def test_what_is_undone_did_not_end(store: Store) -> None:
    """Refused in one group with others that are taken: nothing of the refused ones is left."""
    task = await made(store)
    lease, other = await granted(store, task, (0, 2)), await granted(store, task, (2, 4))
    sent = flush(task.name, ok=[0, 1])
    results = await asyncio.gather(
        store.record_outcomes(lease, sent),
        store.record_outcomes(lease, sent),
        store.release(lease, {}, end=LOST),
        store.shrink(other, [(2, 4)]),
        store.record_outcomes(other, flush(task.name, ok=[2])),
        store.create_task(make.new_task("a", 1, uid="another"), None),  # the whole group is run again, each with care
        return_exceptions=True,
    )
    assert [isinstance(each, StaleLease) for each in results] == [False, True, False, False, True, False]
    assert isinstance(results[-1], AlreadyExists)
    assert await states(store, task) == [Subtask.COMPLETED, Subtask.RETURNED]


async def test_a_commit_that_fails_ends_nothing(driver: Driver) -> None:
    store = await driver.open()
    task = await made(store)
    lease = await granted(store, task, (0, 2))
    driver.failpoints.armed["store.before_commit"] = "disk_full"
    with pytest.raises(Exception, match="disk"):
        await store.record_outcomes(lease, flush(task.name, ok=[0, 1]))
    driver.failpoints.armed.clear()
    assert await states(store, task) == [Subtask.RUNNING]
    await store.record_outcomes(lease, flush(task.name, ok=[0, 1]))
    assert await states(store, task) == [Subtask.COMPLETED]


async def test_recovery_ends_leases_as_killed(driver: Driver) -> None:
    store = await driver.open()
    task, other = await made(store), await made(store, task_id="b")
    done, live = await granted(store, task, (0, 2)), await granted(store, task, (2, 5), (7, 8))
    await store.record_outcomes(done, flush(task.name, ok=[0, 1]))
    await store.record_outcomes(live, flush(task.name, ok=[3]))
    await granted(store, other, (0, 100))
    await store.update_task(other.name, make.cancel, None)
    store = await driver.reopen()
    driver.clock.advance(60)
    await store.recover()
    newest, oldest = await listed(store, task.key)
    assert (oldest.state, newest.state) == (Subtask.COMPLETED, Subtask.KILLED)
    assert why(newest.error) == (Code.CANCELLED, Reason.WORKER_KILLED, {"cause": "server_killed"})
    assert ranges(newest) == [(2, 5), (7, 8)]
    assert newest.end_time.ToMicroseconds() == driver.clock.us
    assert await states(store, other) == [Subtask.KILLED]
    for stale in (done, live):
        with pytest.raises(StaleLease):
            await store.record_outcomes(stale, flush(task.name, ok=[2]))
    await store.recover()
    assert await states(store, task) == [Subtask.COMPLETED, Subtask.KILLED]
    assert (await granted(store, task, (2, 3))).epoch == 3


async def test_subtasks_of_every_generation_are_listed(store: Store) -> None:
    task = await made(store, 2)
    await make.finish(store, task, failed=[0])

    def reactivate(before: Task) -> Task:
        again = replace(before, generation=2, base_generation=1, operation="op-2", failed=0, subtasks=0, end_us=0)
        return again.enter(after(before.state, Event.REACTIVATE), 9_000_000)

    task = await store.update_task(task.name, reactivate, None)
    lease = await granted(store, task, (0, 1))
    assert (task.state, task.generation, lease.epoch) == (TaskState.QUEUED, 2, 2)
    assert await states(store, task) == [Subtask.COMPLETED, Subtask.RUNNING]


async def test_they_go_with_their_task(driver: Driver) -> None:
    store = await driver.open()
    kept, gone = await made(store, 4, "kept"), await made(store, 4, "gone")
    for task in (kept, gone):
        for index in range(4):
            lease = await granted(store, task, (index, index + 1))
            await store.record_outcomes(lease, flush(task.name, ok=[index]))
    await store.delete_task(gone.name, make.allow_delete, None)
    with pytest.raises(NotFound):
        await store.subtasks(gone.key, LATEST, 10, make.BIG)
    while await store.sweep():
        pass
    with pytest.raises(NotFound):
        await store.subtasks(gone.key, LATEST, 10, make.BIG)
    assert len(await listed(store, kept.key)) == 4


@pytest.mark.parametrize("size", [1, 2, 7, 19, 20, 21])
async def test_pages_are_in_order_and_whole(store: Store, size: int) -> None:
    task = await made(store)
    leases = [await granted(store, task, (index, index + 1)) for index in range(20)]
    for lease in leases[::2]:
        await store.release(lease, {})
    found = await listed(store, task.key, size=size)
    assert [each.epoch for each in found] == list(range(20, 0, -1))
    assert [each.state == Subtask.RUNNING for each in found] == [each.epoch % 2 == 0 for each in found]


async def test_a_page_goes_on_whatever_ended_or_began_since(store: Store) -> None:
    task = await made(store)
    leases = [await granted(store, task, (index, index + 1)) for index in range(6)]
    first = await store.subtasks(task.key, LATEST, 3, make.BIG)
    assert (first.count, first.last_epoch, first.more) == (3, 4, True)
    await store.release(leases[1], {})
    await store.release(leases[4], {})
    await granted(store, task, (1, 2))
    rest = await store.subtasks(task.key, first.last_epoch, 3, make.BIG)
    assert (rest.count, rest.last_epoch, rest.more) == (3, 1, False)
    assert (await store.subtasks(task.key, 1, 3, make.BIG)).count == 0


async def test_a_page_stops_before_too_many_bytes_but_not_before_one_subtask(store: Store) -> None:
    task = await made(store, 4_000)
    for part in range(4):
        scattered = [(index, index + 1) for index in range(part, 4_000, 8)]
        await store.release(await granted(store, task, *scattered), {})
    size = (await listed(store, task.key))[0].ByteSize()
    for most, counts in ((1, [1] * 4), (2 * size + 100, [2, 2]), (3 * size + 100, [3, 1]), (4 * size + 100, [4])):
        found, before = [], LATEST
        while True:
            page = await store.subtasks(task.key, before, 100, most)
            found.append(page.count)
            before = page.last_epoch
            if not page.more:
                break
        assert found == counts
    assert len(await listed(store, task.key, max_bytes=1)) == 4


@pytest.mark.parametrize("kept", [1, 3, 10])
async def test_of_those_that_ended_the_last_are_listed(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(limits, "ENDED_SUBTASKS", kept)
    store = await driver.open()
    task = await made(store, 200)
    found: list[int] = []
    for index in range(150):
        lease = await granted(store, task, (index, index + 1))
        await store.record_outcomes(lease, flush(task.name, ok=[index]))
        found = [each.epoch for each in await listed(store, task.key)]
        assert found == list(range(index + 1, max(0, index + 1 - kept), -1))
    store = await driver.reopen()
    await store.recover()
    assert [each.epoch for each in await listed(store, task.key, size=2)] == found


async def test_a_live_one_is_listed_however_old(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENDED_SUBTASKS", 5)
    store = await driver.open()
    task = await made(store, 200)
    old = await granted(store, task, (0, 2))
    recent: list[Lease] = []
    for index in range(2, 140):
        lease = await granted(store, task, (index, index + 1))
        if index in (136, 138):
            recent.append(lease)
        else:
            await store.record_outcomes(lease, flush(task.name, ok=[index]))
    found = await listed(store, task.key)
    assert [each.epoch for each in found] == [139, 138, 137, 136, 135, 134, 133, 1]
    assert [each.epoch for each in found if each.state == Subtask.RUNNING] == [138, 136, 1]
    assert (await store.record_outcomes(old, flush(task.name, ok=[0]))).live_subtasks == 3
    done = await store.record_outcomes(old, flush(task.name, ok=[1]))
    assert done.live_subtasks == 2
    assert [each.epoch for each in await listed(store, task.key)] == [139, 138, 137, 136, 135, 134, 133]
    for lease in recent:
        await store.release(lease, {})
    assert [each.epoch for each in await listed(store, task.key)] == [139, 138, 137, 136, 135]


async def test_another_task_keeps_its_own(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENDED_SUBTASKS", 2)
    store = await driver.open()
    first, second = await made(store, 100, "a"), await made(store, 100, "b")
    for index in range(70):
        for task in (first, second) if index < 2 else (second,):
            lease = await granted(store, task, (index, index + 1))
            await store.record_outcomes(lease, flush(task.name, ok=[index]))
    assert [each.epoch for each in await listed(store, first.key)] == [2, 1]
    assert [each.epoch for each in await listed(store, second.key)] == [70, 69]
