"""What a record wrote is kept beside its outcome, and is seen until a later generation has one of its own."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchyard.v1.record_pb2 import RecordAttempt
from batchyard_server.model import limits
from batchyard_server.model.errors import NotFound, StaleLease
from batchyard_server.model.task import Attempts, Task
from batchyard_server.store.protocols import Store
from tests.conformance.store.conftest import Driver
from tests.conformance.store.test_merge import merged
from tests.support import store as make
from tests.support.outcomes import flush, interrupted, retries

Log = list[tuple[int, int, bytes | None]]


async def made(store: Store, records: int, task_id: str = "a") -> Task:
    return await store.create_task(make.new_task(task_id, records), None)


async def log(store: Store, task: Task, index: int) -> Log:
    """(generation, attempt, text) of every execution in the record's log."""
    found = await store.record_log(task.key, index)
    for each in found:
        info = RecordAttempt.FromString(each.info)
        assert (info.generation, info.attempt) == (each.generation, each.attempt)
    return [(each.generation, each.attempt, each.log) for each in found]


async def logged(store: Store, task: Task, *, pages: int = 1000) -> list[int]:
    """The indexes of all records with logs, page by page."""
    found: list[int] = []
    start: int | None = 0
    while start is not None:
        page = await store.log_page(task.key, start, pages, 1 << 30)
        assert len(page.logs) <= pages
        for index, attempts in page.logs:
            assert attempts == await store.record_log(task.key, index)
            found.append(index)
        assert page.next is None or not found or page.next > found[-1]
        start = page.next
    return found


async def finish(store: Store, task: Task, logs: Mapping[int, bytes], failed: Sequence[int] = ()) -> Task:
    """End all records that are left in one flush."""
    pending = (await store.unfinished(task)).pending
    lease = await make.lease(store, task, *pending)
    ok = [index for start, end in pending for index in range(start, end) if index not in failed]
    sent = flush(task.name, ok=ok, failed=failed, generation=task.generation, logs=logs)
    return await store.record_outcomes(lease, sent)


async def test_a_log_comes_back_as_it_was_written(driver: Driver) -> None:
    store = await driver.open()
    task = await made(store, 5)
    large = random.Random(1).randbytes(limits.LOG.maximum)
    await finish(store, task, {1: b"a\n", 3: b"\xff\0", 4: large}, failed=[3])
    for _ in range(2):
        assert [await log(store, task, index) for index in range(5)] == [
            [],
            [(1, 1, b"a\n")],
            [],
            [(1, 1, b"\xff\0")],
            [(1, 1, large)],
        ]
        assert await logged(store, task) == [1, 3, 4]
        store = await driver.reopen()


async def test_records_and_lists_do_not_carry_it(store: Store) -> None:
    quiet, loud = await made(store, 3), await made(store, 3, "b")
    await finish(store, quiet, {})
    await finish(store, loud, dict.fromkeys(range(3), b"x" * 1000))
    found = [b"".join(await make.read_all(store, task)) for task in (quiet, loud)]
    assert len(found[0]) == len(found[1])
    assert await logged(store, quiet) == []


async def test_a_refused_flush_stores_no_log(store: Store) -> None:
    task = await made(store, 2)
    lease = await make.lease(store, task)
    await store.record_outcomes(lease, flush(task.name, ok=[0]))
    with pytest.raises(StaleLease):
        await store.record_outcomes(lease, flush(task.name, ok=[0, 1], logs={0: b"late", 1: b"late"}))
    assert await logged(store, task) == []


async def test_every_attempt_has_a_section(driver: Driver) -> None:
    store = await driver.open()
    task = await made(store, 2)
    lease = await make.lease(store, task)
    first = flush(task.name, failed=[0], ok=[1], logs={0: b"first"})
    await store.record_outcomes(lease, first, retries(first, {0: Attempts(begun=1, failures=1)}))
    assert await log(store, task, 0) == [(1, 1, b"first")]
    assert await logged(store, task) == [0]
    lease = await make.lease(store, task, (0, 1))
    begun = {0: Attempts(begun=2, failures=1, lost=1)}
    await store.release(lease, begun, (), [interrupted(0, 2)], {0: b"second"})
    lease = await make.lease(store, task, (0, 1))
    quiet = flush(task.name, failed=[0], attempt=3)
    await store.record_outcomes(lease, quiet, retries(quiet, {0: Attempts(begun=3, failures=2)}))
    lease = await make.lease(store, task, (0, 1))
    await store.record_outcomes(lease, flush(task.name, ok=[0], attempt=4, logs={0: b"last"}))
    store = await driver.reopen()
    assert await log(store, task, 0) == [(1, 1, b"first"), (1, 2, b"second"), (1, 3, b""), (1, 4, b"last")]
    assert await log(store, task, 1) == []
    assert await logged(store, task) == [0]


async def test_of_a_failure_that_is_tried_again_a_long_log_is_cut(store: Store) -> None:
    task = await made(store, 1)
    lease = await make.lease(store, task)
    sent = flush(task.name, failed=[0], logs={0: b"<" + b"x" * limits.LOG.maximum + b">"})
    await store.record_outcomes(lease, sent, retries(sent, {0: Attempts(begun=1, failures=1)}))
    [(_, _, text)] = await log(store, task, 0)
    assert text is not None
    assert text.startswith(b"<x")
    assert text.endswith(b"x>")
    assert limits.ATTEMPT_LOG_BYTES - 64 <= len(text) <= limits.ATTEMPT_LOG_BYTES


