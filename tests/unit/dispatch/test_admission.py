"""What becomes QUEUED again is read from the store: what is left, exactly; whatever happens during the read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from batchyard_server.model.errors import Reason, Unavailable
from batchyard_server.model.states import TaskState
from tests.support.dispatch import FakeWorker
from tests.support.memory_store import Held
from tests.unit.dispatch.stage import Stage, attempts, running

TEN = dict.fromkeys(range(10), 1)


async def half_done(stage: Stage) -> Held:
    """A PAUSED task of ten records with outcomes of 0 to 4."""
    held, worker = await running(stage, 10, at=4)
    await stage.pause(held)
    worker.read()
    await stage.work()
    assert (held.task.state, sorted(held.outcomes)) == (TaskState.PAUSED, [0, 1, 2, 3, 4])
    return held


async def reading(stage: Stage) -> Held:
    """It was resumed, and what is left of it is being read."""
    held = await half_done(stage)
    stage.store.slow_reads = True
    await stage.resume(held)
    await stage.turn()
    assert len(stage.store.reading) == 1
    assert stage.dispatcher.is_live(held.task.key)
    return held


async def read(stage: Stage) -> None:
    stage.store.slow_reads = False
    stage.store.read()
    await stage.turn()


async def close(stage: Stage) -> None:
    await stage.stop()
    stage.check_books()


async def test_what_is_left_is_read() -> None:
    stage = Stage()
    held = await reading(stage)
    await read(stage)
    await stage.work()
    assert held.task.state is TaskState.SUCCEEDED
    assert attempts(held) == TEN
    await close(stage)


async def test_what_never_ran_is_not_read() -> None:
    stage = Stage()
    held = stage.create(10, handler="gone")
    await stage.pause(held)
    stage.store.slow_reads = True
    await stage.resume(held)
    await stage.turn()
    assert held.task.state is TaskState.QUEUED
    assert stage.dispatcher._queues[held.task.key].pending_count == 10
    assert not stage.store.reading


@pytest.mark.parametrize("again", [False, True], ids=["once", "and resumed"])
async def test_paused_while_it_is_read(again: bool) -> None:
    stage = Stage()
    held = await reading(stage)
    await stage.pause(held)
    assert held.task.state is TaskState.PAUSED
    assert not stage.dispatcher.is_live(held.task.key)
    if again:
        await stage.resume(held)
    await read(stage)
    await stage.work()
    assert held.task.state is (TaskState.SUCCEEDED if again else TaskState.PAUSED)
    if not again:
        await stage.resume(held)
        await stage.work()
    assert attempts(held) == TEN
    await close(stage)


async def test_cancelled_while_it_is_read() -> None:
    stage = Stage()
    held = await reading(stage)
    stage.store.cancel(held.task.key)
    await read(stage)
    await stage.work()
    assert held.task.state is TaskState.CANCELLED
    assert len(held.outcomes) == 5
    await close(stage)


async def test_deleted_while_it_is_read() -> None:
    stage = Stage()
    held = await reading(stage)
    stage.store.delete(held.task.key)
    await read(stage)
    assert not stage.dispatcher.is_live(held.task.key)
    await close(stage)


async def test_cancelled_and_reactivated_while_it_is_read() -> None:
    """What was read for the generation before is not used for the next one."""
    stage = Stage()
    held = await reading(stage)
    stage.store.cancel(held.task.key)
    await stage.reactivate(held, everything=True)
    await read(stage)
    await stage.work()
    assert (held.task.state, held.task.generation) == (TaskState.SUCCEEDED, 2)
    assert {index: record.generation for index, record in held.outcomes.items()} == dict.fromkeys(range(10), 2)
    await close(stage)


async def test_drained_while_it_is_read() -> None:
    stage = Stage()
    held = await reading(stage)
    await stage.dispatcher.drain(60)
    await read(stage)
    await stage.turn()
    assert (held.task.state, held.leases) == (TaskState.QUEUED, {})
    await close_and_go_on(stage, held)


async def close_and_go_on(stage: Stage, held: Held) -> None:
    """The server ends, and the next one finishes the task."""
    await stage.stop()
    assert stage.dispatcher._jobs.running == set()
    stage.store.fail = lambda _: None
    stage.assemble()
    await stage.work()
    assert held.task.state is TaskState.SUCCEEDED
    assert attempts(held) == TEN


@pytest.mark.parametrize("error", [Unavailable(Reason.STORE_UNAVAILABLE, "no"), ValueError("no")], ids=["own", "any"])
async def test_a_read_that_fails_is_tried_again(error: Exception) -> None:
    stage = Stage()
    held = await half_done(stage)
    asked: list[str] = []

    def fail(name: str) -> Exception | None:
        asked.append(name)
        return error if name == "unfinished" and asked.count(name) < 4 else None

    stage.store.fail = fail
    await stage.resume(held)
    await stage.work()
    assert asked.count("unfinished") == 4
    assert held.task.state is TaskState.SUCCEEDED
    assert attempts(held) == TEN
    await close(stage)


@pytest.mark.parametrize("end", ["paused", "deleted", "stopped"])
async def test_a_read_that_fails_is_given_up_with_its_task(end: str) -> None:
    stage = Stage()
    held = await half_done(stage)
    asked: list[str] = []

    def fail(name: str) -> Exception | None:
        asked.append(name)
        return Unavailable(Reason.STORE_UNAVAILABLE, "no") if name == "unfinished" else None

    stage.store.fail = fail
    await stage.resume(held)
    await stage.turn(20)
    assert asked.count("unfinished") >= 1
    if end == "stopped":
        await close_and_go_on(stage, held)
        return
    if end == "paused":
        await stage.pause(held)
    else:
        stage.store.delete(held.task.key)
    await stage.turn(20)
    tries = asked.count("unfinished")
    await stage.turn(50)
    assert asked.count("unfinished") == tries
    assert stage.dispatcher._jobs.running == set()
    await close(stage)


# -- generations ------------------------------------------------------------------------------------------------------


async def test_only_what_failed_or_did_not_end_is_run_again() -> None:
    stage = Stage()
    held, worker = await running(stage, 10, at=2)
    worker.step(failed=True)
    worker.flush()
    worker.deliver()
    await stage.turn()
    assert sorted(held.outcomes) == [0, 1, 2]
    stage.store.cancel(held.task.key)
    await stage.work()
    assert held.task.state is TaskState.CANCELLED
    before = dict(held.outcomes)
    await stage.reactivate(held)
    assert (held.task.state, held.task.generation, held.task.failed) == (TaskState.QUEUED, 2, 0)
    await stage.work()
    assert (held.task.state, held.task.succeeded) == (TaskState.SUCCEEDED, 10)
    assert {index: record.generation for index, record in held.outcomes.items()} == {
        index: 1 if index < 2 else 2 for index in range(10)
    }
    assert all(held.outcomes[index] is before[index] for index in (0, 1))
    assert attempts(held) == TEN
    await close(stage)


async def begun_before_the_cancel(stage: Stage) -> tuple[Held, FakeWorker]:
    """A CANCELLED task whose worker still runs a record of it: its lease was on its way when the cancel came."""
    await running(stage, 1)
    stage.store.automatic = False
    held = stage.create(1)
    await stage.load()
    worker = stage.workers[-1]
    assert worker.step()
    assert worker.blamed == (str(held.task.name), 0)
    stage.store.cancel(held.task.key)
    assert held.task.state is TaskState.CANCELLED
    stage.store.automatic = True
    stage.store.commit()
    await stage.turn()
    assert worker.killed
    return held, worker


async def test_no_record_begins_before_the_workers_of_the_generation_before_are_gone() -> None:
    stage = Stage(slots=2)
    held, worker = await begun_before_the_cancel(stage)
    stage.workers[0].step()
    stage.workers[0].deliver()
    await stage.reactivate(held, everything=True)
    await stage.turn()
    assert not stage.workers[0].step()  # which has nothing else to do
    assert (held.task.state, held.task.generation) == (TaskState.QUEUED, 2)
    assert stage.dispatcher.is_live(held.task.key)
    assert stage.dispatcher.running(held.task.key) == frozenset()
    worker.reap()
    await stage.turn()
    await stage.work()
    assert held.task.state is TaskState.SUCCEEDED
    assert held.outcomes[0].generation == 2
    await close(stage)


Verb = Callable[[Stage, Held], Awaitable[None]]


async def _cancel(stage: Stage, held: Held) -> None:
    stage.store.cancel(held.task.key)


@pytest.mark.parametrize(
    "verbs",
    [(Stage.pause,), (Stage.pause, Stage.resume), (_cancel,), (_cancel, Stage.reactivate)],
    ids=["paused", "paused, resumed", "cancelled", "cancelled, reactivated"],
)
async def test_changed_while_the_generation_before_is_at_a_worker(verbs: tuple[Verb, ...]) -> None:
    stage = Stage(slots=2)
    held, worker = await begun_before_the_cancel(stage)
    await stage.reactivate(held)
    for verb in verbs:
        await verb(stage, held)
    await stage.turn()
    worker.reap()
    await stage.work()
    ends = {"pause": TaskState.PAUSED, "_cancel": TaskState.CANCELLED}
    assert held.task.state is ends.get(verbs[-1].__name__, TaskState.SUCCEEDED)
    await close(stage)


# -- deleted by force -------------------------------------------------------------------------------------------------


async def test_a_task_that_is_deleted_while_it_runs_leaves_nothing() -> None:
    stage = Stage(slots=2)
    held, worker = await running(stage, 20, at=3)
    worker.flush()
    waiting = stage.create(5)
    stage.store.delete(held.task.key)
    assert worker.killed
    assert not stage.dispatcher.is_live(held.task.key)
    await stage.work()
    assert waiting.task.state is TaskState.SUCCEEDED
    await close(stage)


@pytest.mark.parametrize("automatic", [False, True])
async def test_a_task_that_is_deleted_while_it_is_paused(automatic: bool) -> None:
    stage = Stage()
    held, _ = await running(stage, 20, at=3)
    stage.store.automatic = automatic
    pausing = asyncio.ensure_future(stage.pause(held))
    await stage.turn()
    stage.store.delete(held.task.key)
    stage.store.automatic = True
    stage.store.commit()
    await asyncio.wait([pausing])
    assert (pausing.exception() is None) == automatic
    await stage.work()
    await close(stage)


async def test_a_task_that_is_deleted_while_its_inputs_cannot_be_read() -> None:
    stage = Stage()
    await running(stage, 1)
    stage.store.fail = lambda name: Unavailable(Reason.STORE_UNAVAILABLE, "no") if name == "inputs" else None
    held = stage.create(5)
    await stage.turn()
    stage.store.delete(held.task.key)
    await stage.work()
    assert stage.dispatcher._jobs.running == set()
    await close(stage)
