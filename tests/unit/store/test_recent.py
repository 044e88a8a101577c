"""How much does the store remember of new tasks?"""

from __future__ import annotations

from batchyard_server.model.task import InputSegment
from batchyard_server.store.sqlite.inputs import Recent


def segment(size: int) -> InputSegment:
    return InputSegment(first=0, count=1, blob=bytes(size))


def test_small_segments_cost_more_than_their_bytes() -> None:
    recent = Recent(most_bytes=1 << 20)
    for key in range(50_000):
        recent.add(key, [segment(10)])
    kept = [key for key in range(50_000) if recent.get(key, 0) is not None]
    assert kept == list(range(50_000 - len(kept), 50_000))
    assert 1000 < len(kept) < 5000


def test_the_newest_fit_into_the_bound() -> None:
    recent = Recent(most_bytes=1 << 20)
    for key in range(100):
        recent.add(key, [segment(100_000)])
    assert [key for key in range(100) if recent.get(key, 0) is not None] == list(range(90, 100))
