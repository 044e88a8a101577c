"""What may a handler begin now? `concurrency` counts slots over all tasks, `rate` is a token bucket for records.

A token is taken when a subtask is cut and comes back for a record that does not begin. So that what begins later than
it was cut is within the limit, too, subtasks of a handler with a rate are short, begin at once, and their records that
have not begun count as part of the burst.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping

from batchyard_server.model.clock import Clock
from batchyard_server.model.handler import HandlerSpec

BURST_SECONDS = 0.1  # at most so many seconds' worth of records begin at once; at least one record may
KEPT = 0.75  # of the burst: how many tokens are kept; the rest is for records that begin a little late
LATE_SECONDS = 0.02  # a timer may be late by this much and nothing of the rate is lost
SHORTEST_SECONDS = 0.001  # a timer may be early, but not again and again


class Bucket:
    """Tokens for records that begin.

    Args:
        rate: tokens per second.
        now_ns: monotonic; the bucket is full then.

    Attributes:
        level: how many there were at the last look.
        batch: how many there are to be before some are taken, at least 1.
        unbegun: records for which a token was taken and that wait behind another one.
    """

    __slots__ = ("_burst", "_most", "_rate_ns", "_seen_ns", "batch", "level", "unbegun")

    def __init__(self, rate: float, now_ns: int) -> None:
        self._rate_ns = rate / 1e9
        self._most = max(KEPT * rate * BURST_SECONDS, 1.0 + rate * LATE_SECONDS)
        self._burst = max(rate * BURST_SECONDS, self._most)
        self.batch = max(1.0, self._most / 2)
        self.level = self._most
        self.unbegun = 0
        self._seen_ns = now_ns

    def look(self, now_ns: int) -> bool:
        """Whether there is a batch now."""
        grown = self.level + (now_ns - self._seen_ns) * self._rate_ns
        self.level = min(grown, self._most, max(self._burst - self.unbegun, 0.0))
        self._seen_ns = now_ns
        return self.level >= self.batch

    def wait_ns(self) -> float:
        """After how long there will be one, at the earliest."""
        return (self.batch - self.level) / self._rate_ns


class Gate:
    """The limits of one handler.

    Attributes:
        concurrency: most slots that may run it at a time, 0 = no limit.
        bucket: of its rate, None = no limit.
    """

    __slots__ = ("_slots", "bucket", "concurrency")

    def __init__(self, concurrency: int = 0, bucket: Bucket | None = None) -> None:
        self.concurrency = concurrency
        self.bucket = bucket
        self._slots: Counter[str] = Counter()

    @property
    def within(self) -> Collection[str] | None:
        """The only slots that may get more of it, None = any one: those that it has once they are `concurrency`."""
        return self._slots if self.concurrency and len(self._slots) >= self.concurrency else None

    def enter(self, slot: str, count: int) -> None:
        """So many of its records are to run at this slot."""
        self._slots[slot] += 1
        if self.bucket is not None:
            self.bucket.level -= count
            self.bucket.unbegun += count - 1

    def leave(self, slot: str) -> bool:
        """A subtask of it has ended at this slot; whether it may perhaps have another slot instead of that one now."""
        was_bounded = self.within is not None
        self._slots[slot] -= 1
        if not self._slots[slot]:
            del self._slots[slot]
        return was_bounded


class Gates:
    """The gates of all handlers, and the one timer that wakes whoever waits for tokens.

    Args:
        handlers: by id; others have no limits.
        opened: called when there may be tokens for somebody who waited.
    """

    def __init__(self, handlers: Mapping[str, HandlerSpec], clock: Clock, opened: Callable[[], None]) -> None:
        self._clock = clock
        self._opened = opened
        now_ns = clock.monotonic_ns()
        self._gates = {
            name: Gate(spec.concurrency, Bucket(spec.rate, now_ns) if spec.rate else None)
            for name, spec in handlers.items()
        }
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0.0

    def of(self, handler: str) -> Gate:
        """The gate of a handler."""
        gate = self._gates.get(handler)
        if gate is None:
            gate = self._gates[handler] = Gate()
        return gate

    def is_shut(self, handler: str) -> bool:
        """Whether no record of it may begin for want of tokens."""
        bucket = self.of(handler).bucket
        return bucket is not None and not bucket.look(self._clock.monotonic_ns())

    def is_limited(self, handler: str) -> bool:
        """Whether its limits let no task begin a record at a slot that it does not have yet."""
        return self.of(handler).within is not None or self.is_shut(handler)

    def await_tokens(self, handler: str) -> float:
        """Somebody waits for tokens of this handler, of which there are too few; nanoseconds until there are enough."""
        bucket = self.of(handler).bucket
        assert bucket is not None
        wait_ns = bucket.wait_ns()
        due_ns = self._clock.monotonic_ns() + wait_ns
        if self._timer is None or due_ns < self._timer_ns:
            if self._timer is not None:
                self._timer.cancel()
            seconds = max(wait_ns / 1e9, SHORTEST_SECONDS)
            self._timer = asyncio.get_running_loop().call_later(seconds, self.look)
            self._timer_ns = due_ns
        return wait_ns

    def look(self) -> None:
        """Time has passed: if somebody waits for tokens, there may be some."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._opened()

    def stop(self) -> None:
        """Wait for nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
