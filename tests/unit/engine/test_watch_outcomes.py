"""Outcomes for watchers: one read for all who ask for the same, whoever leaves."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from batchyard.v1.operation_status_pb2 import OperationStatus
from batchyard_server.engine import watch_outcomes
from batchyard_server.engine.watch_outcomes import Outcomes
from batchyard_server.model.errors import NotFound
from batchyard_server.model.names import TASK_TYPE, TaskName
from batchyard_server.model.record import RecordPage, RecordQuery, View
from batchyard_server.store.protocols import Store
from tests.support.outcomes import flush

NAME = TaskName("p", "t")


class FakeStore:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked: list[RecordQuery] = []
        self.gone = False

    async def record_page(self, query: RecordQuery) -> RecordPage:
        """See Store.record_page: two records at most."""
        self.asked.append(query)
        await self.gate.wait()
        if self.gone:
            raise NotFound(TASK_TYPE, str(NAME))
        end = query.position + min(query.max_records, 2)
        page = flush(NAME, ok=range(query.position, end)).page
        return RecordPage(records=page, count=end - query.position, next_position=end, more=True)


def made() -> tuple[FakeStore, Outcomes]:
    store = FakeStore()
    return store, Outcomes(cast("Store", store))


async def test_all_who_ask_for_the_same_share_one_read() -> None:
    store, outcomes = made()
    asked = [asyncio.create_task(outcomes.page(1, 5, 9, View.BASIC)) for _ in range(100)]
    other = asyncio.create_task(outcomes.page(1, 5, 9, View.FULL))
    await asyncio.sleep(0)
    asked[0].cancel()
    store.gate.set()
    pages = await asyncio.gather(*asked[1:])
    assert all(page is pages[0] for page in pages)
    assert (await other).next_sequence == pages[0].next_sequence == 7
    assert [record.index for record in OperationStatus.FromString(pages[0].message).records] == [5, 6]
    assert await outcomes.page(1, 5, 9, View.BASIC) is pages[0]
    assert (len(store.asked), outcomes.reads) == (2, 2)
    assert [(query.position, query.max_records) for query in store.asked] == [(5, 4), (5, 4)]


async def test_all_may_leave_and_what_failed_is_read_again() -> None:
    store, outcomes = made()
    store.gone = True
    left = asyncio.create_task(outcomes.page(1, 0, 4, View.BASIC))
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    store.gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(NotFound):
        await outcomes.page(1, 0, 4, View.BASIC)
    store.gone = False
    assert (await outcomes.page(1, 0, 4, View.BASIC)).next_sequence == 2


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    store, outcomes = made()
    store.gate.set()
    size = len((await outcomes.page(1, 0, 2, View.BASIC)).message)
    monkeypatch.setattr(watch_outcomes, "_REMEMBERED_BYTES", 3 * (size + 600))
    for first in range(10, 30):
        await outcomes.page(1, first, first + 2, View.BASIC)
    pages: Any = vars(outcomes)["_pages"]
    assert 2 <= len(pages) <= 4
    await outcomes.page(1, 29, 31, View.BASIC)
    assert outcomes.reads == 21
    await outcomes.page(1, 0, 2, View.BASIC)
    assert outcomes.reads == 22
