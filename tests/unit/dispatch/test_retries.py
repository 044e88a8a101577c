"""Is a failed record tried again as often as it may be, at its time, and not before?"""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.dispatch.retries import KEPT_ENTRIES
from batchyard_server.model.errors import Reason, ResourceExhausted
from batchyard_server.model.states import TaskState, WaitingReason
from tests.unit.dispatch.retrying import begin, history, let_fail
from tests.unit.dispatch.stage import Stage, attempts, running

AT_ONCE: dict[str, Any] = {"initial_backoff_us": 0}
FULL = ResourceExhausted(Reason.DISK_FULL, "a test says so", subject="disk")
SECOND_US = 1_000_000


@pytest.mark.parametrize("failures", [0, 1, 2, 3])
@pytest.mark.parametrize("allowed", [0, 1, 2])
async def test_n_retries_are_n_and_one_tries(allowed: int, failures: int) -> None:
    stage = Stage()
    held, worker = await running(stage, 1, max_retry_count=allowed, **AT_ONCE)
    for _ in range(min(failures, allowed + 1)):
        assert not held.outcomes
        await let_fail(stage, worker)
        await begin(stage, worker)
    await stage.work()
    failed = failures > allowed
    assert (held.task.succeeded, held.task.failed) == (not failed, failed)
    assert attempts(held) == {0: min(failures, allowed) + 1}
    assert [attempt for attempt, *_ in history(held)] == list(range(1, min(failures, allowed) + 1))
    assert all(state == RecordInfo.FAILED for _, state, _ in history(held))
    stage.check_books()


async def test_retries_without_end_keep_one_entry() -> None:
    stage = Stage()
    held, worker = await running(stage, 1, max_retry_count=-1, **AT_ONCE)
    queue = stage.dispatcher._queues[held.task.key]
    for _ in range(500):
        await let_fail(stage, worker)
        assert await begin(stage, worker)
        assert (len(queue.attempts), len(queue.held), len(stage.dispatcher._retrier._heap)) == (1, 0, 0)
    assert held.attempts[0].failures == 500
    await stage.work()
    assert attempts(held) == {0: 501}


async def test_a_retry_waits_for_its_time_and_not_longer() -> None:
    stage = Stage()
    held, worker = await running(stage, 1, max_retry_count=5)
    for failures, longest in enumerate((1, 2, 4, 8, 16), start=1):
        now_us = stage.clock.now_us()
        await let_fail(stage, worker)
        wait_us = held.attempts[0].retry_us - now_us
        assert longest * SECOND_US / 2 <= wait_us <= longest * SECOND_US
        assert held.attempts[0].failures == failures
        stage.tick((wait_us - 1) / 1e6)
        assert not await begin(stage, worker)
        assert stage.dispatcher.waiting(held.task.key) is WaitingReason.NONE
        stage.tick(1e-6)
        assert await begin(stage, worker)
    await stage.work()
    assert attempts(held) == {0: 6}


async def test_a_waiting_retry_does_not_hold_up_what_else_can_run() -> None:
    stage = Stage()
    held, worker = await running(stage, 10, at=2, max_retry_count=1, initial_backoff_us=60 * SECOND_US)
    await let_fail(stage, worker)
    assert sorted(held.outcomes) == [0, 1]
    await stage.work()
    assert sorted(held.outcomes) == [index for index in range(10) if index != 2]
    assert held.task.state is TaskState.RUNNING
    assert not held.leases
    assert stage.dispatcher.waiting(held.task.key) is WaitingReason.NONE
    other = stage.create(3)
    await stage.work()
    assert other.task.state is TaskState.SUCCEEDED
    stage.tick(60)
    await stage.work()
    assert attempts(held) == {index: 1 + (index == 2) for index in range(10)}
    stage.check_books()


async def test_records_of_one_flush_come_back_together() -> None:
    stage = Stage()
    held, worker = await running(stage, 60, at=0, max_retry_count=1)
    for index in range(60):
        worker.step(failed=index % 2 == 0)
        worker.step()
    worker.flush()
    worker.deliver()
    await stage.turn()
    assert sorted(held.outcomes) == list(range(1, 60, 2))
    assert len({each.retry_us for each in held.attempts.values()}) == 1
    assert len({id(each) for each in held.attempts.values()}) == 1, "equal ones are one"
    assert len(stage.dispatcher._retrier._heap) == 1
    stage.tick(1)
    await stage.work()
    assert attempts(held) == {index: 1 + (index % 2 == 0) for index in range(60)}


