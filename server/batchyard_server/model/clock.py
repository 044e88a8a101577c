"""What time is it, and what is random? The only module that asks the system; everything else is handed these."""

from __future__ import annotations

import os
import random
import time
from typing import Protocol

_POOL_BYTES = 4096


class Clock(Protocol):
    """Wall and monotonic time."""

    def now_us(self) -> int:
        """Wall clock, microseconds since 1970 UTC. May jump; used for the times that callers see."""
        ...

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC, nanoseconds: the same line on which workers stamp their progress. Used for all waiting."""
        ...


class Randomness(Protocol):
    """Source of ids, keys and jitter."""

    def bytes(self, count: int) -> bytes:
        """`count` unpredictable bytes."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """A float between `low` and `high`, for jitter."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_us(self) -> int:
        """See Clock.now_us."""
        return time.time_ns() // 1000

    def monotonic_ns(self) -> int:
        """See Clock.monotonic_ns."""
        return time.monotonic_ns()


class SystemRandomness:
    """The kernel's randomness for ids and keys; a seeded generator for jitter."""

    def __init__(self) -> None:
        self._jitter = random.Random()
        self._pool = b""

    def bytes(self, count: int) -> bytes:
        """See Randomness.bytes. Asks the kernel for many at once: each time gives the interpreter away."""
        if len(self._pool) < count:
            self._pool = os.urandom(max(count, _POOL_BYTES))
        taken, self._pool = self._pool[:count], self._pool[count:]
        return taken

    def uniform(self, low: float, high: float) -> float:
        """See Randomness.uniform."""
        return self._jitter.uniform(low, high)


def uuid7(clock: Clock, randomness: Randomness) -> str:
    """A new UUIDv7 (RFC 9562 §5.7): lower-case, sortable by time to the millisecond."""
    millis = clock.now_us() // 1000
    tail = bytearray(randomness.bytes(10))
    tail[0] = 0x70 | (tail[0] & 0x0F)
    tail[2] = 0x80 | (tail[2] & 0x3F)
    text = (millis.to_bytes(6, "big") + bytes(tail)).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def uuid7s(clock: Clock, randomness: Randomness, count: int) -> list[str]:
    """So many of them, of one moment: a third of the time that each would take alone."""
    millis = (clock.now_us() // 1000).to_bytes(6, "big").hex()
    head, noise = f"{millis[:8]}-{millis[8:]}-7", randomness.bytes(10 * count).hex()
    return [
        f"{head}{noise[at + 1 : at + 4]}-{_VARIANT[noise[at + 4]]}{noise[at + 5 : at + 8]}-{noise[at + 8 : at + 20]}"
        for at in range(0, 20 * count, 20)
    ]


# The hexadecimal digit that has the two bits of the variant, by what it was drawn as.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
