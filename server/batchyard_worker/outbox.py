"""Finished records on their way to the server, and how far the worker may run ahead of its acknowledgements."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque

from batchyard_worker import frames
from batchyard_worker.v1 import worker_pb2

MAX_FAILURES = 100
"""Most failures that one flush lists one by one."""

MAX_FAILURE_BYTES = 64 * 1024
"""Most bytes of their errors together."""

MAX_UNACKED_BYTES = 8 * 1024 * 1024
"""Sent outcomes that are not durable yet; with more of them no further record starts. Bounds the server's memory."""


class Outbox:
    """Buffers the outcomes of the running lease and sends them.

    The main thread appends without a lock: a list's append, slice and deletion are each atomic, and whoever flushes
    takes only what it saw at the front. Sending is under a lock, so flushes leave in the order of their numbers.

    Args:
        sock: The socket to the server.

    Attributes:
        buffer: Encoded outcomes that have not been sent, in the order in which they ran.
        failed: (ordinal in the lease, index, serialized Status) of the failed ones; appended before `buffer`.
        oldest: Monotonic nanoseconds at which the first of `buffer` ended.
        work: Nanoseconds of records finished on this connection; written after `buffer`, so a flush never claims work
            whose outcome it does not carry.
        acked_work: The part of `work` whose outcomes are durable.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.buffer: list[bytes] = []
        self.failed: list[tuple[int, int, bytes]] = []
        self.oldest = 0
        self.work = 0
        self.acked_work = 0
        self._sock = sock
        self._lock = threading.Lock()
        self._lease = 0
        self._ranges: list[tuple[int, int]] = []
        self._position = 0
        self._sent_work = 0
        self._flush = 0
        self._sent_bytes = self._acked_bytes = 0
        self._unacked: deque[tuple[int, int, int]] = deque()

    def begin(self, lease: int, ranges: list[tuple[int, int]]) -> None:
        """Starts a lease; the one before has been flushed to its end."""
        with self._lock:
            self._lease, self._ranges, self._position = lease, ranges, 0

    def flush(self, last: bool = False) -> None:
        """Sends what is buffered; nothing if there is nothing, unless it is the end of the lease.

        Raises:
            Closed: The server is gone.
        """
        with self._lock:
            work = self.work
            taken = len(self.buffer)
            if not taken and not last:
                return
            page = b"".join(self.buffer[:taken])
            del self.buffer[:taken]
            self._flush += 1
            message = worker_pb2.FromWorker()
            outcomes = message.outcomes
            outcomes.lease = self._lease
            outcomes.flush = self._flush
            outcomes.count = taken
            outcomes.page = page
            outcomes.last = last
            outcomes.work_nanos = work - self._sent_work
            outcomes.ranges.extend(_cut(self._ranges, self._position, self._position + taken))
            self._position += taken
            self._add_failures(outcomes)
            self._sent_work = work
            self._sent_bytes += len(page)
            self._unacked.append((self._flush, work, self._sent_bytes))
            frames.send(self._sock, message)

    def age_left(self, age: float) -> float:
        """Seconds until the oldest outcome that has not been sent is ``age`` old; ``age`` if there is none."""
        return age - (time.monotonic_ns() - self.oldest) / 1e9 if self.buffer else age

    def acknowledge(self, flush: int) -> None:
        """Takes an Ack: everything up to this flush is durable. A repeated or older one changes nothing."""
        unacked = self._unacked
        while unacked and unacked[0][0] <= flush:
            _, self.acked_work, self._acked_bytes = unacked.popleft()

    def is_ahead(self, limit: int) -> bool:
        """Whether more than `limit` nanoseconds of work, or MAX_UNACKED_BYTES, are not durable yet."""
        return self.work - self.acked_work > limit or self._sent_bytes - self._acked_bytes > MAX_UNACKED_BYTES

    def send(self, message: worker_pb2.FromWorker) -> None:
        """Sends another message between two flushes.

        Raises:
            Closed: The server is gone.
        """
        with self._lock:
            frames.send(self._sock, message)

    def _add_failures(self, outcomes: worker_pb2.Outcomes) -> None:
        """Lists which failed, and the errors of the first of them: none after one that was passed over."""
        failed, taken, room = self.failed, 0, MAX_FAILURE_BYTES
        for ordinal, index, status in failed:
            if ordinal >= self._position:
                break
            taken += 1
            outcomes.failed.append(index)
            room = room - len(status) if len(status) <= room and taken <= MAX_FAILURES else -1
            if room >= 0:
                outcomes.failures.add(index=index, status=status)
        del failed[:taken]


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
