"""Outcomes on their way to the server, and how far the worker may run ahead of its acknowledgements."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from batchyard_worker import frames, shared
from batchyard_worker.v1 import worker_pb2

MAX_FAILURES = 100
"""Most failures that one flush lists one by one."""

MAX_FAILURE_BYTES = 64 * 1024
"""Most bytes of their errors together."""

MAX_UNACKED_BYTES = 8 * 1024 * 1024
"""Sent outcomes that are not durable yet; with more of them no further record starts. Bounds the server's memory."""


if TYPE_CHECKING:
    Mark = tuple[int, int, int]


class Outbox:
    """Says which outcomes of the running lease are ready.

    The main thread writes outcomes into the shared memory without a lock; whoever flushes speaks only of what `mark`
    counts. Sending is under a lock, so flushes leave in the order of their numbers.

    Args:
        sock: The socket to the server.
        blocks: The shared memory.

    Attributes:
        mark: (records of the lease that have ended, bytes of them in the present block, nanoseconds of work of records
            that ended on this connection), replaced as one after each record.
        failed: (ordinal in the lease, index, serialized Status) of the failed ones; appended before `mark`.
        logged: Ordinal of the last one that wrote a log, −1 = none of this lease; set before `mark`.
        acked_work: The part of the work whose outcomes are durable.
    """

    def __init__(self, sock: socket.socket, blocks: shared.Blocks) -> None:
        self.blocks = blocks
        self.mark: Mark = (0, 0, 0)
        self.failed: list[tuple[int, int, bytes]] = []
        self.logged = -1
        self.acked_work = 0
        self._sock = sock
        self._lock = threading.Lock()
        self._lease = 0
        self._ranges: list[tuple[int, int]] = []
        self._staged: list[int] = []
        self._sent: Mark = (0, 0, 0)  # that of the last flush
        self._since = 0  # when that was, or the lease began
        self._flush = 0
        self._sent_bytes = self._acked_bytes = 0
        self._unacked: deque[tuple[int, int, int]] = deque()

    def begin(self, lease: int, ranges: list[tuple[int, int]], staged: list[int]) -> None:
        """Starts a lease; the one before has been flushed to its end. `staged`: see `Stage.used`; entries are taken."""
        with self._lock:
            self._lease, self._ranges, self._staged, self.logged = lease, ranges, staged, -1
            _, written, work = self.mark
            self._sent = self.mark = (0, written, work)
            self._since = time.monotonic_ns()

    def flush(self, last: bool = False) -> None:
        """Sends what has ended; nothing if nothing has, unless it is the end of the lease.

        Raises:
            Closed: The server is gone.
        """
        with self._lock:
            mark = self.mark
            if mark[0] > self._sent[0] or last:
                self._send(mark, b"", last)

    def flush_large(self, outcome: bytes, finished: int, work: int) -> None:
        """Sends what has ended and, behind it, the next outcome itself: the block has no room for it.

        Raises:
            Closed: The server is gone.
        """
        with self._lock:
            self.mark = (finished, self.mark[1], work)
            self._send(self.mark, outcome, last=False)

    def turn(self) -> bool:
        """Goes on in the next block, from its start, if that is free. All that has ended has been flushed."""
        with self._lock:
            if not self.blocks.turn():
                return False
            finished, _, work = self.mark
            self._sent = self.mark = (finished, 0, work)
            return True

    def _send(self, mark: Mark, page: bytes, last: bool) -> None:
        before, start, work = self._sent
        self._flush += 1
        message = worker_pb2.FromWorker()
        outcomes = message.outcomes
        outcomes.lease = self._lease
        outcomes.flush = self._flush
        outcomes.count = mark[0] - before
        outcomes.block = self.blocks.cell[shared.BLOCK]
        outcomes.start = start
        outcomes.end = mark[1]
        outcomes.page = page
        outcomes.last = last
        outcomes.logged = self.logged >= before
        outcomes.work_nanos = mark[2] - work
        outcomes.ranges.extend(_cut(self._ranges, before, mark[0]))
        self._add_failures(outcomes, mark[0])
        if self._staged and outcomes.count:
            self._add_staged(outcomes)
        self._sent = mark
        self._since = time.monotonic_ns()
        self._sent_bytes += mark[1] - start + len(page)
        self._unacked.append((self._flush, mark[2], self._sent_bytes))
        self.blocks.flushing(self._flush)
        frames.send(self._sock, message)

    def age_left(self, age: float) -> float:
        """Seconds until what has ended since the last flush is ``age`` old at most; ``age`` if nothing has."""
        if self.mark[0] <= self._sent[0]:
            return age
        return age - (time.monotonic_ns() - self._since) / 1e9

    def acknowledge(self, flush: int) -> None:
        """Takes an Ack: everything up to this flush is durable. A repeated or older one changes nothing."""
        unacked = self._unacked
        while unacked and unacked[0][0] <= flush:
            _, self.acked_work, self._acked_bytes = unacked.popleft()

    def is_ahead(self, limit: int) -> bool:
        """Whether more than `limit` nanoseconds of work, or MAX_UNACKED_BYTES, are not durable yet."""
        return self.mark[2] - self.acked_work > limit or self._sent_bytes - self._acked_bytes > MAX_UNACKED_BYTES

    def send(self, message: worker_pb2.FromWorker) -> None:
        """Sends another message between two flushes.

        Raises:
            Closed: The server is gone.
        """
        with self._lock:
            frames.send(self._sock, message)

    def _add_failures(self, outcomes: worker_pb2.Outcomes, finished: int) -> None:
        """Lists which failed, and the errors of the first of them: none after one that was passed over."""
        failed, taken, room = self.failed, 0, MAX_FAILURE_BYTES
        for ordinal, index, status in failed:
            if ordinal >= finished:
                break
            taken += 1
            outcomes.failed.append(index)
            room = room - len(status) if len(status) <= room and taken <= MAX_FAILURES else -1
            if room >= 0:
                outcomes.failures.add(index=index, status=status)
        del failed[:taken]

    def _add_staged(self, outcomes: worker_pb2.Outcomes) -> None:
        """Lists which of these records may have left files; those that run now are not among them."""
        first, end = outcomes.ranges[0], outcomes.ranges[-1]
        while self._staged and self._staged[0] < end:
            index = self._staged.pop(0)
            if index >= first:  # else something of an earlier record went on after its end
                outcomes.staged.append(index)


def _cut(ranges: list[tuple[int, int]], start: int, end: int) -> list[int]:
    """The indexes of ordinals start to end (exclusive) of the ranges, as flattened pairs."""
    cut: list[int] = []
    position = 0
    for low, high in ranges:
        size = high - low
        first, stop = max(start - position, 0), min(end - position, size)
        if first < stop:
            cut += (low + first, low + stop)
        position += size
        if position >= end:
            break
    return cut


def pairs(flat: list[int]) -> list[tuple[int, int]] | None:
    """Flattened pairs (start, end) as tuples; None if they are not ascending pairs."""
    if len(flat) % 2:
        return None
    result = list(zip(flat[::2], flat[1::2]))
    previous = -1
    for low, high in result:
        if low < previous or low >= high or low < 0:
            return None
        previous = high
    return result
