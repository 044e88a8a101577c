"""When does a task start? When its first lease is asked for, and never before it last changed."""

from __future__ import annotations

import asyncio

from batchyard_server.model.task import Lease, Task
from batchyard_server.store.protocols import Store
from tests.conformance.store.conftest import Driver
from tests.support import store as make


async def made(store: Store) -> tuple[Task, Lease]:
    task = await store.create_task(make.new_task("a", 1), None)
    return task, Lease(task_key=task.key, generation=task.generation, ranges=[(0, 1)], worker="w")


async def test_it_starts_when_its_lease_is_asked_for_and_not_when_that_is_durable(driver: Driver) -> None:
    store = await driver.open()
    _, lease = await made(store)
    driver.clock.advance(5)
    asked_us = driver.clock.us

    async def later() -> None:
        driver.clock.advance(1)

    running, _ = await asyncio.gather(store.grant(lease), later())
    assert (running.start_us, running.transition_us) == (asked_us, asked_us)


async def test_times_never_go_back(driver: Driver) -> None:
    store = await driver.open()
    task, lease = await made(store)
    driver.clock.us = task.update_us - 5
    running = await store.grant(lease)
    assert running.start_us == running.update_us == task.update_us
