"""Sets of indexes as ranges, against Python's own sets."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from batchyard_server.model import ranges as rg

INDEXES = st.sets(st.integers(0, 60))
PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


def members(ranges: rg.Ranges) -> list[int]:
    return [index for start, end in ranges for index in range(start, end)]


@given(PAIRS)
def test_normalized_ranges_are_ascending_and_never_touch(pairs: list[tuple[int, int]]) -> None:
    ranges = rg.normalize(pairs)
    assert set(members(ranges)) == set(members(pairs))
    assert all(a < b for a, b in ranges)
    assert all(left[1] < right[0] for left, right in pairwise(ranges))
    assert rg.count(ranges) == len(members(ranges))


@given(INDEXES, INDEXES)
def test_subtracting_and_containing_are_those_of_sets(left: set[int], right: set[int]) -> None:
    ranges, taken = rg.from_indexes(left), rg.from_indexes(right)
    assert members(rg.subtract(ranges, taken)) == sorted(left - right)
    assert rg.subtract(ranges, taken) == rg.from_indexes(left - right)
    assert rg.contains_all(ranges, taken) == (right <= left)
    assert rg.intersect(ranges, taken) == rg.from_indexes(left & right)


@given(INDEXES, st.integers(-2, 70))
def test_taking_splits_after_the_first_so_many(indexes: set[int], most: int) -> None:
    taken, rest = rg.take(rg.from_indexes(indexes), most)
    ordered = sorted(indexes)
    assert members(taken) == ordered[: max(0, most)]
    assert members(rest) == ordered[max(0, most) :]


@given(st.sets(st.integers(0, 10**12)))
def test_packed_ranges_come_back(indexes: set[int]) -> None:
    ranges = rg.from_indexes(indexes)
    assert rg.unpack(rg.pack(ranges)) == ranges