async def test_another_slot_may_try_while_the_first_subtask_goes_on() -> None:
    stage = Stage(slots=2)
    warm = stage.create(2)
    await stage.load()
    await stage.work()
    assert warm.task.state is TaskState.SUCCEEDED
    held = stage.create(10, max_retry_count=1, **AT_ONCE)
    await stage.turn()
    for worker in stage.workers:
        await begin(stage, worker)
    first = next(worker for worker in stage.workers if worker.running == 0)
    await let_fail(stage, first)
    assert await begin(stage, first)
    assert first.running == 1
    await stage.work()
    assert attempts(held) == {index: 1 + (index == 0) for index in range(10)}
    stage.check_books()


async def test_a_drain_does_not_wait_for_a_retry() -> None:
    stage = Stage()
    held, worker = await running(stage, 1, max_retry_count=1)
    await let_fail(stage, worker)
    await stage.dispatcher.drain(1e9)
    stage.tick(10)
    assert not await begin(stage, worker)
    await stage.stop()
    assert held.attempts[0].failures == 1


@pytest.mark.parametrize("in_order", [True, False])
async def test_what_is_left_of_a_wait_outlives_the_server(in_order: bool) -> None:
    stage = Stage()
    held, worker = await running(stage, 3, max_retry_count=1)
    await let_fail(stage, worker)
    wait = (held.attempts[0].retry_us - stage.clock.now_us()) / 1e6
    if in_order:
        await stage.stop()
    else:
        stage.die()
    stage.clock.advance(wait / 2)
    stage.assemble()
    await stage.load()
    await stage.work()
    assert sorted(held.outcomes) == [1, 2]
    stage.tick(stage.dispatcher._retrier._heap[0][0] / 1e9 - stage.clock.monotonic_ns() / 1e9 - 1e-6)
    await stage.work()
    assert sorted(held.outcomes) == [1, 2]
    assert stage.clock.now_us() >= held.attempts[0].retry_us - 1000, "as long as it was to wait before"
    stage.tick(1e-5)
    await stage.work()
    assert attempts(held) == {0: 2, 1: 1, 2: 1}
    stage.check_books()


async def test_a_clock_that_is_set_back_makes_no_wait_longer_than_the_longest() -> None:
    stage = Stage()
    held, worker = await running(stage, 1, max_retry_count=1, max_backoff_us=3 * SECOND_US)
    await let_fail(stage, worker)
    stage.die()
    stage.clock.us -= 3_600 * SECOND_US
    stage.assemble()
    await stage.load()
    stage.tick(3)
    await stage.work()
    assert attempts(held) == {0: 2}


async def test_a_retry_that_is_due_when_the_server_starts_begins_at_once() -> None:
    stage = Stage()
    held, worker = await running(stage, 1, max_retry_count=1)
    await let_fail(stage, worker)
    stage.die()
    stage.clock.advance(1)
    stage.assemble()
    await stage.load()
    await stage.work()
    assert attempts(held) == {0: 2}


async def test_a_failure_that_could_not_be_written_is_known_to_nobody() -> None:
    """The server is killed between the failure and its commit: the execution counts neither as a try nor as begun."""
    stage = Stage()
    held, worker = await running(stage, 1, max_retry_count=1, **AT_ONCE)
    stage.store.fail = lambda name: FULL if name == "outcomes" else None
    await let_fail(stage, worker)
    stage.die()
    stage.store.fail = lambda _: None
    stage.assemble()
    await stage.load()
    assert held.attempts == {}
    await begin(stage, stage.workers[0])
    await let_fail(stage, stage.workers[0])
    await stage.work()
    assert attempts(held) == {0: 2}
    assert [attempt for attempt, *_ in history(held)] == [1]


async def test_a_retry_is_written_once_though_the_store_could_not_at_first() -> None:
    stage = Stage()
    held, worker = await running(stage, 1, max_retry_count=1, **AT_ONCE)
    stage.store.fail = lambda name: FULL if name == "outcomes" else None
    await let_fail(stage, worker)
    stage.store.fail = lambda _: None
    await stage.work()
    assert attempts(held) == {0: 2}
    assert [attempt for attempt, *_ in history(held)] == [1]


