"""A paused task: what runs ends, nothing else begins, nothing is killed, and all of it goes on when it is resumed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import pytest

from batchyard_server.dispatch import admission
from batchyard_server.model.errors import Reason, Unavailable
from batchyard_server.model.states import TaskState, WaitingReason
from tests.support.dispatch import FakeWorker
from tests.support.memory_store import Held
from tests.unit.dispatch.stage import Stage, attempts, running

FAILED = Unavailable(Reason.STORE_UNAVAILABLE, "a test says so")


async def finish(stage: Stage, held: Held) -> None:
    """The task ends well, and nothing is left of it."""
    await stage.work()
    assert held.task.state is TaskState.SUCCEEDED
    assert attempts(held) == dict.fromkeys(range(held.task.total), 1)
    await stage.stop()
    stage.check_books()


async def test_the_record_at_hand_ends_and_the_rest_waits() -> None:
    stage = Stage()
    held, worker = await running(stage, 20, at=3)
    await stage.pause(held)
    assert held.task.state is TaskState.PAUSING
    worker.read()
    worker.step()
    worker.deliver()
    await stage.turn()
    assert held.task.state is TaskState.PAUSED
    assert attempts(held) == dict.fromkeys(range(4), 1)
    assert not worker.killed
    assert not stage.dispatcher.is_live(held.task.key)
    assert stage.dispatcher._queues == {}
    await stage.work()
    assert len(held.outcomes) == 4
    await stage.resume(held)
    assert held.task.state is TaskState.QUEUED
    await stage.turn()
    assert held.task.state is TaskState.RUNNING
    await finish(stage, held)


async def test_the_worker_serves_others_meanwhile() -> None:
    stage = Stage()
    held, worker = await running(stage, 20)
    await stage.pause(held)
    worker.read()
    other = stage.create(5)
    await stage.work()
    assert (held.task.state, other.task.state) == (TaskState.PAUSED, TaskState.SUCCEEDED)
    assert stage.workers == [worker]
    await stage.resume(held)
    await finish(stage, held)


async def test_a_pausing_task_that_is_resumed_goes_on_where_it_is() -> None:
    stage = Stage()
    held, worker = await running(stage, 20, at=3)
    queue = stage.dispatcher._queues[held.task.key]
    await stage.pause(held)
    worker.read()
    worker.deliver()
    await stage.turn()
    assert held.task.state is TaskState.PAUSING
    assert stage.dispatcher.waiting(held.task.key) is WaitingReason.NONE
    await stage.resume(held)
    assert held.task.state is TaskState.RUNNING
    assert stage.dispatcher._queues[held.task.key] is queue
    await finish(stage, held)
    assert stage.store.log.count("shrink: ok") == 1


async def test_the_last_record_ends_while_pausing() -> None:
    stage = Stage()
    held, worker = await running(stage, 3, at=2)
    await stage.pause(held)
    assert held.task.state is TaskState.PAUSING
    worker.step()
    worker.deliver()
    await finish(stage, held)


async def test_what_waits_in_the_worker_comes_back_untouched() -> None:
    stage = Stage()
    first, worker = await running(stage, 1)
    held = stage.create(1)
    await stage.turn()
    worker.read()
    assert len(worker.runs) == 1
    await stage.pause(held)
    worker.read()
    worker.deliver()
    await stage.turn()
    assert (held.task.state, first.task.state) == (TaskState.PAUSED, TaskState.RUNNING)
    assert not worker.runs
    await stage.resume(held)
    await finish(stage, held)


async def test_a_worker_that_is_lost_while_pausing() -> None:
    """What it was running waits, and is run again after the resume."""
    stage = Stage()
    held, worker = await running(stage, 20, at=3)
    await stage.pause(held)
    worker.crash()
    worker.reap()
    await stage.work()
    assert held.task.state is TaskState.PAUSED
    assert held.outcomes == {}
    assert {index: each.lost for index, each in held.attempts.items()} == {0: 0, 1: 0, 2: 0, 3: 1}
    await stage.resume(held)
    await stage.work()
    assert held.task.state is TaskState.SUCCEEDED
    assert attempts(held) == dict.fromkeys(range(4), 2) | dict.fromkeys(range(4, 20), 1)


async def test_pause_while_a_subtask_is_being_cut() -> None:
    stage = Stage()
    await running(stage, 1)
    stage.store.slow_reads = True
    held = stage.create(5)
    await stage.turn()
    assert stage.store.reading
    await stage.pause(held)
    assert held.task.state is TaskState.PAUSED
    assert stage.dispatcher.is_live(held.task.key)
    stage.store.slow_reads = False
    stage.store.read()
    await stage.turn()
    assert not stage.dispatcher.is_live(held.task.key)
    assert held.leases == {}
    await stage.resume(held)
    await finish(stage, held)


async def test_paused_and_resumed_while_a_subtask_is_being_cut() -> None:
    stage = Stage()
    first, _ = await running(stage, 1)
    stage.store.slow_reads = True
    held = stage.create(5)
    await stage.turn()
    await stage.pause(held)
    await stage.resume(held)
    stage.store.slow_reads = False
    stage.store.read()
    await stage.turn()
    assert held.task.state is TaskState.RUNNING
    await finish(stage, held)
    assert first.task.state is TaskState.SUCCEEDED


# -- no lease is refused by a pause -----------------------------------------------------------------------------------


async def begun_without_lease(stage: Stage, fail: Callable[[str], Exception | None]) -> tuple[Held, FakeWorker]:
    """A task whose one record runs, while its lease is not durable yet."""
    _, worker = await running(stage, 1)
    stage.store.automatic = False
    stage.store.fail = fail
    held = stage.create(1)
    await stage.turn()
    worker.step()
    assert worker.step()
    assert worker.current is not None
    assert worker.current.batch_task == str(held.task.name)
    return held, worker


@pytest.mark.parametrize("pauses", [1, 3])
async def test_a_lease_that_is_being_granted_is_waited_for(pauses: int) -> None:
    """The worker has begun its record: a pause that came before the lease would have to kill it."""
    stage = Stage()
    held, worker = await begun_without_lease(stage, lambda _: None)
    pausing = [asyncio.ensure_future(stage.pause(held)) for _ in range(pauses)]
    await stage.turn()
    assert [write.name for write in stage.store.waiting] == ["grant"]
    while stage.store.commit():
        await stage.turn()
    await asyncio.gather(*pausing)
    assert held.task.state is TaskState.PAUSING
    worker.step()
    worker.deliver()
    assert not worker.killed
    assert all(line.endswith(": ok") for line in stage.store.log)
    stage.store.automatic = True
    await finish(stage, held)


async def test_the_first_lease_of_a_queued_task_is_waited_for() -> None:
    stage = Stage()
    await running(stage, 1)
    stage.store.automatic = False
    held = stage.create(5)
    pausing = asyncio.ensure_future(stage.pause(held))
    await stage.turn()
    while stage.store.commit():
        await stage.turn()
    await pausing
    assert stage.store.log[-1] == "update: ok"
    assert all(line.endswith(": ok") for line in stage.store.log)
    stage.store.automatic = True
    await stage.work()
    assert held.task.state is TaskState.PAUSED
    await stage.resume(held)
    await finish(stage, held)


async def test_a_task_that_is_created_while_its_pause_is_under_way() -> None:
    stage = Stage()
    held = stage.create(1)
    await stage.work()
    async with stage.dispatcher.hold(held.task.key + 1):
        later = stage.create(1)
        await stage.work()
        assert later.task.state is TaskState.QUEUED
    await stage.work()
    assert later.task.state is TaskState.SUCCEEDED


async def test_a_pause_that_fails_holds_nothing_back() -> None:
    stage = Stage()
    held, worker = await running(stage, 20, at=3)
    stage.store.fail = lambda name: FAILED if name == "update" else None
    with pytest.raises(Unavailable):
        await stage.pause(held)
    worker.read()
    worker.step()
    worker.deliver()
    await finish(stage, held)


async def test_a_caller_that_goes_away_is_no_difference() -> None:
    """The pause comes all the same, so the task is held until then all the same."""
    stage = Stage()
    held, worker = await begun_without_lease(stage, lambda _: None)
    pausing = asyncio.ensure_future(stage.pause(held))
    await stage.turn()
    pausing.cancel()
    await stage.turn()
    assert pausing.cancelled()
    assert stage.dispatcher._queues[held.task.key].barred
    while stage.store.commit():
        await stage.turn()
    assert held.task.state is TaskState.PAUSING
    worker.step()
    worker.deliver()
    assert not worker.killed
    stage.store.automatic = True
    await finish(stage, held)


async def test_a_caller_that_goes_away_from_a_pause_that_fails() -> None:
    stage = Stage()
    held = stage.create(20)
    await stage.load()
    stage.store.slow_reads = True
    stage.store.fail = lambda name: FAILED if name == "update" else None
    pausing = asyncio.ensure_future(stage.pause(held))
    await asyncio.sleep(0)
    pausing.cancel()
    await stage.turn()
    stage.store.slow_reads = False
    stage.store.read()
    await finish(stage, held)


async def test_of_two_pauses_the_second_holds_on() -> None:
    stage = Stage()
    held = stage.create(3)
    async with stage.dispatcher.hold(held.task.key):
        async with stage.dispatcher.hold(held.task.key):
            await stage.load()
        await stage.work()
        assert held.task.state is TaskState.QUEUED
        assert held.outcomes == {}
    await finish(stage, held)


async def paused_before_the_lease(stage: Stage) -> tuple[Held, FakeWorker]:
    """The store took no lease, and then the pause first: the one record runs without a lease in a PAUSED task."""
    held, worker = await begun_without_lease(stage, lambda name: FAILED if name == "grant" else None)
    stage.store.automatic = True
    stage.store.commit()
    await stage.pause(held)
    assert held.task.state is TaskState.PAUSED
    stage.store.fail = lambda _: None
    worker.deliver()
    stage.store.commit()
    await stage.turn()
    return held, worker


async def test_a_store_that_takes_no_lease_does_not_hold_a_pause_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record that has begun ends, unkilled; without a lease its outcome is not kept, so it is run again."""
    monkeypatch.setattr(admission, "GRANT_SECONDS", 0)
    stage = Stage()
    held, worker = await paused_before_the_lease(stage)
    assert not worker.killed
    assert stage.dispatcher.is_live(held.task.key)
    worker.step()
    worker.deliver()
    await stage.turn()
    assert (held.outcomes, held.leases) == ({}, {})
    assert not stage.dispatcher.is_live(held.task.key)
    assert stage.workers == [worker]
    await stage.resume(held)
    await finish(stage, held)


