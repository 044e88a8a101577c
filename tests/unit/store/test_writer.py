"""Group commit: many callers, few commits; and what SQLite itself does when the disk is full or fails."""

from __future__ import annotations

import asyncio
import pathlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import apsw
import pytest
import pytest_asyncio

from batchyard_server.model.clock import SystemRandomness
from batchyard_server.model.errors import ResourceExhausted, Unavailable
from batchyard_server.model.failpoints import OFF
from batchyard_server.store.sqlite import SqliteStore, files, open_sqlite, sweep, writer
from batchyard_server.store.sqlite.transaction import Rows, Transaction
from tests.support import store as make
from tests.support.clock import FakeClock
from tests.support.outcomes import flush

holding: set[asyncio.Future[None]] = set()  # kept from the garbage collector


async def held(store: SqliteStore) -> Callable[[], None]:
    """Hold the writer until the returned function is called, so that what comes meanwhile waits together."""
    loop = asyncio.get_running_loop()
    begun, may_end = asyncio.Event(), threading.Event()

    def hold(_: Transaction) -> None:
        loop.call_soon_threadsafe(begun.set)
        may_end.wait(60)

    holding.add(asyncio.ensure_future(store.writer.submit(hold)))
    await begun.wait()
    return may_end.set


@pytest_asyncio.fixture
async def store(tmp_path: pathlib.Path) -> AsyncIterator[SqliteStore]:
    made = await open_sqlite(tmp_path, clock=FakeClock(), randomness=SystemRandomness(), failpoints=OFF)
    yield made
    await made.close()