async def test_a_release_keeps_only_what_is_open_in_its_lease(store: Store) -> None:
    task = await made(store, 2)
    lease = await make.lease(store, task)
    await store.record_outcomes(lease, flush(task.name, ok=[0], logs={0: b"mine"}))
    begun = {0: Attempts(begun=1), 1: Attempts(begun=1)}
    await store.release(lease, begun, (), [interrupted(0, 1), interrupted(1, 1)], {0: b"late", 1: b"lost"})
    assert await log(store, task, 0) == [(1, 1, b"mine")]
    assert await log(store, task, 1) == [(1, 1, b"lost")]


async def test_a_generation_takes_the_place_of_the_one_before_record_by_record(store: Store) -> None:
    task = await made(store, 4)
    task = await finish(store, task, {0: b"kept", 1: b"old", 2: b"old", 3: b"old"}, failed=[1, 2, 3])
    task = await store.update_task(task.name, make.reactivate, None)
    lease = await make.lease(store, task, (1, 4))
    assert await log(store, task, 1) == [(1, 1, b"old")]
    await store.record_outcomes(lease, flush(task.name, ok=[1], generation=2, logs={1: b"new"}))
    await store.record_outcomes(lease, flush(task.name, ok=[2], generation=2))
    assert [await log(store, task, index) for index in range(4)] == [
        [(1, 1, b"kept")],
        [(2, 1, b"new")],
        [],
        [(1, 1, b"old")],
    ]
    begun = {3: Attempts(begun=1)}
    await store.release(lease, begun, (), [interrupted(3, 1, generation=2)], {3: b"cut short"})
    assert await log(store, task, 3) == [(2, 1, b"cut short")]


async def test_joining_segments_changes_no_log(driver: Driver) -> None:
    store = await driver.open()
    task = await made(store, 300)
    order = list(range(0, 300, 2)) + list(range(1, 300, 2))
    for index in order:
        lease = await make.lease(store, task, (index, index + 1))
        logs = {index: f"record {index}\n".encode()} if index % 3 else {}
        await store.record_outcomes(lease, flush(task.name, ok=[index], logs=logs))
    await merged(store)
    for _ in range(2):
        assert await logged(store, task, pages=7) == [index for index in range(300) if index % 3]
        for index in range(300):
            expected = [(1, 1, f"record {index}\n".encode())] if index % 3 else []
            assert await log(store, task, index) == expected
        store = await driver.reopen()


async def test_large_logs_are_not_joined_into_larger_ones(store: Store) -> None:
    task = await made(store, 64)
    text = random.Random(2)
    logs = {index: text.randbytes(60_000) for index in range(64)}
    for index in range(64):
        lease = await make.lease(store, task, (index, index + 1))
        await store.record_outcomes(lease, flush(task.name, ok=[index], logs={index: logs[index]}))
    await merged(store)
    assert [await log(store, task, index) for index in range(64)] == [[(1, 1, logs[index])] for index in range(64)]


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 30))
async def test_any_order_of_segments_lists_in_order(driver: Driver, seed: int) -> None:
    """Narrow ones, wide ones, overlapping ones, and a second generation over them."""
    dice = random.Random(seed)
    store = await driver.open()
    task = await made(store, 12_000, f"t{seed}-{dice.random()}"[:40])
    wanted: set[int] = set()
    for _ in range(2):
        indexes = [*sorted(dice.sample(range(1, 11999), 40)), 0, 11999]
        dice.shuffle(indexes)
        pending = {index for start, end in (await store.unfinished(task)).pending for index in range(start, end)}
        indexes = [index for index in indexes if index in pending]
        while indexes:
            mine = sorted(indexes.pop() for _ in range(min(len(indexes), dice.randint(1, 9))))
            lease = await make.lease(store, task, *[(index, index + 1) for index in mine])
            failed = [index for index in mine if dice.random() < 0.5]
            logs = {index: b"x" for index in mine if dice.random() < 0.6}
            ok = [index for index in mine if index not in failed]
            sent = flush(task.name, ok=ok, failed=failed, generation=task.generation, logs=logs)
            await store.record_outcomes(lease, sent)
            wanted = wanted.difference(mine) | logs.keys()
        assert await logged(store, task, pages=dice.choice([1, 3, 100])) == sorted(wanted)
        task = await store.update_task(task.name, make.cancel, None)
        if not task.state.is_final:
            await store.release(lease, {})  # pyright: ignore[reportPossiblyUnboundVariable]
            task = await store.get_task(task.name)
        task = await store.update_task(task.name, make.reactivate, None)
    await driver.close()


async def test_a_deleted_task_leaves_no_log(driver: Driver) -> None:
    store = await driver.open()
    await made(store, 1, "other")
    store = await driver.reopen()
    await driver.close()
    before = driver.bytes_in_use()
    store = await driver.open()
    task = await made(store, 50)
    task = await finish(store, task, {index: random.Random(index).randbytes(20_000) for index in range(50)})
    await store.delete_task(task.name, make.allow_delete, None)
    with pytest.raises(NotFound):
        await store.record_log(task.key, 0)
    with pytest.raises(NotFound):
        await store.log_page(task.key, 0, 10, 1)
    await made(store, 1, "newer")
    while await store.sweep():
        pass
    await driver.close()
    assert driver.bytes_in_use() - before < 64 * limits.KIB
