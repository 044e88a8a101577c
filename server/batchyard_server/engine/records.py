"""GetRecord, ListRecords, StreamRecords."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from batchyard_server.codec import pages
from batchyard_server.codec.queries import GetRecord, ListRecords
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.streaming import read_ahead
from batchyard_server.model import limits
from batchyard_server.model.errors import InvalidArgument, NotFound
from batchyard_server.model.filter import EVERYTHING
from batchyard_server.model.names import RECORD_TYPE, TASK_TYPE, TaskName
from batchyard_server.model.record import Order, RecordQuery
from batchyard_server.model.task import Task
from batchyard_server.query import RECORDS, parse_filter


async def get_record(deps: Deps, asked: GetRecord) -> bytes:
    """Serialized RecordInfo. Raises NotFound."""
    name = asked.name
    task = await deps.store.get_task(TaskName(name.project, name.task))
    generation = asked.generation or task.generation
    if name.index < task.total and generation <= task.generation:
        query = RecordQuery(
            task_key=task.key,
            generation=generation,
            order=Order.INDEX,
            view=asked.view,
            position=name.index,
            max_records=1,
            max_bytes=limits.UNARY_PAGE_BYTES,
            running=deps.live.running(task.key),
        )
        record = pages.only_record((await deps.store.record_page(query)).records)
        if record is not None:
            return record
    raise NotFound(RECORD_TYPE, str(name))


async def list_records(deps: Deps, asked: ListRecords) -> bytes:
    """Serialized ListRecordsResponse.

    Raises NotFound, InvalidArgument (INVALID_FILTER, INVALID_TOKEN; or no such generation).
    """
    reading = _Reading(deps, await deps.store.get_task(asked.name), asked)
    page = await deps.store.record_page(reading.query(reading.position, limits.UNARY_PAGE_BYTES))
    token = reading.token(page.next_position)
    return pages.record_page(page.records, next_page_token=token if page.more else "", resume_token=token)


async def stream_records(deps: Deps, asked: ListRecords) -> AsyncGenerator[bytes, None]:
    """Serialized StreamRecordsResponse messages, at least one; ends at the present. Raises as list_records.

    A generation that was the current one when the stream began is read to its end, also if the next one has begun. With
    a filter a message without records says how far the search has come.
    """
    task = await deps.store.get_task(asked.name)
    reading = _Reading(deps, task, asked)
    pages_read = read_ahead(
        lambda at, most: deps.store.record_page(reading.query(at, most, whole=True)),
        lambda page: page.next_position if page.more else None,
        reading.position,
    )
    sent = False
    async with aclosing(pages_read):
        async for page in pages_read:
            if page.count or not sent or reading.filtered:
                sent = True
                token = reading.token(page.next_position)
                yield pages.record_page(page.records, next_page_token="", resume_token=token)
    # A task that was deleted meanwhile has no records, so its stream would have ended early and looked complete.
    if (await deps.store.get_task(asked.name)).key != task.key:
        raise NotFound(TASK_TYPE, str(asked.name))


class _Reading:
    """One generation of a task's records, read page by page. Raises InvalidArgument.

    A token holds for the generation that it was made for, by its number: one of what was the current generation is not
    taken as one of a later one, where its position means something else, but goes on with it when asked for by number.
    """

    def __init__(self, deps: Deps, task: Task, asked: ListRecords) -> None:
        if asked.generation > task.generation:
            raise InvalidArgument("generation", f"the batch task is in its generation {task.generation}")
        self._deps = deps
        self._asked = asked
        self._task_key = task.key
        self._generation = asked.generation or task.generation
        self._filter = parse_filter(asked.filter, RECORDS, asked.name.project)
        # What a token holds for; the view may change from page to page, it moves no position.
        self._scope = f"{task.uid}/{self._generation}/{asked.order.name}"
        if self.filtered:
            self._scope += f"/{asked.filter}"
        found = deps.tokens.read("records", self._scope, asked.token, asked.token_field)
        self.position = found[0] if found else 0

    @property
    def filtered(self) -> bool:
        """Whether only some of them are wanted."""
        return self._filter != EVERYTHING

    def token(self, position: int) -> str:
        """What goes on there."""
        return self._deps.tokens.make("records", self._scope, (position, ""))

    def query(self, position: int, max_bytes: int, *, whole: bool = False) -> RecordQuery:
        """The page that begins there."""
        asked = self._asked
        return RecordQuery(
            task_key=self._task_key,
            generation=self._generation,
            order=asked.order,
            view=asked.view,
            position=position,
            max_records=asked.size,
            max_bytes=max_bytes - limits.RECORDS_TAIL_BYTES,
            running=self._deps.live.running(self._task_key) if asked.order is Order.INDEX else frozenset(),
            whole=whole,
            filter=self._filter,
        )
