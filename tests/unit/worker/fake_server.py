"""The server's side of one worker process, in the test's hand: it does nothing unless told to."""

from __future__ import annotations

import json
import mmap
import os
import pathlib
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from batchyard_server.execution.log_file import LogFile
from batchyard_worker import isolation, shared
from batchyard_worker.v1 import worker_pb2

TASK = "projects/default/batchTasks/t"
HANDLERS = pathlib.Path(__file__).parent / "handlers"


class Cell(NamedTuple):
    lease: int
    index: int
    start: int
    finished: int


class FakeServer:
    """Starts a worker and loads a handler into it.

    Args:
        handler: Function in handlers/bad_handlers.py, or a whole package.module:attribute.
        python: Command that stands for the interpreter.
        load: Further fields of Load.
    """

    def __init__(self, handler: str = "echo", python: Sequence[str] = (sys.executable,), **load: Any) -> None:
        self._sock, theirs = socket.socketpair()
        self._sock.settimeout(20)
        cell = os.memfd_create("cell")
        os.ftruncate(cell, shared.BYTES)
        self._cell = mmap.mmap(cell, shared.BYTES)
        struct.pack_into("<qqqq", self._cell, 0, 0, -1, 0, 0)
        self.log = LogFile()
        argv = isolation.worker_argv(python[-1], theirs.fileno(), cell, self.log.fd)
        self.process = subprocess.Popen(
            [*python[:-1], *argv], pass_fds=(theirs.fileno(), cell, self.log.fd), stderr=subprocess.PIPE, cwd="/"
        )
        theirs.close()
        os.close(cell)
        self._buffer = b""
        defaults: dict[str, Any] = {
            "handler": "h",
            "kind": "python",
            "callable": handler if ":" in handler else f"sample_handlers:{handler}",
            "path": [str(HANDLERS)],
            "max_output_bytes": 1 << 20,
            "max_error_bytes": 16 << 10,
            "run_ahead_millis": 50,
        }
        self.send(load=worker_pb2.Load(**{**defaults, **load}))
        self.loaded = self.receive("loaded").error

    def send(self, **message: Any) -> None:
        data = worker_pb2.ToWorker(**message).SerializeToString()
        self._sock.sendall(struct.pack(">I", len(data)) + data)

    def receive(self, kind: str) -> Any:
        """The next message, which must be of this kind."""
        message = self.next()
        assert message.WhichOneof("kind") == kind
        return getattr(message, kind)

    def next(self) -> worker_pb2.FromWorker:
        """The next message."""
        while len(self._buffer) < 4 or len(self._buffer) < 4 + struct.unpack(">I", self._buffer[:4])[0]:
            data = self._sock.recv(1 << 20)
            if not data:
                raise EOFError
            self._buffer += data
        size = 4 + struct.unpack(">I", self._buffer[:4])[0]
        message = worker_pb2.FromWorker.FromString(self._buffer[4:size])
        self._buffer = self._buffer[size:]
        if message.HasField("outcomes"):
            self._fetch(message.outcomes)
        return message

    def _fetch(self, outcomes: worker_pb2.Outcomes) -> None:
        """Puts the whole page into the message, and tells the worker that it was copied."""
        first = shared.FIRST_BLOCK + outcomes.block * shared.BLOCK_BYTES
        outcomes.page = self._cell[first + outcomes.start : first + outcomes.end] + outcomes.page
        struct.pack_into("<q", self._cell, 8 * shared.TAKEN, outcomes.flush)

    def says_nothing(self, seconds: float) -> bool:
        """Whether no message comes within this time."""
        return not self._buffer and not select.select([self._sock], [], [], seconds)[0]

    def run(self, lease: int, records: Sequence[Any], first: int = 0, **fields: Any) -> None:
        """Sends a subtask; a record that is no Payload becomes JSON text."""
        inputs = worker_pb2.InputPage(records=[as_input(record) for record in records]).SerializeToString()
        fields.setdefault("ranges", [first, first + len(records)])
        self.send(run=worker_pb2.Run(lease=lease, batch_task=TASK, generation=1, inputs=inputs, **fields))

    def ack(self, flush: int) -> None:
        self.send(ack=worker_pb2.Ack(flush=flush))

    def drop(self, lease: int) -> None:
        self.send(drop=worker_pb2.Drop(lease=lease))

    def stop(self, lease: int) -> None:
        struct.pack_into("<q", self._cell, 8 * shared.STOP, lease)

    def outcomes(self, lease: int, *, ack: bool = True) -> list[worker_pb2.RecordInfo]:
        """The outcomes of a lease up to its last."""
        records: list[worker_pb2.RecordInfo] = []
        while True:
            flush = self.receive("outcomes")
            assert flush.lease == lease
            assert flush.count == len(page(flush))
            records += page(flush)
            if ack:
                self.ack(flush.flush)
            if flush.last:
                return records

    def one(self, record: Any) -> worker_pb2.RecordInfo:
        """Runs one record."""
        self.run(1, [record])
        (outcome,) = self.outcomes(1)
        return outcome

    def logs(self, lease: int) -> dict[int, str]:
        """What the records of a lease wrote, up to its last flush, by index."""
        found: dict[int, str] = {}
        while True:
            flush = self.receive("outcomes")
            here = worker_pb2.LoggedPage.FromString(flush.page).logs
            assert flush.logged or not here
            assert found.keys().isdisjoint(each.index for each in here)
            found |= {each.index: each.text.decode("utf-8", "backslashreplace") for each in here}
            self.ack(flush.flush)
            if flush.last:
                return found

    def says(self, *actions: list[Any]) -> str | None:
        """What one record of the handler `says` wrote; None if it has no log."""
        self.run(1, [list(actions)])
        return self.logs(1).get(0)

    def last_words(self) -> str:
        """What the record wrote that runs, or ran when the worker died."""
        (start,) = struct.unpack_from("<q", self._cell, 8 * shared.LOG)
        return self.log.read(start).decode()

    def cell(self) -> Cell:
        """What the worker last wrote there, read until two readings agree."""
        while True:
            first, second = (Cell(*struct.unpack_from("<qqqq", self._cell, 0)) for _ in range(2))
            if first == second:
                return first

    def hang_up(self) -> None:
        """The server's end: closes its side of the socket."""
        self._sock.close()

    def close(self) -> str:
        """Ends the worker whatever it does; what it wrote to its standard error."""
        self.hang_up()
        self.process.kill()
        self.process.wait(timeout=20)
        self.log.close()
        return self.process.communicate(timeout=20)[1].decode()


def as_input(record: Any) -> worker_pb2.RecordInput:
    """A RecordInput of a Payload, or of JSON text."""
    if isinstance(record, worker_pb2.RecordInput):
        return record
    if not isinstance(record, worker_pb2.Payload):
        record = worker_pb2.Payload(text=json.dumps(record))
    return worker_pb2.RecordInput(payload=record)


def page(flush: worker_pb2.Outcomes) -> list[worker_pb2.RecordInfo]:
    """The records of a flush."""
    return list(worker_pb2.RecordPage.FromString(flush.page).records)
