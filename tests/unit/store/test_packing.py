"""Segments are compressed in the order in which they came, on a thread if they are large."""

from __future__ import annotations

import asyncio

from batchyard_server.codec.segments import PLAIN, ZSTD, Compressor
from batchyard_server.model.task import InputSegment
from batchyard_server.store.sqlite.packing import Packed, Packer, pack

LARGE = InputSegment(first=0, count=2, blob=b"large" * 100_000)
SMALL = InputSegment(first=2, count=1, blob=b"small")


def test_a_segment_is_compressed_if_that_saves_much() -> None:
    large, small = pack(Compressor(), [LARGE, SMALL])
    assert (large.first, large.records, large.codec, large.size) == (0, 2, ZSTD, 500_000)
    assert Compressor().unpack(large.codec, large.blob) == LARGE.blob
    assert small == Packed(first=2, records=1, codec=PLAIN, size=5, blob=b"small")


async def test_a_small_one_does_not_overtake_a_large_one() -> None:
    packer, order = Packer(), list[int]()

    async def go(part: InputSegment) -> None:
        packed = await packer.pack([part])
        order.append(packed[0].first)

    await asyncio.gather(go(LARGE), go(SMALL), go(LARGE), go(SMALL))
    assert order == [0, 2, 0, 2]
    task = asyncio.ensure_future(packer.pack([SMALL]))
    await asyncio.sleep(0)
    assert task.done(), "without a large one before it needs no thread"
    await packer.close()
    await packer.close()
