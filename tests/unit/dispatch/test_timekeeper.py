"""Is what time alone changes changed at its moment: never before, soon after, and not if somebody was quicker?"""

from __future__ import annotations

import asyncio
import logging
import pathlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from batchyard_server.dispatch.timekeeper import LEAST_SECONDS, MOST
from batchyard_server.model.settings import DAY_US, Settings
from batchyard_server.model.states import Event, StopReason, TaskState, after
from batchyard_server.model.task import Task
from batchyard_server.store.protocols import Store
from tests.support import store as make
from tests.support.eventually import eventually_in_loop
from tests.support.outcomes import flush
from tests.unit.dispatch.timed import LONG, Meddled, World, paused


@pytest_asyncio.fixture
async def world(tmp_path: pathlib.Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.open()
    yield made
    made.failpoints.armed.clear()
    await made.store.close()


# -- what has been kept long enough -----------------------------------------------------------------------------------


@pytest.mark.parametrize("retention_us", [0, 1, 1_000_000, 30 * DAY_US, 3650 * DAY_US])
@pytest.mark.parametrize("failed", [[], [0, 1]])
async def test_a_final_task_is_there_until_its_time(world: World, retention_us: int, failed: list[int]) -> None:
    task = await world.create("t", retention_us=retention_us)
    ended = await make.finish(world.store, task, failed=failed)
    assert ended.due_us == ended.expire_us == ended.end_us + retention_us
    if retention_us > 1_000_000:
        world.clock.advance(retention_us / 1e6 - 1)
        assert await world.look(lifetime_us=1 << 60) == pytest.approx(1)
        assert await world.read(task) == ended
        world.clock.us = ended.due_us - 1
    if retention_us:
        await world.look(lifetime_us=1 << 60)
        assert await world.is_there(task)
    world.clock.us = ended.due_us
    await world.look(lifetime_us=1 << 60)
    assert not await world.is_there(task)


async def test_a_draft_is_there_until_seven_days_after_its_last_append(world: World) -> None:
    task = await world.create("t", draft=True)
    assert task.expire_us == world.clock.now_us() + 7 * DAY_US
    world.clock.advance(7 * 86_400 - 1)
    assert await world.look() == pytest.approx(1)
    segment = replace(make.new_task("x", 1).segments[0], first=2)
    await world.store.append_records(task.name, task.uid, 2, [segment], [])
    assert (await world.read(task)).expire_us == world.clock.now_us() + 7 * DAY_US
    world.clock.advance(7 * 86_400 - 1)
    await world.look()
    assert await world.is_there(task)
    world.clock.advance(1)
    await world.look()
    assert not await world.is_there(task)


async def test_a_draft_that_was_started_does_not_expire(world: World) -> None:
    task = await world.create("t", draft=True)
    await world.store.update_task(task.name, make.start, None)
    world.clock.advance(30 * 86_400)
    await world.look()
    assert (await world.read(task)).state is TaskState.QUEUED


async def test_all_that_is_due_goes_however_much_it_is(world: World) -> None:
    tasks = [await world.create(f"t{n}", draft=True) for n in range(2 * MOST + 1)]
    kept = await world.create("kept")
    world.clock.advance(8 * 86_400)
    keeper = world.keeper()
    assert [await keeper.look() for _ in range(3)] == [0, 0, LONG]
    assert not any([await world.is_there(task) for task in tasks])
    assert await world.is_there(kept)


def reactivated(task: Task) -> Task:
    begun = replace(task, generation=task.generation + 1, operation="op-2", failed=0, cancelled=0, end_us=0)
    return begun.enter(after(task.state, Event.REACTIVATE), task.end_us + 1)


def kept_longer(task: Task) -> Task:
    return replace(task, settings=Settings(retention_us=DAY_US), revision=task.revision + 1)


@pytest.mark.parametrize(
    ("decide", "state"), [(reactivated, TaskState.QUEUED), (kept_longer, TaskState.FAILED)], ids=["reactivated", "kept"]
)
async def test_a_verb_between_the_read_and_the_delete_wins(
    world: World, decide: Callable[[Task], Task], state: TaskState
) -> None:
    task = await world.create("t", retention_us=0)
    await make.finish(world.store, task, failed=[0, 1])
    meddled = Meddled(world.store, lambda: world.store.update_task(task.name, decide, None))
    await world.look(store=meddled)
    assert (await world.read(task)).state is state
    assert (await world.read(task)).expire_us == (0 if state is TaskState.QUEUED else (await world.read(task)).due_us)
    await world.look()
    assert await world.is_there(task)


async def test_a_new_task_under_the_same_name_is_not_meant(world: World) -> None:
    old = await world.create("t", retention_us=0)
    await make.finish(world.store, old)
    slow = await world.create("slow", max_wall_clock_us=1)
    await make.lease(world.store, slow)
    world.clock.advance(1)
    made: list[Task] = []

    async def anew() -> None:
        for task in (old, slow):
            await world.store.delete_task(task.name, lambda found: found, None)
            new = make.new_task(task.task_id, 1, uid=f"anew-{task.task_id}", create_us=world.clock.now_us())
            made.append(await world.store.create_task(new, None))

    await world.look(store=Meddled(world.store, anew))
    assert [await world.read(task) for task in made] == made
    assert [task.state for task in made] == [TaskState.QUEUED] * 2


async def test_what_was_deleted_meanwhile_is_no_trouble(world: World, caplog: pytest.LogCaptureFixture) -> None:
    task = await world.create("t", retention_us=0)
    await make.finish(world.store, task)
    gone = Meddled(world.store, lambda: world.store.delete_task(task.name, make.allow_delete, None))
    assert await world.look(store=gone) == LONG
    assert caplog.records == []


# -- what takes too long ----------------------------------------------------------------------------------------------


async def test_a_deadline_is_that_of_the_first_lease(world: World) -> None:
    task = await world.create("t", max_wall_clock_us=10_000_000)
    world.clock.advance(3600)
    await world.look()
    assert (await world.read(task)).state is TaskState.QUEUED, "it has not begun"
    lease = await make.lease(world.store, task, (0, 1))
    await world.store.record_outcomes(lease, flush(task.name, failed=[0]))
    world.clock.advance(9.999)
    assert await world.look() == LEAST_SECONDS
    assert (await world.read(task)).state is TaskState.RUNNING
    world.clock.advance(0.001)
    await world.look()
    ended = await world.read(task)
    assert (ended.state, ended.stop_reason) == (TaskState.CANCELLING, StopReason.DEADLINE)
    world.clock.advance(3600)
    await world.look()
    assert await world.read(task) == ended, "who comes first says why it is stopped"


async def test_a_pause_does_not_stop_the_clock(world: World) -> None:
    task = await world.create("t", max_wall_clock_us=10_000_000)
    lease = await make.lease(world.store, task, (0, 1))
    await world.store.record_outcomes(lease, flush(task.name, ok=[0]))
    pausing = await paused(world, task)
    assert pausing.state is TaskState.PAUSED
    world.clock.advance(10)
    await world.look()
    ended = await world.read(task)
    assert (ended.state, ended.stop_reason) == (TaskState.FAILED, StopReason.DEADLINE)
    assert (ended.succeeded, ended.cancelled, ended.end_us) == (1, 1, world.clock.now_us())


async def test_a_deadline_that_was_moved_meanwhile_does_not_stop(world: World) -> None:
    task = await world.create("t", max_wall_clock_us=1)
    await make.lease(world.store, task)
    world.clock.advance(1)

    def longer(found: Task) -> Task:
        return replace(found, settings=Settings(max_wall_clock_us=DAY_US), revision=2)

    await world.look(store=Meddled(world.store, lambda: world.store.update_task(task.name, longer, None)))
    assert (await world.read(task)).state is TaskState.RUNNING


async def test_a_deadline_that_passed_while_no_server_ran(world: World) -> None:
    """A server that was killed left a lease; the next one looks before it takes up what is unfinished."""
    running = await world.create("running", max_wall_clock_us=1_000_000)
    await make.lease(world.store, running, (0, 1))
    other = await world.create("other")
    await make.lease(world.store, other)
    await world.store.close()
    world.clock.advance(1)
    await world.open()
    await world.look()
    assert [live.task.task_id for live in await world.store.recover()] == ["other"]
    ended = await world.read(running)
    assert (ended.state, ended.stop_reason) == (TaskState.FAILED, StopReason.DEADLINE)
    assert (ended.live_subtasks, ended.cancelled) == (0, 2)


@pytest.mark.parametrize("state", ["DRAFT", "QUEUED", "RUNNING", "PAUSED"])
async def test_a_task_lives_so_long_and_no_longer(world: World, state: str) -> None:
    task = await world.create("t", draft=state == "DRAFT")
    if state == "RUNNING":
        await make.lease(world.store, task)
    if state == "PAUSED":
        await paused(world, task)
    finished = await make.finish(world.store, await world.create("finished", retention_us=DAY_US))
    world.clock.advance(1)
    await world.create("younger")
    lifetime_us = 60_000_000
    world.clock.us = task.create_us + lifetime_us - 1
    assert await world.look(lifetime_us=lifetime_us) == LEAST_SECONDS
    assert (await world.read(task)).state.name == state
    world.clock.us += 1
    assert await world.look(lifetime_us=lifetime_us) == pytest.approx(1)
    ended = await world.read(task)
    assert ended.stop_reason is StopReason.TASK_LIFETIME
    assert ended.state is (TaskState.CANCELLING if state == "RUNNING" else TaskState.FAILED)
    assert await world.read(finished) == finished
    assert (await world.store.get_task(replace(task, task_id="younger").name)).state is TaskState.QUEUED


async def test_one_that_is_being_stopped_does_not_hold_up_the_others(world: World) -> None:
    tasks = [await world.create(f"t{n}") for n in range(MOST + 1)]
    for task in tasks[:3]:
        await make.lease(world.store, task)
    world.clock.advance(2)
    keeper = world.keeper(lifetime_us=1_000_000)
    assert [await keeper.look() for _ in range(2)] == [0, LONG]
    states = [(await world.read(task)).state for task in tasks]
    assert states == [TaskState.CANCELLING] * 3 + [TaskState.FAILED] * (MOST - 2)


# -- the loop ---------------------------------------------------------------------------------------------------------


class Counted:
    """The store; counts the looks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.looks = 0

    async def due(self, now_us: int, most: int) -> list[Task]:
        self.looks += 1
        return await self._store.due(now_us, most)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def gone(world: World, task: Task) -> None:
    """Wait until the task is not there."""
    heard = asyncio.Event()
    stop = world.store.subscribe(lambda _: heard.set())
    while await world.is_there(task):
        await asyncio.wait_for(heard.wait(), 30)
        heard.clear()
    stop()


async def test_it_sleeps_until_something_brings_an_earlier_moment(world: World) -> None:
    store = Counted(world.store)
    keeper = world.keeper(store)
    keeper.start()
    await eventually_in_loop(lambda: store.looks == 1)
    first = await world.create("first")
    await eventually_in_loop(lambda: store.looks == 2, what="a first task brings a moment: the end of its lifetime")
    for number in range(20):  # none of these is earlier
        task = await world.create(f"t{number}")
        await make.finish(world.store, task)
        await world.store.delete_task(task.name, make.allow_delete, None)
    lease = await make.lease(world.store, first, (0, 1))
    await world.store.record_outcomes(lease, flush(first.name, ok=[0]))
    await world.store.release(lease, {})
    await eventually_in_loop(lambda: store.looks == 3, what="the first one that ended is kept for 30 days")
    at_once = await world.create("at once", retention_us=0)
    await make.finish(world.store, at_once)
    await gone(world, at_once)
    assert await world.is_there(first)
    await keeper.stop()
    assert store.looks <= 5


async def test_a_moment_that_is_near_is_waited_for(world: World) -> None:
    task = await world.create("t", retention_us=50_000)
    await make.finish(world.store, task)
    store = Counted(world.store)
    keeper = world.keeper(store)
    keeper.start()
    await eventually_in_loop(lambda: store.looks == 1)
    world.clock.advance(0.05)  # while it sleeps so long
    await gone(world, task)
    await keeper.stop()


async def test_a_clock_that_jumps_is_noticed(world: World) -> None:
    task = await make.finish(world.store, await world.create("t"))
    store = Counted(world.store)
    keeper = world.keeper(store, interval=0.01)
    keeper.start()
    await eventually_in_loop(lambda: store.looks > 2)
    world.clock.advance(-7200)
    seen = store.looks
    await eventually_in_loop(lambda: store.looks > seen + 2)
    assert await world.is_there(task)
    world.clock.advance(31 * 86_400)
    await gone(world, task)
    await keeper.stop()


@pytest.mark.parametrize("kind", ["disk_full", "error"])
async def test_a_store_that_fails_is_tried_again_and_told_of_once(
    world: World, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    tasks = [await make.finish(world.store, await world.create(f"t{n}", retention_us=0)) for n in range(3)]
    world.failpoints.armed["store.before_commit"] = kind
    store = Counted(world.store)
    keeper = world.keeper(store, interval=0.01)
    with caplog.at_level(logging.WARNING, "batchyard_server.dispatch"):
        keeper.start()
        await eventually_in_loop(lambda: store.looks > 5)
        world.failpoints.armed.clear()
        for task in tasks:
            await gone(world, task)
    assert len(caplog.records) == 1
    assert "trying again" in caplog.text
    await keeper.stop()
    await keeper.stop()


async def test_it_can_be_stopped_before_it_was_started(world: World) -> None:
    keeper = world.keeper()
    await keeper.stop()
    assert await keeper.look() == LONG
