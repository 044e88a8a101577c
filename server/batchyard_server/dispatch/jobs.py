"""What is under way in the background? Coroutines that somebody keeps, and whose errors somebody sees."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from batchyard_server.dispatch.pause import Pause
from batchyard_server.model.errors import ResourceExhausted, Unavailable

log = logging.getLogger(__name__)


class Jobs:
    """Coroutines that were started and have not ended. Once `pause` has ended, a store that cannot is no surprise.

    Attributes:
        running: their tasks.
    """

    def __init__(self, pause: Pause) -> None:
        self._pause = pause
        self.running: set[asyncio.Task[None]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start one."""
        job = asyncio.get_running_loop().create_task(coroutine)
        self.running.add(job)
        job.add_done_callback(self._finished)

    async def finish(self, seconds: float) -> None:
        """Wait until all have ended, also those that they start; after so long cancel them."""
        try:
            async with asyncio.timeout(seconds):
                while self.running:
                    await asyncio.wait(set(self.running))
        except TimeoutError:
            log.warning("%d writes did not end", len(self.running))
            for job in self.running:
                job.cancel()

    def _finished(self, job: asyncio.Task[None]) -> None:
        self.running.discard(job)
        if job.cancelled() or (error := job.exception()) is None:
            return
        if self._pause.ended and isinstance(error, ResourceExhausted | Unavailable):
            log.warning("not written before the end, so it is run again after the next start: %s", error)
        else:
            log.error("dispatch failed", exc_info=error)
