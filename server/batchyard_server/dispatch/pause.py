"""How is waited in the background? With an end: whoever stops does not wait for somebody else's pause."""

from __future__ import annotations

import asyncio
import contextlib


class Pause:
    """`await pause(seconds)` returns after that time, or at once from the moment on when `end` was called."""

    def __init__(self) -> None:
        self._over = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._over.is_set()

    def end(self) -> None:
        """Let everybody go who waits, and everybody who comes later."""
        self._over.set()

    async def __call__(self, seconds: float) -> None:
        """Wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
