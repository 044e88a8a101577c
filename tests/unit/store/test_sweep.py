"""Does sweeping leave nothing of a deleted task, and never hold the writer for long, however much the task owned?

The clock that the store is given counts the time of the thread that asks: the writer's own work, whatever else the
machine does meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import time
from collections.abc import AsyncIterator
from typing import Any

import apsw
import pytest
import pytest_asyncio

from batchyard_server.model.clock import SystemClock, SystemRandomness
from batchyard_server.model.failpoints import OFF
from batchyard_server.model.task import Attempts, Task
from batchyard_server.store.sqlite import SqliteStore, open_sqlite
from batchyard_server.store.sqlite.transaction import Transaction
from batchyard_server.store.sqlite.writer import Ended, Mutation
from tests.support import store as make
from tests.support.outcomes import flush

LONGEST_NS = 20_000_000
RECORDS = 100_000
MANY = 10_000  # generations, attempts, leases, calls


class ThreadClock(SystemClock):
    """Its monotonic time is what the calling thread has worked."""

    def monotonic_ns(self) -> int:
        """See Clock.monotonic_ns."""
        return time.thread_time_ns()


@pytest_asyncio.fixture
async def store(tmp_path: pathlib.Path) -> AsyncIterator[SqliteStore]:
    made = await open_sqlite(tmp_path, clock=ThreadClock(), randomness=SystemRandomness(), failpoints=OFF)
    yield made
    await made.close()


def _rows(key: int, i: int) -> dict[str, dict[str, Any]]:
    """One more row of every table that a task may have many of and that is filled slowly by verbs."""
    of_task = {"task_key": key, "generation": 1}
    return {
        "failure": of_task | {"generation": i // 100 + 2, "position": i % 100, "idx": i, "status": b"s" * 600},
        "lease": of_task | {"epoch": i + 2, "worker": "w", "open": b"o" * 100, "granted": b"g" * 100},
        "ended_lease": of_task
        | {"epoch": i + 2, "state": 1, "worker": "w", "node": "n", "start_us": 1, "end_us": 2}
        | {"error": b"e" * 500, "ranges": b"r" * 200},
        "artifact": of_task
        | {"idx": i, "path": "p" * 500, "stage": "s", "size": 1, "crc32c": 1, "sha256": b"s" * 32, "create_us": 1}
        | {"content_type": "text/plain"},
        "record_attempt": of_task | {"idx": i, "attempt": 1, "info": b"i" * 1_500},
        "operation": {"key": (key << 20) + i + 2, "operation_id": f"op{i}", "project": "p", "create_us": i, "hidden": 0}
        | {"metadata": b"m" * 400, "result": b"r" * 1_500},
        "request": {"project": "p", "request_id": f"r{i}", "digest": b"d" * 32, "task_key": key, "task_id": "full"}
        | {"create_us": 1, "made_task": 0},
    }


async def full(store: SqliteStore, records: int, many: int) -> Task:
    """A task that owns some of everything."""
    new = make.new_task("full", records, ids=True, size=400, parameters=b"\x12\x88\x27" + b"x" * 5_000)
    task = await store.create_task(new, make.request(1))
    lease = await make.lease(store, task)
    with_outcome = range(0, records - many, 512)
    await asyncio.gather(
        *(
            store.record_outcomes(lease, flush(task.name, ok=range(i, min(i + 512, records - many))))
            for i in with_outcome
        )
    )
    await store.release(lease, {i: Attempts(begun=1, lost=1) for i in range(records - many, records)})
    await store.update_task(task.name, lambda found: found, make.request(2))

    def rows(tx: Transaction) -> None:
        for i in range(many):
            for table, row in _rows(task.key, i).items():
                tx.run(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", (*row.values(),))

    await store.writer.submit(rows, direct=True)
    await store.create_task(make.new_task("newest", 1), None)
    return task


def owned(connection: apsw.Connection, task: Task) -> dict[str, int]:
    """How many rows every table has that are the task's."""
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found: dict[str, int] = {}
    for table in map(str, tables):
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if table == "task":
            where = f"key = {task.key}"
        elif table == "operation":
            where = f"key >> 20 = {task.key}"
        elif table == "input_segment":
            where = f"id >> 27 = {task.key}"
        elif table == "request":
            where = f"task_key = {task.key} AND expire_us IS NULL"
        elif table == "event":  # what happened stays true; the newest ones are kept, whatever became of their task
            continue
        elif "task_key" in columns:
            where = f"task_key = {task.key}"
        else:
            continue
        count = connection.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchall()[0][0]
        assert isinstance(count, int)
        found[table] = count
    return found


async def test_nothing_is_left(store: SqliteStore, tmp_path: pathlib.Path) -> None:
    task = await full(store, 2_000, 300)
    await store.delete_task(task.name, lambda found: found, make.request(3))
    path = str(tmp_path / "store.sqlite3")
    with contextlib.closing(apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)) as reader:
        before = owned(reader, task)
        # Its live leases went with itself.
        assert [table for table, count in before.items() if not count] == ["lease"]
        while await store.sweep():
            pass
        assert owned(reader, task) == dict.fromkeys(before, 0)


async def test_no_step_holds_the_writer_for_long(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    task = await full(store, RECORDS, MANY)
    took: list[int] = []
    run = store.writer._run

    def measured(mutation: Mutation) -> Ended:
        began = time.thread_time_ns()
        ended = run(mutation)
        took.append(time.thread_time_ns() - began)
        return ended

    monkeypatch.setattr(store.writer, "_run", measured)
    await store.delete_task(task.name, lambda found: found, None)
    assert len(took) == 1
    while await store.sweep():
        pass
    print(f"the longest of {len(took)} steps took {max(took) / 1e6:.1f} ms")
    assert 10 < len(took) < 1000
    assert max(took) <= LONGEST_NS


async def test_requests_that_outlived_their_task_go_in_slices(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(tx: Transaction) -> None:
        for i in range(3 * MANY):
            tx.run("INSERT INTO request VALUES ('p', ?, ?, 0, 't', 1, 0, 2, NULL)", (f"r{i}", b"d" * 32))

    await store.writer.submit(rows, direct=True)
    took: list[int] = []
    step = store._sweeper.step

    def measured(tx: Transaction) -> None:
        began = time.thread_time_ns()
        step(tx)
        took.append(time.thread_time_ns() - began)

    monkeypatch.setattr(store._sweeper, "step", measured)
    while await store.sweep():
        pass
    assert max(took) <= LONGEST_NS
    assert store.writer.connection.execute("SELECT count(*) FROM request").fetchall() == [(0,)]
