"""A page of tasks as one row is what it is row by row; and SQLite keeps every byte of it."""

from __future__ import annotations

import pathlib
import random
from dataclasses import replace

import apsw
import pytest

from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.codec import pages, task_bytes
from batchyard_server.model.clock import SystemClock, SystemRandomness
from batchyard_server.model.failpoints import OFF
from batchyard_server.model.settings import DRAFT_US, Settings
from batchyard_server.model.task import NewTask
from batchyard_server.model.task_query import TaskQuery
from batchyard_server.store.protocols import TaskPage
from batchyard_server.store.sqlite import listing, migrate, open_sqlite, readers
from tests.support import searches
from tests.support import store as make
from tests.support.kept import check_counts


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
        found.append(listing.page(reader, TaskQuery(project="p", after=after, limit=size, max_bytes=make.BIG)))
    return found


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16383, 16384, 2097151, 2097152])
def test_an_entry_gives_back_its_info(size: int) -> None:
    info = b"x" * size
    entry = pages.entry(info)
    assert pages.info_of(entry) == info
    assert list(pages.infos(entry * 2)) == [info, info]


async def test_data_of_the_first_schema_is_moved_forward(tmp_path: pathlib.Path) -> None:
    """Entries of all lengths are taken out of their frames and framed again by the steps as the server frames them."""
    store = await open_sqlite(tmp_path, clock=SystemClock(), randomness=SystemRandomness(), failpoints=OFF)
    settings = Settings(record_timeout_us=1_500_000)
    made = [
        await store.create_task(
            make.new_task(f"t{size}", 1, parameters=b"\x12" + _length(size) + b"x" * size, settings=settings), None
        )
        for size in (1, 30, 60, 90, 120, 4000, 5000)
    ]
    draft = await store.create_task(make.new_task("draft", 1, draft=True), None)
    ended = await make.finish(store, await store.create_task(make.new_task("ended", 2), None), failed=[0])
    outcomes = await make.read_all(store, ended)
    await store.close()
    _to_first_schema(tmp_path / "store.sqlite3")
    clock = SystemClock()
    began = clock.now_us()
    store = await open_sqlite(tmp_path, clock=clock, randomness=SystemRandomness(), failpoints=OFF)
    moved = await store.get_task(draft.name)
    assert began - 1_000_000 <= moved.due_us - DRAFT_US <= clock.now_us()
    listed = list(pages.infos((await make.list_page(store, limit=1000)).entries))
    assert len(listed) == len(made) + 2
    for task in (*made, replace(draft, due_us=moved.due_us)):
        assert await store.get_task(task.name) == task
        info = BatchTaskInfo.FromString(task_bytes.info(task))
        assert BatchTaskInfo.FromString((await store.get_info(task.name)).info) == info
        assert info in map(BatchTaskInfo.FromString, listed)
    assert store.writer.connection.execute("SELECT count(*) FROM task WHERE as_is").fetchall() == [(2,)]
    done = await make.finish(store, await store.update_task(ended.name, make.reactivate, None))
    assert [record.generation for record in make.parse(await make.read_all(store, done))] == [2, 1]
    assert await make.read_all(store, done, generation=1) == outcomes
    await store.close()
    check_counts(tmp_path)


