"""Whose are these files, and are they whole? The data directory: its lock, the checks before opening, the connections.

DIRECTORY/store.lock        held as long as a server uses the directory
DIRECTORY/store.sqlite3     the store (-wal and -shm beside it)
DIRECTORY/store.new         a store that is being made; renamed once it is whole, so a crash leaves no half of one
"""

from __future__ import annotations

import fcntl
import os
import pathlib

import apsw

from batchyard_server.model.clock import Randomness
from batchyard_server.model.failpoints import Failpoints
from batchyard_server.store.errors import DamagedStore, DirectoryLocked, ForeignStore, LibraryTooOld, StoreError
from batchyard_server.store.sqlite import migrate

OLDEST_LIBRARY = (3, 51, 3)  # older ones can corrupt the file when the WAL is reset under several connections
PAGE_SIZE = 4096  # each small commit writes some ten pages whole: larger ones upload faster, and answer later
WAL_BYTES = 64 * 1024 * 1024
CHECKED_WHOLE_BYTES = 64 * 1024 * 1024  # up to this size every page is checked at start
_HEADER = b"SQLite format 3\0"


def check_library(version: str) -> None:
    """Raises LibraryTooOld."""
    if tuple(int(part) for part in version.split(".")) < OLDEST_LIBRARY:
        wanted = ".".join(map(str, OLDEST_LIBRARY))
        raise LibraryTooOld(f"SQLite {version} can lose data, at least {wanted} is needed: upgrade the package apsw")


class Directory:
    """The data directory, locked for this process until `release`."""

    def __init__(self, path: pathlib.Path) -> None:
        """Make the directory, the owner's alone, if it is not there, and lock it. Raises StoreError."""
        self.path = path
        self.store = path / "store.sqlite3"
        self._new = path / "store.new"
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / "store.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot use the data directory {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise DirectoryLocked(f"another server uses the data directory {path}") from error

    def release(self) -> None:
        """Give up the lock. Idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def create(self, randomness: Randomness, failpoints: Failpoints) -> None:
        """Make an empty store under another name and move it into place. Raises DamagedStore for remains of one."""
        for suffix in ("-wal", "-journal"):
            if self.store.with_name(self.store.name + suffix).exists():
                raise DamagedStore(f"{self.store}{suffix} is there without {self.store.name}: put the file back")
        for old in self.path.glob(self._new.name + "*"):
            old.unlink()
        os.close(os.open(self._new, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))  # SQLite's other files follow it
        connection = apsw.Connection(str(self._new), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.pragma("page_size", PAGE_SIZE)
            connection.pragma("auto_vacuum", 2)  # INCREMENTAL: sweeping gives bytes back to the file system
            connection.pragma("application_id", migrate.APPLICATION_ID)
            connection.pragma("synchronous", "EXTRA")
            migrate.migrate(connection, failpoints)
            connection.execute(
                "INSERT INTO meta VALUES ('secret', ?), ('server_id', ?)",
                (randomness.bytes(32), randomness.bytes(16).hex().encode()),
            )
            connection.pragma("journal_mode", "WAL")
        finally:
            connection.close()
        self._new.rename(self.store)
        self._sync()

    def check(self) -> None:
        """Whether the file can be a store of ours, by its header. Raises DamagedStore, ForeignStore."""
        with self.store.open("rb") as file:
            header = file.read(100)
            size = file.seek(0, os.SEEK_END)
        if len(header) < 100 or not header.startswith(_HEADER):
            raise DamagedStore(f"{self.store} is no SQLite file (any more); restore it from a copy or move it away")
        if int.from_bytes(header[68:72], "big") != migrate.APPLICATION_ID:
            raise ForeignStore(f"{self.store} is a database of another program")
        page_size = int.from_bytes(header[16:18], "big")
        pages = int.from_bytes(header[28:32], "big")
        wal = self.store.with_name(self.store.name + "-wal")
        # With a log beside it the file may lag behind its own header.
        if size < pages * page_size and not (wal.exists() and wal.stat().st_size):
            raise DamagedStore(f"{self.store} is cut short: {size} of {pages * page_size} bytes are there")

    def _sync(self) -> None:
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def open_writer(directory: Directory, failpoints: Failpoints) -> apsw.Connection:
    """The one writing connection, schema up to date. Raises StoreError."""
    connection: apsw.Connection | None = None
    try:
        connection = _connect(directory.store)
        _prepare_writer(directory, connection)
        migrate.migrate(connection, failpoints)
    except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError) as error:
        _close(connection)
        raise DamagedStore(f"{directory.store} is damaged ({error}); restore it from a copy") from error
    except apsw.Error as error:
        _close(connection)
        raise StoreError(f"{directory.store} cannot be opened: {error}") from error
    except BaseException:
        _close(connection)
        raise
    return connection


def _prepare_writer(directory: Directory, connection: apsw.Connection) -> None:
    if connection.pragma("journal_mode", "WAL") != "wal":
        raise StoreError(f"{directory.store} cannot be kept with a write-ahead log on this file system")
    connection.set_busy_timeout(250)  # how long a checkpoint may wait for readers, and every caller with it
    connection.pragma("synchronous", "FULL")
    connection.pragma("journal_size_limit", WAL_BYTES)
    connection.pragma("cache_size", -8 * 1024)
    if directory.store.stat().st_size <= CHECKED_WHOLE_BYTES:
        problem = connection.execute("PRAGMA quick_check(1)").fetchall()[0][0]
        if problem != "ok":
            raise DamagedStore(f"{directory.store} is damaged ({problem}); restore it from a copy")
    version = connection.pragma("user_version")
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not version or "meta" not in tables:
        raise DamagedStore(f"{directory.store} has lost its tables; restore it from a copy")


def open_reader(directory: Directory) -> apsw.Connection:
    """A connection that only reads."""
    connection = _connect(directory.store)
    connection.pragma("query_only", True)
    connection.pragma("cache_size", -4 * 1024)
    return connection


def _connect(path: pathlib.Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=200)
    connection.set_busy_timeout(5000)
    connection.wal_autocheckpoint(0)  # the writer does it itself, after its callers were answered
    connection.pragma("temp_store", "MEMORY")
    connection.pragma("trusted_schema", False)
    connection.pragma("cell_size_check", True)
    return connection


def _close(connection: apsw.Connection | None) -> None:
    if connection is not None:
        connection.close()


def library_version() -> str:
    """The version of the SQLite library in use."""
    return apsw.sqlite_lib_version()


def close_writer(connection: apsw.Connection, *, healthy: bool) -> None:
    """Move the log into the file and close it. After a lost write the log is left as it is: the next start reads it."""
    if healthy:
        connection.wal_checkpoint(None, apsw.SQLITE_CHECKPOINT_TRUNCATE)
    else:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.close()
