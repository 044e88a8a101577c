"""How many rows of attempts are there? At most a hundred for each record, and none of a task that is gone."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from batchyard_server.model import limits
from batchyard_server.model.failpoints import OFF
from batchyard_server.model.task import Attempts, Task
from batchyard_server.store.sqlite import open_sqlite
from batchyard_server.store.sqlite.store import SqliteStore
from tests.support import store as make
from tests.support.clock import FakeClock, SeededRandomness
from tests.support.outcomes import flush, interrupted, retries


@pytest_asyncio.fixture
async def store(tmp_path: pathlib.Path) -> AsyncIterator[SqliteStore]:
    opened = await open_sqlite(tmp_path, clock=FakeClock(), randomness=SeededRandomness(), failpoints=OFF)
    yield opened
    await opened.close()


async def fail(store: SqliteStore, task: Task, times: range, indexes: list[int]) -> None:
    """These records fail and are tried again, so often."""
    for begun in times:
        lease = await make.lease(store, task, *((index, index + 1) for index in indexes))
        sent = flush(task.name, failed=indexes, generation=task.generation)
        known = dict.fromkeys(indexes, Attempts(begun=begun, failures=begun))
        await store.record_outcomes(lease, sent, retries(sent, known))


def rows(store: SqliteStore) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """(generation, attempt) of the rows of every (task, record)."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    columns = "task_key, idx, generation, attempt"
    for key, index, *number in store.writer.connection.execute(f"SELECT {columns} FROM record_attempt"):
        found.setdefault((key, index), []).append((number[0], number[1]))
    return found


@pytest.mark.parametrize("turns", [range(1, 251)])
async def test_unlimited_retries_leave_a_hundred_rows(store: SqliteStore, turns: range) -> None:
    task = await store.create_task(make.new_task("a", 5), None)
    await fail(store, task, turns, [1, 3])
    last = [(1, attempt) for attempt in turns[-limits.RECORD_ATTEMPTS :]]
    assert rows(store) == {(task.key, 1): last, (task.key, 3): last}
    assert len(await store.record_attempts(task.key, 3)) == limits.RECORD_ATTEMPTS
    assert store.writer.connection.execute("SELECT count(*) FROM attempt").fetchall() == [(2,)]


async def test_a_lost_worker_leaves_no_more_rows_either(store: SqliteStore) -> None:
    task = await store.create_task(make.new_task("a", 5), None)
    for begun in range(1, 131):
        lease = await make.lease(store, task)
        await store.release(lease, {4: Attempts(begun=begun)}, (), [interrupted(4, begun)])
    assert rows(store) == {(task.key, 4): [(1, attempt) for attempt in range(31, 131)]}


async def test_rows_of_earlier_generations_go_first(store: SqliteStore) -> None:
    task = await store.create_task(make.new_task("a", 2), None)
    for generation in (1, 2, 3):
        await fail(store, task, range(1, 61), [0])
        left = [(0, 1), (1, 2)][: 2 if generation == 1 else 1]
        lease = await make.lease(store, task, *left)
        ok = [1] if generation == 1 else []
        await store.record_outcomes(lease, flush(task.name, ok=ok, failed=[0], generation=generation, attempt=61))
        assert len(rows(store)[task.key, 0]) == min(60 * generation, limits.RECORD_ATTEMPTS)
        task = await store.update_task(task.name, make.reactivate, None)
    assert rows(store)[task.key, 0] == [(2, n) for n in range(21, 61)] + [(3, n) for n in range(1, 61)]
    await fail(store, task, range(1, 131), [0])
    assert rows(store)[task.key, 0] == [(4, n) for n in range(31, 131)]


async def test_all_rows_of_a_deleted_task_are_swept(store: SqliteStore) -> None:
    gone = await store.create_task(make.new_task("gone", 3), None)
    kept = await store.create_task(make.new_task("kept", 3), None)
    for task in (gone, kept):
        await fail(store, task, range(1, 90), [0, 1, 2])
    await store.delete_task(gone.name, lambda task: task, None)
    while await store.sweep():
        pass
    assert {key for key, _ in rows(store)} == {kept.key}
    assert len(await store.record_attempts(kept.key, 2)) == 89
