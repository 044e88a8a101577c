"""What does a worker do at this moment, and what has it finished? Memory that it writes and the server reads."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from batchyard_worker import shared

_PROGRESS = struct.Struct("=qqqq")  # LEASE, INDEX, START, FINISHED
_WRITTEN = struct.Struct("=qqq")  # BLOCK, WRITTEN, SENT
_WORD = struct.Struct("=q")


@dataclass(frozen=True, slots=True)
class Progress:
    """What a worker is doing, as it wrote it: before each record, and after each record's end.

    Attributes:
        number: of the subtask, 0 = none.
        index: of the record that began last, −1 = none of this subtask, or the worker waits.
        start_ns: monotonic time of its beginning.
        finished: records of this subtask that have ended.
    """

    number: int
    index: int
    start_ns: int
    finished: int

    def begun(self, ranges: Sequence[tuple[int, int]]) -> tuple[int | None, int]:
        """(the index whose handler runs, how many records have begun) of the subtask with these ranges.

        The cell still shows the last index when its record has ended and the next has not begun; its place in the
        ranges tells.
        """
        if self.index >= 0:
            place = sum(min(end, self.index) - start for start, end in ranges if start <= self.index)
            if place == self.finished:
                return self.index, self.finished + 1
        return None, self.finished


class Cell:
    """An anonymous memory file shared with one worker. Survives the worker's crash, which is what it is for."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("batchyard-cell", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, shared.BYTES)
        self._map = mmap.mmap(self.fd, shared.BYTES)
        _PROGRESS.pack_into(self._map, 0, 0, -1, 0, 0)

    def read(self) -> Progress:
        """The last that the worker wrote."""
        return Progress(*_PROGRESS.unpack_from(self._map, 0))

    def written(self) -> tuple[int, int, int]:
        """The block to which outcomes are written, how many bytes are in it, and the last flush that was sent."""
        block, written, sent = _WRITTEN.unpack_from(self._map, 8 * shared.BLOCK)
        return block, written, sent

    def log_start(self) -> int:
        """Where in the captured output the text of the running record begins."""
        return max(_WORD.unpack_from(self._map, 8 * shared.LOG)[0], 0)  # a handler may have written there

    def part(self, block: int, start: int, end: int) -> bytes:
        """Bytes of a block. Raises ValueError if there is no such part."""
        if not (0 <= block < shared.BLOCKS and 0 <= start <= end <= shared.BLOCK_BYTES):
            raise ValueError(f"there is no part {start} to {end} of block {block}")
        first = shared.FIRST_BLOCK + block * shared.BLOCK_BYTES
        return self._map[first + start : first + end]

    def taken(self, flush: int) -> None:
        """Tell the worker that what this flush and those before it speak of was copied."""
        _WORD.pack_into(self._map, 8 * shared.TAKEN, flush)

    def stop(self, number: int) -> None:
        """Let this subtask, if it is the one that runs, end after the record at hand."""
        _WORD.pack_into(self._map, 8 * shared.STOP, number)

    def close(self) -> None:
        """Give the memory back."""
        self._map.close()
        os.close(self.fd)
