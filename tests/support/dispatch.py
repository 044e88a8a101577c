"""Workers without processes, moved on by the test, that behave as server/batchyard_worker/loop.py does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, cast

from google.rpc import code_pb2

from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.codec import segments
from batchyard_server.execution.cell import Progress
from batchyard_server.execution.inbox import Inbox
from batchyard_server.execution.worker import Callbacks, Exit, Worker
from batchyard_server.model import ranges as rg
from batchyard_server.model.handler import HandlerSpec
from batchyard_worker.v1 import worker_pb2
from tests.support.clock import FakeClock

CRASHED, TERMINATED = ("signal 11 (SIGSEGV)", -11), ("signal 15 (SIGTERM)", -15)


class EmptyCell:
    """Shared memory that is not used: a FakeWorker's flushes carry all of their outcomes."""

    def written(self) -> tuple[int, int, int]:
        """See Cell.written."""
        return 0, 0, 0

    def part(self, block: int, start: int, end: int) -> bytes:
        """See Cell.part."""
        assert block == start == end == 0
        return b""

    def taken(self, flush: int) -> None:
        """See Cell.taken."""


class FakeWorker:
    """One worker.

    Attributes:
        begun: called with (task name, index, attempt) when a record begins.
        acked: called with the flushes that an Ack calls durable, when it is sent: (task name, ranges) each.
        dead: it does nothing more; `reap` is to follow.
        killed: the kill ladder has begun.
    """

    def __init__(self, spec: HandlerSpec, callbacks: Callbacks, clock: FakeClock) -> None:
        self.handler = spec.handler_id
        self.begun: Callable[[str, int, int], None] = lambda _name, _index, _attempt: None
        self.acked: Callable[[list[tuple[str, rg.Ranges]]], None] = lambda _flushes: None
        self.dead = self.killed = self.is_loaded = self.gone = False
        self.strays = False
        self.runs: deque[worker_pb2.Run] = deque()
        self.current: worker_pb2.Run | None = None
        self.running: int | None = None
        self._left: deque[int] = deque()
        self._stopped = False  # the present subtask ends after the record at hand
        self._stop_word = 0  # so does this one
        self.inbox = Inbox(cast(Any, EmptyCell()), self.send)
        self._callbacks = callbacks
        self._clock = clock
        self._cell = Progress(0, -1, 0, 0)
        self._inbox: deque[worker_pb2.ToWorker] = deque()
        self._outbox: deque[worker_pb2.FromWorker] = deque()
        self._buffer: list[tuple[int, bytes]] = []
        self._flush = self._acked = self._work_ns = self._began_ns = 0
        self._flushes: dict[int, tuple[str, rg.Ranges]] = {}

    # -- what a slot uses -----------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """See Worker.send."""
        message = worker_pb2.ToWorker.FromString(data[4:])
        if message.HasField("ack"):
            assert self._acked < message.ack.flush <= self._flush, "an Ack goes back, or beyond what was sent"
            self.acked([self._flushes[n] for n in range(self._acked + 1, message.ack.flush + 1)])
            self._acked = message.ack.flush
        if not self.dead:
            self._inbox.append(message)

    def progress(self) -> Progress:
        """See Worker.progress."""
        return self._cell

    def stop(self, number: int) -> None:
        """See Worker.stop."""
        self._stop_word = number

    def kill(self) -> None:
        """See Worker.kill."""
        self.killed = True

    def loaded(self) -> None:
        """See Worker.loaded."""

    def trim_log(self) -> None:
        """See Worker.trim_log: it writes nothing."""

    def has_strays(self) -> bool:
        """See Worker.has_strays."""
        return self.strays

    # -- the test's side ------------------------------------------------------------------------------------------

    @property
    def unacked(self) -> int:
        """Flushes that were not called durable yet."""
        return self._flush - self._acked

    @property
    def blamed(self) -> tuple[str, int] | None:
        """(task name, index) of the record of the present subtask that began last."""
        return None if self.current is None or self._cell.index < 0 else (self.current.batch_task, self._cell.index)

    def load(self, error: str = "") -> None:
        """The handler is loaded, or cannot be."""
        self.is_loaded = not error
        self._outbox.append(worker_pb2.FromWorker(loaded=worker_pb2.Loaded(error=error)))

    def read(self) -> None:
        """Act on every frame that has arrived; the watcher does so while a record runs."""
        while self._inbox:
            message = self._inbox.popleft()
            kind = message.WhichOneof("kind")
            if kind == "run":
                self.runs.append(message.run)
            elif kind == "drop":
                kept = deque(run for run in self.runs if run.lease != message.drop.lease)
                untouched, self.runs = len(kept) < len(self.runs), kept
                dropped = worker_pb2.Dropped(lease=message.drop.lease, untouched=untouched)
                if self.current is not None and self.current.lease == message.drop.lease and not self._stopped:
                    dropped.from_ordinal = self._stop()
                self._outbox.append(worker_pb2.FromWorker(dropped=dropped))

    def _stop(self) -> int:
        """End the present subtask: between two records the next one may still begin, so it is not given back."""
        self._stopped = True
        first, kept = self._cell.finished + 1, 0 if self.running is not None else 1
        given_back = len(self._left) > kept
        while len(self._left) > kept:
            self._left.pop()
        return first if given_back else 0

    def step(self, *, failed: bool = False, flush: bool = False, over: bool = False, unread: bool = False) -> bool:
        """Begin the next record, or end the one that runs; whether there was anything to do.

        Args:
            failed: The record ends FAILED.
            flush: What is finished is sent then.
            over: The subtask has used up its time budget then; between two records, it ends if it was stopped.
            unread: What has been sent has not arrived yet.
        """
        if self.running is not None:
            self._end(failed)
            budget_ns = self.current.budget_millis * 1_000_000 if self.current is not None else 0
            stopped = self.current is not None and self.current.lease == self._stop_word
            if not self._left or over or stopped or self._clock.monotonic_ns() - self._began_ns > budget_ns:
                self._finish()
            elif flush:
                self.flush()
            return True
        if self.current is None:
            if not unread:
                self.read()
            if not self.runs:
                return False
            self.current = self.runs.popleft()
            pairs = list(self.current.ranges)
            ranges = list(zip(pairs[::2], pairs[1::2], strict=True))
            self._left = deque(index for start, end in ranges for index in range(start, end))
            assert len(segments.split_inputs(self.current.inputs)) == len(self._left)
            self._cell = Progress(self.current.lease, -1, 0, 0)
            self._began_ns = self._clock.monotonic_ns()
            self._stopped = False
        elif self._stopped and over:
            self._finish()
            return True
        self.running = self._left.popleft()
        self._cell = Progress(self.current.lease, self.running, self._clock.monotonic_ns(), self._cell.finished)
        self.begun(self.current.batch_task, self.running, self.current.attempts.get(self.running, 0) + 1)
        return True

    def flush(self, last: bool = False) -> None:
        """Send what is finished; the watcher does so while a record runs."""
        if self.current is None or not (self._buffer or last):
            return
        self._flush += 1
        ranges = rg.from_indexes(index for index, _ in self._buffer)
        outcomes = worker_pb2.Outcomes(
            lease=self.current.lease,
            flush=self._flush,
            ranges=[bound for pair in ranges for bound in pair],
            count=len(self._buffer),
            page=segments.join_page(record for _, record in self._buffer),
            last=last,
            work_nanos=max(self._work_ns, 1000 * len(self._buffer)),
            failed=[i for i, record in self._buffer if RecordInfo.FromString(record).state == RecordInfo.FAILED],
        )
        self._flushes[self._flush] = (self.current.batch_task, ranges)
        self._buffer.clear()
        self._work_ns = 0
        self._outbox.append(worker_pb2.FromWorker(outcomes=outcomes))

    def deliver(self, most: int = 1 << 30) -> int:
        """Let the server receive the first messages; how many."""
        count = 0
        while self._outbox and count < most:
            count += 1
            self._callbacks.message(self._outbox.popleft())
        return count

    def crash(self) -> None:
        """The process ends by itself."""
        self.dead = True
        self.deliver()
        self._callbacks.closed()

    def reap(self, unreaped: tuple[int, ...] = ()) -> None:
        """It and everything it started is gone; what it had sent arrives before."""
        how, code = CRASHED if self.dead else TERMINATED
        if not self.dead:
            self.crash()
        self.gone = True
        self._callbacks.exited(Exit(exit=how, exit_code=code, progress=self._cell, unreaped=unreaped))

    def _end(self, failed: bool) -> None:
        assert self.current is not None
        assert self.running is not None
        index, self.running = self.running, None
        record = RecordInfo(
            name=f"{self.current.batch_task}/records/{index}",
            index=index,
            state=RecordInfo.FAILED if failed else RecordInfo.SUCCEEDED,
            attempt=self.current.attempts.get(index, 0) + 1,
            generation=self.current.generation,
        )
        if failed:
            record.error.code, record.error.message = code_pb2.UNAVAILABLE, "a test made it fail"
        self._buffer.append((index, record.SerializeToString()))
        self._work_ns += self._clock.monotonic_ns() - self._cell.start_ns
        self._cell = Progress(self._cell.number, index, self._cell.start_ns, self._cell.finished + 1)

    def _finish(self) -> None:
        self.flush(last=True)
        self.current = None
        self._left.clear()
        self._cell = Progress(0, -1, 0, self._cell.finished)


class FakeLauncher:
    """Starts FakeWorkers. `error` is raised instead, if it is set."""

    def __init__(self, clock: FakeClock) -> None:
        self.workers: list[FakeWorker] = []
        self.error: OSError | None = None
        self.started = 0
        self.on_start: Callable[[FakeWorker], None] = lambda _: None
        self._clock = clock

    def start(self, spec: HandlerSpec, callbacks: Callbacks) -> Worker:
        """See Launcher.start."""
        if self.error is not None:
            raise self.error
        worker = FakeWorker(spec, callbacks, self._clock)
        self.workers = [each for each in self.workers if not each.gone] + [worker]
        self.started += 1
        self.on_start(worker)
        return cast(Worker, cast(Any, worker))

    @property
    def living(self) -> list[FakeWorker]:
        """Workers that are not reaped, the oldest first."""
        return [worker for worker in self.workers if not worker.gone]
