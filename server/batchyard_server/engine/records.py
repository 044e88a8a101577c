"""GetRecord, ListRecords, StreamRecords."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from batchyard_server.codec import pages
from batchyard_server.codec.requests import ListRecords
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.streaming import read_ahead
from batchyard_server.model import limits
from batchyard_server.model.errors import NotFound
from batchyard_server.model.names import RECORD_TYPE, TASK_TYPE, RecordName, TaskName
from batchyard_server.model.record import Order, RecordQuery, View
from batchyard_server.model.task import Task


async def get_record(deps: Deps, name: RecordName, view: View) -> bytes:
    """Serialized RecordInfo. Raises NotFound."""
    task = await deps.store.get_task(TaskName(name.project, name.task))
    if name.index < task.total:
        query = RecordQuery(
            task_key=task.key,
            generation=task.generation,
            order=Order.INDEX,
            view=view,
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
    """Serialized ListRecordsResponse. Raises NotFound, InvalidArgument (INVALID_TOKEN)."""
    task = await deps.store.get_task(asked.name)
    position = _position(deps, task, asked)
    page = await deps.store.record_page(_query(deps, task, asked, position, limits.UNARY_PAGE_BYTES))
    token = _token(deps, task, asked, page.next_position)
    return pages.record_page(page.records, next_page_token=token if page.more else "", resume_token=token)


async def stream_records(deps: Deps, asked: ListRecords) -> AsyncGenerator[bytes, None]:
    """Serialized StreamRecordsResponse messages, at least one; ends at the present. Raises as list_records."""
    task = await deps.store.get_task(asked.name)
    position = _position(deps, task, asked)
    pages_read = read_ahead(
        lambda at, most: deps.store.record_page(_query(deps, task, asked, at, most, whole=True)),
        lambda page: page.next_position if page.more else None,
        position,
    )
    sent = False
    async with aclosing(pages_read):
        async for page in pages_read:
            if page.count or not sent:
                sent = True
                token = _token(deps, task, asked, page.next_position)
                yield pages.record_page(page.records, next_page_token="", resume_token=token)
    # A task that was deleted meanwhile has no records, so its stream would have ended early and looked complete.
    if (await deps.store.get_task(asked.name)).key != task.key:
        raise NotFound(TASK_TYPE, str(asked.name))


def _query(
    deps: Deps, task: Task, asked: ListRecords, position: int, max_bytes: int, *, whole: bool = False
) -> RecordQuery:
    return RecordQuery(
        task_key=task.key,
        generation=task.generation,
        order=asked.order,
        view=asked.view,
        position=position,
        max_records=asked.size,
        max_bytes=max_bytes - limits.RECORDS_TAIL_BYTES,
        running=deps.live.running(task.key) if asked.order is Order.INDEX else frozenset(),
        whole=whole,
    )


def _scope(task: Task, order: Order) -> str:
    """What a token of this list holds for; the view may change from page to page, it moves no position."""
    return f"{task.uid}/{task.generation}/{order.name}"


def _position(deps: Deps, task: Task, asked: ListRecords) -> int:
    found = deps.tokens.read("records", _scope(task, asked.order), asked.token, asked.token_field)
    return found[0] if found else 0


def _token(deps: Deps, task: Task, asked: ListRecords, position: int) -> str:
    return deps.tokens.make("records", _scope(task, asked.order), (position, ""))
