"""Pages of a stream are read one ahead, grow, and are given up with the stream."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from batchyard_server.engine import streaming
from batchyard_server.engine.streaming import read_ahead
from batchyard_server.model import limits


class Source:
    """Pages 0 to `last`; what was asked for, and whether a read was given up."""

    def __init__(self, last: int) -> None:
        self.asked: list[tuple[int, int]] = []
        self.given_up = 0
        self.hold: asyncio.Event | None = None
        self._last = last

    async def read(self, position: int, most: int) -> int:
        self.asked.append((position, most))
        if self.hold is not None:
            try:
                await self.hold.wait()
            except asyncio.CancelledError:
                self.given_up += 1
                raise
        return position

    def after(self, page: int) -> int | None:
        return page + 1 if page < self._last else None


async def test_every_page_comes_once_in_order_and_they_grow() -> None:
    source = Source(5)
    assert [page async for page in read_ahead(source.read, source.after, 0)] == [0, 1, 2, 3, 4, 5]
    sizes = [most for _, most in source.asked]
    assert sizes[0] == limits.FIRST_STREAM_PAGE_BYTES
    assert sizes == [min(sizes[0] << number, limits.STREAM_PAGE_BYTES) for number in range(6)]
    assert sizes[-1] == limits.STREAM_PAGE_BYTES


async def test_it_reads_one_page_ahead_and_no_more() -> None:
    source = Source(5)
    async with aclosing(read_ahead(source.read, source.after, 0)) as pages:
        assert await anext(pages) == 0
        await asyncio.sleep(0)
        assert [position for position, _ in source.asked] == [0, 1]
        assert await anext(pages) == 1
        await asyncio.sleep(0)
        assert [position for position, _ in source.asked] == [0, 1, 2]


async def test_a_stream_that_is_closed_gives_its_read_up() -> None:
    source = Source(5)
    async with aclosing(read_ahead(source.read, source.after, 0)) as pages:
        assert await anext(pages) == 0
        source.hold = asyncio.Event()
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert source.given_up == 1


async def test_a_page_that_is_not_taken_soon_is_dropped_and_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PATIENCE_SECONDS", 0)
    source = Source(2)
    async with aclosing(read_ahead(source.read, source.after, 0)) as pages:
        assert await anext(pages) == 0
        ticks = asyncio.Event()
        asyncio.get_running_loop().call_later(0.001, ticks.set)  # behind that of the page
        await ticks.wait()
        assert [page async for page in pages] == [1, 2]
    assert [position for position, _ in source.asked].count(1) == 2


async def test_an_error_of_a_read_ends_the_stream_after_the_page_before() -> None:
    async def read(position: int, most: int) -> int:
        if position == 1:
            raise ValueError("torn")
        return position

    pages = read_ahead(read, lambda page: page + 1, 0)
    assert await anext(pages) == 0
    with pytest.raises(ValueError, match="torn"):
        await anext(pages)