async def test_calls_that_wait_together_share_a_commit(store: SqliteStore) -> None:
    before = store.writer.commits
    await asyncio.gather(*(store.create_task(make.new_task(f"t{n}", 1), None) for n in range(100)))
    assert store.writer.mutations == 100
    assert store.writer.commits - before <= 10


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 31, 33, 127, 128, 1000, 1001, 2500])
async def test_rows_are_written_once_each_however_many(store: SqliteStore, count: int, whole: bool) -> None:
    statement = Rows(0, "INSERT INTO some SELECT ?, v.* FROM (VALUES", "(?, ?)", ") AS v", whole=whole)
    rows = [(number, str(number)) for number in range(count)]

    def write(tx: Transaction) -> tuple[list[Any], int]:
        tx.run("CREATE TABLE some (shared, number, text)")
        traced: list[str] = []
        tx.connection.exec_trace = lambda _, sql, __: bool(traced.append(sql) or True)
        statement.write(tx, rows, ("all",))
        tx.connection.exec_trace = None
        return tx.run("SELECT * FROM some ORDER BY number"), len(traced)

    found, statements = await store.writer.submit(write, direct=True)
    assert found == [("all", *row) for row in rows]
    assert statements <= (count // 1000 + 8 if whole else count // 32 + 6)


async def test_as_many_creates_as_a_group_takes(store: SqliteStore) -> None:
    let_go = await held(store)
    calls = [asyncio.ensure_future(store.create_task(make.new_task(f"t{n}", 1), make.request(n))) for n in range(1500)]
    await asyncio.sleep(0)  # let them submit
    let_go()
    assert len({task.key for task in await asyncio.gather(*calls)}) == 1500


async def test_a_lone_call_is_a_commit_and_a_useless_one_is_none(store: SqliteStore) -> None:
    task = await store.create_task(make.new_task("a", 1), None)
    assert store.writer.commits == 1
    await store.update_task(task.name, lambda found: found, None)
    assert store.writer.commits == 1


async def test_control_goes_before_bulk_and_bulk_is_never_starved(store: SqliteStore) -> None:
    order: list[str] = []
    release = await held(store)

    def note(name: str) -> Any:
        return lambda _: order.append(name)

    waiting = [
        asyncio.ensure_future(store.writer.submit(note("bulk 1"), bulk=True, size=writer.GROUP_BYTES)),
        asyncio.ensure_future(store.writer.submit(note("bulk 2"), bulk=True)),
        asyncio.ensure_future(store.writer.submit(note("control 1"), size=writer.GROUP_BYTES)),
        asyncio.ensure_future(store.writer.submit(note("control 2"))),
    ]
    await asyncio.sleep(0)  # let them submit
    release()
    await asyncio.gather(*waiting)
    # Control 1 fills the first group, in which one bulk call has its turn all the same.
    assert order == ["control 1", "bulk 1", "control 2", "bulk 2"]


async def test_a_patient_call_shares_the_commit_of_the_next_one_in_their_order(store: SqliteStore) -> None:
    order: list[str] = []

    def write(name: str) -> Any:
        def call(tx: Transaction) -> None:
            order.append(name)
            tx.run("UPDATE meta SET value = value")

        return call

    patient = [asyncio.ensure_future(store.writer.submit(write(name), patient=True)) for name in "ab"]
    await asyncio.sleep(0)  # let them submit
    await store.writer.submit(write("c"))
    await asyncio.gather(*patient)
    assert (order, store.writer.commits) == (["a", "b", "c"], 1)


async def test_a_patient_call_that_stays_alone_is_written_soon(store: SqliteStore) -> None:
    await store.writer.submit(lambda tx: tx.run("UPDATE meta SET value = value"), patient=True)
    assert store.writer.commits == 1
    last = asyncio.ensure_future(store.writer.submit(lambda _: "done", patient=True))
    await asyncio.sleep(0)  # let it submit
    await store.close()
    assert await last == "done"


async def test_a_group_ends_after_its_time(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "LINGER_NS", 0)
    release = await held(store)

    def slow(tx: Transaction) -> None:
        tx.clock.advance(0.011)  # type: ignore[attr-defined]
        tx.run("UPDATE meta SET value = value")

    waiting = [asyncio.ensure_future(store.writer.submit(slow)) for _ in range(3)]
    await asyncio.sleep(0)  # let them submit
    release()
    await asyncio.gather(*waiting)
    assert store.writer.commits == 3


async def test_a_full_database_refuses_and_recovers(store: SqliteStore) -> None:
    task = await store.create_task(make.new_task("a", 2), None)
    lease = await make.lease(store, task)
    connection = store.writer.connection
    connection.pragma("max_page_count", connection.pragma("page_count"))
    results = await asyncio.gather(
        *(store.create_task(make.new_task(f"big{n}", 50, size=10_000), make.request(n)) for n in range(3)),
        return_exceptions=True,
    )
    assert all(isinstance(result, ResourceExhausted) for result in results)
    assert store.healthy
    connection.pragma("max_page_count", 2**30)
    assert (await store.record_outcomes(lease, flush(task.name, ok=[0, 1]))).succeeded == 2
    await store.create_task(make.new_task("big0", 50, size=10_000), make.request(0))


@pytest.mark.parametrize(("code", "healthy"), [("SQLITE_IOERR_FSYNC", False), ("SQLITE_IOERR_WRITE", True)])
async def test_a_lost_fsync_ends_all_writing(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, code: str, healthy: bool
) -> None:
    await store.create_task(make.new_task("a", 1), None)
    run = Transaction.run

    def fail(tx: Transaction, sql: str, values: tuple[Any, ...] = ()) -> Any:
        if sql == "COMMIT":
            error = apsw.IOError(code)
            error.extendedresult = apsw.mapping_extended_result_codes[code]
            raise error
        return run(tx, sql, values)

    monkeypatch.setattr(Transaction, "run", fail)
    with pytest.raises(Unavailable):
        await store.create_task(make.new_task("b", 1), None)
    monkeypatch.undo()
    assert store.healthy is healthy
    if healthy:
        await store.create_task(make.new_task("b", 1), None)
    else:
        with pytest.raises(Unavailable):
            await store.create_task(make.new_task("b", 1), None)


async def test_what_sqlite_rolled_back_by_itself_is_nobodys_success(store: SqliteStore) -> None:
    release = await held(store)

    def broken(tx: Transaction) -> None:
        tx.run("ROLLBACK")
        raise apsw.IOError("the transaction is gone")

    first = asyncio.ensure_future(store.create_task(make.new_task("a", 1), None))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(store.writer.submit(broken))
    await asyncio.sleep(0)
    third = asyncio.ensure_future(store.create_task(make.new_task("c", 1), None))
    await asyncio.sleep(0)  # let them submit
    release()
    results = await asyncio.gather(first, second, third, return_exceptions=True)
    assert isinstance(results[0], Unavailable)
    assert isinstance(results[1], Unavailable)
    assert not isinstance(results[2], BaseException)
    assert await make.listed(store) == ["c"]


async def test_damage_that_is_met_ends_all_writing(store: SqliteStore) -> None:
    def damaged(_: Transaction) -> None:
        raise apsw.CorruptError("database disk image is malformed")

    with pytest.raises(Unavailable):
        await store.writer.submit(damaged)
    assert not store.healthy
    with pytest.raises(Unavailable):
        await store.create_task(make.new_task("a"), None)


async def test_a_fault_of_ours_is_not_called_the_disks(store: SqliteStore) -> None:
    with pytest.raises(apsw.SQLError):
        await store.writer.submit(lambda tx: tx.run("SELECT nothing FROM nowhere"))
    with pytest.raises(ZeroDivisionError):
        await store.writer.submit(lambda _: 1 // 0)
    assert store.healthy
    await store.create_task(make.new_task("a"), None)


async def test_the_log_is_moved_into_the_file_as_it_grows(
    store: SqliteStore, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_BYTES", 8 * files.PAGE_SIZE)
    for number in range(20):
        await store.create_task(make.new_task(f"t{number}", 20, size=5_000), None)
    await store.writer.submit(lambda _: None)  # the writer is past the checkpoint that may follow an answer
    assert (tmp_path / "store.sqlite3-wal").stat().st_size < 100 * files.PAGE_SIZE
    assert (tmp_path / "store.sqlite3").stat().st_size > 20 * 50_000


async def test_many_swept_bytes_go_back_to_the_file_system(
    store: SqliteStore, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "KEPT_FREE_PAGES", 20)
    kept = await store.create_task(make.new_task("kept", 100, size=1_000), None)
    task = await store.create_task(make.new_task("a", 3_000, size=2_000, draft=True), None)
    kept_too = await store.create_task(make.new_task("kept-too", 100, size=1_000), None)
    records = [await make.read_all(store, each, view=make.View.FULL) for each in (kept, kept_too)]
    store.writer.connection.wal_checkpoint(None, apsw.SQLITE_CHECKPOINT_TRUNCATE)
    before = (tmp_path / "store.sqlite3").stat().st_size
    await store.delete_task(task.name, make.allow_delete, None)
    while await store.sweep():
        pass
    await store.writer.submit(lambda _: None)
    store.writer.connection.wal_checkpoint(None, apsw.SQLITE_CHECKPOINT_TRUNCATE)
    assert (tmp_path / "store.sqlite3").stat().st_size < before / 3
    assert [await make.read_all(store, each, view=make.View.FULL) for each in (kept, kept_too)] == records
    assert store.writer.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_swept_bytes_are_used_again(store: SqliteStore) -> None:
    """Pages of deleted tasks are free for new ones: the file does not grow with what was deleted."""
    connection = store.writer.connection

    def used() -> int:
        return connection.pragma("page_count") - connection.pragma("freelist_count")

    await store.create_task(make.new_task("first", 1), None)
    empty = used()
    for number in range(3):
        task = await store.create_task(make.new_task("a", 300, size=2_000, ids=True, uid=f"u{number}"), None)
        done = await make.finish(store, task)
        full = used()
        await store.delete_task(done.name, make.allow_delete, None)
        while await store.sweep():
            pass
        assert used() <= empty + 2 < full
