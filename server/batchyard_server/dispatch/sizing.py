"""How many records make one subtask? As many as fit a time, by what is known of how long a record takes."""

from __future__ import annotations

from batchyard_server.model import limits

TARGET_NS = 100_000_000  # a subtask of known speed lasts about this long: hides the round trip, holds no worker
BUDGET_MS = 500  # a worker gives back what is left of a subtask after this long
FIRST = 1  # records of the first subtask of a handler of which nothing is known
GROWTH = 16  # a guess may be wrong: at most this many times the last size
FRESH_MOST = 64  # records of the first subtask of a task whose handler is known
WORTH_NS = 2_000_000  # less work than this is not shared between slots: the way to another one takes as long
WEIGHT = 0.3  # of the newest measurement


class Pace:
    """Moving average of nanoseconds per record, and the size of the next subtask that follows from it."""

    __slots__ = ("last_size", "record_ns")

    def __init__(self, record_ns: float | None = None, last_size: int = 0) -> None:
        self.record_ns = record_ns
        self.last_size = last_size

    def learn(self, count: int, work_ns: int) -> None:
        """Take in that `count` records took `work_ns` nanoseconds of handler work (0: not known)."""
        if count <= 0 or work_ns <= 0:
            return
        measured = max(work_ns / count, 100.0)
        if self.record_ns is None or measured > self.record_ns * 8:
            self.record_ns = measured  # a sudden slowness counts at once, speed has to prove itself
        else:
            self.record_ns += WEIGHT * (measured - self.record_ns)

    def size(self, pending: int, slots: int) -> int:
        """Records of the next subtask: at least 1; not so many that another slot would have none, if they take long."""
        share = -(-pending // max(slots, 1))
        if self.record_ns is None:
            return max(1, min(FIRST, share))
        most = self.last_size * GROWTH if self.last_size else FRESH_MOST
        if self.last_size >= FRESH_MOST:  # by then the task's own records have shown how long they take
            share = max(share, min(pending, int(WORTH_NS / self.record_ns)))
        return max(1, min(int(TARGET_NS / self.record_ns), most, limits.SEGMENT_RECORDS, share))

    def estimate_ns(self, count: int) -> int | None:
        """How long `count` records will take; None if nothing is known."""
        return None if self.record_ns is None else int(self.record_ns * count)
