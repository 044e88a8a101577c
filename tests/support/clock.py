"""Clocks and randomness that a test holds in its hand."""

from __future__ import annotations

import random

from batchyard_server.model.clock import SystemClock


class FakeClock:
    """Stands still until `advance`. Implements model.clock.Clock."""

    def __init__(self, now_us: int = 1_700_000_000_000_000) -> None:
        self.us = now_us
        self.ns = 1_000_000_000

    def now_us(self) -> int:
        """See Clock.now_us."""
        return self.us

    def monotonic_ns(self) -> int:
        """See Clock.monotonic_ns."""
        return self.ns

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self.us += round(seconds * 1e6)
        self.ns += round(seconds * 1e9)


class MovedClock(SystemClock):
    """The machine's clocks; the wall clock jumps when the test moves it."""

    def __init__(self) -> None:
        self._ahead_us = 0

    def now_us(self) -> int:
        """See Clock.now_us."""
        return super().now_us() + self._ahead_us

    def move(self, seconds: float) -> None:
        """Move the wall clock."""
        self._ahead_us += round(seconds * 1e6)


class SeededRandomness:
    """The same bytes and jitter in every run. Implements model.clock.Randomness."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def bytes(self, count: int) -> bytes:
        """See Randomness.bytes."""
        return self._random.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        """See Randomness.uniform."""
        return self._random.uniform(low, high)
