"""What a page of a filter costs: indexes for every statement that can be made, and a bound on the rows looked at."""

from __future__ import annotations

import itertools
import pathlib
import random
from collections.abc import AsyncIterator
from dataclasses import replace

import apsw
import pytest
import pytest_asyncio

from batchyard_server.model import limits
from batchyard_server.model.clock import SystemClock, SystemRandomness
from batchyard_server.model.failpoints import OFF
from batchyard_server.model.filter import (
    EVERYTHING,
    All,
    Any,
    Compare,
    Field,
    IsSet,
    Kind,
    Node,
    Not,
    Op,
    Prefix,
    TaskOrder,
)
from batchyard_server.model.states import TaskState
from batchyard_server.model.task_query import TaskQuery
from batchyard_server.query import TASKS, parse_filter
from batchyard_server.query.tables import TASK_ORDERS
from batchyard_server.store.sqlite import filters, open_sqlite, searching
from batchyard_server.store.sqlite.readers import Reader, Row
from batchyard_server.store.sqlite.store import SqliteStore
from tests.support import searches
from tests.support import store as make

ORDERS = [TaskOrder(field, descending=descending) for field in TASK_ORDERS for descending in (False, True)]
ROWS = 120_000
STATE = Field("state", Kind.NUMBER)


@pytest_asyncio.fixture
async def store(tmp_path: pathlib.Path) -> AsyncIterator[SqliteStore]:
    """An empty one."""
    made = await open_sqlite(tmp_path, clock=SystemClock(), randomness=SystemRandomness(), failpoints=OFF)
    yield made
    await made.close()


class Listening(Reader):
    """Keeps the statements that it ran."""

    def __init__(self, connection: apsw.Connection) -> None:
        super().__init__(connection)
        self.statements: dict[str, tuple[object, ...]] = {}

    def run(self, sql: str, values: Row = ()) -> list[Row]:
        """See Reader.run."""
        self.statements[sql] = values
        return super().run(sql, values)


def _filters(order: TaskOrder) -> list[Node]:
    """One of each kind that is read in another way, with and without something that each task is looked at for."""
    field = Field(order.field, TASKS.columns[order.field].kind)
    value = "b" if field.kind is Kind.TEXT else 5
    bounds: list[Node] = [Compare(field, op, value) for op in Op]
    bounds += [Prefix(field, "b")] if field.kind is Kind.TEXT else []
    states: list[Node] = [Compare(STATE, Op.EQ, 8), Not(Compare(STATE, Op.EQ, 7)), Any((Compare(STATE, Op.LT, 3),))]
    looked_at = parse_filter("labels.env = a OR counts.running > 0", TASKS, "p")
    both = All((Compare(field, Op.GT, "a" if field.kind is Kind.TEXT else 1), Compare(field, Op.LE, value)))
    some: list[Node] = [
        EVERYTHING,
        *bounds,
        *states,
        both,
        IsSet(field),
        All((states[0], both)),
        All((states[1], both)),
    ]
    some.append(Compare(Field("id", Kind.TEXT), Op.EQ, "a1"))
    return [*some, *(All((each, looked_at)) for each in some)]


