"""What has not begun behind a slow record runs elsewhere, exactly once, whatever ends the slow one."""

from __future__ import annotations

import asyncio

import pytest

from batchyard_server.model.errors import Reason, Unavailable
from batchyard_server.model.states import TaskState
from tests.support.dispatch import FakeWorker
from tests.support.memory_store import Held
from tests.unit.dispatch.stage import Stage, attempts, reason


class Scene:
    """Two slots; record `at` runs at `slow`, which has all records of the task in one subtask."""

    def __init__(self, stage: Stage, held: Held, slow: FakeWorker) -> None:
        self.stage = stage
        self.held = held
        self.slow = slow

    @classmethod
    async def set(cls, records: int = 8, at: int = 0, *, spare: bool = True, **options: int) -> Scene:
        """Put it up; without `spare` the second slot has a record that does not end."""
        stage = Stage(slots=2)
        stage.create(2)
        await stage.load()
        await stage.work()
        if not spare:
            stage.create(1)
            await stage.turn()
            assert stage.workers[0].step()
        stage.dispatcher._chooser.slots = 1  # all in one subtask
        held = stage.create(records, **options)
        await stage.turn()
        stage.dispatcher._chooser.slots = 2
        slow = next(worker for worker in stage.workers if worker.running is None and worker.step())
        for _ in range(2 * at):
            slow.step()
        assert (slow.running, stage.dispatcher._queues[held.task.key].pending_count) == (at, 0)
        return cls(stage, held, slow)

    @property
    def other(self) -> FakeWorker:
        return next((each for each in self.stage.workers if each is not self.slow), self.slow)

    async def stall(self) -> None:
        """The executor sees that the record is slow, and the watcher that it is asked."""
        self.stage.tick(0.2)
        self.slow.read()

    async def trim(self) -> None:
        """All the way: the rest is pending again or at the other worker."""
        await self.stall()
        self.slow.deliver()
        await self.stage.turn()

    async def finish_others(self) -> None:
        """Whatever the slow worker does not have ends."""
        for _ in range(200):
            for worker in self.stage.workers:
                if worker is not self.slow:
                    if not worker.is_loaded:
                        worker.load()
                    worker.step(flush=True)
                    worker.deliver()
            await self.stage.turn(4)
            self.stage.clock.advance(0.001)


async def test_the_rest_of_a_slow_subtask_runs_elsewhere() -> None:
    scene = await Scene.set(8, at=2)
    scene.slow.flush()  # the watcher does, long before the record counts as slow
    scene.slow.deliver()
    await scene.trim()
    await scene.finish_others()
    assert attempts(scene.held) == dict.fromkeys((0, 1, 3, 4, 5, 6, 7), 1)
    assert scene.slow.running == 2
    assert scene.stage.dispatcher.running(scene.held.task.key) == {2}
    await scene.stage.work()
    assert scene.held.task.state is TaskState.SUCCEEDED
    assert attempts(scene.held) == dict.fromkeys(range(8), 1)
    await scene.stage.stop()
    scene.stage.check_books()


async def test_it_is_asked_once_for_a_record() -> None:
    scene = await Scene.set(8)
    await scene.stall()
    for _ in range(5):
        scene.slow.deliver()
        await scene.stage.turn()
        scene.stage.tick(0.2)
        scene.slow.read()
    assert scene.stage.store.log.count("shrink: ok") == 1
    assert scene.slow.deliver() == 0


async def test_nothing_is_asked_for_if_no_slot_could_take_it() -> None:
    scene = await Scene.set(8, spare=False)
    await scene.stall()
    assert scene.slow.deliver() == 0
    scene.other.step()
    scene.other.deliver()
    await scene.stage.turn()
    await scene.trim()
    assert scene.stage.store.log.count("shrink: ok") == 1


async def test_nothing_is_asked_for_if_nothing_is_left() -> None:
    scene = await Scene.set(3, at=2)
    scene.slow.flush()
    scene.slow.deliver()
    await scene.stage.turn()
    await scene.stall()
    assert scene.slow.deliver() == 0


