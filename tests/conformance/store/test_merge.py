"""Joining small segments changes nothing that a reader can see."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchyard_server.model.errors import StaleLease
from batchyard_server.model.record import Order, View
from batchyard_server.model.task import Lease, Task
from batchyard_server.store.protocols import Store
from tests.conformance.store.conftest import Driver
from tests.support import store as make
from tests.support.outcomes import flush


async def merged(store: Store) -> int:
    """Call merge until there is nothing to do; how often."""
    calls = 1
    while await store.merge():
        calls += 1
        assert calls < 1000
    return calls


async def everything(store: Store, task: Task, sizes: Sequence[int]) -> list[list[bytes]]:
    """The task's records in both orders and views, in pages of these sizes."""
    return [
        await make.read_all(store, task, order, view=view, max_records=size, max_bytes=size * 90)
        for order in Order
        for view in View
        for size in sizes
    ]


async def run_one_by_one(store: Store, task: Task, order: Sequence[int], *, failed: frozenset[int]) -> None:
    """Each record under a lease of its own, in that order."""
    for index in order:
        lease = await make.lease(store, task, (index, index + 1))
        ok = [] if index in failed else [index]
        await store.record_outcomes(lease, flush(task.name, ok=ok, failed=[index] if index in failed else []))


async def test_one_record_segments_of_two_workers_become_few(driver: Driver) -> None:
    store = await driver.open()
    task = await store.create_task(make.new_task("a", 600), None)
    turns = [index for pair in zip(range(300), range(300, 600), strict=True) for index in pair]
    await run_one_by_one(store, task, turns, failed=frozenset({5, 310}))
    before = await everything(store, task, (7, 1000))
    await merged(store)
    assert await everything(store, task, (7, 1000)) == before
    assert make.indexes(before[-1]) == turns
    store = await driver.reopen()
    assert await everything(store, task, (7, 1000)) == before
    for index in (0, 299, 300, 599):
        with pytest.raises(StaleLease):
            await store.grant(Lease(task_key=task.key, generation=1, ranges=[(index, index + 1)], worker="w"))


async def test_what_an_earlier_process_left_is_joined_too(driver: Driver) -> None:
    store = await driver.open()
    task = await store.create_task(make.new_task("a", 50), None)
    await run_one_by_one(store, task, range(50), failed=frozenset())
    before = await everything(store, task, (3,))
    store = await driver.reopen()
    await merged(store)
    assert driver.failpoints.hits["store.merge"] == 1
    assert await everything(store, task, (3,)) == before
    assert await store.merge() is False


async def test_a_running_task_goes_on_after_a_merge(driver: Driver) -> None:
    store = await driver.open()
    task = await store.create_task(make.new_task("a", 400), None)
    await run_one_by_one(store, task, range(0, 400, 2), failed=frozenset())
    store = await driver.reopen()
    (live,) = await store.recover()
    await run_one_by_one(store, live.task, range(1, 201, 2), failed=frozenset())
    await merged(store)
    assert driver.failpoints.hits["store.merge"]
    store = await driver.reopen()
    (live,) = await store.recover()
    assert live.pending == [(i, i + 1) for i in range(201, 400, 2)]
    await run_one_by_one(store, live.task, range(201, 400, 2), failed=frozenset())
    await merged(store)
    assert make.indexes(await make.read_all(store, task)) == list(range(400))


async def test_a_merge_that_fails_leaves_everything_as_it_was(driver: Driver) -> None:
    store = await driver.open()
    task = await store.create_task(make.new_task("a", 40), None)
    await run_one_by_one(store, task, range(40), failed=frozenset())
    before = await everything(store, task, (9,))
    driver.failpoints.armed["store.merge"] = "disk_full"
    with pytest.raises(Exception, match="disk"):
        await store.merge()
    assert await everything(store, task, (9,)) == before
    driver.failpoints.armed.clear()
    await merged(store)
    assert await everything(store, task, (9,)) == before


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 2**32),
    total=st.integers(20, 120),
    chunk=st.integers(1, 4),
    unfinished=st.integers(0, 10),
    size=st.integers(1, 130),
    twice=st.booleans(),
)
async def test_pages_before_a_merge_are_pages_after_it(
    store: Store, seed: int, total: int, chunk: int, unfinished: int, size: int, twice: bool
) -> None:
    """Any interleaving, any page size, merged once or while it runs and again at the end."""
    chance = random.Random(seed)
    task = await store.create_task(make.new_task(f"t{store_number()}", total), None)
    order = list(range(total))
    chance.shuffle(order)
    order = order[: max(1, total - unfinished)]
    lease = await make.lease(store, task)
    groups = [sorted(order[at : at + chunk]) for at in range(0, len(order), chunk)]
    for number, group in enumerate(groups):
        bad = [index for index in group if chance.random() < 0.2]
        await store.record_outcomes(lease, flush(task.name, ok=[i for i in group if i not in bad], failed=bad))
        if twice and number == len(groups) // 2:
            await merged(store)
    if unfinished and len(order) < total:
        await store.update_task(task.name, make.cancel, None)
        await store.release(lease, {})
    before = await everything(store, task, (size, 1000))
    await merged(store)
    assert await everything(store, task, (size, 1000)) == before
    assert make.indexes(before[-1])[: len(order)] == [i for group in groups for i in group]


_numbers = iter(range(10**9))


def store_number() -> int:
    """A number for a name that was not used before."""
    return next(_numbers)