async def test_every_statement_is_answered_in_order_by_an_index(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = await searches.stored(store, random.Random(3), 25)
    reader = Listening(store.writer.connection)
    asked = [(order, node) for order in ORDERS for node in _filters(order)]
    for (examined, limit), (order, node) in itertools.product(((7, 1), (7, 7), (1000, 7)), asked):
        monkeypatch.setattr(limits, "EXAMINED_TASKS", examined)
        query = TaskQuery(project="p", limit=limit, max_bytes=make.BIG, filter=node, order=order)
        found: list[str] = []
        while True:
            got = searching.search(reader, query, ("key", "state"), limit, shown=True)
            found += [row[-1] for row in got.rows]
            if not got.more:
                break
            query = replace(query, after=got.last)
        assert found == searches.expected([replace(each, running=0) for each in samples], node, order)
    assert len(reader.statements) > 300
    for sql, values in reader.statements.items():
        plan = [row[3] for row in reader.connection.execute("EXPLAIN QUERY PLAN " + sql, values)]
        assert not any("TEMP B-TREE" in line for line in plan), (sql, plan)
        assert any(line.startswith("SEARCH task USING") for line in plan), (sql, plan)
        assert not any(line.startswith("SCAN") and "subquery" not in line for line in plan), (sql, plan)


@pytest.fixture
def looked(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The keys of the rows that a filter which compares `handler` was asked of, each time."""
    keys: list[int] = []
    counted = filters.Column("counted(key, handler)", "", ("key", "handler"))
    columns = {**filters._OF_TASKS, "handler": counted}
    monkeypatch.setattr(filters, "_OF_TASKS", columns)

    def count(key: int, handler: str) -> str:
        keys.append(key)
        return handler

    store.writer.connection.create_scalar_function("counted", count, 2)
    return keys


async def _fill(store: SqliteStore) -> None:
    """ROWS tasks: every tenth has a priority of its own, the others have none."""
    await store.create_task(make.new_task("t", 1, draft=True), None)
    names = [row[1] for row in store.writer.connection.execute("PRAGMA table_info (task)")]
    own = {"key": "n + 1", "task_id": "'t' || n", "id_fold": "'t' || n", "uid": "'u' || n", "create_us": "1000000 + n"}
    own["priority"] = "iif(n % 10, 0, n % 2000 - 1000)"
    store.writer.connection.execute(
        "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ? - 1) "
        f"INSERT INTO task ({', '.join(names)}) SELECT {', '.join(own.get(name, name) for name in names)} "
        "FROM number, task WHERE key = 1",
        (ROWS,),
    )


async def test_a_page_looks_at_a_bounded_number_of_tasks(store: SqliteStore, looked: list[int]) -> None:
    """What matches nothing in 120,000 tasks takes three pages, of which two say where to go on."""
    await _fill(store)
    reader = Reader(store.writer.connection)
    node = parse_filter("handler = nobody", TASKS, "p")
    for order in ORDERS:
        query = TaskQuery(project="p", limit=100, max_bytes=make.BIG, filter=node, order=order)
        counts: list[int] = []
        while True:
            looked.clear()
            page = searching.page(reader, query)
            counts.append(len(looked))
            assert page.count == 0
            assert max(counts) <= limits.EXAMINED_TASKS
            if not page.more:
                break
            assert page.last is not None
            query = replace(query, after=page.last)
        again = sum(counts) - ROWS  # of values that were cut off, where ties come the wrong way round
        if order == TaskOrder("priority", descending=True):  # most of them have one value
            assert (0 <= again <= limits.EXAMINED_TASKS, len(counts)) == (True, 4)
        else:
            assert (0 <= again < 3, len(counts)) == (True, 3), (order, counts)


async def test_what_is_returned_is_all_that_is_looked_at(store: SqliteStore, looked: list[int]) -> None:
    """And as much again at most, where ties come the wrong way round; bounds and states are no work."""
    await _fill(store)
    reader = Reader(store.writer.connection)
    for order in ORDERS:
        for text in ("", " AND priority < 100 AND state = DRAFT", ' AND create_time > "1970-01-01T00:00:01.05Z"'):
            query = TaskQuery(project="p", limit=100, max_bytes=make.BIG, order=order)
            query = replace(query, filter=parse_filter("handler = echo" + text, TASKS, "p"))
            for _ in range(3):
                looked.clear()
                page = searching.page(reader, query)
                assert page.count == 100
                if not text or order.field in text:
                    assert len(looked) <= 2 * 101, (order, text)
                assert len(looked) <= limits.EXAMINED_TASKS
                query = replace(query, after=page.last)


async def test_one_state_among_many_is_found_at_once(store: SqliteStore, looked: list[int]) -> None:
    await _fill(store)
    store.writer.connection.execute("UPDATE task SET state = ? WHERE key IN (3, 70000)", (TaskState.FAILED,))
    reader = Reader(store.writer.connection)
    for order in (TaskOrder("create_time"), TaskOrder("create_time", descending=True), TaskOrder("id")):
        for text in ("state = FAILED", "state = PAUSED OR state = FAILED", "NOT state = DRAFT AND state > QUEUED"):
            looked.clear()
            node = parse_filter(f"({text}) AND handler = echo", TASKS, "p")
            page = searching.page(reader, TaskQuery(project="p", limit=9, max_bytes=make.BIG, filter=node, order=order))
            assert (page.count, page.more) == (2, False)
            assert sorted(looked) == [3, 70000]
    looked.clear()
    node = parse_filter("id = t69999 AND handler = echo", TASKS, "p")
    for order in ORDERS:
        page = searching.page(reader, TaskQuery(project="p", limit=9, max_bytes=make.BIG, filter=node, order=order))
        assert (page.count, page.more) == (1, False)
    assert looked == [70000] * len(ORDERS)
