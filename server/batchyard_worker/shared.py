"""Memory that the server and one worker share: what runs now, and outcomes on their way.

    0        128     4096      4096 + BLOCK_BYTES     …
    │ cell   │       │ block 0 │ block 1              │ … BLOCKS of them

The worker writes an outcome into a block when its record has ended, and a flush says which part of a block it speaks
of. So an outcome is copied once on its way, and the server can fetch it even if the worker cannot send it, because a
handler holds the interpreter. The cell is 64-bit integers; each is written at once.
"""

from __future__ import annotations

CELL_BYTES = 128
FIRST_BLOCK = 4096
BLOCK_BYTES = 384 * 1024
BLOCKS = 4
BYTES = FIRST_BLOCK + BLOCKS * BLOCK_BYTES

LEASE = 0
"""Number of the running subtask, 0 = none."""
INDEX = 1
"""Index of the record that began last, −1 = none of this subtask."""
START = 2
"""Monotonic nanoseconds of its beginning."""
FINISHED = 3
"""Records of this subtask that have ended; counted when their outcomes are written."""
BLOCK = 4
"""The block that outcomes are written to."""
WRITTEN = 5
"""Bytes in it."""
SENT = 6
"""The last flush that was sent; written before it is."""
TAKEN = 7
"""Written by the server: the last flush whose part of a block it has copied."""
STOP = 8
"""Written by both: number of the subtask that ends after the record at hand. At once, where a frame has to be read."""
LOG = 9
"""Where in the captured output the text of the running record begins (`capture`)."""


class Blocks:
    """The worker's side.

    Args:
        memory: All of the shared memory, as bytes.

    Attributes:
        cell: Its first integers.
        block: The one that is written to now.
    """

    def __init__(self, memory: memoryview) -> None:
        self.cell = memory[:CELL_BYTES].cast("q")
        self._blocks = [memory[FIRST_BLOCK + BLOCK_BYTES * at :][:BLOCK_BYTES] for at in range(BLOCKS)]
        self._last_flush = [0] * BLOCKS
        self._at = 0
        self.block = self._blocks[0]

    def flushing(self, flush: int) -> None:
        """A flush that speaks of the present block is sent now: it stays as it is until the server has taken that."""
        self._last_flush[self._at] = flush
        self.cell[SENT] = flush

    def turn(self) -> bool:
        """Goes on in the next block, from its start; False if the server still needs what is in it."""
        following = (self._at + 1) % BLOCKS
        if self.cell[TAKEN] < self._last_flush[following]:
            return False
        self._at = following
        self.block = self._blocks[following]
        self.cell[WRITTEN] = 0
        self.cell[BLOCK] = following
        return True
