"""How are outcomes read for those who watch? Each page once, for all who ask for it at about the same time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from batchyard_server.codec import watch as codec
from batchyard_server.model import limits
from batchyard_server.model.record import EVERY_GENERATION, Order, RecordQuery, View
from batchyard_server.store.protocols import Store

_REMEMBERED_BYTES = 8 * 1024 * 1024
_PAGE_BYTES = 512  # what it costs to remember one, beside its bytes
_Question = tuple[int, int, int, View]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Outcomes for the wire (see codec.watch.outcomes), b"" if there are none, and where the next ones begin."""

    message: bytes
    next_sequence: int


class Outcomes:
    """Reads pages of outcomes in the order of their commits. `reads`: how often the store was asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pages: OrderedDict[_Question, Page] = OrderedDict()
        self._reading: dict[_Question, asyncio.Task[Page]] = {}
        self._bytes = 0
        self.reads = 0

    async def page(self, task_key: int, first: int, end: int, view: View) -> Page:
        """The outcomes with completion numbers from `first` on, below `end`; at least one. All of them are committed.

        Raises NotFound if the task was deleted.
        """
        question = (task_key, first, end, view)
        page = self._pages.get(question)
        if page is not None:
            self._pages.move_to_end(question)
            return page
        reading = self._reading.get(question)
        if reading is None:
            reading = self._reading[question] = asyncio.create_task(self._read(question))
            reading.add_done_callback(lambda done: self._end(question, done))
        return await asyncio.shield(reading)  # who leaves takes it from nobody

    async def _read(self, question: _Question) -> Page:
        task_key, first, end, view = question
        self.reads += 1
        found = await self._store.record_page(
            RecordQuery(
                task_key=task_key,
                generation=EVERY_GENERATION,
                order=Order.COMPLETION,
                view=view,
                position=first,
                max_records=min(end - first, limits.STREAM_PAGE_SIZE.maximum),
                max_bytes=limits.STREAM_PAGE_BYTES - limits.WATCH_TAIL_BYTES,
                whole=True,
            )
        )
        page = Page(message=codec.outcomes(found.records) if found.count else b"", next_sequence=found.next_position)
        self._pages[question] = page
        self._bytes += len(page.message) + _PAGE_BYTES
        while self._bytes > _REMEMBERED_BYTES:
            _, oldest = self._pages.popitem(last=False)
            self._bytes -= len(oldest.message) + _PAGE_BYTES
        return page

    def _end(self, question: _Question, reading: asyncio.Task[Page]) -> None:
        del self._reading[question]
        if not reading.cancelled():
            reading.exception()  # all who asked may have left: the event loop need not report it
