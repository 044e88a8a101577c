"""GetBatchTask, ListBatchTasks, StreamBatchTasks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from batchyard_server.codec import pages, task_bytes
from batchyard_server.codec.queries import ListTasks
from batchyard_server.codec.values import RUNNING_FIELDS
from batchyard_server.engine import show
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.streaming import read_ahead
from batchyard_server.model import limits
from batchyard_server.model.errors import NotFound
from batchyard_server.model.filter import fields_of
from batchyard_server.model.names import TaskName
from batchyard_server.model.task_query import Position, TaskQuery
from batchyard_server.query import TASKS, parse_filter, parse_order
from batchyard_server.store.protocols import TaskPage


async def get_task(deps: Deps, name: TaskName) -> bytes:
    """Serialized BatchTaskInfo. Raises NotFound."""
    found = await deps.store.get_info(name)
    if not found.live or not deps.live.is_live(found.key):
        return found.info
    return show.task_info(deps, await deps.store.get_task(name))


async def list_tasks(deps: Deps, asked: ListTasks) -> bytes:
    """Serialized ListBatchTasksResponse. Raises InvalidArgument (INVALID_TOKEN, INVALID_FILTER, INVALID_ORDER_BY)."""
    query, scope = _query(deps, asked, limits.UNARY_PAGE_BYTES)
    page = await deps.store.list_tasks(query)
    token = deps.tokens.make("tasks", scope, page.last) if page.more and page.last else ""
    return pages.task_page(await _entries(deps, page), token)


async def stream_tasks(deps: Deps, asked: ListTasks) -> AsyncGenerator[bytes, None]:
    """Serialized StreamBatchTasksResponse messages, at least one. Raises as list_tasks."""
    query, scope = _query(deps, asked, limits.FIRST_STREAM_PAGE_BYTES)
    token = asked.token or deps.tokens.make("tasks", scope, None)
    pages_read = read_ahead(
        lambda after, most: deps.store.list_tasks(_on(deps, query, after, most)),
        lambda page: page.last if page.more else None,
        query.after,
    )
    sent = False
    async with aclosing(pages_read):
        async for page in pages_read:
            if page.last:
                token = deps.tokens.make("tasks", scope, page.last)
            if page.last or not sent:
                sent = True
                yield pages.task_page(await _entries(deps, page), token)


def _query(deps: Deps, asked: ListTasks, most_bytes: int) -> tuple[TaskQuery, str]:
    """The first page that is asked for, and the scope of its tokens."""
    order = parse_order(asked.order_by)
    query = TaskQuery(
        project=asked.project,
        limit=asked.size,
        max_bytes=most_bytes - limits.TASKS_TAIL_BYTES,
        filter=parse_filter(asked.filter, TASKS, asked.project),
        order=order,
    )
    way = "desc" if order.descending else "asc"
    scope = asked.project if query.is_usual else f"{asked.project} {order.field} {way} {asked.filter}"
    after = deps.tokens.read_any("tasks", scope, asked.token, asked.token_field)
    return _on(deps, query, after, most_bytes), scope


def _on(deps: Deps, query: TaskQuery, after: Position | None, most_bytes: int) -> TaskQuery:
    """The next page, as things are now."""
    looks = any(each.name in RUNNING_FIELDS for each in fields_of(query.filter))
    return replace(
        query,
        after=after,
        max_bytes=most_bytes - limits.TASKS_TAIL_BYTES,
        running=deps.live.all_running() if looks else query.running,
    )


async def _entries(deps: Deps, page: TaskPage) -> bytes:
    """The entries, with what runs and what waits added to those that live."""
    live = [(position, key) for position, key in page.live if deps.live.is_live(key)]
    if not live:
        return page.entries
    infos = list(pages.infos(page.entries))
    for position, key in live:
        infos[position] += await _overlay(deps, key, infos[position])
    return b"".join(map(pages.entry, infos))


async def _overlay(deps: Deps, key: int, info: bytes) -> bytes:
    """What is appended to a live task's info."""
    waiting = deps.live.waiting(key)
    running = len(deps.live.running(key))
    if not running:
        return pages.waiting(waiting) if waiting else b""
    try:
        task = await deps.store.get_task(task_bytes.name_of(info))
    except NotFound:  # deleted since; the row shows it as it was
        return b""
    return task_bytes.live_overlay(task, running, waiting)
