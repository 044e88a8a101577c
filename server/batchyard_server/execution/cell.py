"""Which record does a worker run at this moment? A page of memory that it writes and the server reads."""

from __future__ import annotations

import mmap
import os
import struct
from typing import NamedTuple

BYTES = 64
_LAYOUT = struct.Struct("<qqqq")


class Progress(NamedTuple):
    """The number of the subtask (0 = none), the running index (−1 = none), its start, and how many have finished."""

    number: int
    index: int
    start_ns: int
    finished: int


class Cell:
    """An anonymous memory file shared with one worker. Survives the worker's crash, which is what it is for."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("batchyard-cell", 0)
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
