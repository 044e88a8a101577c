"""Which record does a worker run at this moment? A page of memory that it writes and the server reads."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

BYTES = 64
_LAYOUT = struct.Struct("<qqqq")


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
        os.ftruncate(self.fd, BYTES)
        self._map = mmap.mmap(self.fd, BYTES)
        _LAYOUT.pack_into(self._map, 0, 0, -1, 0, 0)

    def read(self) -> Progress:
        """The last that the worker wrote."""
        return Progress(*_LAYOUT.unpack_from(self._map, 0))

    def close(self) -> None:
        """Give the memory back."""
        self._map.close()
        os.close(self.fd)
