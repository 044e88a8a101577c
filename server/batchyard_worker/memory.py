"""Keeps freed memory for the next page instead of giving it back to the system each time.

A process that makes and drops pages of some hundred kilobytes all day otherwise has the kernel map and clear them anew
for each: a sixth of a worker's time with no-op records. Measured with glibc; elsewhere nothing is changed.
"""

from __future__ import annotations

import contextlib
import sys

KEEP_BYTES = 4 * 1024 * 1024
"""So much free memory stays at the end of each thread's heap."""
BLOCK_BYTES = 640 * 1024
"""Larger blocks do not come from the heap, where they would leave holes: they are given back at once."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep() -> None:
    """Tells the C library, if it can be told. Idempotent."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        libc = ctypes.CDLL(None)
        libc.mallopt(_M_TRIM_THRESHOLD, KEEP_BYTES)
        libc.mallopt(_M_MMAP_THRESHOLD, BLOCK_BYTES)
