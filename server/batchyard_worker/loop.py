"""The worker's loop: takes subtasks, runs their records one by one, hands the outcomes back.

Two threads. The main one runs everything. The watcher looks in while the main one is inside a handler: it sends what
is finished when the oldest of it is 25 ms old, reads frames (a Drop must be answered although the handler runs for an
hour), and ends the process when the server is gone.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from batchyard_worker import capture, frames, outbox, shared, wire
from batchyard_worker.context import Common, Context
from batchyard_worker.stage import Stage
from batchyard_worker.v1 import worker_pb2

FLUSH_RECORDS = 512
FLUSH_BYTES = 240 * 1024
"""A flush of about this size, and the record that fills it, is stored as it is and fits a stream's page whole."""
TURN_BYTES = 64 * 1024
"""With more than this in a block, a flush is followed by the next one."""
FLUSH_AGE = 0.025
"""Seconds that a finished outcome may wait while the next record runs."""
SLOW_RECORD_NANOS = 20_000_000
"""A record that took longer is sent at once."""
LOOK_NANOS = 1_000_000
"""After a record that took longer the worker asks the system what was written; before, one byte of memory tells."""
IDLE_TICK = 0.25
"""Seconds between two looks of the watcher while nothing runs."""

DEFAULT_RUN_AHEAD_MILLIS = 50
_BLOCK_BYTES = shared.BLOCK_BYTES
_NO_BUDGET = 1 << 62  # nanoseconds
_UNKNOWN = -1 << 62  # acknowledged work, when it is to be looked at before the next record

if TYPE_CHECKING:
    Ranges = list[tuple[int, int]]
    Records = Sequence[worker_pb2.RecordInput]
    Result = bytes | wire.Ended
    Execute = Callable[[worker_pb2.Payload, Context], Result]


class Kind(Protocol):
    """A loaded handler of some kind."""

    def prepare(self, inputs: bytes, parameters: bytes) -> tuple[Execute, Callable[[], Any] | None]:
        """Readies one subtask; never raises.

        Args:
            inputs: Serialized InputPage of the subtask.
            parameters: Serialized Payload of the batch task.

        Returns:
            ``execute(payload, context)``, which runs one record and never raises: the UTF-8 of its JSON output, or
            an `Ended` for all else; and what makes `Context.parameters`, None if the task has none.
        """
        ...


