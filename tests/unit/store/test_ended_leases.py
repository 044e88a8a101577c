"""What does it cost that leases which ended are kept? A row in a commit that happens anyway, and few old ones."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import AsyncIterator

import apsw
import pytest

from batchyard_server.model import limits
from batchyard_server.model import ranges as rg
from batchyard_server.model.clock import SystemClock, SystemRandomness
from batchyard_server.model.failpoints import OFF
from batchyard_server.model.task import Lease
from batchyard_server.store.sqlite import SqliteStore, leases, migrate, open_sqlite
from tests.support import store as make
from tests.support.outcomes import flush


@pytest.fixture
async def store(tmp_path: pathlib.Path) -> AsyncIterator[SqliteStore]:
    opened = await open_sqlite(tmp_path, clock=SystemClock(), randomness=SystemRandomness(), failpoints=OFF)
    yield opened
    await opened.close()


def rows(store: SqliteStore, table: str) -> int:
    return store.writer.connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]


async def test_the_end_of_a_lease_is_a_row_of_a_statement_that_many_share(store: SqliteStore) -> None:
    made = await asyncio.gather(*(store.create_task(make.new_task(f"t{number}", 1), None) for number in range(200)))
    before = store.writer.commits
    statements: list[str] = []

    def trace(_cursor: apsw.Cursor, sql: str, _bindings: object) -> bool:
        statements.append(sql)
        return True

    store.writer.connection.exec_trace = trace
    calls = []
    for task in made:
        lease = Lease(task_key=task.key, generation=1, ranges=[(0, 1)], worker="w")
        calls += [store.grant(lease), store.record_outcomes(lease, flush(task.name, ok=[0]))]
    await asyncio.gather(*calls)
    store.writer.connection.exec_trace = None
    commits = store.writer.commits - before
    ended = [sql for sql in statements if "ended_lease" in sql]
    assert all(sql.startswith("INSERT") for sql in ended)
    assert 0 < len(ended) <= 200 / 32 + 6 * commits  # the numbers of rows in a statement are powers of two up to 32
    split = [sql for sql in statements if "lease" in sql and sql not in ended]  # granted at the end of a group
    assert len(split) <= 2 * commits
    assert not any(sql.startswith("SELECT") for sql in statements)
    assert (rows(store, "ended_lease"), rows(store, "lease")) == (200, 0)


async def test_old_ones_are_removed_now_and_then(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENDED_SUBTASKS", 10)
    task = await store.create_task(make.new_task("t", 1000), None)
    most = 0
    for index in range(5 * leases.TRIM_EVERY):
        lease = await make.lease(store, task, (index, index + 1))
        await store.record_outcomes(lease, flush(task.name, ok=[index]))
        most = max(most, rows(store, "ended_lease"))
    assert 10 + leases.TRIM_EVERY // 2 < most < 10 + leases.TRIM_EVERY + 1
    assert rows(store, "ended_lease") == 10


async def test_a_sweep_takes_those_of_a_deleted_task(store: SqliteStore) -> None:
    task = await store.create_task(make.new_task("t", 300), None)
    for index in range(300):
        lease = await make.lease(store, task, (index, index + 1))
        await store.record_outcomes(lease, flush(task.name, ok=[index]))
    await store.create_task(make.new_task("newest", 1), None)
    assert rows(store, "ended_lease") == 300
    await store.delete_task(task.name, make.allow_delete, None)
    while await store.sweep():
        pass
    assert rows(store, "ended_lease") == 0


def test_leases_from_before_the_table_keep_what_is_open_in_them() -> None:
    """A server of the schema before was killed: nobody knows with what its leases were granted, or when."""
    connection = apsw.Connection(":memory:")
    first, second, third, *_ = migrate.steps()
    connection.execute(first + second)
    connection.execute("INSERT INTO lease VALUES (7, 3, 1, 'worker-0', ?)", (rg.pack([(2, 5), (7, 8)]),))
    connection.execute(third)
    [(granted, node, start_us)] = connection.execute("SELECT granted, node, start_us FROM lease").fetchall()
    assert (rg.unpack(granted), node, start_us) == ([(2, 5), (7, 8)], "", 0)