@pytest.mark.parametrize("delivered", [False, True], ids=["with the answer", "after the answer"])
async def test_the_slow_record_ends_while_its_rest_is_given_back(delivered: bool) -> None:
    scene = await Scene.set(8, at=1)
    scene.stage.store.automatic = False
    await scene.stall()
    if delivered:
        scene.slow.deliver()
        await scene.stage.turn()
    scene.slow.step()
    scene.slow.deliver()
    await scene.stage.turn()
    assert scene.slow.current is None
    await scene.stage.work()
    assert attempts(scene.held) == dict.fromkeys(range(8), 1)
    assert scene.held.task.state is TaskState.SUCCEEDED


@pytest.mark.parametrize("known", [False, True], ids=["before the trim is durable", "after"])
async def test_the_slow_record_crashes(known: bool) -> None:
    scene = await Scene.set(8, at=1)
    scene.stage.store.automatic = known
    await scene.trim()
    scene.slow.crash()
    scene.slow.reap()
    await scene.stage.turn()
    await scene.stage.work()
    # Record 0 had ended and was not durable when its worker crashed: it ran twice.
    assert attempts(scene.held) == {0: 2, 1: 2} | dict.fromkeys(range(2, 8), 1)
    assert scene.held.task.succeeded == 8


async def test_the_slow_record_is_killed_for_its_timeout() -> None:
    scene = await Scene.set(8, record_timeout_us=1_000_000)
    await scene.trim()
    await scene.finish_others()
    scene.stage.tick(2)
    assert scene.slow.killed
    scene.slow.reap()
    await scene.stage.work()
    assert attempts(scene.held) == dict.fromkeys(range(8), 1)
    assert reason(scene.held.outcomes[0]) == Reason.RECORD_TIMEOUT
    assert (scene.held.task.succeeded, scene.held.task.failed) == (7, 1)


@pytest.mark.parametrize("known", [False, True], ids=["before the trim is durable", "after"])
async def test_cancel_after_a_trim(known: bool) -> None:
    scene = await Scene.set(8)
    scene.stage.store.automatic = known
    await scene.trim()
    scene.stage.store.cancel(scene.held.task.key)
    await scene.stage.turn()
    assert scene.slow.killed
    scene.slow.reap()
    await scene.stage.work()
    assert scene.held.task.state is TaskState.CANCELLED
    await scene.stage.stop()
    scene.stage.check_books()


async def test_cancel_while_the_answer_is_on_its_way() -> None:
    scene = await Scene.set(8)
    await scene.stall()
    scene.stage.store.cancel(scene.held.task.key)
    await scene.stage.turn()
    scene.slow.reap()
    await scene.stage.work()
    assert (scene.held.task.state, scene.held.outcomes) == (TaskState.CANCELLED, {})
    await scene.stage.stop()
    scene.stage.check_books()


async def test_drain_ends_a_subtask_after_the_record_at_hand() -> None:
    scene = await Scene.set(8, at=1)
    draining = asyncio.ensure_future(scene.stage.dispatcher.drain(30))
    await scene.stage.turn()
    scene.slow.read()
    scene.slow.step()
    scene.slow.deliver()
    await scene.stage.turn()
    assert scene.slow.current is None
    await draining
    assert attempts(scene.held) == {0: 1, 1: 1}
    assert scene.held.leases == {}


async def test_a_trim_that_the_store_cannot_take_is_tried_again() -> None:
    scene = await Scene.set(8)
    failing = [True]
    scene.stage.store.fail = lambda name: (
        Unavailable(Reason.STORE_UNAVAILABLE, "a test says so") if name == "shrink" and failing else None
    )
    await scene.trim()
    assert scene.held.leases[scene.held.task.next_epoch - 1] == [(0, 8)]
    failing.clear()
    await scene.finish_others()
    assert attempts(scene.held) == dict.fromkeys(range(1, 8), 1)
