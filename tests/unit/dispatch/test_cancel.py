"""Does a cancel reach a subtask wherever it is, and end when nothing lives any more?"""

from __future__ import annotations

from batchyard_server.execution.slot import Phase
from batchyard_server.model.states import TaskState
from tests.unit.dispatch.stage import Stage, attempts, running


async def test_cancel_while_a_subtask_is_being_cut() -> None:
    stage = Stage()
    _, worker = await running(stage, 1)
    stage.store.slow_reads = True
    worker.step()
    held = stage.create(5)
    worker.deliver()
    await stage.turn()
    assert stage.store.reading
    stage.store.cancel(held.task.key)
    assert held.task.state is TaskState.CANCELLED
    stage.store.read()
    await stage.turn()
    assert not worker.killed
    assert not worker.runs
    stage.check_slots()


async def test_cancel_while_the_worker_starts() -> None:
    stage = Stage()
    held = stage.create(5)
    await stage.turn()
    assert held.task.state is TaskState.RUNNING
    stage.store.cancel(held.task.key)
    await stage.turn()
    assert held.task.state is TaskState.CANCELLED
    stage.workers[0].load()
    stage.workers[0].deliver()
    assert not stage.workers[0].step()


async def test_a_worker_that_is_ended_while_it_starts_gets_nothing() -> None:
    stage = Stage()
    held = stage.create(5)
    await stage.turn()
    worker = stage.workers[0]
    stage.tick(301)
    assert worker.killed
    worker.load()
    worker.deliver()
    await stage.turn()
    assert not worker.step()
    assert stage.executor._slots[0].phase is Phase.ENDING
    worker.reap()
    await stage.work()
    assert attempts(held) == dict.fromkeys(range(5), 1)


async def test_cancel_of_what_is_queued_in_the_worker() -> None:
    stage = Stage()
    _, worker = await running(stage, 1)
    held = stage.create(1)
    await stage.turn()
    worker.read()
    assert [run.batch_task for run in worker.runs] == [str(held.task.name)]
    stage.store.cancel(held.task.key)
    await stage.turn()
    assert held.task.state is TaskState.CANCELLING
    worker.read()
    worker.deliver()
    await stage.turn()
    assert held.task.state is TaskState.CANCELLED
    assert not worker.killed


async def test_cancel_of_what_is_queued_behind_a_record_that_lets_nobody_answer() -> None:
    stage = Stage()
    first, worker = await running(stage, 1)
    held = stage.create(1)
    await stage.turn()
    stage.store.cancel(held.task.key)
    stage.tick(0.5)
    assert not worker.killed
    stage.tick(0.6)
    assert worker.killed
    worker.reap()
    await stage.turn()
    assert held.task.state is TaskState.CANCELLED
    await stage.work()
    assert attempts(first) == {0: 2}
    assert first.task.state is TaskState.SUCCEEDED


async def test_cancel_of_what_began_before_the_worker_heard_of_it() -> None:
    stage = Stage()
    _, worker = await running(stage, 1)
    held = stage.create(1)
    await stage.turn()
    worker.read()
    stage.store.cancel(held.task.key)
    worker.step()
    worker.step(unread=True)
    assert worker.current is not None
    assert worker.current.batch_task == str(held.task.name)
    worker.read()
    worker.deliver()
    assert worker.killed
    worker.reap()
    await stage.turn()
    assert held.task.state is TaskState.CANCELLED


async def test_cancel_of_what_runs_ends_when_the_worker_is_reaped() -> None:
    stage = Stage()
    held, worker = await running(stage, 20, at=3)
    stage.store.cancel(held.task.key)
    await stage.turn()
    assert worker.killed
    assert held.task.state is TaskState.CANCELLING
    worker.crash()
    await stage.turn()
    assert held.task.state is TaskState.CANCELLING
    worker.reap()
    await stage.turn()
    assert held.task.state is TaskState.CANCELLED
    assert held.unreaped == []
    stage.check_slots()


async def test_outcomes_that_were_sent_before_the_kill_are_kept() -> None:
    stage = Stage()
    held, worker = await running(stage, 20, at=3)
    worker.flush()
    stage.store.cancel(held.task.key)
    worker.reap()
    await stage.turn()
    assert held.task.state is TaskState.CANCELLED
    assert sorted(held.outcomes) == [0, 1, 2]


async def test_cancel_when_the_last_outcome_is_being_written() -> None:
    stage = Stage()
    held, worker = await running(stage, 1)
    stage.store.automatic = False
    worker.step()
    worker.deliver()
    await stage.turn()
    stage.store.cancel(held.task.key)
    assert not worker.killed
    while stage.store.commit():
        await stage.turn()
    assert held.task.state is TaskState.CANCELLED
    assert sorted(held.outcomes) == [0]


async def test_cancel_does_not_end_before_a_worker_without_a_lease_is_gone() -> None:
    """Its grant was refused, because the cancel was written first; another lease of the task lives on for a while."""
    stage = Stage(slots=2)
    held = stage.create(2)
    await stage.load()
    first, second = stage.workers
    assert first.step()
    stage.store.automatic = False
    first.crash()
    first.reap()
    await stage.turn()
    stage.store.commit()  # the release; its record is given out again
    await stage.load()
    third = stage.workers[-1]
    assert third.step()
    assert [write.name for write in stage.store.waiting] == ["grant"]
    assert second.step()
    stage.store.cancel(held.task.key)
    stage.store.commit()
    await stage.turn()
    assert second.killed
    assert third.killed
    second.reap()
    for _ in range(5):
        await stage.turn()
        stage.store.commit()
    assert held.task.state is TaskState.CANCELLING
    third.reap()
    for _ in range(5):
        await stage.turn()
        stage.store.commit()
    assert held.task.state is TaskState.CANCELLED
    stage.check_slots()


async def test_processes_that_cannot_be_ended_are_told() -> None:
    stage = Stage()
    held, worker = await running(stage, 2)
    stage.store.cancel(held.task.key)
    worker.reap(unreaped=(41, 42))
    await stage.turn()
    assert held.task.state is TaskState.CANCELLED
    assert held.unreaped == [41, 42]
    assert [slot.phase for slot in stage.executor._slots] == [Phase.RETIRED]