class Worker:
    """One connection to the server, after the handler is loaded.

    Args:
        sock: The socket.
        reader: Its reader, with whatever it has buffered.
        queue: Frames that came after Load.
        blocks: The memory that is shared with the server.
        kind: The loaded handler.
        log: What the handler writes to its standard streams.
        run_ahead_millis: Most milliseconds of finished work that is not acknowledged.
    """

    def __init__(
        self,
        sock: socket.socket,
        reader: frames.FrameReader,
        blocks: shared.Blocks,
        kind: Kind,
        log: capture.Capture,
        run_ahead_millis: int,
    ) -> None:
        self._sock = sock
        self._reader = reader
        self._cell = blocks.cell
        self._kind = kind
        self._log = log
        self._cell[shared.LOG] = log.at
        self._limit = (run_ahead_millis or DEFAULT_RUN_AHEAD_MILLIS) * 1_000_000
        self._outbox = outbox.Outbox(sock, blocks)
        self._runs: deque[worker_pb2.Run] = deque()
        self._reading = threading.Lock()
        self._changing = threading.Lock()
        self._lease = self._count = 0  # the subtask that runs, and how many records it has
        self._dropped = 0  # the subtask of which the rest was given back
        self._running = False
        self._stage = Stage(b"")  # of that subtask
        self._watch = threading.Event()

    def serve(self) -> None:
        """Runs subtasks until the server is gone.

        Raises:
            Closed: The server is gone.
            ValueError: The server sent a subtask that makes no sense.
        """
        threading.Thread(target=self._watch_main, name="batchyard-watcher", daemon=True).start()
        while True:
            while self._read(block=not self._runs):
                pass  # all that has arrived, so that a Drop is seen before what it drops begins
            run = self._next()
            if run is not None:
                self._run(run)

    def _next(self) -> worker_pb2.Run | None:
        """The next subtask, which is the running one from now on."""
        with self._changing:
            if not self._runs:
                return None
            run = self._runs.popleft()
            self._cell[shared.INDEX], self._cell[shared.FINISHED] = -1, 0
            self._lease, self._count = run.lease, sum(run.ranges[1::2]) - sum(run.ranges[::2])
            return run

    def take(self, messages: list[worker_pb2.ToWorker]) -> None:
        """Acts on frames: queues subtasks, notes acknowledgements, answers Drops."""
        for message in messages:
            kind = message.WhichOneof("kind")
            if kind == "ack":
                self._outbox.acknowledge(message.ack.flush)
            elif kind == "run":
                with self._changing:
                    self._runs.append(message.run)
            elif kind == "drop":
                self._drop(message.drop.lease)
            else:
                raise ValueError(f"unexpected message {kind}")

    def _drop(self, lease: int) -> None:
        """Forgets a subtask that waits; ends the running one after the record at hand."""
        dropped = worker_pb2.Dropped(lease=lease)
        with self._changing:
            kept = [run for run in self._runs if run.lease != lease]
            dropped.untouched = len(kept) < len(self._runs)
            self._runs = deque(kept)
            if lease == self._lease and self._dropped != lease:
                dropped.from_ordinal = self._stop_running()
        self._outbox.send(worker_pb2.FromWorker(dropped=dropped))

    def _stop_running(self) -> int:
        """Ends the running subtask after the record at hand; from which ordinal on nothing begins, 0 if there is none.

        The main thread counts a record in the cell when it has ended, then looks at STOP, then begins the next one.
        So a record that begins although STOP is written now had all those before it counted already.
        """
        self._dropped = self._cell[shared.STOP] = self._lease
        first = self._cell[shared.FINISHED] + 1
        return first if first < self._count else 0

    def _read(self, block: bool) -> bool:
        """Reads and acts on some frames; whether there were any. Without `block` only on those that are there."""
        with self._reading:
            messages = self._reader.read(block)
            self.take(messages)
        return bool(messages)

    def _run(self, run: worker_pb2.Run) -> None:
        """Runs one subtask to its end, that of its time budget or a Drop, and sends the last of its outcomes."""
        ranges = outbox.pairs(list(run.ranges))
        page = worker_pb2.InputPage.FromString(run.inputs)
        if ranges is None or sum(high - low for low, high in ranges) != len(page.records):
            raise ValueError(f"lease {run.lease}: {len(page.records)} records do not fit its ranges")
        self._stage = Stage(run.artifacts_dir)
        self._outbox.begin(run.lease, ranges, self._stage.used)
        if self._outbox.mark[1] > TURN_BYTES:
            self._turn()
        cell = self._cell
        cell[shared.LEASE] = run.lease
        self._running = True
        if len(page.records) > 1:
            self._watch.set()
        try:
            self._run_records(run, ranges, page.records)
        finally:
            self._running = False
        cell[shared.INDEX] = -1
        self._outbox.flush(last=True)
        cell[shared.LEASE] = 0
        self._stage.close()

    def _run_records(self, run: worker_pb2.Run, ranges: Ranges, records: Records) -> None:
        """The hot loop: one clock read, one encoding and no lock per record."""
        execute, parameters = self._kind.prepare(run.inputs, run.parameters)
        common = Common(parameters, self._stage if run.artifacts_dir else None)
        attempts, generation, lease, last = dict(run.attempts), run.generation, run.lease, len(records) - 1
        box, cell, limit, said, at = self._outbox, self._cell, self._limit, self._log.memory, self._log.at
        block, (finished, written, work), acked = box.blocks.block, box.mark, _UNKNOWN
        now, look = time.monotonic_ns, LOOK_NANOS
        start = now()
        deadline = start + (run.budget_millis * 1_000_000 or _NO_BUDGET)
        encoder = wire.RecordEncoder(run.batch_task, generation, time.time_ns() - start, start)
        encode, new_context, source, unsent = encoder.encode, Context, iter(records), 0
        for low, high in ranges:
            for index in range(low, high):
                if work - acked > limit:
                    acked = box.acked_work
                    if box.is_ahead(limit):
                        acked = self._await_acks()
                        if cell[8] == lease:
                            return
                        unsent = 0
                        start = now()
                        encoder.restart(start)
                record = next(source)
                record_id = record.record_id
                attempt = attempts.get(index, 0) + 1 if attempts else 1
                cell[2] = start
                cell[1] = index
                result = execute(record.payload, new_context(index, record_id, attempt, generation, common))
                end = now()
                took = end - start
                encoded = encode(index, record_id, attempt, result, end)
                if not isinstance(result, bytes) and result.error is not None:
                    box.failed.append((finished, index, result.error))
                if said[at] or took > look or finished == last:
                    encoded += self._take_log(index, finished)
                    at = self._log.at
                finished, unsent = finished + 1, unsent + 1
                work += took
                filled = written + len(encoded)
                if filled <= _BLOCK_BYTES:
                    block[written:filled] = encoded
                    cell[5] = written = filled
                    box.mark = (finished, filled, work)
                else:
                    box.flush_large(encoded, finished, work)
                    unsent, acked = 0, _UNKNOWN
                # Who reads before this counts a record too few, never one that has not begun.
                cell[3] = finished
                if cell[8] == lease or end > deadline:  # looked at after `cell[3]` was written: see _stop_running
                    return
                if unsent >= FLUSH_RECORDS or written >= FLUSH_BYTES or took > SLOW_RECORD_NANOS:
                    if finished < len(records):
                        box.flush()
                        acked = _UNKNOWN
                        if written > TURN_BYTES:
                            self._turn()
                            block, written = box.blocks.block, 0
                    unsent = 0
                start = end

    def _take_log(self, index: int, ordinal: int) -> bytes:
        """What the record that has just ended wrote, as a field of its page; empty if that is nothing."""
        log = self._log
        text = log.take() if log.look() else b""
        self._cell[shared.LOG] = log.at
        if not text:
            return b""
        self._outbox.logged = ordinal
        return wire.log_field(index, text)

    def _turn(self) -> None:
        """Goes on in the next block; waits until the server has copied what is there, an Ack comes only later."""
        while not self._outbox.turn():
            self._read(block=True)

    def _await_acks(self) -> int:
        """Waits until the unacknowledged work and bytes are within their limits; the acknowledged work."""
        box = self._outbox
        self._cell[shared.INDEX] = -1
        self._read(block=False)
        if box.is_ahead(self._limit):
            box.flush()
        while box.is_ahead(self._limit):
            self._read(block=True)
        return box.acked_work

    def _watch_main(self) -> None:
        """The watcher thread: looks every 25 ms while records run, rarely while none do."""
        try:
            seen: tuple[int, int] | None = None
            while True:
                self._watch.wait(IDLE_TICK)
                self._watch.clear()
                if not self._running:
                    self._log.shrink()
                while self._running:
                    time.sleep(min(max(self._outbox.age_left(FLUSH_AGE), 0.001), FLUSH_AGE))
                    if self._outbox.age_left(FLUSH_AGE) <= 0:
                        self._outbox.flush()
                    current = (self._cell[shared.LEASE], self._cell[shared.START])
                    if current == seen and self._reading.acquire(blocking=False):
                        try:
                            self.take(self._reader.read(block=False))
                        finally:
                            self._reading.release()
                    seen = current
        except BaseException:  # noqa: BLE001 - the server is gone: whatever a handler still does has no reader
            os._exit(0)
