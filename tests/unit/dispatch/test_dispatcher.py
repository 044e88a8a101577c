"""What becomes of the records of one task, event by event?"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import pytest

from batchyard_server.dispatch import dispatcher as dispatcher_module
from batchyard_server.dispatch.pause import Pause
from batchyard_server.execution.slot import Phase
from batchyard_server.model.errors import Reason, ResourceExhausted, Unavailable
from batchyard_server.model.states import TaskState, WaitingReason
from tests.support.dispatch import FakeWorker
from tests.support.memory_store import Held
from tests.unit.dispatch.stage import MAX_WORKER_LOST, Stage, attempts, reason

FULL = ResourceExhausted(Reason.DISK_FULL, "a test says so", subject="disk")


async def running(stage: Stage, records: int, at: int = 0, **options: int) -> tuple[Held, FakeWorker]:
    """A task whose record `at` runs, all of them in one subtask."""
    warm = stage.create()
    await stage.load()
    await stage.work()
    assert warm.task.state is TaskState.SUCCEEDED
    held = stage.create(records, **options)
    await stage.turn()
    worker = stage.workers[0]
    for _ in range(2 * at + 1):
        worker.step()
    assert worker.running == at
    await stage.turn()
    return held, worker


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


# -- cancel -------------------------------------------------------------------------------------------------------


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


# -- loss ---------------------------------------------------------------------------------------------------------


async def test_a_crash_counts_against_the_record_that_ran_alone() -> None:
    stage = Stage()
    held, worker = await running(stage, 10, at=5)
    other = stage.create(1)
    await stage.turn()
    worker.read()
    assert worker.runs
    worker.crash()
    worker.reap()
    await stage.turn()
    begun = {index: (each.begun, each.lost) for index, each in held.attempts.items()}
    assert begun == {**dict.fromkeys(range(5), (1, 0)), 5: (1, 1)}
    assert other.attempts == {}
    await stage.work()
    assert attempts(held) == {index: 2 if index <= 5 else 1 for index in range(10)}
    assert attempts(other) == {0: 1}


async def test_what_was_sent_before_a_crash_is_not_run_again_even_if_it_cannot_be_written_yet() -> None:
    stage = Stage()
    held, worker = await running(stage, 40, at=5)
    stage.store.fail = lambda name: FULL if name == "outcomes" else None
    worker.flush()
    worker.crash()
    worker.reap()
    await stage.turn()
    assert not held.outcomes
    stage.store.fail = lambda _: None
    await stage.work()
    assert attempts(held) == {index: 2 if index == 5 else 1 for index in range(40)}


async def test_a_record_that_kills_its_worker_fails_at_last() -> None:
    stage = Stage()
    held, _ = await running(stage, 3, at=1)
    for _ in range(MAX_WORKER_LOST + 1):
        await stage.load()
        worker = stage.workers[-1]
        while worker.running != 1:
            worker.step(flush=True)
        worker.crash()
        worker.reap()
        await stage.turn()
    record = held.outcomes[1]
    assert reason(record) == Reason.WORKER_LOST
    assert record.attempt == MAX_WORKER_LOST + 1
    assert "SIGSEGV" in record.error.message
    await stage.work()
    assert (held.task.succeeded, held.task.failed) == (2, 1)


async def test_a_crash_after_a_record_counts_against_it() -> None:
    """What a record left in the process may kill it later; else such a record would be run for ever."""
    stage = Stage()
    held, worker = await running(stage, 20, at=2)
    worker.step()
    worker.crash()
    worker.reap()
    await stage.turn()
    assert {index: each.lost for index, each in held.attempts.items()} == {0: 0, 1: 0, 2: 1}
    await stage.work()
    assert held.task.state is TaskState.SUCCEEDED


async def test_a_crash_after_an_outcome_was_sent_counts_against_none() -> None:
    stage = Stage()
    held, worker = await running(stage, 20, at=2)
    worker.step(flush=True)
    worker.crash()
    worker.reap()
    await stage.turn()
    assert sorted(held.outcomes) == [0, 1, 2]
    assert held.attempts == {}
    await stage.work()
    assert attempts(held) == dict.fromkeys(range(20), 1)


async def test_a_worker_that_crashes_before_its_first_record_is_not_started_again_at_once() -> None:
    stage = Stage()
    held = stage.create(3)
    await stage.load()
    stage.book._first_retry_seconds = 1000
    stage.workers[0].crash()
    stage.workers[0].reap()
    await stage.turn(50)
    assert stage.launcher.started == 1
    assert stage.dispatcher.waiting(held.task.key) is WaitingReason.HANDLER_UNAVAILABLE


async def test_a_slow_record_fails_and_the_rest_goes_on() -> None:
    stage = Stage()
    held, worker = await running(stage, 20, at=3, record_timeout_us=1_000_000)
    stage.tick(0.9)
    assert not worker.killed
    stage.tick(0.2)
    assert worker.killed
    worker.reap()
    await stage.work()
    assert reason(held.outcomes[3]) == Reason.RECORD_TIMEOUT
    assert held.outcomes[3].attempt == 1
    assert (held.task.succeeded, held.task.failed) == (19, 1)
    assert attempts(held) == {index: 2 if index < 3 else 1 for index in range(20)}


async def test_a_slow_record_that_ends_while_it_is_killed_keeps_its_outcome() -> None:
    stage = Stage()
    held, worker = await running(stage, 20, at=3, record_timeout_us=300_000)
    stage.tick(0.4)
    assert worker.killed
    worker.step(flush=True)
    worker.step()
    worker.reap()
    await stage.work()
    assert (held.task.succeeded, held.task.failed) == (20, 0)
    assert attempts(held)[4] == 2


# -- giving back --------------------------------------------------------------------------------------------------


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


# -- a store that cannot ------------------------------------------------------------------------------------------


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


# -- drain --------------------------------------------------------------------------------------------------------


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
    assert held.task.state is TaskState.SUCCEEDED
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
    assert stage.dispatcher.waiting(held.task.key) is WaitingReason.NONE
    other = stage.create(1, handler="other")
    unknown = stage.create(1, handler="gone")
    await stage.turn()
    assert stage.dispatcher.is_live(other.task.key)
    assert stage.dispatcher.waiting(other.task.key) is WaitingReason.NO_SLOT
    assert stage.dispatcher.waiting(unknown.task.key) is WaitingReason.HANDLER_UNAVAILABLE
    worker.step()
    assert stage.dispatcher.running(held.task.key) == frozenset()
    worker.deliver()
    await stage.turn()
    assert not stage.dispatcher.is_live(held.task.key)
