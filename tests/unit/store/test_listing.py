"""A page of tasks as one row is what it is row by row; and SQLite keeps every byte of it."""

from __future__ import annotations

import pathlib

import apsw
import pytest

from batchyard_server.codec import pages, task_bytes
from batchyard_server.model.clock import SystemClock, SystemRandomness
from batchyard_server.model.failpoints import OFF
from batchyard_server.store.protocols import TaskPage
from batchyard_server.store.sqlite import listing, migrate, open_sqlite, readers
from tests.support import store as make


def test_sqlite_concatenates_all_bytes_as_they_are() -> None:
    """Its documents promise nothing for bytes that are no text, or zero; this holds the version in use to it."""
    connection = apsw.Connection(":memory:")
    parts = [bytes(range(256)), b"", b"\0\0", b"\xff\xfe", b"\xc3(", "ä€".encode(), bytes(range(255, -1, -1))]
    connection.execute("CREATE TABLE part (id INTEGER PRIMARY KEY, info BLOB NOT NULL) STRICT")
    connection.executemany("INSERT INTO part (info) VALUES (?)", [(part,) for part in parts])
    whole = "SELECT CAST(group_concat(info, '') AS BLOB) FROM (SELECT info FROM part ORDER BY id {} LIMIT 100)"
    assert connection.execute(whole.format("")).fetchall() == [(b"".join(parts),)]
    assert connection.execute(whole.format("DESC")).fetchall() == [(b"".join(reversed(parts)),)]


async def test_a_page_is_the_same_in_one_row_and_row_by_row(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_sqlite(tmp_path, clock=SystemClock(), randomness=SystemRandomness(), failpoints=OFF)
    for number in range(30):
        await store.create_task(make.new_task(f"t{number}", 1, draft=True, create_us=number // 4 + 1), None)
    monkeypatch.setattr(listing, "_by_rows", _never)
    whole = await _walk(store, 7)
    monkeypatch.undo()
    monkeypatch.setattr(listing, "_whole", lambda *_: (1, 0, b""))
    rows = await _walk(store, 7)
    await store.close()
    assert [page.entries for page in whole] == [page.entries for page in rows]
    assert [page.last for page in whole] == [page.last for page in rows]
    assert [page.count for page in whole] == [7, 7, 7, 7, 2]
    assert [page.more for page in whole] == [page.more for page in rows] == [True] * 4 + [False]


def _never(*_: object) -> TaskPage:
    raise AssertionError("read row by row")


async def _walk(store: make.Store, size: int) -> list[TaskPage]:
    found: list[TaskPage] = []
    while not found or found[-1].more:
        after = found[-1].last if found else None
        # Not through the store, which remembers pages.
        reader: readers.Reader = store._readers.here  # type: ignore[attr-defined]
        found.append(listing.page(reader, "p", after, size, make.BIG))
    return found


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16383, 16384, 2097151, 2097152])
def test_an_entry_gives_back_its_info(size: int) -> None:
    info = b"x" * size
    entry = pages.entry(info)
    assert pages.info_of(entry) == info
    assert list(pages.infos(entry * 2)) == [info, info]


async def test_data_of_the_first_schema_is_moved_forward(tmp_path: pathlib.Path) -> None:
    """Entries of all lengths that there can be are framed by the step as the server frames them."""
    store = await open_sqlite(tmp_path, clock=SystemClock(), randomness=SystemRandomness(), failpoints=OFF)
    made = [
        await store.create_task(make.new_task(f"t{size}", 1, parameters=b"\x12" + _length(size) + b"x" * size), None)
        for size in (1, 30, 120, 4000, 5000)
    ]
    draft = await store.create_task(make.new_task("draft", 1, draft=True), None)
    before = (await store.list_tasks("p", None, 1000, make.BIG)).entries
    await store.close()
    _to_first_schema(tmp_path / "store.sqlite3")
    store = await open_sqlite(tmp_path, clock=SystemClock(), randomness=SystemRandomness(), failpoints=OFF)
    assert (await store.list_tasks("p", None, 1000, make.BIG)).entries == before
    for task in (*made, draft):
        assert await store.get_task(task.name) == task
        assert (await store.get_info(task.name)).info == task_bytes.info(task)
    assert store.writer.connection.execute("SELECT count(*) FROM task WHERE as_is").fetchall() == [(1,)]
    await store.close()


def _length(size: int) -> bytes:
    return bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])


def _to_first_schema(path: pathlib.Path) -> None:
    """Undo the second step."""
    assert len(migrate.steps()) == 2, "this test knows two steps"
    connection = apsw.Connection(str(path))
    rows = connection.execute("SELECT key, info FROM task WHERE fixed_size").fetchall()
    connection.executemany("UPDATE task SET info = ? WHERE key = ?", [(pages.info_of(info), key) for key, info in rows])
    connection.execute("ALTER TABLE task DROP COLUMN as_is")
    connection.pragma("user_version", 1)
    connection.close()