async def test_what_tasks_are_found_by_is_taken_out_of_what_they_show(tmp_path: pathlib.Path) -> None:
    """As a create and an update store it; of large tasks too, whose fixed part is elsewhere."""
    store = await open_sqlite(tmp_path, clock=SystemClock(), randomness=SystemRandomness(), failpoints=OFF)
    samples = await searches.stored(store, random.Random(4), 60)
    large = make.new_task("large").task
    payload = b"\x0a\x00\x12" + _length(5000) + b"x" * 5000
    fixed = make.fixed_info(str(large.name), large.uid, large.create_us, payload, labels={"a": "é"}, priority=0)
    large = replace(large, fixed=fixed, parameters=payload)
    await store.create_task(NewTask(task=large, segments=[], record_ids=[]), None)
    changed = samples[0].task
    fixed = make.fixed_info(str(changed.name), changed.uid, changed.create_us, display_name="new", archived=True)
    await store.update_task(changed.name, lambda task: replace(task, fixed=fixed, revision=2), None)
    before = store.writer.connection.execute(_FOUND_BY).fetchall()
    await store.close()
    assert ("large", "", '{"a": "é"}', 0, 0, 1) in before
    assert (changed.task_id, "new", "", 1, 0, 0) in before
    connection = apsw.Connection(str(tmp_path / "store.sqlite3"))
    connection.execute(_WITHOUT_FIFTH)
    connection.pragma("user_version", 4)
    connection.close()
    store = await open_sqlite(tmp_path, clock=SystemClock(), randomness=SystemRandomness(), failpoints=OFF)
    assert store.writer.connection.execute(_FOUND_BY).fetchall() == before
    await store.close()


_FOUND_BY = (
    "SELECT task_id, display_name, labels, archived, priority, priority_set FROM task "
    "WHERE id_fold IS NOT NULL ORDER BY key"
)


def _length(size: int) -> bytes:
    return bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])


def _to_first_schema(path: pathlib.Path) -> None:
    """Undo all steps but the first."""
    assert len(migrate.steps()) == 5, "this test knows five steps"
    connection = apsw.Connection(str(path))
    for key, fixed_size, entry in connection.execute("SELECT key, fixed_size, info FROM task").fetchall():
        info = BatchTaskInfo.FromString(pages.info_of(entry)[fixed_size:] if fixed_size else entry)
        info.ClearField("etag")
        info.ClearField("expire_time")
        before = (pages.info_of(entry)[:fixed_size] if fixed_size else b"") + info.SerializeToString()
        connection.execute("UPDATE task SET info = ? WHERE key = ?", (before, key))
    connection.execute(_WITHOUT_FIFTH + _BACK)
    connection.pragma("user_version", 1)
    connection.close()


_WITHOUT_FIFTH = """
DROP INDEX outcome_failed; DROP INDEX outcome_failed_by_index;
DROP INDEX task_by_name; DROP INDEX task_by_update; DROP INDEX task_by_end; DROP INDEX task_by_display_name;
DROP INDEX task_by_priority; DROP INDEX task_by_state; DROP INDEX task_by_state_time;
ALTER TABLE task DROP COLUMN display_name; ALTER TABLE task DROP COLUMN labels; ALTER TABLE task DROP COLUMN archived;
ALTER TABLE task DROP COLUMN priority; ALTER TABLE task DROP COLUMN priority_set;
ALTER TABLE task DROP COLUMN exit_code;
ALTER TABLE request DROP COLUMN answer;
"""
_BACK = """
DROP TABLE artifact; DROP TABLE event;
DROP TABLE task_count; DROP INDEX task_unfinished; DROP INDEX task_due; DROP TABLE ended_lease;
DROP TABLE record_attempt;
ALTER TABLE attempt DROP COLUMN failures; ALTER TABLE attempt DROP COLUMN retry_us;
ALTER TABLE lease DROP COLUMN granted; ALTER TABLE lease DROP COLUMN node; ALTER TABLE lease DROP COLUMN start_us;
DROP INDEX outcome_logged; ALTER TABLE outcome_segment DROP COLUMN logs;
DROP INDEX operation_by_generation;
ALTER TABLE operation DROP COLUMN base_generation; ALTER TABLE operation DROP COLUMN first_sequence;
ALTER TABLE task ADD COLUMN record_timeout_us INTEGER NOT NULL DEFAULT 0;
UPDATE task SET record_timeout_us = settings ->> 'record_timeout_us' WHERE settings <> '';
ALTER TABLE task DROP COLUMN settings; ALTER TABLE task DROP COLUMN revision; ALTER TABLE task DROP COLUMN due_us;
ALTER TABLE task DROP COLUMN base_generation; ALTER TABLE task DROP COLUMN as_is;
CREATE INDEX task_live ON task (key) WHERE state IN (2, 3, 6);
"""
