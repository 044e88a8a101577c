"""Records that are tried again leave their lease without an outcome, and every execution of a record is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from google.rpc.status_pb2 import Status

from batchyard.v1.record_pb2 import RecordAttempt, RecordInfo
from batchyard_server.codec import segments
from batchyard_server.model import limits
from batchyard_server.model.errors import NotFound, ResourceExhausted, StaleLease
from batchyard_server.model.record import Order
from batchyard_server.model.states import Event, TaskState, after
from batchyard_server.model.task import Attempts, Flush, Lease, Task
from batchyard_server.store.protocols import Store, TaskEvent
from tests.conformance.store.conftest import Driver
from tests.support import store as make
from tests.support.outcomes import FAILURE, flush, interrupted, retries

ONCE = Attempts(begun=1, failures=1, retry_us=77)
FAILED, SUCCEEDED, CANCELLED = RecordInfo.FAILED, RecordInfo.SUCCEEDED, RecordInfo.CANCELLED


async def made(store: Store, records: int, task_id: str = "a") -> Task:
    return await store.create_task(make.new_task(task_id, records), None)


async def retry(store: Store, lease: Lease, sent: Flush, indexes: Sequence[int], known: Attempts = ONCE) -> Task:
    """Store a flush of which these records are tried again."""
    return await store.record_outcomes(lease, sent, retries(sent, dict.fromkeys(indexes, known)))


def pause(task: Task) -> Task:
    """`decide` of a pause while a lease lives."""
    return task.enter(after(task.state, Event.PAUSE), 3_000_000)


async def past(store: Store, task: Task, index: int = 0) -> list[tuple[int, int, RecordInfo.State]]:
    """(generation, attempt, state) of every execution that is kept of a record."""
    found = await store.record_attempts(task.key, index)
    parsed = [RecordAttempt.FromString(each.info) for each in found]
    assert [(each.generation, each.attempt) for each in found] == [(each.generation, each.attempt) for each in parsed]
    return [(each.generation, each.attempt, each.state) for each in parsed]


async def placeholders(store: Store, task: Task) -> dict[int, int]:
    """The attempts of the records without an outcome that have any."""
    records = make.parse(await make.read_all(store, task))
    return {each.index: each.attempt for each in records if each.state == RecordInfo.PENDING and each.attempt}


# -- record_outcomes with retries -------------------------------------------------------------------------------------


async def test_what_is_tried_again_leaves_the_lease_and_the_rest_is_stored(store: Store) -> None:
    task = await made(store, 10)
    lease = await make.lease(store, task, (0, 6))
    counted = await retry(store, lease, flush(task.name, ok=[0, 3], failed=[1, 2]), [2])
    assert (counted.succeeded, counted.failed, counted.next_sequence, counted.live_subtasks) == (2, 1, 3, 1)
    assert make.indexes(await make.read_all(store, task, Order.COMPLETION)) == [0, 1, 3]
    assert await store.failures(task.key, 1) == [(1, FAILURE.SerializeToString())]
    assert await placeholders(store, task) == {2: 1}
    with pytest.raises(StaleLease):
        await store.record_outcomes(lease, flush(task.name, ok=[2]))
    other = await make.lease(store, task, (2, 3))
    counted = await store.record_outcomes(other, flush(task.name, ok=[2], attempt=2))
    assert (counted.succeeded, counted.live_subtasks) == (3, 1)
    assert await past(store, task, 2) == [(1, 1, FAILED), (1, 2, SUCCEEDED)]
    counted = await store.record_outcomes(lease, flush(task.name, ok=[4, 5]))
    assert (counted.succeeded, counted.live_subtasks) == (5, 0)


async def test_a_flush_of_which_everything_is_tried_again_is_no_outcome(store: Store) -> None:
    task = await made(store, 4)
    lease = await make.lease(store, task)
    heard: list[TaskEvent] = []
    store.subscribe(heard.extend)
    before = await store.get_task(task.name)
    assert await retry(store, lease, flush(task.name, failed=[1, 3]), [1, 3]) == before
    assert heard == [], "nobody can see a difference"
    ended = await retry(store, lease, flush(task.name, failed=[0, 2]), [0, 2])
    assert (ended.state, ended.live_subtasks, ended.ended) == (TaskState.RUNNING, 0, 0)
    assert [event.task for event in heard] == [ended]
    assert await make.read_all(store, task, Order.COMPLETION) == []
    assert await placeholders(store, task) == dict.fromkeys(range(4), 1)
    done = await make.finish(store, task)
    assert (done.state, done.succeeded) == (TaskState.SUCCEEDED, 4)


async def test_retries_are_remembered_over_a_restart(driver: Driver) -> None:
    store = await driver.open()
    task = await made(store, 10)
    lease = await make.lease(store, task, (0, 5))
    await retry(store, lease, flush(task.name, ok=[0], failed=[1, 2]), [1, 2])
    again = await make.lease(store, task, (2, 3))
    twice = Attempts(begun=3, lost=1, failures=2, retry_us=1 << 60)
    await retry(store, again, flush(task.name, failed=[2]), [2], twice)
    store = await driver.reopen()
    (live,) = await store.recover()
    assert live.pending == [(1, 10)]
    assert dict(live.attempts) == {1: ONCE, 2: twice}
    assert live == await store.unfinished(live.task)
    assert await past(store, task, 2) == [(1, 1, FAILED), (1, 3, FAILED)]
    assert await placeholders(store, task) == {1: 1, 2: 3}


async def test_a_retry_of_the_last_open_record_pauses_a_pausing_task(store: Store) -> None:
    task = await made(store, 10)
    first, second = await make.lease(store, task, (0, 2)), await make.lease(store, task, (2, 4))
    assert (await store.update_task(task.name, pause, None)).state is TaskState.PAUSING
    waiting = await retry(store, first, flush(task.name, ok=[0], failed=[1]), [1])
    assert (waiting.state, waiting.live_subtasks) == (TaskState.PAUSING, 1)
    paused = await retry(store, second, flush(task.name, failed=[2, 3]), [2, 3])
    assert (paused.state, paused.live_subtasks, paused.ended) == (TaskState.PAUSED, 0, 1)
    assert (await store.unfinished(paused)).attempts == dict.fromkeys((1, 2, 3), ONCE)


async def test_nothing_is_tried_again_in_a_task_that_is_being_cancelled(store: Store) -> None:
    task = await made(store, 10)
    lease = await make.lease(store, task)
    await store.update_task(task.name, make.cancel, None)
    kept = await retry(store, lease, flush(task.name, ok=[0], failed=[1, 2]), [1])
    assert (kept.state, kept.succeeded, kept.failed) == (TaskState.CANCELLING, 1, 2)
    assert [index for index, _ in await store.failures(task.key, 1)] == [1, 2]
    assert await past(store, task, 1) == [(1, 1, FAILED)]
    assert await placeholders(store, task) == {}
    done = await store.release(lease, {})
    assert done is not None
    assert (done.state, done.cancelled) == (TaskState.CANCELLED, 7)


async def test_a_stale_lease_has_nothing_tried_again(store: Store) -> None:
    task = await made(store, 4)
    old = await make.lease(store, task)
    await store.release(old, {})
    await make.lease(store, task)
    with pytest.raises(StaleLease):
        await retry(store, old, flush(task.name, ok=[0], failed=[1]), [1])
    assert await past(store, task, 1) == []
    assert await placeholders(store, task) == {}


async def test_retries_that_contradict_their_flush_are_refused(store: Store) -> None:
    task = await made(store, 4)
    lease = await make.lease(store, task)
    sent = flush(task.name, ok=[0], failed=[1, 2])
    right = retries(sent, {1: ONCE})
    for wrong in (
        replace(right, rest=sent),
        replace(right, rest=flush(task.name, ok=[0])),
        replace(right, attempts={1: ONCE, 3: ONCE}),
        replace(right, attempts={}),
    ):
        with pytest.raises(ValueError, match="retried"):
            await store.record_outcomes(lease, sent, wrong)
    assert (await store.get_task(task.name)).ended == 0
    assert [await past(store, task, index) for index in range(4)] == [[]] * 4
    assert await placeholders(store, task) == {}


async def test_all_of_it_or_nothing_is_stored(driver: Driver) -> None:
    store = await driver.open()
    task = await made(store, 10)
    lease = await make.lease(store, task)
    sent = flush(task.name, ok=[0], failed=[1, 2])
    driver.failpoints.armed["store.before_commit"] = "disk_full"
    with pytest.raises(ResourceExhausted):
        await retry(store, lease, sent, [1])
    driver.failpoints.armed.clear()
    for _ in range(2):
        assert [await past(store, task, index) for index in range(3)] == [[]] * 3
        (live,) = [await store.unfinished(await store.get_task(task.name))]
        assert (live.pending, dict(live.attempts)) == ([(0, 10)], {})
        store = await driver.reopen()
    await store.recover()
    lease = await make.lease(store, task, (0, 3))
    await retry(store, lease, sent, [1])
    store = await driver.reopen()
    (live,) = await store.recover()
    assert (live.pending, dict(live.attempts)) == ([(1, 2), (3, 10)], {1: ONCE})
    assert (live.task.succeeded, live.task.failed) == (1, 1)
    assert [len(await past(store, task, index)) for index in range(4)] == [1, 1, 1, 0]


async def test_a_mutation_that_fails_beside_it_takes_nothing_of_it_along(driver: Driver) -> None:
    """Written in one group, undone alone."""
    store = await driver.open()
    first, second = await made(store, 2, "a"), await made(store, 2, "b")
    leases = [await make.lease(store, first), await make.lease(store, second)]
    driver.failpoints.armed["store.final_state"] = "disk_full"
    sent = [flush(first.name, failed=[0, 1]), flush(second.name, ok=[0], failed=[1])]
    results = await asyncio.gather(
        retry(store, leases[0], sent[0], [1]), store.record_outcomes(leases[1], sent[1]), return_exceptions=True
    )
    assert not isinstance(results[0], BaseException)
    assert isinstance(results[1], ResourceExhausted)
    driver.failpoints.armed.clear()
    assert await past(store, first, 1) == [(1, 1, FAILED)]
    assert await past(store, second, 1) == []


# -- the history of attempts ------------------------------------------------------------------------------------------


async def test_interrupted_executions_are_remembered_with_their_release(store: Store) -> None:
    task = await made(store, 10)
    lease = await make.lease(store, task, (0, 3))
    await store.record_outcomes(lease, flush(task.name, ok=[0]))
    begun = {index: Attempts(begun=1) for index in range(5)}
    history = [interrupted(index, 1, message=f"of {index}") for index in range(5)]
    await store.release(lease, begun, (), history)
    assert await past(store, task, 0) == [(1, 1, SUCCEEDED)], "it has its outcome"
    for index in (1, 2):
        (found,) = await store.record_attempts(task.key, index)
        assert RecordAttempt.FromString(found.info).error == Status(code=10, message=f"of {index}")
    assert [await past(store, task, index) for index in (3, 4)] == [[], []], "the lease never had them"
    await store.release(lease, begun, (), history)
    assert await past(store, task, 1) == [(1, 1, CANCELLED)], "it does not live: nothing happens"


async def test_an_outcome_is_an_attempt_with_all_that_is_known_of_it(store: Store) -> None:
    task = await made(store, 3)
    lease = await make.lease(store, task)
    sent = flush(task.name, ok=[0], failed=[1, 2], attempt=4)
    records = make.parse(segments.split_page(sent.page))
    records[1].exit_code = 3
    records[1].start_time.FromMicroseconds(5)
    records[1].end_time.FromMicroseconds(7)
    page = segments.join_page(each.SerializeToString() for each in records)
    await store.record_outcomes(lease, replace(sent, page=page))
    (found,) = [RecordAttempt.FromString(each.info) for each in await store.record_attempts(task.key, 1)]
    assert (found.attempt, found.generation, found.state, found.exit_code) == (4, 1, FAILED, 3)
    assert (found.error, found.worker) == (FAILURE, "")
    assert (found.start_time.ToMicroseconds(), found.end_time.ToMicroseconds()) == (5, 7)
    (well,) = [RecordAttempt.FromString(each.info) for each in await store.record_attempts(task.key, 0)]
    assert (well.state, well.HasField("error"), well.HasField("exit_code")) == (SUCCEEDED, False, False)
    assert not well.HasField("start_time")
    assert await store.record_attempts(task.key, 9) == []


async def test_attempts_of_all_generations_in_their_order(driver: Driver) -> None:
    store = await driver.open()
    task = await made(store, 40)
    for generation in (1, 2, 3):
        lease = await make.lease(store, task, *([(0, 40)] if generation == 1 else [(0, 1), (7, 8)]))
        sent = flush(task.name, failed=[0], generation=generation)
        await retry(store, lease, sent, [0])
        again = await make.lease(store, task, (0, 1))
        await store.release(again, {0: Attempts(begun=2, failures=1)}, (), [interrupted(0, 2, generation=generation)])
        again = await make.lease(store, task, (0, 1))
        await store.record_outcomes(again, flush(task.name, failed=[0], generation=generation, attempt=3))
        others = [*range(1, 7), *range(8, 40)] if generation == 1 else []
        ended = flush(task.name, ok=others, failed=[7], generation=generation)
        task = await store.record_outcomes(lease, ended)
        assert task.state is TaskState.SUCCEEDED
        task = await store.update_task(task.name, make.reactivate, None)
    assert await past(store, task) == [
        (generation, attempt, state)
        for generation in (1, 2, 3)
        for attempt, state in ((1, FAILED), (2, CANCELLED), (3, FAILED))
    ]
    assert await past(store, task, 7) == [(generation, 1, FAILED) for generation in (1, 2, 3)]
    assert await past(store, task, 5) == [(1, 1, SUCCEEDED)], "it is not run again"
    store = await driver.reopen()
    assert len(await past(store, task)) == 9


async def test_the_last_hundred_attempts_are_kept(store: Store) -> None:
    most = limits.RECORD_ATTEMPTS
    task = await made(store, 3)
    for begun in range(1, most + 31):
        lease = await make.lease(store, task, (0, 2))
        sent = flush(task.name, failed=[0, 1] if begun <= most else [0])
        await retry(store, lease, sent, sent.failed, Attempts(begun=begun, failures=begun))
        await store.release(lease, {})
    assert await past(store, task, 0) == [(1, attempt, FAILED) for attempt in range(31, most + 31)]
    assert await past(store, task, 1) == [(1, attempt, FAILED) for attempt in range(1, most + 1)]
    assert await past(store, task, 2) == []


async def test_outcomes_count_among_the_last_hundred(store: Store) -> None:
    task = await made(store, 2)
    for generation in (1, 2, 3):
        for attempt in range(1, 21):
            lease = await make.lease(store, task, (0, 1))
            known = Attempts(begun=attempt, failures=attempt)
            await retry(store, lease, flush(task.name, failed=[0], generation=generation), [0], known)
        lease = await make.lease(store, task, (0, 1), *([(1, 2)] if generation == 1 else []))
        ok = [1] if generation == 1 else []
        ended = flush(task.name, ok=ok, failed=[0], generation=generation, attempt=21)
        task = await store.record_outcomes(lease, ended)
        task = await store.update_task(task.name, make.reactivate, None)
    assert await past(store, task) == [(generation, n, FAILED) for generation in (1, 2, 3) for n in range(1, 22)]
    for attempt in range(1, 81):
        lease = await make.lease(store, task, (0, 1))
        known = Attempts(begun=attempt, failures=attempt)
        await retry(store, lease, flush(task.name, failed=[0], generation=4), [0], known)
    found = await past(store, task)
    assert len(found) == limits.RECORD_ATTEMPTS
    assert found == [(3, n, FAILED) for n in range(2, 22)] + [(4, n, FAILED) for n in range(1, 81)]


async def test_a_task_that_was_deleted_has_no_attempts(store: Store) -> None:
    task = await made(store, 1)
    lease = await make.lease(store, task)
    await retry(store, lease, flush(task.name, failed=[0]), [0])
    await store.release(lease, {})
    await store.delete_task(task.name, lambda task: task, None)
    with pytest.raises(NotFound):
        await store.record_attempts(task.key, 0)
    anew = await store.create_task(make.new_task("a", 1, uid="anew"), None)
    while await store.sweep():
        pass
    assert await past(store, anew) == []


async def test_attempts_are_found_in_joined_segments(store: Store) -> None:
    task = await made(store, 600)
    lease = await make.lease(store, task)
    order = [index for pair in zip(range(300), range(300, 600), strict=True) for index in pair]
    for index in order:
        bad = index % 7 == 0
        sent = flush(task.name, ok=[] if bad else [index], failed=[index] if bad else [])
        await store.record_outcomes(lease, sent)
    while await store.merge():
        pass
    for index in (0, 1, 7, 299, 300, 301, 599):
        assert await past(store, task, index) == [(1, 1, SUCCEEDED if index % 7 else FAILED)]
