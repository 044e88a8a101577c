"""How does a data directory become a store? What is there is checked, and the connections are made."""

from __future__ import annotations

import asyncio
import pathlib

from batchyard_server.model import limits
from batchyard_server.model.clock import Clock, Randomness
from batchyard_server.model.failpoints import Failpoints
from batchyard_server.store.sqlite import changes, events, files
from batchyard_server.store.sqlite.readers import Readers
from batchyard_server.store.sqlite.store import SqliteStore
from batchyard_server.store.sqlite.transaction import Transaction


async def open_sqlite(
    directory: pathlib.Path,
    *,
    clock: Clock,
    randomness: Randomness,
    failpoints: Failpoints,
    readers: int = 2,
    kept_events: int = limits.EVENTS,
) -> SqliteStore:
    """Open the store in `directory`, making it if there is none, for the running loop. Raises StoreError."""
    loop = asyncio.get_running_loop()
    return await asyncio.to_thread(_open, loop, directory, clock, randomness, failpoints, readers, kept_events)


def _open(
    loop: asyncio.AbstractEventLoop,
    path: pathlib.Path,
    clock: Clock,
    randomness: Randomness,
    failpoints: Failpoints,
    readers: int,
    kept_events: int,
) -> SqliteStore:
    files.check_library(files.library_version())
    directory = files.Directory(path)
    try:
        if not directory.store.exists():
            directory.create(randomness, failpoints)
        directory.check()
        connection = files.open_writer(directory, failpoints)
        try:
            event_log = events.open_log(connection.execute(events.BOUNDS).fetchall()[0], kept_events)
            tx = Transaction(
                connection,
                clock=clock,
                failpoints=failpoints,
                write_entries=changes.write_entries,
                write_events=event_log.write,
            )
            return SqliteStore(loop, directory, tx, Readers(lambda: files.open_reader(directory), readers), event_log)
        except BaseException:
            connection.close()
            raise
    except BaseException:
        directory.release()
        raise
