"""A full disk and a disk that fails: a clear error, nothing half stored, and it goes on when it can."""

from __future__ import annotations

import asyncio

import pytest

from batchyard_server.model.errors import NotFound, Reason, ResourceExhausted, Unavailable
from batchyard_server.model.names import TaskName
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Lease
from batchyard_server.store.protocols import TaskEvent
from tests.conformance.store.conftest import Driver
from tests.support import store as make
from tests.support.outcomes import flush


async def test_a_full_disk_is_said_and_passes(driver: Driver) -> None:
    store = await driver.open()
    task = await store.create_task(make.new_task("a", 4), None)
    heard: list[TaskEvent] = []
    store.subscribe(heard.extend)
    driver.failpoints.armed["store.before_commit"] = "disk_full"
    lease = Lease(task_key=task.key, generation=1, ranges=[(0, 4)], worker="w")
    results = await asyncio.gather(
        store.grant(lease),
        store.record_outcomes(lease, flush(task.name, ok=[0])),
        store.create_task(make.new_task("b"), make.request()),
        store.create_task(make.new_task("A", uid="again"), None),
        return_exceptions=True,
    )
    assert all(isinstance(result, Exception) for result in results)
    full = [result for result in results if isinstance(result, ResourceExhausted)]
    assert full
    assert {error.reason for error in full} == {Reason.DISK_FULL}
    assert (lease.epoch, heard, store.healthy) == (0, [], True)
    assert await store.get_task(task.name) == task
    with pytest.raises(NotFound):
        await store.get_task(TaskName("p", "b"))
    driver.failpoints.armed.clear()
    await store.grant(lease)
    done = await store.record_outcomes(lease, flush(task.name, ok=range(4)))
    assert done.state is TaskState.SUCCEEDED
    await store.create_task(make.new_task("b"), make.request())


async def test_after_a_lost_write_nothing_is_acknowledged_until_a_restart(driver: Driver) -> None:
    store = await driver.open()
    task = await store.create_task(make.new_task("a", 4), None)
    driver.failpoints.armed["store.before_commit"] = "io_error"
    with pytest.raises(Unavailable) as caught:
        await store.update_task(task.name, make.cancel, None)
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert not store.healthy
    driver.failpoints.armed.clear()
    with pytest.raises(Unavailable):
        await store.create_task(make.new_task("b"), None)
    assert await store.get_task(task.name) == task  # reads go on
    store = await driver.reopen()
    assert store.healthy
    assert (await store.update_task(task.name, make.cancel, None)).state is TaskState.CANCELLED


async def test_an_answer_that_is_lost_after_the_commit_can_be_asked_for_again(driver: Driver) -> None:
    store = await driver.open()
    heard: list[TaskEvent] = []
    store.subscribe(heard.extend)
    driver.failpoints.armed["store.after_commit"] = "error"
    with pytest.raises(Unavailable):
        await store.create_task(make.new_task("a", 4), make.request())
    assert len(heard) == 1
    driver.failpoints.armed.clear()
    task = await store.create_task(make.new_task("a", 4), make.request())
    assert task == heard[0].task == await store.get_task(task.name)


async def test_a_fault_in_one_mutation_is_its_own(driver: Driver) -> None:
    store = await driver.open()
    first = await store.create_task(make.new_task("a", 1), None)
    second = await store.create_task(make.new_task("b", 2), None)
    leases = [await make.lease(store, first), await make.lease(store, second)]
    driver.failpoints.armed["store.final_state"] = "disk_full"
    results = await asyncio.gather(
        store.record_outcomes(leases[1], flush(second.name, ok=[0])),
        store.record_outcomes(leases[0], flush(first.name, ok=[0])),
        return_exceptions=True,
    )
    assert not isinstance(results[0], BaseException)
    assert isinstance(results[1], ResourceExhausted)
    driver.failpoints.armed.clear()
    assert (await store.record_outcomes(leases[0], flush(first.name, ok=[0]))).state is TaskState.SUCCEEDED
    assert (await store.get_task(second.name)).succeeded == 1


async def test_a_closed_store_takes_nothing_and_close_finishes_what_was_accepted(driver: Driver) -> None:
    store = await driver.open()
    accepted = [asyncio.ensure_future(store.create_task(make.new_task(f"t{n}"), None)) for n in range(50)]
    await asyncio.sleep(0)  # let them submit
    await store.close()
    assert len(await asyncio.gather(*accepted)) == 50
    with pytest.raises(Unavailable):
        await store.create_task(make.new_task("late"), None)
    with pytest.raises(Unavailable):
        await store.get_task(TaskName("p", "t0"))
    await store.close()  # again: nothing happens
    store = await driver.open()
    assert len(await make.listed(store)) == 50
