"""What is done in the background? Chores of the store, in slices, one after the other, when there is something to do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from batchyard_server.model.errors import BatchyardError
from batchyard_server.store.protocols import Change, Store, TaskEvent

log = logging.getLogger(__name__)
PAUSE_SECONDS = 0.005  # between two slices, so that bulk writes never fill the writer
REST_SECONDS = 1.0  # after the last slice, before looking again
LONG_REST_SECONDS = 3600.0  # request ids outlive their task by a day; nothing tells when that day is over


class Chores:
    """Merges small outcome segments and sweeps what was deleted. Woken by the store's events; idle without them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Look once now (a server before may have left work), then whenever something changed."""
        self._wake.set()
        self._unsubscribe = self._store.subscribe(self._on_events)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Finish the slice at hand and end."""
        self._unsubscribe()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _on_events(self, events: Sequence[TaskEvent]) -> None:
        if any(event.change is not Change.STATE or event.task.state.is_final for event in events):
            self._wake.set()

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), LONG_REST_SECONDS)
            except TimeoutError:
                log.debug("looking for outlived request ids")
            self._wake.clear()
            for chore in (self._store.merge, self._store.sweep):
                await self._exhaust(chore)
            await asyncio.sleep(REST_SECONDS)

    async def _exhaust(self, chore: Callable[[], Awaitable[bool]]) -> None:
        try:
            while await chore():
                await asyncio.sleep(PAUSE_SECONDS)
        except BatchyardError as error:
            log.warning("a chore of the store failed and is tried again later: %s", error)
