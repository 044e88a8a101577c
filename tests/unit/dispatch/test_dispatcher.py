"""What becomes of the records of one task, event by event?"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

from batchyard_server.model.states import TaskState, WaitingReason
from tests.unit.dispatch.stage import Stage, attempts, running


async def test_a_task_runs_to_its_end() -> None:
    stage = Stage(slots=2)
    held = stage.create(100)
    await stage.work()
    assert held.task.state is TaskState.SUCCEEDED
    assert attempts(held) == dict.fromkeys(range(100), 1)
    await stage.stop()
    stage.check_books()


async def test_unfinished_tasks_are_taken_up_at_start() -> None:
    stage = Stage()
    held, worker = await running(stage, 20, at=5)
    worker.flush()
    worker.deliver()
    await stage.turn()
    assert sorted(held.outcomes) == [0, 1, 2, 3, 4]
    stage.die()
    stage.assemble()
    await stage.work()
    assert sorted(held.outcomes) == list(range(20))


async def test_what_a_subtask_leaves_over_is_pending_again() -> None:
    stage = Stage()
    held, worker = await running(stage, 20, at=3)
    worker.step(over=True)
    worker.deliver()
    await stage.turn()
    assert sorted(held.outcomes) == [0, 1, 2, 3]
    await stage.work()
    assert attempts(held) == dict.fromkeys(range(20), 1)


async def test_what_waits_behind_a_slow_record_goes_to_another_slot() -> None:
    stage = Stage(slots=2)
    warm = stage.create(2)
    await stage.work()
    assert warm.task.state is TaskState.SUCCEEDED
    slow, quick = stage.create(1), stage.create(1)
    third = stage.create(1)
    await stage.turn()
    busy, idle = stage.workers
    assert busy.step()
    idle.read()
    busy.read()
    assert len(busy.runs) + len(idle.runs) == 2
    while idle.step(flush=True):
        idle.deliver()
    stage.tick(0.2)
    busy.read()
    busy.deliver()
    await stage.turn()
    while idle.step(flush=True):
        idle.deliver()
    await stage.turn()
    finished = [held.task.state for held in (slow, quick, third)]
    assert finished == [TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.SUCCEEDED]
    busy.read()
    assert not busy.runs


async def test_nothing_is_sent_to_wait_behind_a_slow_record() -> None:
    stage = Stage()
    _, worker = await running(stage, 1)
    stage.create(1)
    await stage.turn()
    stage.tick(0.2)
    worker.read()
    assert not worker.runs
    worker.deliver()
    for _ in range(5):
        await stage.turn()
        stage.tick(0.2)
        worker.read()
        assert not worker.runs
        worker.deliver()
    assert len([line for line in stage.store.log if line.startswith("grant")]) == 3
    await stage.work()
    assert all(held.task.state is TaskState.SUCCEEDED for held in stage.store.held.values())


async def test_tasks_of_one_handler_take_turns() -> None:
    stage = Stage()
    order: list[str] = []
    stage.launcher.on_start = lambda worker: setattr(
        worker, "begun", lambda name, _index, _attempt: order.append(name[-1])
    )
    for _ in range(3):
        stage.create(3000)
    await stage.work()
    assert Counter(order) == {"0": 3000, "1": 3000, "2": 3000}
    turns = [name for name, _ in itertools.groupby(order)]
    assert turns[:4] == ["0", "1", "2", "0"]
    assert all(sorted(turns[at : at + 3]) == ["0", "1", "2"] for at in range(len(turns) - 5))


async def test_drain_lets_what_runs_end_and_gives_the_rest_back() -> None:
    stage = Stage()
    held, worker = await running(stage, 5, at=2)
    behind = stage.create(1)
    await stage.turn()
    draining = asyncio.ensure_future(stage.dispatcher.drain(60))
    await stage.turn()
    late = stage.create(1)
    await stage.turn()
    assert not draining.done()
    while worker.step(flush=True):
        worker.deliver()
        await stage.turn()
    worker.deliver()
    await stage.turn()
    assert draining.done()
    assert (held.task.state, sorted(held.outcomes), held.leases) == (TaskState.RUNNING, [0, 1, 2], {})
    assert not behind.outcomes
    assert not behind.leases
    assert late.task.state is TaskState.QUEUED
    await stage.stop()
    assert not stage.workers


async def test_drain_ends_by_itself_and_stop_gives_back_what_still_runs() -> None:
    stage = Stage()
    held, _ = await running(stage, 5, at=2)
    await stage.dispatcher.drain(0)
    await stage.stop()
    assert not held.leases
    assert {index: (each.begun, each.lost) for index, each in held.attempts.items()} == dict.fromkeys(range(3), (1, 0))
    assert held.task.state is TaskState.RUNNING


async def test_an_idle_server_does_not_tick() -> None:
    stage = Stage()
    held = stage.create(10)
    await stage.work()
    assert held.task.state is TaskState.SUCCEEDED
    stage.tick(0.6)
    stage.executor._ticking = None
    stage.tick()
    assert stage.executor._ticking is None


async def test_why_a_task_waits() -> None:
    stage = Stage(handlers=("echo", "other"))
    held, worker = await running(stage, 1)
    assert stage.dispatcher.running(held.task.key) == {0}
    assert stage.dispatcher.all_running() == {held.task.key: 1}
    assert stage.dispatcher.waiting(held.task.key) is WaitingReason.NONE
    other = stage.create(1, handler="other")
    unknown = stage.create(1, handler="gone")
    await stage.turn()
    assert stage.dispatcher.is_live(other.task.key)
    assert stage.dispatcher.waiting(other.task.key) is WaitingReason.NO_SLOT
    assert stage.dispatcher.waiting(unknown.task.key) is WaitingReason.HANDLER_UNAVAILABLE
    worker.step()
    assert stage.dispatcher.running(held.task.key) == frozenset()
    assert stage.dispatcher.all_running() == {}
    worker.deliver()
    await stage.turn()
    assert not stage.dispatcher.is_live(held.task.key)
