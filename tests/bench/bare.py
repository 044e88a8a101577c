"""Bare gRPC server for baselines: grpc.aio on uvloop, bytes in and bytes out, no engine behind it.

    python -m tests.bench.bare --scratch DIR [--pages FILE] [--database FILE]

Methods of the service `Bare`:
    Echo         the request's bytes
    Reply        as many bytes as the request says in ASCII
    Pages        stream: every message of FILE `--pages` (4-byte length before each)
    Rows         stream: pages of 1000 stored messages, read by keyset from the SQLite file `--database`
    RowPage      the page of 1000 after the key that is the request
    Drop         bidi: answers each message with the bytes received so far, in ASCII
    LongPoll     answers 20 ms later with the wall time (ns, ASCII) of the moment it was woken by an asyncio.Condition
    LongPollRow  the same, but commits one row to SQLite (FULL) between that moment and the wake-up
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import apsw
import grpc
import uvloop

OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]
PAGE_ROWS = 1000
ROWS_SQL = "select key, message from row where key > ? order by key limit ?"
NAP = 0.02


def varint(number: int) -> bytes:
    """Protobuf's variable-length form of a number."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


# Tag of field 1, length-delimited, and the length: what precedes each message in a page.
HEADS = [b"\x0a" + varint(length) for length in range(4096)]


def framed(rows: list[tuple[int, bytes]]) -> bytes:
    """A page: each stored message as field 1."""
    return b"".join([part for _, message in rows for part in (HEADS[len(message)], message)])


def run_all(store: apsw.Connection, statements: str) -> None:
    """Run statements to their end; `execute` alone stops at the first one that gives a row, as a pragma does."""
    for _ in store.execute(statements):
        pass


def fill_rows(path: Path, messages: Iterator[bytes]) -> tuple[int, int]:
    """Store messages for `Rows`, in their order; returns how many there are and their bytes in all."""
    with contextlib.closing(apsw.Connection(str(path))) as store:
        run_all(store, "pragma journal_mode=wal")
        store.execute("create table row(key integer primary key, message blob not null)")
        with store:
            store.executemany("insert into row(message) values(?)", ((message,) for message in messages))
        count, size = next(store.execute("select count(*), sum(length(message)) from row"))
        return int(count), int(size)


class Methods:
    """The methods above."""

    def __init__(self, scratch: Path, pages: Path | None, database: Path | None) -> None:
        self._messages = list(read_messages(pages)) if pages else []
        self._rows = apsw.Connection(str(database)) if database else None
        self._done = asyncio.Condition()
        self._woken = 0
        self._commits = apsw.Connection(str(scratch / "commits.db"))
        run_all(self._commits, "pragma journal_mode=wal; pragma synchronous=full; create table done(at integer)")

    async def echo(self, request: bytes, context: Any) -> bytes:
        return request

    async def reply(self, request: bytes, context: Any) -> bytes:
        return _filler(int(request))

    async def pages(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for message in self._messages:
            yield message

    async def rows(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        assert self._rows is not None
        last = 0
        while rows := list(self._rows.execute(ROWS_SQL, (last, PAGE_ROWS))):
            last = rows[-1][0]
            yield framed(rows)

    async def row_page(self, request: bytes, context: Any) -> bytes:
        assert self._rows is not None
        return framed(list(self._rows.execute(ROWS_SQL, (int(request), PAGE_ROWS))))

    async def drop(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        total = 0
        async for request in requests:
            total += len(request)
            yield b"%d" % total

    async def long_poll(self, request: bytes, context: Any) -> bytes:
        return await self._poll(commit=False)

    async def long_poll_row(self, request: bytes, context: Any) -> bytes:
        return await self._poll(commit=True)

    async def _poll(self, *, commit: bool) -> bytes:
        before = self._woken
        finish = asyncio.create_task(self._finish(commit=commit))
        async with self._done:
            await self._done.wait_for(lambda: self._woken != before)
        await finish
        return b"%d" % self._woken

    async def _finish(self, *, commit: bool) -> None:
        await asyncio.sleep(NAP)
        now = time.time_ns()
        if commit:
            await asyncio.to_thread(self._commits.execute, "insert into done values(?)", (now,))
        async with self._done:
            self._woken = now
            self._done.notify_all()

    def table(self) -> dict[str, Any]:
        """Handlers by method name."""
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        return {
            "Echo": unary(self.echo),
            "Reply": unary(self.reply),
            "Pages": stream(self.pages),
            "Rows": stream(self.rows),
            "RowPage": unary(self.row_page),
            "Drop": grpc.stream_stream_rpc_method_handler(self.drop),
            "LongPoll": unary(self.long_poll),
            "LongPollRow": unary(self.long_poll_row),
        }


@functools.cache
def _filler(size: int) -> bytes:
    return b"x" * size


def read_messages(path: Path) -> Iterator[bytes]:
    """Messages of a file that `write_messages` made."""
    with path.open("rb") as source:
        while length := source.read(4):
            yield source.read(int.from_bytes(length, "big"))


def write_messages(path: Path, messages: Iterator[bytes]) -> None:
    """Keep messages in a file, a 4-byte length before each."""
    with path.open("wb") as out:
        for message in messages:
            out.write(len(message).to_bytes(4, "big") + message)


async def _serve(methods: Methods) -> None:
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Bare", methods.table()),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--pages", type=Path)
    parser.add_argument("--database", type=Path)
    chosen = parser.parse_args()

    async def run() -> None:
        await _serve(Methods(chosen.scratch, chosen.pages, chosen.database))

    uvloop.run(run())


if __name__ == "__main__":
    main()
