"""Retries beside all else that ends an execution: time, lost workers, policies, pauses, other generations."""

from __future__ import annotations

from typing import Any

from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.model.errors import Code, Reason, ResourceExhausted
from batchyard_server.model.states import StopReason, TaskState, WaitingReason
from tests.unit.dispatch.retrying import begin, history, let_fail
from tests.unit.dispatch.stage import MAX_WORKER_LOST, Stage, attempts, reason, running

AT_ONCE: dict[str, Any] = {"initial_backoff_us": 0}
FULL = ResourceExhausted(Reason.DISK_FULL, "a test says so", subject="disk")
SECOND_US = 1_000_000


# -- other ends of an execution ---------------------------------------------------------------------------------------


async def test_a_record_that_passes_its_time_is_tried_again() -> None:
    stage = Stage()
    held, worker = await running(stage, 20, at=3, record_timeout_us=SECOND_US, max_retry_count=1)
    for execution in (1, 2):
        stage.tick(1.1)
        assert worker.killed
        worker.reap()
        await stage.turn()
        if execution == 2:
            break
        assert held.attempts[3].failures == 1
        assert held.attempts[3].retry_us > stage.clock.now_us()
        assert {index: each.failures for index, each in held.attempts.items() if index != 3} == {0: 0, 1: 0, 2: 0}
        await stage.load()
        await stage.work()
        assert sorted(held.outcomes) == [index for index in range(20) if index != 3]
        stage.tick(1)
        worker = stage.workers[0]
        assert await begin(stage, worker)
        assert worker.running == 3
    assert reason(held.outcomes[3]) == Reason.RECORD_TIMEOUT
    assert held.outcomes[3].attempt == 2
    assert history(held, 3) == [(1, RecordInfo.FAILED, Reason.RECORD_TIMEOUT)]
    assert history(held, 0) == [(1, RecordInfo.CANCELLED, Reason.RECORD_TIMEOUT)], "why its worker was killed"
    assert held.history[3][0].worker == "worker-0"
    await stage.work()
    stage.check_books()


async def test_lost_workers_are_no_retries_and_retries_no_lost_workers() -> None:
    stage = Stage()
    held, worker = await running(stage, 1, max_retry_count=2, **AT_ONCE)
    for _ in range(2):
        await let_fail(stage, worker)
        assert await begin(stage, worker)
        worker.crash()
        worker.reap()
        await stage.load()
        worker = stage.workers[0]
        assert await begin(stage, worker)
    known = held.attempts[0]
    assert (known.begun, known.lost, known.failures) == (4, MAX_WORKER_LOST, 2)
    await stage.work()
    assert attempts(held) == {0: 5}
    failed, cancelled = RecordInfo.FAILED, RecordInfo.CANCELLED
    assert [(attempt, state) for attempt, state, _ in history(held)] == [
        (1, failed),
        (2, cancelled),
        (3, failed),
        (4, cancelled),
    ]
    assert [why for _, _, why in history(held)] == ["", Reason.WORKER_LOST] * 2


async def test_the_last_lost_worker_is_not_retried_though_its_code_is_retryable() -> None:
    stage = Stage()
    held, worker = await running(stage, 1, max_retry_count=-1, **AT_ONCE)
    assert Code.ABORTED in held.task.settings.retryable_codes
    for _ in range(MAX_WORKER_LOST + 1):
        assert not held.outcomes
        worker.crash()
        worker.reap()
        await stage.load()
        worker = stage.workers[0] if stage.workers else worker
        await begin(stage, worker)
    assert reason(held.outcomes[0]) == Reason.WORKER_LOST
    assert held.outcomes[0].attempt == MAX_WORKER_LOST + 1
    assert [(attempt, state) for attempt, state, _ in history(held)] == [
        (attempt, RecordInfo.CANCELLED) for attempt in range(1, MAX_WORKER_LOST + 1)
    ]


async def test_a_kill_of_the_worker_by_the_server_counts_as_neither() -> None:
    stage = Stage()
    held, worker = await running(stage, 1, max_retry_count=1, **AT_ONCE)
    await let_fail(stage, worker)
    assert await begin(stage, worker)
    await stage.stop()
    known = held.attempts[0]
    assert (known.begun, known.lost, known.failures) == (2, 0, 1)
    assert history(held)[1:] == [(2, RecordInfo.CANCELLED, Reason.WORKER_KILLED)]
    stage.assemble()
    await stage.load()
    assert await begin(stage, stage.workers[0])
    await let_fail(stage, stage.workers[0])
    await stage.work()
    assert held.outcomes[0].state == RecordInfo.FAILED, "one retry was allowed, and it was used"
    assert attempts(held) == {0: 3}


# -- settings that change ---------------------------------------------------------------------------------------------


