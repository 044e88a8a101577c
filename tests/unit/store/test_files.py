"""The data directory: locked, checked before it is opened, made whole or not at all."""

from __future__ import annotations

import asyncio
import pathlib
import stat

import apsw
import pytest

from batchyard_server.model.clock import SystemClock, SystemRandomness
from batchyard_server.model.failpoints import OFF, Failpoints, Injected
from batchyard_server.store.errors import (
    DamagedStore,
    DirectoryLocked,
    ForeignStore,
    LibraryTooOld,
    NewerSchema,
    StoreError,
)
from batchyard_server.store.sqlite import SqliteStore, files, migrate, open_sqlite
from tests.support import store as make


async def opened(directory: pathlib.Path, failpoints: Failpoints = OFF) -> SqliteStore:
    return await open_sqlite(
        directory, clock=SystemClock(), randomness=SystemRandomness(), failpoints=failpoints, readers=1
    )


async def made(directory: pathlib.Path, tasks: int = 0) -> pathlib.Path:
    """A closed store with some tasks; its file."""
    store = await opened(directory)
    for number in range(tasks):
        await store.create_task(make.new_task(f"t{number}", 50, size=2_000), None)
    await store.close()
    return directory / "store.sqlite3"


async def test_what_it_makes_is_the_owners_alone(tmp_path: pathlib.Path) -> None:
    store = await opened(tmp_path / "a" / "b")
    await store.create_task(make.new_task("a"), None)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    for file in (tmp_path / "a" / "b").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    await store.close()


async def test_a_directory_that_was_there_keeps_its_mode(tmp_path: pathlib.Path) -> None:
    tmp_path.chmod(0o755)
    await made(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


async def test_two_servers_never_share_a_directory(tmp_path: pathlib.Path) -> None:
    store = await opened(tmp_path)
    with pytest.raises(DirectoryLocked, match="another server") as caught:
        await opened(tmp_path)
    assert "\n" not in str(caught.value)
    await store.close()
    await (await opened(tmp_path)).close()


async def test_a_directory_that_cannot_be_made_is_said(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot use the data directory"):
        await opened(tmp_path / "file" / "data")


async def test_the_files_are_as_measured(tmp_path: pathlib.Path) -> None:
    file = await made(tmp_path, 1)
    connection = apsw.Connection(str(file))
    assert connection.pragma("page_size") == files.PAGE_SIZE
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("application_id") == migrate.APPLICATION_ID
    connection.close()
    store = await opened(tmp_path)
    assert store.writer.connection.pragma("synchronous") == 2  # FULL
    await store.close()
    assert not (tmp_path / "store.sqlite3-wal").exists()  # closed in order: nothing is left beside it


@pytest.mark.parametrize("content", [b"", b"x", b"garbage " * 4096, b"SQLite format 3\0" + bytes(50)])
async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: pathlib.Path, content: bytes) -> None:
    file = tmp_path / "store.sqlite3"
    file.write_bytes(content)
    with pytest.raises(DamagedStore) as caught:
        await opened(tmp_path)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert file.read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store.lock", "store.sqlite3"]


async def test_a_database_of_another_program_is_refused(tmp_path: pathlib.Path) -> None:
    connection = apsw.Connection(str(tmp_path / "store.sqlite3"))
    connection.execute("CREATE TABLE notes (text)")
    connection.close()
    with pytest.raises(ForeignStore, match="another program"):
        await opened(tmp_path)


async def test_a_store_that_was_cut_short_is_refused(tmp_path: pathlib.Path) -> None:
    file = await made(tmp_path, 20)
    whole = file.read_bytes()
    for size in (100, files.PAGE_SIZE, len(whole) - files.PAGE_SIZE, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(DamagedStore):
            await opened(tmp_path)
        assert file.stat().st_size == size
    file.write_bytes(whole)
    await (await opened(tmp_path)).close()


async def test_a_store_with_broken_pages_is_refused(tmp_path: pathlib.Path) -> None:
    file = await made(tmp_path, 20)
    whole = bytearray(file.read_bytes())
    for page in range(1, 6):
        whole[page * files.PAGE_SIZE : page * files.PAGE_SIZE + 400] = b"\xff" * 400
    file.write_bytes(whole)
    with pytest.raises(DamagedStore, match="damaged"):
        await opened(tmp_path)


async def test_a_store_that_lost_its_tables_is_refused(tmp_path: pathlib.Path) -> None:
    connection = apsw.Connection(str(tmp_path / "store.sqlite3"))
    connection.pragma("application_id", migrate.APPLICATION_ID)
    connection.execute("CREATE TABLE x (y)")
    connection.close()
    with pytest.raises(DamagedStore, match="tables"):
        await opened(tmp_path)


async def test_a_log_without_its_database_is_not_covered_up(tmp_path: pathlib.Path) -> None:
    file = await made(tmp_path, 1)
    file.unlink()
    (tmp_path / "store.sqlite3-wal").write_bytes(b"records that were acknowledged")
    with pytest.raises(DamagedStore, match="wal"):
        await opened(tmp_path)
    assert not file.exists()


async def test_a_newer_schema_is_refused(tmp_path: pathlib.Path) -> None:
    file = await made(tmp_path)
    connection = apsw.Connection(str(file))
    connection.pragma("user_version", len(migrate.steps()) + 1)
    connection.close()
    with pytest.raises(NewerSchema, match="newer server"):
        await opened(tmp_path)


@pytest.mark.parametrize("kind", ["error", "disk_full", "io_error"])
async def test_a_store_is_made_whole_or_not_at_all(tmp_path: pathlib.Path, kind: str) -> None:
    with pytest.raises(Injected):
        await opened(tmp_path, Failpoints(f"store.migrate={kind}"))
    assert not (tmp_path / "store.sqlite3").exists()
    store = await opened(tmp_path)
    await store.create_task(make.new_task("a"), None)
    await store.close()
    assert not (tmp_path / "store.new").exists()


def test_a_step_that_fails_leaves_the_version_before_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = apsw.Connection(str(tmp_path / "x"))
    steps = [*migrate.steps(), "CREATE TABLE later (a); INSERT INTO later VALUES (1);"]
    monkeypatch.setattr(migrate, "steps", lambda: steps)
    with pytest.raises(Injected):
        migrate.migrate(connection, Failpoints(f"store.migrate=error@{len(steps)}"))
    assert connection.pragma("user_version") == len(steps) - 1
    assert not connection.table_exists(None, "later")
    migrate.migrate(connection, OFF)
    assert connection.pragma("user_version") == len(steps)
    assert connection.execute("SELECT a FROM later").fetchall() == [(1,)]
    connection.close()


@pytest.mark.parametrize(
    ("version", "fine"), [("3.40.1", False), ("3.51.2", False), ("3.51.3", True), ("3.100.0", True)]
)
def test_old_libraries_are_refused(version: str, fine: bool) -> None:
    if fine:
        files.check_library(version)
    else:
        with pytest.raises(LibraryTooOld, match="apsw"):
            files.check_library(version)


async def test_an_unclean_end_is_taken_up(tmp_path: pathlib.Path) -> None:
    """The file and its log, copied while the store is open, are what a kill leaves behind."""
    store = await opened(tmp_path / "live")
    for number in range(5):
        await store.create_task(make.new_task(f"t{number}", 10), None)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("store.sqlite3", "store.sqlite3-wal"):
        (copy / name).write_bytes((tmp_path / "live" / name).read_bytes())
    await store.close()
    again = await opened(copy)
    assert len(await make.listed(again)) == 5
    await again.close()
    await asyncio.sleep(0)