@pytest.mark.parametrize("resumed", [False, True])
async def test_stopped_while_paused_with_a_worker_that_has_no_lease(
    monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    monkeypatch.setattr(admission, "GRANT_SECONDS", 0)
    stage = Stage()
    held, worker = await paused_before_the_lease(stage)
    if resumed:
        await stage.resume(held)
        await stage.turn()
    stage.store.cancel(held.task.key)
    await stage.turn()
    assert worker.killed
    await stage.work()
    assert held.task.state is TaskState.CANCELLED
    await stage.stop()
    stage.check_books()


# -- many -------------------------------------------------------------------------------------------------------------


async def test_hundreds_of_pauses_kill_nothing_and_lose_nothing() -> None:
    stage = Stage(slots=3, automatic=False)
    held = stage.create(5000)
    chance = random.Random(7)
    seen: Counter[TaskState] = Counter()

    async def go_on() -> None:
        for worker in stage.workers:
            if not worker.is_loaded:
                worker.load()
            if chance.random() < 0.5:
                worker.read()
            for _ in range(chance.choice((0, 1, 4))):
                worker.step(flush=chance.random() < 0.3)
            worker.deliver()
        await stage.turn(chance.randint(1, 4))
        stage.store.commit(chance.randint(1, 3))

    for _ in range(150):
        for verb in (stage.pause, stage.resume):
            changing = asyncio.ensure_future(verb(held))
            while not changing.done():
                await go_on()
            await changing
            for _ in range(chance.choice((0, 2, 10))):
                await go_on()
            seen[held.task.state] += 1
    assert not any(worker.killed for worker in stage.workers)
    assert stage.launcher.started == 3
    assert all(line.endswith(": ok") for line in stage.store.log)
    assert all(seen[state] for state in (TaskState.PAUSING, TaskState.PAUSED, TaskState.RUNNING)), seen
    stage.store.automatic = True
    stage.store.commit()
    await finish(stage, held)
