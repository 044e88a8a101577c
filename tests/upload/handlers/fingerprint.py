"""A handler whose output says what it was given."""

from __future__ import annotations

import zlib
from typing import Any


def fingerprint(record: bytes, context: Any) -> list[int]:
    """The record's index and CRC-32."""
    return [context.index, zlib.crc32(record)]
