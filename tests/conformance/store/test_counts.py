"""How many tasks are in each state: kept with every change, whatever happens to it. See also Driver.close."""

from __future__ import annotations

import asyncio

import pytest

from batchyard_server.model.errors import AlreadyExists, ResourceExhausted
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Lease
from batchyard_server.store.protocols import Store
from tests.conformance.store.conftest import Driver
from tests.support import store as make
from tests.support.outcomes import flush

S = TaskState


async def test_nobody_has_any(store: Store) -> None:
    assert await store.task_counts("p") == {}


async def test_a_task_is_counted_where_it_is(driver: Driver) -> None:
    store = await driver.open()
    task = await store.create_task(make.new_task("a", 2, draft=True), None)
    await store.create_task(make.new_task("a", project="q"), None)
    assert await store.task_counts("p") == {S.DRAFT: 1}
    await store.update_task(task.name, make.start, None)
    assert await store.task_counts("p") == {S.QUEUED: 1}
    lease = Lease(task_key=task.key, generation=1, ranges=[(0, 2)], worker="w")
    await store.grant(lease)
    assert await store.task_counts("p") == {S.RUNNING: 1}
    await store.update_task(task.name, make.pause, None)
    assert await store.task_counts("p") == {S.PAUSING: 1}
    await store.release(lease, {})
    assert await store.task_counts("p") == {S.PAUSED: 1}
    await store.update_task(task.name, make.resume, None)
    lease = Lease(task_key=task.key, generation=1, ranges=[(0, 2)], worker="w")
    await store.grant(lease)
    await store.update_task(task.name, make.cancel, None)
    assert await store.task_counts("p") == {S.CANCELLING: 1}
    store = await driver.reopen()
    await store.recover()
    assert await store.task_counts("p") == {S.CANCELLED: 1}
    await store.update_task(task.name, make.reactivate, None)
    await make.finish(store, await store.get_task(task.name))
    assert await store.task_counts("p") == {S.SUCCEEDED: 1}
    assert await store.task_counts("q") == {S.QUEUED: 1}
    await store.delete_task(task.name, make.allow_delete, None)
    assert await store.task_counts("p") == {}
    while await store.sweep():
        pass
    assert await store.task_counts("p") == {}


async def test_changes_of_one_commit_are_summed(store: Store) -> None:
    tasks = [await store.create_task(make.new_task(f"t{n}", 1), None) for n in range(6)]
    lease = Lease(task_key=tasks[0].key, generation=1, ranges=[(0, 1)], worker="w")
    results = await asyncio.gather(
        store.grant(lease),
        store.record_outcomes(lease, flush(tasks[0].name, ok=[0])),
        *(store.update_task(task.name, make.cancel, None) for task in tasks[1:4]),
        store.delete_task(tasks[1].name, make.allow_delete, None),
        store.create_task(make.new_task("T5", uid="again"), None),
        store.create_task(make.new_task("new"), None),
        return_exceptions=True,
    )
    assert [type(each) for each in results if isinstance(each, BaseException)] == [AlreadyExists]
    assert await store.task_counts("p") == {S.QUEUED: 3, S.SUCCEEDED: 1, S.CANCELLED: 2}


async def test_what_was_not_committed_is_not_counted(driver: Driver) -> None:
    store = await driver.open()
    task = await store.create_task(make.new_task("a", 1), None)
    driver.failpoints.armed["store.before_commit"] = "disk_full"
    for change in (
        store.create_task(make.new_task("b"), None),
        store.update_task(task.name, make.cancel, None),
        store.delete_task(task.name, lambda found: found, None),
    ):
        with pytest.raises(ResourceExhausted):
            await change
    driver.failpoints.armed.clear()
    assert await store.task_counts("p") == {S.QUEUED: 1}
