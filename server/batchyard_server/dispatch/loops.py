"""What is done in the background? Chores of the store, in slices, one after the other, when something is to be done."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from batchyard_server.dispatch.pause import Pause
from batchyard_server.model.errors import BatchyardError
from batchyard_server.store.protocols import Change, Store, TaskEvent

log = logging.getLogger(__name__)
SLICE_SECONDS = 0.005  # between two slices, so that bulk writes never fill the writer
REST_SECONDS = 1.0  # after the last slice, before looking again
FAILED_SECONDS = 30.0  # after a failure
MANY_EVENTS = 10_000  # so many changes make the log of them worth a look, whatever they are
LONG_REST_SECONDS = 3600.0  # request ids outlive their task by a day; nothing tells when that day is over


class Chores:
    """Merges small outcome segments, sweeps what was deleted or is old. Woken by the store's events; idle without."""

    def __init__(self, store: Store, *, rest_seconds: float = REST_SECONDS) -> None:
        self._store = store
        self._rest_seconds = rest_seconds
        self._wake = asyncio.Event()
        self._changes = 0  # changes since it was last woken
        self._pause = Pause()
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
        self._pause.end()
        self._wake.set()
        if self._task is not None:
            await self._task

    def _on_events(self, events: Sequence[TaskEvent]) -> None:
        self._changes += len(events)
        if self._changes >= MANY_EVENTS or any(
            event.change is not Change.STATE or event.task.state.is_final for event in events
        ):
            self._changes = 0
            self._wake.set()

    async def _run(self) -> None:
        while not self._pause.ended:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONG_REST_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            if await self._exhaust(self._store.merge) and await self._exhaust(self._store.sweep):
                await self._pause(self._rest_seconds)
            else:
                self._wake.set()
                await self._pause(FAILED_SECONDS)

    async def _exhaust(self, chore: Callable[[], Awaitable[bool]]) -> bool:
        """Do a chore until nothing is left of it; whether that worked."""
        try:
            while not self._pause.ended and await chore():
                await self._pause(SLICE_SECONDS)
        except BatchyardError as error:
            log.warning("a chore of the store failed and is tried again later: %s", error)
            return False
        except Exception:
            log.exception("a chore of the store failed and is tried again later")
            return False
        return True
