"""What time alone will change, and when: kept with every change of a task, found again by a server that starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from batchyard_server.model.settings import DAY_US, DRAFT_US, Settings
from batchyard_server.model.states import Event, TaskState, after
from batchyard_server.model.task import Task
from batchyard_server.store.protocols import Decide, Store
from tests.conformance.store.conftest import Driver
from tests.support import store as make

FAR = 1 << 62


async def create(driver: Driver, store: Store, task_id: str, *, draft: bool = False, **settings: Any) -> Task:
    new = make.new_task(task_id, 2, draft=draft, create_us=driver.clock.now_us(), settings=Settings(**settings))
    due_us = driver.clock.now_us() + DRAFT_US if draft else 0
    return await store.create_task(replace(new, task=replace(new.task, due_us=due_us)), None)


async def due(store: Store, now_us: int = FAR, most: int = 100) -> list[str]:
    return [task.task_id for task in await store.due(now_us, most)]


def changed(**settings: Any) -> Decide:
    return lambda task: replace(task, settings=Settings(**settings), revision=task.revision + 1)


async def test_every_change_of_a_task_sets_its_moment(driver: Driver) -> None:
    store = await driver.open()
    task = await create(driver, store, "t", draft=True, max_wall_clock_us=10, retention_us=100)
    assert await store.next_due_us() == task.expire_us == driver.clock.now_us() + DRAFT_US
    task = await store.update_task(task.name, make.start, None)
    assert (task.due_us, await store.next_due_us()) == (0, 0)
    driver.clock.advance(5)
    lease = await make.lease(store, task, (0, 1))
    began = driver.clock.now_us()
    assert await store.next_due_us() == began + 10
    task = await store.update_task(task.name, changed(max_wall_clock_us=30, retention_us=100), None)
    assert (task.due_us, task.expire_us, await store.next_due_us()) == (began + 30, 0, began + 30)
    task = await store.update_task(task.name, make.cancel, None)
    assert (task.state, task.due_us, await store.next_due_us()) == (TaskState.CANCELLING, 0, 0)
    ended = await store.release(lease, {})
    assert ended is not None
    assert ended.state is TaskState.CANCELLED
    assert await store.next_due_us() == ended.due_us == ended.expire_us == ended.end_us + 100
    task = await store.update_task(task.name, changed(retention_us=DAY_US), None)
    assert await store.next_due_us() == task.expire_us == ended.end_us + DAY_US
    store = await driver.reopen()
    assert await store.get_task(task.name) == task
    assert await store.next_due_us() == task.expire_us

    def again(found: Task) -> Task:
        begun = replace(found, generation=2, operation="op-2", end_us=0, start_us=0, cancelled=0)
        return begun.enter(after(found.state, Event.REACTIVATE), driver.clock.now_us())

    task = await store.update_task(task.name, again, None)
    assert (task.due_us, await store.next_due_us()) == (0, 0)


async def test_what_is_due_comes_in_the_order_of_its_moments(driver: Driver) -> None:
    store = await driver.open()
    for number in (3, 1, 4, 2):
        task = await create(driver, store, f"t{number}", retention_us=number * 1_000)
        await make.finish(store, task)
    never = await create(driver, store, "never")
    end_us = driver.clock.now_us()
    assert await due(store) == ["t1", "t2", "t3", "t4"]
    assert await due(store, most=2) == ["t1", "t2"]
    assert await due(store, end_us + 999) == []
    assert await due(store, end_us + 2_000) == ["t1", "t2"]
    assert await store.next_due_us() == end_us + 1_000
    (first,) = await store.due(end_us + 1_000, 1)
    assert await store.get_task(first.name) == first
    await store.delete_task(first.name, make.allow_delete, None)
    assert await due(store) == ["t2", "t3", "t4"]
    store = await driver.reopen()
    assert await due(store) == ["t2", "t3", "t4"]
    assert (await store.get_task(never.name)).due_us == 0


async def test_the_oldest_that_is_unfinished(driver: Driver) -> None:
    store = await driver.open()
    assert await store.oldest_unfinished() is None
    tasks = [await create(driver, store, f"t{number}", draft=number == 0) for number in range(6)]

    async def oldest() -> str:
        found = await store.oldest_unfinished()
        assert found is not None
        assert await store.get_task(found.name) == found
        return found.task_id

    assert await oldest() == "t0"
    await store.delete_task(tasks[0].name, make.allow_delete, None)
    assert await oldest() == "t1"
    await make.finish(store, tasks[1])
    await store.update_task(tasks[2].name, make.cancel, None)
    assert await oldest() == "t3"
    await make.lease(store, tasks[3])
    assert await oldest() == "t3"
    await store.update_task(tasks[3].name, make.cancel, None)
    assert (await store.get_task(tasks[3].name)).state is TaskState.CANCELLING
    assert await oldest() == "t4", "one that is being stopped is stopped already"
    store = await driver.reopen()
    assert await oldest() == "t4"
