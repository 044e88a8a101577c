"""How do records get smaller before they are stored? Beside the writer, so that it need not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from batchyard_server.codec.segments import Compressor
from batchyard_server.model.task import InputSegment

_SMALL_BYTES = 4096  # a hop to a thread takes longer than to compress so few


class Packed(NamedTuple):
    """An input segment as it is stored: `size` is that of its RawInputs, `blob` what the codec made of it."""

    first: int
    records: int
    codec: int
    size: int
    blob: bytes


def pack(compressor: Compressor, parts: Sequence[InputSegment]) -> list[Packed]:
    """Compress segments."""
    return [Packed(part.first, part.count, *_sized(compressor, part.blob)) for part in parts]


def _sized(compressor: Compressor, blob: bytes) -> tuple[int, int, bytes]:
    codec, packed = compressor.pack(blob)
    return codec, len(blob), packed


class Packer:
    """Compresses segments on a thread of its own; who asks first has the answer first. Used on the event loop."""

    def __init__(self) -> None:
        self._here = Compressor()
        self._there = Compressor()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="store-packer")
        self._waiting = 0

    async def pack(self, parts: Sequence[InputSegment]) -> list[Packed]:
        """Compress segments; small ones at once, unless larger ones came before."""
        if not self._waiting and sum(len(part.blob) for part in parts) <= _SMALL_BYTES:
            return pack(self._here, parts)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, pack, self._there, parts)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End the thread. Idempotent."""
        await asyncio.to_thread(self._pool.shutdown, wait=True)
