"""Where is the fixed part of a task? In its row while it is small, apart when it is large; an update may move it."""

from __future__ import annotations

import asyncio
import pathlib
from dataclasses import replace
from typing import Any

import pytest

from batchyard.v1.payload_pb2 import Payload
from batchyard_server.codec import pages
from batchyard_server.model.clock import SystemClock, SystemRandomness
from batchyard_server.model.failpoints import OFF
from batchyard_server.model.filter import NEWEST_FIRST, TaskOrder
from batchyard_server.model.task import Task
from batchyard_server.store.protocols import Decide
from batchyard_server.store.sqlite import SqliteStore, open_sqlite
from tests.support import store as make

LIMIT = 4096


async def open_store(folder: pathlib.Path) -> SqliteStore:
    return await open_sqlite(folder, clock=SystemClock(), randomness=SystemRandomness(), failpoints=OFF)


def resized(size: int) -> Decide:
    """A change that makes the fixed part so large."""

    def decide(task: Task) -> Task:
        length = size - 60
        parameters = Payload(text="x" * length).SerializeToString()
        while len(fixed := make.fixed_info(str(task.name), task.uid, task.create_us, parameters)) != size:
            length += size - len(fixed)
            parameters = Payload(text="x" * length).SerializeToString()
        return replace(task, fixed=fixed, parameters=parameters, revision=task.revision + 1)

    return decide


def apart(store: SqliteStore) -> list[Any]:
    return [row[0] for row in store.writer.connection.execute("SELECT task_key FROM task_fixed").fetchall()]


async def check(store: SqliteStore, task: Task) -> None:
    """Every way of reading says the same."""
    assert await store.get_task(task.name) == task
    operation, of_operation = await store.get_operation(task.operation_name)
    assert of_operation == task
    assert not operation.done
    info = (await store.get_info(task.name)).info
    assert info.startswith(task.fixed)
    for order in (NEWEST_FIRST, TaskOrder("id")):
        page = await make.list_page(store, order=order)
        assert pages.infos(page.entries) == [info]
    assert [held.task for held in [await store.unfinished(task)]] == [task]


@pytest.mark.parametrize("lease", [False, True])
async def test_it_moves_there_and_back(tmp_path: pathlib.Path, lease: bool) -> None:
    store = await open_store(tmp_path)
    task = await store.create_task(make.new_task("t", 3), None)
    if lease:
        await make.lease(store, task, (0, 1))
    for size in (LIMIT + 1, LIMIT, LIMIT + 1, 50_000, LIMIT + 1, 3_000, 3_000):
        task = await store.update_task(task.name, resized(size), None)
        assert len(task.fixed) == size
        assert apart(store) == ([task.key] if size > LIMIT else [])
        await check(store, task)
        await store.close()
        store = await open_store(tmp_path)
        await check(store, task)
    await store.close()


async def test_changes_in_one_commit_leave_the_last(tmp_path: pathlib.Path) -> None:
    store = await open_store(tmp_path)
    task = await store.create_task(make.new_task("t", 3), None)
    for sizes in ((50_000, 3_000), (3_000, 50_000), (60_000, 50_000), (3_000, 60_000, 4_000)):
        await asyncio.gather(*(store.update_task(task.name, resized(size), None) for size in sizes))
        task = await store.get_task(task.name)
        assert len(task.fixed) == sizes[-1]
        assert apart(store) == ([task.key] if sizes[-1] > LIMIT else [])
        await check(store, task)
    await store.close()


async def test_whoever_reads_while_it_moves_reads_one_or_the_other(tmp_path: pathlib.Path) -> None:
    store = await open_store(tmp_path)
    task = await store.create_task(make.new_task("t", 3), None)
    ended = False

    async def move() -> None:
        nonlocal ended
        for number in range(60):
            await store.update_task(task.name, resized(3_000 if number % 2 else 50_000), None)
        ended = True

    async def read() -> int:
        reads = 0
        while not ended:
            found = await store.get_task(task.name)
            assert len(found.fixed) == (
                len(task.fixed) if found.revision == 1 else 3_000 if found.revision % 2 else 50_000
            )
            assert (await store.unfinished(task)).pending == [(0, 3)]
            reads += 1
        return reads

    _, reads = await asyncio.gather(move(), read())
    assert reads > 60
    await store.close()
