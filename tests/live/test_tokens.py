"""A COMPLETION token holds: while small segments are merged beneath it, and over a restart."""

from __future__ import annotations

import pathlib
import random

from batchyard.v1.batch_task_service_pb2 import ListRecordsRequest, StreamRecordsRequest
from batchyard.v1.record_pb2 import RecordInfo
from tests.live.served import FINAL, Live, living, segments
from tests.support.eventually import eventually
from tests.support.server import SECONDS

RECORDS = 320  # more than 256 segments of one record: from there on they are merged while the task runs
SLEEP = 0.021  # a record that takes longer than 20 ms is stored alone
MERGED = 64


class Reader:
    """Follows a task, a few records at a time, and keeps every token that it is given.

    Attributes:
        order: indexes in the order in which they were read.
        tokens: (how many records were read before it, token).
    """

    def __init__(self, live: Live, name: str) -> None:
        self._live = live
        self._name = name
        self.order: list[int] = []
        self.tokens: list[tuple[int, str]] = [(0, "")]

    def read(self) -> None:
        request = StreamRecordsRequest(
            parent=self._name, order=RecordInfo.COMPLETION, page_size=7, resume_token=self.tokens[-1][1]
        )
        for page in self._live.tasks.StreamRecords(request, timeout=SECONDS):
            self.order += [each.index for each in page.records]
            self.tokens.append((len(self.order), page.resume_token))


def suffix(live: Live, name: str, token: str, page_size: int = 0) -> list[int]:
    """What comes after the token, by either method."""
    order = RecordInfo.COMPLETION
    request = StreamRecordsRequest(parent=name, order=order, resume_token=token, page_size=page_size)
    streamed = [each.index for page in live.tasks.StreamRecords(request, timeout=SECONDS) for each in page.records]
    listed: list[int] = []
    page_token = token
    while True:
        request = ListRecordsRequest(parent=name, order=order, page_token=page_token, page_size=page_size)
        page = live.tasks.ListRecords(request, timeout=SECONDS)
        listed += [each.index for each in page.records]
        page_token = page.next_page_token
        if not page_token:
            break
    assert listed == streamed
    return streamed


def check(live: Live, name: str, reader: Reader, chance: random.Random) -> None:
    """Every token leads to what came after it."""
    for count, token in reader.tokens:
        assert suffix(live, name, token, chance.choice((0, 1000, 13))) == reader.order[count:]


def test_tokens_hold_over_merges_and_a_restart(tmp_path: pathlib.Path) -> None:
    chance = random.Random(5)
    data = tmp_path / "data"
    most = 0
    with living(tmp_path, workers=4) as live:
        name = live.submit([{"sleep": SLEEP}] * RECORDS)
        reader = Reader(live, name)

        def is_done() -> bool:
            nonlocal most
            reader.read()
            most = max(most, segments(data))
            return live.info(name).state in FINAL

        eventually(is_done, SECONDS)
        reader.read()
        assert sorted(reader.order) == list(range(RECORDS))
        assert len({count for count, _ in reader.tokens}) > 20
        assert most > 3 * MERGED
        eventually(lambda: segments(data) < MERGED, what="the segments are merged")
        check(live, name, reader, chance)
    with living(tmp_path, workers=1) as live:
        check(live, name, reader, chance)
        before = suffix(live, name, "")
        assert before == reader.order