# -- stops ------------------------------------------------------------------------------------------------------------


async def test_a_cancel_forgets_what_waits() -> None:
    stage = Stage()
    held, worker = await running(stage, 1, max_retry_count=1)
    await let_fail(stage, worker)
    stage.store.cancel(held.task.key)
    await stage.turn()
    assert held.task.state is TaskState.CANCELLED
    stage.tick(10)
    assert not await begin(stage, worker)
    assert held.outcomes == {}
    stage.check_books()


@pytest.mark.parametrize("known", [True, False])
async def test_a_failure_in_a_task_that_was_cancelled_is_kept(known: bool) -> None:
    """Whether the dispatcher knew of the cancel when the failure came, or only the store did."""
    stage = Stage()
    held, worker = await running(stage, 5, max_retry_count=1, **AT_ONCE)
    worker.step(failed=True, flush=True)
    if known:
        stage.store.cancel(held.task.key)
        worker.deliver()
    else:
        stage.store.automatic = False
        worker.deliver()
        await stage.turn()
        stage.store.cancel(held.task.key)
        stage.store.automatic = True
        stage.store.commit()
    await stage.turn()
    await stage.work()
    assert held.task.state is TaskState.CANCELLED
    assert [(index, each.state) for index, each in held.outcomes.items()] == [(0, RecordInfo.FAILED)]
    assert held.history.get(0) is None
    stage.check_books()


async def test_forgotten_waits_do_not_pile_up() -> None:
    """Tasks are cancelled while a retry of theirs waits for a day: nothing of them may stay that long."""
    stage = Stage()
    warm = stage.create()
    await stage.load()
    await stage.work()
    assert warm.task.state is TaskState.SUCCEEDED
    for _ in range(5 * KEPT_ENTRIES):
        day_us = 86_400 * SECOND_US
        held = stage.create(1, max_retry_count=1, initial_backoff_us=day_us, max_backoff_us=day_us)
        assert await begin(stage, stage.workers[0])
        await let_fail(stage, stage.workers[0])
        assert len(stage.dispatcher._queues[held.task.key].held) == 1
        stage.store.cancel(held.task.key)
        await stage.turn()
    assert len(stage.dispatcher._retrier._heap) <= KEPT_ENTRIES + 1
    assert all(each[2].queue is None for each in stage.dispatcher._retrier._heap)
    stage.check_books()


async def test_one_timer_for_everything_that_waits() -> None:
    stage = Stage()
    retrier = stage.dispatcher._retrier
    held, worker = await running(stage, 30, max_retry_count=1)
    assert retrier._timer is None, "without a retry nothing wakes the server"
    seen: list[Any] = []
    for _ in range(30):
        await let_fail(stage, worker)
        seen.append(retrier._timer)
        await begin(stage, worker)
    assert len(retrier._heap) == 30
    assert all(each is not None for each in seen)
    assert [each for each in set(seen) if not each.cancelled()] == [retrier._timer]
    stage.tick(1)
    await stage.work()
    assert attempts(held) == dict.fromkeys(range(30), 2)


async def test_the_timer_gives_back_what_is_due_and_waits_for_the_rest() -> None:
    stage = Stage()
    retrier = stage.dispatcher._retrier
    held, worker = await running(stage, 2, max_retry_count=1)
    for index in range(2):
        await let_fail(stage, worker)
        await begin(stage, worker)
        stage.clock.advance(0.1 * (1 - index))
    first, second = (each[0] for each in sorted(retrier._heap))
    retrier._on_timer()
    assert len(retrier._heap) == 2, "a timer may be early"
    stage.clock.advance((first - stage.clock.monotonic_ns()) / 1e9)
    retrier._on_timer()
    assert [each[0] for each in retrier._heap] == [second]
    assert retrier._timer is not None
    stage.clock.advance((second - stage.clock.monotonic_ns()) / 1e9)
    retrier._on_timer()
    assert (retrier._heap, retrier._timer) == ([], None)
    await stage.work()
    assert attempts(held) == {0: 2, 1: 2}
