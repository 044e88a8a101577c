"""Do handlers share slots fairly, without changing workers all the time?"""

from __future__ import annotations

from collections import Counter

from batchyard_server.model.states import TaskState
from tests.support.dispatch import FakeWorker
from tests.unit.dispatch.stage import Stage


class Shift:
    """Time passes in steps of 10 ms; in each of them every worker begins or ends one record."""

    def __init__(self, *, slots: int, handlers: tuple[str, ...]) -> None:
        self.stage = Stage(slots=slots, handlers=handlers)
        self.begun: list[str] = []
        self.stuck: set[FakeWorker] = set()
        self.broken: set[str] = set()
        self.stage.launcher.on_start = self.on_start

    def on_start(self, worker: FakeWorker) -> None:
        worker.begun = lambda _name, _index, _attempt: self.begun.append(worker.handler)

    @property
    def starts(self) -> int:
        return self.stage.launcher.started

    @property
    def present(self) -> Counter[str]:
        return Counter(worker.handler for worker in self.stage.workers if not worker.killed)

    async def go(self, seconds: float) -> None:
        for _ in range(round(seconds * 100)):
            for worker in self.stage.workers:
                if worker.killed:
                    worker.reap()
                elif not worker.is_loaded:
                    worker.load("broken" if worker.handler in self.broken else "")
                elif worker not in self.stuck:
                    worker.step(flush=True)
                worker.deliver()
            await self.stage.turn(6)
            self.stage.tick(0.01)


async def test_two_handlers_take_turns_on_one_slot() -> None:
    shift = Shift(slots=1, handlers=("a", "b"))
    for handler in ("a", "b"):
        shift.stage.create(5000, handler=handler)
    await shift.go(20)
    count = Counter(shift.begun)
    assert min(count["a"], count["b"]) > 0.35 * len(shift.begun)
    assert 10 <= shift.starts <= 22  # about once a second
    assert len(shift.begun) > 800  # of the 1000 that fit


async def test_three_handlers_take_turns_on_one_slot() -> None:
    shift = Shift(slots=1, handlers=("a", "b", "c"))
    for handler in ("a", "b", "c"):
        shift.stage.create(5000, handler=handler)
    await shift.go(30)
    count = Counter(shift.begun)
    assert min(count.values()) > 0.2 * len(shift.begun)


async def test_two_handlers_on_two_slots_have_one_each() -> None:
    shift = Shift(slots=2, handlers=("a", "b"))
    shift.stage.create(5000, handler="a")
    await shift.go(3)
    assert shift.present == {"a": 2}
    shift.stage.create(5000, handler="b")
    await shift.go(3)
    assert shift.present == {"a": 1, "b": 1}
    starts = shift.starts
    await shift.go(5)
    assert shift.starts == starts


async def test_four_slots_are_halved() -> None:
    shift = Shift(slots=4, handlers=("a", "b"))
    shift.stage.create(9000, handler="a")
    await shift.go(3)
    shift.stage.create(9000, handler="b")
    await shift.go(5)
    assert shift.present == {"a": 2, "b": 2}


async def test_an_idle_worker_goes_at_once_for_a_handler_without_one() -> None:
    shift = Shift(slots=1, handlers=("a", "b"))
    first = shift.stage.create(1, handler="a")
    await shift.go(0.1)
    assert first.task.state is TaskState.SUCCEEDED
    second = shift.stage.create(1, handler="b")
    await shift.go(0.1)
    assert second.task.state is TaskState.SUCCEEDED
    assert shift.starts == 2


async def test_an_idle_worker_is_kept_for_a_while_if_the_other_handler_has_one() -> None:
    shift = Shift(slots=2, handlers=("a", "b"))
    shift.stage.create(1, handler="a")
    await shift.go(0.1)
    shift.stage.create(5000, handler="b")
    await shift.go(0.3)
    assert shift.present == {"a": 1, "b": 1}
    await shift.go(1)
    assert shift.present == {"b": 2}


async def test_a_handler_is_not_starved_by_records_that_never_end() -> None:
    """Whichever slot becomes free first is the other handler's, wherever the stuck ones are."""
    shift = Shift(slots=3, handlers=("a", "b"))
    shift.stage.create(5000, handler="a")
    await shift.go(1)
    shift.stuck = set(shift.stage.workers[:2])
    await shift.go(1)
    other = shift.stage.create(10, handler="b")
    await shift.go(2)
    assert other.task.state is TaskState.SUCCEEDED
    assert not any(worker.killed for worker in shift.stuck)


async def test_a_handler_that_cannot_be_loaded_does_not_take_the_slot_away() -> None:
    shift = Shift(slots=1, handlers=("a", "b"))
    shift.broken = {"b"}
    shift.stage.book._first_retry_seconds = 1000
    shift.stage.create(5000, handler="a")
    shift.stage.create(5000, handler="b")
    await shift.go(10)
    assert shift.starts <= 3
    assert Counter(shift.begun)["a"] > 400


async def test_a_handler_that_has_gone_leaves_the_slot() -> None:
    """B waits for the slot of A, then is cancelled: A goes on with the worker it has."""
    shift = Shift(slots=1, handlers=("a", "b"))
    held = shift.stage.create(5000, handler="a")
    await shift.go(2)
    worker = shift.stage.workers[0]
    shift.stuck = {worker}
    other = shift.stage.create(1, handler="b")
    await shift.go(1)
    shift.stage.store.cancel(other.task.key)
    shift.stuck.clear()
    await shift.go(1)
    assert shift.stage.workers == [worker]
    assert held.task.state is TaskState.RUNNING
    assert len(held.outcomes) > 100


async def test_a_worker_cannot_be_started() -> None:
    stage = Stage()
    stage.book._first_retry_seconds = 0
    stage.launcher.error = OSError("too many open files")
    held = stage.create(3)
    await stage.turn(30)
    assert held.task.state is TaskState.QUEUED
    stage.check_slots()
    stage.launcher.error = None
    await stage.turn(30)
    await stage.work()
    assert held.task.state is TaskState.SUCCEEDED


async def test_strays_of_an_idle_worker() -> None:
    stage = Stage()
    stage.create(1)
    await stage.work()
    worker = stage.workers[0]
    worker.strays = True
    stage.tick(0.3)
    assert not worker.killed
    stage.tick(0.3)
    assert worker.killed


async def test_strays_of_a_worker_that_is_never_idle() -> None:
    shift = Shift(slots=1, handlers=("a",))
    for _ in range(150):
        shift.stage.create(2, handler="a")
    await shift.go(0.5)
    worker = shift.stage.workers[0]
    worker.strays = True
    await shift.go(3)
    assert worker.gone
    await shift.go(4)
    assert all(held.task.state is TaskState.SUCCEEDED for held in shift.stage.store.held.values())
