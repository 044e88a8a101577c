"""An outcome is readable at most a second after its handler returned, whatever else its worker has been given."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterator

import pytest

from batchyard.v1.batch_task_service_pb2 import StreamRecordsRequest
from batchyard.v1.record_pb2 import RecordInfo
from tests.live.served import FINAL, Live, living
from tests.support.eventually import eventually
from tests.support.server import SECONDS

FRESH_NS = 1_000_000_000


@pytest.fixture
def live(tmp_path: pathlib.Path) -> Iterator[Live]:
    with living(tmp_path, workers=1) as live:
        yield live


class Reader:
    """Follows a task in order of completion and holds it against what its handlers say.

    Attributes:
        seen: indexes that were read.
        oldest_ns: the longest that an outcome was seen missing after its handler had returned.
    """

    def __init__(self, live: Live, name: str) -> None:
        self._live = live
        self._name = name
        self._token = ""
        self.seen: set[int] = set()
        self.oldest_ns = 0

    def read(self) -> None:
        """What came since the last time; what ended more than FRESH_NS before that must be in it."""
        began = time.monotonic_ns()
        ended = self._live.ended()
        request = StreamRecordsRequest(parent=self._name, order=RecordInfo.COMPLETION, resume_token=self._token)
        for page in self._live.tasks.StreamRecords(request, timeout=SECONDS):
            assert self.seen.isdisjoint(each.index for each in page.records)
            self.seen.update(each.index for each in page.records)
            self._token = page.resume_token
        ages = {index: began - end for index, _, end in ended if index not in self.seen}
        self.oldest_ns = max([self.oldest_ns, *ages.values()])
        late = {index: age / 1e9 for index, age in ages.items() if age > FRESH_NS}
        assert not late, f"seconds since their handlers returned, and not readable: {late}"

    def follow(self, count: int) -> None:
        """Read until so many records were seen."""

        def enough() -> bool:
            try:
                self.read()
            except AssertionError as error:
                raise RuntimeError(str(error)) from error  # for good, not "not yet"
            return len(self.seen) >= count

        eventually(enough, SECONDS)
        print(f"the oldest outcome that was not readable was {self.oldest_ns / 1e6:.0f} ms old")


SLOW = ({"sleep": 2}, {"spin": 2}, {"hold": 2})


@pytest.mark.parametrize("slow", SLOW, ids=lambda each: next(iter(each)))
def test_fast_records_before_a_slow_one(live: Live, slow: dict[str, float]) -> None:
    name = live.submit([{}] * 3000 + [slow] + [{}] * 999)
    Reader(live, name).follow(4000)
    assert live.metadata(name).subtask_count < 400, "the leases were small"


@pytest.mark.parametrize("slow", SLOW, ids=lambda each: next(iter(each)))
def test_slow_records_before_fast_ones(live: Live, slow: dict[str, float]) -> None:
    Reader(live, live.submit([slow, *[{}] * 500, slow, *[{}] * 499])).follow(1001)


def test_records_of_ten_milliseconds(live: Live) -> None:
    name = live.submit([{"sleep": 0.01}] * 10_000)
    reader = Reader(live, name)
    reader.follow(300)
    assert live.info(name).state not in FINAL
    live.cancel(name)
