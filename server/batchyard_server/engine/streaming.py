"""How does a stream read its pages? One ahead of the client, each larger than the one before.

    read page 1 ─▶ read page 2 ‖ client takes 1 ─▶ read page 3 ‖ client takes 2 ─▶ …

Each page is a read of its own: none is held open while the client takes its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from batchyard_server.model import limits

Page = TypeVar("Page")
Position = TypeVar("Position")


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
    reading = _begin(read(position, most))
    try:
        while True:
            page = await reading
            following = after(page)
            if following is None:
                yield page
                return
            most = min(2 * most, limits.STREAM_PAGE_BYTES)
            reading = _begin(read(following, most))
            yield page
    finally:
        reading.cancel()


def _begin(reading: Awaitable[Page]) -> asyncio.Future[Page]:
    future = asyncio.ensure_future(reading)
    future.add_done_callback(_look)
    return future


def _look(future: asyncio.Future[Page]) -> None:
    """A client that is gone does not learn what became of the page, and the event loop need not report it."""
    if not future.cancelled():
        future.exception()