async def test_the_settings_of_now_decide() -> None:
    stage = Stage()
    held, worker = await running(stage, 1, max_retry_count=0, **AT_ONCE)
    for allowed in (1, 2):
        await stage.configure(held, max_retry_count=allowed)
        await let_fail(stage, worker)
        assert await begin(stage, worker)
    await stage.configure(held, max_retry_count=1)
    await let_fail(stage, worker)
    assert attempts(held) == {0: 3}
    assert held.outcomes[0].state == RecordInfo.FAILED
    stage = Stage()
    held, worker = await running(stage, 1, max_retry_count=5, **AT_ONCE)
    await stage.configure(held, retryable_codes=(Code.ABORTED,))
    await let_fail(stage, worker)
    assert held.outcomes[0].error.code == Code.UNAVAILABLE


# -- the failure policy -----------------------------------------------------------------------------------------------


async def test_too_many_failures_kill_what_runs() -> None:
    stage = Stage(slots=2)
    warm = stage.create(2)
    await stage.load()
    await stage.work()
    assert warm.task.state is TaskState.SUCCEEDED
    held = stage.create(10, max_failed_records=0, max_retry_count=1, **AT_ONCE)
    await stage.turn()
    first, second = stage.workers
    await begin(stage, first)
    await begin(stage, second)
    index = first.running
    assert index is not None
    await let_fail(stage, first)
    assert (held.task.state, held.task.failed) == (TaskState.RUNNING, 0), "it has not failed for good"
    while first.running != index:
        assert first.step(flush=True)
        first.deliver()
        await stage.turn()
    await let_fail(stage, first)
    assert (held.task.state, held.task.stop_reason) == (TaskState.CANCELLING, StopReason.FAILURE_POLICY)
    await stage.turn()
    assert second.killed
    second.reap()
    first.read()
    first.deliver()
    await stage.turn()
    await stage.work()
    assert (held.task.state, held.task.failed) == (TaskState.FAILED, 1)
    stage.check_books()


# -- pauses and generations -------------------------------------------------------------------------------------------


async def test_a_record_that_fails_while_its_task_pauses_waits_for_the_resume() -> None:
    stage = Stage()
    held, worker = await running(stage, 3, max_retry_count=1, **AT_ONCE)
    await stage.pause(held)
    await stage.turn()
    worker.read()
    await let_fail(stage, worker)
    worker.step()
    worker.deliver()
    await stage.turn()
    await stage.work()
    assert (held.task.state, held.leases, held.outcomes) == (TaskState.PAUSED, {}, {})
    assert held.task.key not in stage.dispatcher._queues
    await stage.resume(held)
    await stage.work()
    assert attempts(held) == {0: 2, 1: 1, 2: 1}
    stage.check_books()


async def test_a_pause_does_not_make_a_wait_longer_or_shorter() -> None:
    stage = Stage()
    held, worker = await running(stage, 1, max_retry_count=1)
    now_us = stage.clock.now_us()
    await let_fail(stage, worker)
    wait = (held.attempts[0].retry_us - now_us) / 1e6
    await stage.pause(held)
    assert held.task.state is TaskState.PAUSED
    assert stage.dispatcher._retrier._heap[0][2].queue is None
    stage.tick(wait / 2)
    await stage.resume(held)
    await stage.turn()
    stage.tick(wait / 2 - 1e-5)
    assert not await begin(stage, worker)
    stage.tick(2e-5)
    assert await begin(stage, worker)
    await stage.work()
    assert attempts(held) == {0: 2}
    stage.check_books()


async def test_a_retry_that_comes_due_in_a_pause_begins_with_the_resume() -> None:
    stage = Stage(slots=2)
    warm = stage.create(2)
    await stage.load()
    await stage.work()
    assert warm.task.state is TaskState.SUCCEEDED
    held = stage.create(2, max_retry_count=1)
    await stage.turn()
    first, second = stage.workers
    await begin(stage, first)
    await begin(stage, second)
    await let_fail(stage, first)
    await stage.pause(held)
    assert held.task.state is TaskState.PAUSING
    stage.tick(10)
    assert not await begin(stage, first)
    assert stage.dispatcher.waiting(held.task.key) is WaitingReason.NONE
    await stage.resume(held)
    assert held.task.state is TaskState.RUNNING
    assert await begin(stage, first)
    await stage.work()
    assert held.task.state is TaskState.SUCCEEDED
    assert sorted(attempts(held).values()) == [1, 2]
    stage.check_books()


async def test_another_generation_counts_anew() -> None:
    stage = Stage()
    held, worker = await running(stage, 1, max_retry_count=1, **AT_ONCE)
    for generation in (1, 2):
        for _ in range(2):
            await let_fail(stage, worker)
            await begin(stage, worker)
        assert (held.task.state, held.task.generation) == (TaskState.FAILED, generation)
        assert attempts(held) == {0: 2}
        await stage.reactivate(held)
        await stage.turn()
        assert await begin(stage, worker)
    await stage.work()
    assert (held.task.state, held.task.generation) == (TaskState.SUCCEEDED, 3)
    assert attempts(held) == {0: 1}
    stage.check_books()
