"""Deleted tasks give their bytes back, slice by slice, and their request ids are forgotten in time."""

from __future__ import annotations

import pytest

from batchyard_server.model import limits
from batchyard_server.model.errors import AlreadyExists, NotFound
from batchyard_server.model.task import Attempts
from batchyard_server.store.protocols import Store
from tests.conformance.store.conftest import Driver
from tests.support import store as make
from tests.support.outcomes import flush, interrupted


async def swept(store: Store) -> int:
    """Call sweep until there is nothing to do; how often."""
    calls = 1
    while await store.sweep():
        calls += 1
        assert calls < 1000
    return calls


async def fill(store: Store, task_id: str, records: int = 3_000) -> None:
    """A task with everything that a task can own, deleted."""
    task = await store.create_task(
        make.new_task(task_id, records, ids=True, parameters=b"\x12\x88\x27" + b"x" * 5_000), None
    )
    lease = await make.lease(store, task, (0, 10))
    await store.record_outcomes(lease, flush(task.name, ok=range(5), failed=[6]))
    await store.release(lease, {7: Attempts(begun=1, lost=1)}, (), [interrupted(7, 1)])
    await make.lease(store, task, (20, 30))
    await store.update_task(task.name, make.cancel, None)
    await store.recover()
    await store.delete_task(task.name, make.allow_delete, None)


async def test_everything_of_a_deleted_task_goes_and_neighbours_stay(driver: Driver) -> None:
    store = await driver.open()
    kept = await store.create_task(make.new_task("kept", 50, ids=True), make.request())
    await make.finish(store, kept)
    before = await make.read_all(store, kept)
    await fill(store, "gone")
    newest = await store.create_task(make.new_task("newest", 1), None)
    await swept(store)
    assert await make.read_all(store, kept) == before
    assert await store.get_task(newest.name) == newest
    assert await store.create_task(make.new_task("x", 1), make.request()) == await store.get_task(kept.name)


async def test_sweeping_goes_on_after_a_restart(driver: Driver) -> None:
    store = await driver.open()
    await fill(store, "a")
    await fill(store, "b")
    driver.failpoints.armed["store.sweep"] = "io_error"
    with pytest.raises(Exception, match="store"):
        await store.sweep()
    store = await driver.reopen()
    await swept(store)
    assert await store.sweep() is False


async def test_the_bytes_on_disk_are_back_to_what_they_were(driver: Driver) -> None:
    store = await driver.open()
    kept = await store.create_task(make.new_task("kept", 1_000, ids=True), None)
    await make.finish(store, kept)
    await fill(store, "before")  # makes what is there once and stays
    await swept(store)
    await driver.close()
    before = driver.bytes_in_use()
    store = await driver.open()
    for number in range(3):
        await fill(store, f"t{number}")
    await store.create_task(make.new_task("last", 0), None)
    await driver.close()
    assert driver.bytes_in_use() > before + 100_000
    store = await driver.open()
    await swept(store)
    await driver.close()
    assert driver.bytes_in_use() <= before + 3 * 8192


async def test_a_task_that_was_not_there_is_deleted_once_and_for_all(driver: Driver) -> None:
    store = await driver.open()
    name = make.new_task("t").task.name
    with pytest.raises(NotFound):
        await store.delete_task(name, make.allow_delete, make.request(1))
    for _ in range(2):
        await store.delete_task(name, make.allow_delete, make.request(1), allow_missing=True)
    await store.create_task(make.new_task("t", draft=True), None)
    store = await driver.reopen()
    await store.delete_task(name, make.allow_delete, make.request(1), allow_missing=True)
    assert await store.get_task(name), "a repeated call does nothing again"
    with pytest.raises(AlreadyExists):
        await store.delete_task(name, make.allow_delete, make.request(1, digest=b"other"), allow_missing=True)
    driver.clock.advance(limits.REQUEST_ID_HOURS * 3600 - 1)
    await swept(store)
    await store.delete_task(name, make.allow_delete, make.request(1), allow_missing=True)
    assert await store.get_task(name)
    driver.clock.advance(2)
    await swept(store)
    await store.delete_task(name, make.allow_delete, make.request(1), allow_missing=True)
    with pytest.raises(NotFound):
        await store.get_task(name)


async def test_a_request_id_is_kept_for_a_day_and_as_long_as_its_task(driver: Driver) -> None:
    store = await driver.open()
    kept = await store.create_task(make.new_task("kept", 1), make.request(1))
    gone = await store.create_task(make.new_task("gone", 1, draft=True), make.request(2))
    await store.delete_task(gone.name, make.allow_delete, make.request(3))
    await swept(store)
    driver.clock.advance(limits.REQUEST_ID_HOURS * 3600 - 1)
    await swept(store)
    with pytest.raises(NotFound):
        await store.create_task(make.new_task("gone", 1, uid="anew"), make.request(2))
    await store.delete_task(gone.name, make.allow_delete, make.request(3))  # known: nothing happens
    driver.clock.advance(2)
    await swept(store)
    anew = await store.create_task(make.new_task("gone", 1, uid="anew"), make.request(2))
    assert anew.uid == "anew"
    assert (await store.create_task(make.new_task("kept", 1), make.request(1))).key == kept.key
