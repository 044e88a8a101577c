"""Which indexes? Sets of record indexes as ascending, disjoint, half-open ranges: `[(start, end), …]`."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

Ranges = list[tuple[int, int]]


def count(ranges: Sequence[tuple[int, int]]) -> int:
    """How many indexes the ranges hold."""
    return sum(end - start for start, end in ranges)


def normalize(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Sort, drop empty ones, join those that touch or overlap."""
    out: Ranges = []
    for start, end in sorted(r for r in ranges if r[0] < r[1]):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def from_indexes(indexes: Iterable[int]) -> Ranges:
    """The ranges that hold exactly these indexes."""
    return normalize((i, i + 1) for i in indexes)


def indexes(ranges: Iterable[tuple[int, int]]) -> Iterator[int]:
    """Every index of the ranges."""
    for start, end in ranges:
        yield from range(start, end)


def subtract(ranges: Sequence[tuple[int, int]], taken: Sequence[tuple[int, int]]) -> Ranges:
    """The indexes of `ranges` that are not in `taken`. Both normalized. O(n + m)."""
    out: Ranges = []
    position = 0
    for start, end in ranges:
        while position < len(taken) and taken[position][1] <= start:
            position += 1
        cursor, k = start, position
        while k < len(taken) and taken[k][0] < end:
            if taken[k][0] > cursor:
                out.append((cursor, taken[k][0]))
            cursor = max(cursor, taken[k][1])
            k += 1
        if cursor < end:
            out.append((cursor, end))
    return out


def intersect(ranges: Sequence[tuple[int, int]], others: Sequence[tuple[int, int]]) -> Ranges:
    """The indexes that are in both. Both normalized. O(n + m)."""
    return subtract(ranges, subtract(ranges, others))


def contains_all(ranges: Sequence[tuple[int, int]], wanted: Sequence[tuple[int, int]]) -> bool:
    """Whether every index of `wanted` is in `ranges`. Both normalized."""
    return not subtract(wanted, ranges)


def take(ranges: Sequence[tuple[int, int]], most: int) -> tuple[Ranges, Ranges]:
    """Split off the first `most` indexes: (taken, rest)."""
    taken: Ranges = []
    for position, (start, end) in enumerate(ranges):
        if most <= 0:
            return taken, list(ranges[position:])
        size = min(most, end - start)
        taken.append((start, start + size))
        most -= size
        if start + size < end:
            return taken, [(start + size, end), *ranges[position + 1 :]]
    return taken, []


def pack(ranges: Sequence[tuple[int, int]]) -> bytes:
    """As bytes for a store: pairs of little-endian int64."""
    flat = [x for pair in ranges for x in pair]
    return struct.pack(f"<{len(flat)}q", *flat)


def unpack(blob: bytes) -> Ranges:
    """The reverse of `pack`."""
    flat = struct.unpack(f"<{len(blob) // 8}q", blob)
    return list(zip(flat[::2], flat[1::2], strict=True))
