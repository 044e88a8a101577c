"""How does a stream read its pages? One ahead of the client, each larger than the one before.

    read page 1 ─▶ read page 2 ‖ client takes 1 ─▶ read page 3 ‖ client takes 2 ─▶ …

Each page is a read of its own: none is held open while the client takes its time, and a client that takes long has no
page held for it either.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Generic, TypeVar

from batchyard_server.model import limits

Page = TypeVar("Page")
Position = TypeVar("Position")
PATIENCE_SECONDS = 0.25  # so long a page that was read ahead is kept


class _Ahead(Generic[Page]):
    """A page that is being read. What is not asked for within PATIENCE_SECONDS is dropped, and read again then."""

    def __init__(self, read: Callable[[], Awaitable[Page]]) -> None:
        self._read = read
        self._page: asyncio.Future[Page] | None = asyncio.ensure_future(read())
        self._page.add_done_callback(_look)
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self.drop)

    async def take(self) -> Page:
        """The page."""
        self._timer.cancel()
        return await (self._read() if self._page is None else self._page)

    def drop(self) -> None:
        """Give it up. Idempotent."""
        self._timer.cancel()
        if self._page is not None:
            self._page.cancel()
            self._page = None


def _look(future: asyncio.Future[Page]) -> None:
    """A client that is gone does not learn what became of the page, and the event loop need not report it."""
    if not future.cancelled():
        future.exception()


async def read_ahead(
    read: Callable[[Position, int], Awaitable[Page]],
    after: Callable[[Page], Position | None],
    position: Position,
) -> AsyncGenerator[Page, None]:
    """Yield pages from `position` on, at least one.

    Args:
        read: `read(position, most_bytes)`, one page.
        after: where the next page begins; None after the last one.
        position: of the first page.
    """
    most = limits.FIRST_STREAM_PAGE_BYTES
    page = await read(position, most)
    while (following := after(page)) is not None:
        most = min(2 * most, limits.STREAM_PAGE_BYTES)
        ahead = _Ahead(partial(read, following, most))
        try:
            yield page
            page = await ahead.take()
        finally:
            ahead.drop()
    yield page
