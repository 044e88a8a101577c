"""How much is read for the records of a filter? What cannot match is not opened, what matches as a whole not parsed."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.codec import outcomes
from batchyard_server.codec.record_match import RecordMatch
from batchyard_server.model.clock import SystemClock, SystemRandomness
from batchyard_server.model.failpoints import OFF
from batchyard_server.model.record import Order
from batchyard_server.model.task import Task
from batchyard_server.store.protocols import Store
from batchyard_server.store.sqlite import open_sqlite, record_parts
from tests.support import store as make

TOTAL, SEGMENT = 100_000, 500
FAILED = (10_003, 10_004, 77_777)


class Reads:
    """Segments that were opened, and how often one was parsed."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.opened = 0
        self.parsed = 0
        self.threads: set[str] = set()
        blob, positions = record_parts.blob, RecordMatch.positions

        def opened(*arguments: object) -> bytes:
            self.opened += 1
            self.threads.add(threading.current_thread().name)
            return blob(*arguments)

        def parsed(*arguments: object) -> list[int]:
            self.parsed += 1
            return positions(*arguments)

        patch.setattr(record_parts, "blob", opened)
        patch.setattr(RecordMatch, "positions", parsed)

    def taken(self) -> tuple[int, int]:
        """(opened, parsed) since it was asked last."""
        found = self.opened, self.parsed
        self.opened = self.parsed = 0
        return found


def outcome(index: int) -> RecordInfo:
    """That of one record."""
    if index in FAILED:
        return RecordInfo(index=index, record_id=f"r{index}", state=RecordInfo.FAILED, attempt=1, error={"code": 3})
    return RecordInfo(index=index, record_id=f"r{index}", state=RecordInfo.SUCCEEDED, attempt=1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def many(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Store, Task]]:
    folder = tmp_path_factory.mktemp("many")
    store = await open_sqlite(folder, clock=SystemClock(), randomness=SystemRandomness(), failpoints=OFF)
    task = await store.create_task(make.new_task("a", TOTAL, ids=True), None)
    lease = await make.lease(store, task)
    for first in range(0, TOTAL, SEGMENT):
        records = [outcome(index).SerializeToString() for index in range(first, first + SEGMENT)]
        await store.record_outcomes(lease, outcomes.of_records([(first, first + SEGMENT)], records))
    yield store, await store.get_task(task.name)
    await store.close()


pytestmark = pytest.mark.asyncio(loop_scope="module")
Many = tuple[Store, Task]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@pytest.mark.parametrize("order", list(Order))
async def test_only_segments_with_failures_are_opened(many: Many, reads: Reads, order: Order) -> None:
    for asked in ("state = FAILED", "error.code = 3", "NOT state = SUCCEEDED", "error.code:* AND index >= 0"):
        found, ends = await make.search(*many, asked, order)
        assert (make.indexes(found), ends, reads.taken()) == (list(FAILED), [TOTAL], (2, 2)), asked
    for asked in ("state = FAILED AND index < 10000", "state = PENDING", "state = CANCELLED OR error.code > 99"):
        found, ends = await make.search(*many, asked, order)
        assert (found, len(ends), reads.opened) == ([], 1, reads.taken()[0] if "99" in asked else 0), asked


@pytest.mark.parametrize("order", list(Order))
async def test_segments_that_match_as_a_whole_are_not_parsed(many: Many, reads: Reads, order: Order) -> None:
    found, _ = await make.search(*many, "state = SUCCEEDED", order, max_records=4096)
    assert len(found) == TOTAL - len(FAILED)
    assert reads.taken()[1] <= 2 * 2  # the two with failures, each perhaps in two pages
    found, _ = await make.search(*many, "index < 2000 AND attempt >= 0", order, max_records=4096)
    assert (len(found), reads.taken()[0]) == (2000, 4)
    found, _ = await make.search(*many, "index >= 500 AND index < 1500", order, max_records=4096)
    assert (make.indexes(found), reads.taken()) == (list(range(500, 1500)), (2, 0))


@pytest.mark.parametrize("order", list(Order))
async def test_a_place_that_is_named_is_looked_at_alone(many: Many, reads: Reads, order: Order) -> None:
    for asked in ('record_id = "r70000"', "index = 70000", 'record_id = "r70000" OR record_id = "r70001"'):
        found, _ = await make.search(*many, asked, order)
        assert make.indexes(found) == ([70_000, 70_001] if "OR" in asked else [70_000])
        assert reads.taken()[0] == 1
    assert (await make.search(*many, 'record_id = "none"', order))[0] == []
    assert reads.taken() == (0, 0)


async def test_a_search_never_runs_on_the_event_loop(many: Many, reads: Reads) -> None:
    got = await make.page(*many, filter="state = FAILED", max_records=1)
    assert got.count == 1
    assert reads.threads
    assert threading.current_thread().name not in reads.threads
