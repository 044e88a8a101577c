"""Who reads while the writer writes? A few threads with a connection each, and one connection on the event loop.

A read of a row or two runs on the loop's own connection: it takes some microseconds, a hop to a thread a hundred.
Pages go to the threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import apsw

from batchyard_server.codec.segments import Compressor
from batchyard_server.model.errors import Reason, Unavailable
from batchyard_server.store.sqlite.writer import translate

T = TypeVar("T")
Row = tuple[Any, ...]


class Reader:
    """A reading connection. Used by one thread at a time."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.compressor = Compressor()
        self._cursor = connection.cursor()

    def run(self, sql: str, values: tuple[Any, ...] = ()) -> list[Row]:
        """Execute one statement and return all its rows; no statement stays open behind it."""
        return self._cursor.execute(sql, values).fetchall()

    def stream(self, sql: str, values: tuple[Any, ...] = ()) -> apsw.Cursor:
        """Execute one statement; its rows come as they are asked for. To be closed by the caller."""
        return self.connection.cursor().execute(sql, values)

    def snapshot(self, call: Callable[[Reader], T]) -> T:
        """Run `call` so that all its reads see the store at one moment."""
        self._cursor.execute("BEGIN")
        try:
            return call(self)
        finally:
            self._cursor.execute("ROLLBACK")


class Readers:
    """The loop's own reader (`here`) and a pool of threads."""

    def __init__(self, connect: Callable[[], apsw.Connection], threads: int) -> None:
        self.here = Reader(connect())
        self._idle = [Reader(connect()) for _ in range(threads)]
        self._readers = list(self._idle)
        self._mutex = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="store-reader")
        self._closed = False

    def now(self, call: Callable[[Reader], T]) -> T:
        """Run a read of a few rows on the loop's own connection."""
        if self._closed:
            raise Unavailable(Reason.STORE_UNAVAILABLE, "the store is closed")
        try:
            return call(self.here)
        except apsw.Error as error:
            raise translate(error) from error

    async def page(self, call: Callable[[Reader], T]) -> T:
        """Run a longer read, with one snapshot, on a thread."""
        if self._closed:
            raise Unavailable(Reason.STORE_UNAVAILABLE, "the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._page, call)

    def _page(self, call: Callable[[Reader], T]) -> T:
        with self._mutex:
            reader = self._idle.pop()  # as many readers as threads
        try:
            return reader.snapshot(call)
        except apsw.Error as error:
            raise translate(error) from error
        finally:
            with self._mutex:
                self._idle.append(reader)

    async def close(self) -> None:
        """Finish what runs, then close the connections. Idempotent."""
        self._closed = True
        await asyncio.to_thread(self._pool.shutdown, wait=True)
        for reader in (self.here, *self._readers):
            reader.connection.close()
