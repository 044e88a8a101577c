"""What becomes of the records of a worker that is gone?"""

from __future__ import annotations

from batchyard_server.model.errors import Reason, ResourceExhausted
from batchyard_server.model.states import TaskState, WaitingReason
from tests.unit.dispatch.stage import MAX_WORKER_LOST, Stage, attempts, reason, running

FULL = ResourceExhausted(Reason.DISK_FULL, "a test says so", subject="disk")


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
