"""Is nothing lost, and does nothing spin, while the store cannot?"""

from __future__ import annotations

import asyncio

import pytest

from batchyard_server.dispatch import dispatcher as dispatcher_module
from batchyard_server.dispatch.pause import Pause
from batchyard_server.model.errors import Reason, ResourceExhausted, Unavailable
from batchyard_server.model.states import TaskState
from tests.unit.dispatch.stage import Stage, attempts, running

FULL = ResourceExhausted(Reason.DISK_FULL, "a test says so", subject="disk")


class HeldPause(Pause):
    """Waits until the test says so."""

    waiting: list[asyncio.Future[None]]

    async def __call__(self, seconds: float) -> None:
        assert seconds > 0
        if not self.ended:
            self.waiting.append(asyncio.get_running_loop().create_future())
            await self.waiting[-1]

    def go_on(self) -> None:
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each.set_result(None)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[HeldPause]:
    made: list[HeldPause] = []

    def make() -> HeldPause:
        pause = HeldPause()
        pause.waiting = []
        made.append(pause)
        return pause

    monkeypatch.setattr(dispatcher_module, "Pause", make)
    return made


@pytest.mark.parametrize("name", ["grant", "outcomes", "release", "inputs"])
@pytest.mark.parametrize("error", [FULL, Unavailable(Reason.STORE_UNAVAILABLE, "no")], ids=["full", "unavailable"])
async def test_nothing_is_lost_and_nothing_spins(name: str, error: Exception, pauses: list[HeldPause]) -> None:
    stage = Stage(slots=2)
    stage.dispatcher._retry_seconds = stage.dispatcher._settler._retry_seconds = 1
    asked: list[str] = []

    def fail(asking: str) -> Exception | None:
        if asking == name:
            asked.append(asking)
            return error
        return None

    stage.store.fail = fail
    held = stage.create(50)
    for round_ in range(6):
        before = len(asked)
        await stage.work()
        crash = [worker for worker in stage.workers if worker.running is not None]
        await stage.turn(50)
        if round_ == 2 and crash:
            crash[0].crash()
        assert len(asked) - before <= 2 * 16
        for pause in pauses:
            pause.go_on()
    assert held.task.state is not TaskState.SUCCEEDED or name == "release"
    assert asked or name == "release"
    stage.store.fail = lambda _: None
    for _ in range(3):
        for pause in pauses:
            pause.go_on()
        await stage.work()
    assert held.task.state is TaskState.SUCCEEDED
    assert attempts(held) == dict.fromkeys(range(50), 1)
    await stage.stop()
    stage.check_books()


async def test_stop_does_not_wait_for_a_store_that_takes_nothing(pauses: list[HeldPause]) -> None:
    stage = Stage()
    stage.dispatcher._settler._retry_seconds = 1
    held, worker = await running(stage, 20, at=3)
    stage.store.fail = lambda _: FULL
    worker.flush()
    worker.deliver()
    await stage.turn()
    assert pauses[0].waiting
    stopping = asyncio.ensure_future(stage.dispatcher.stop())
    await stage.turn()
    worker.reap()
    await stage.turn()
    pauses[0].go_on()
    async with asyncio.timeout(5):
        await stopping
    assert not held.outcomes
    stage.store.fail = lambda _: None
    stage.assemble()
    await stage.work()
    assert held.task.state is TaskState.SUCCEEDED
