"""GetBatchTask, ListBatchTasks, StreamBatchTasks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from batchyard_server.codec import pages, task_bytes
from batchyard_server.codec.requests import ListPage
from batchyard_server.engine import show
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.streaming import read_ahead
from batchyard_server.model import limits
from batchyard_server.model.errors import NotFound
from batchyard_server.model.names import TaskName
from batchyard_server.store.protocols import TaskPage


async def get_task(deps: Deps, name: TaskName) -> bytes:
    """Serialized BatchTaskInfo. Raises NotFound."""
    return show.task_info(deps, await deps.store.get_task(name))


async def list_tasks(deps: Deps, asked: ListPage) -> bytes:
    """Serialized ListBatchTasksResponse: create_time descending, then name. Raises InvalidArgument (INVALID_TOKEN)."""
    after = deps.tokens.read("tasks", asked.project, asked.token, asked.token_field)
    most = limits.UNARY_PAGE_BYTES - limits.TASKS_TAIL_BYTES
    page = await deps.store.list_tasks(asked.project, after, asked.size, most)
    token = deps.tokens.make("tasks", asked.project, page.last) if page.more and page.last else ""
    return pages.task_page(await _infos(deps, page), token)


async def stream_tasks(deps: Deps, asked: ListPage) -> AsyncGenerator[bytes, None]:
    """Serialized StreamBatchTasksResponse messages, at least one. Raises InvalidArgument (INVALID_TOKEN)."""
    after = deps.tokens.read("tasks", asked.project, asked.token, asked.token_field)
    token = asked.token or deps.tokens.make("tasks", asked.project, _BEGINNING)
    pages_read = read_ahead(
        lambda at, most: deps.store.list_tasks(asked.project, at, asked.size, most - limits.TASKS_TAIL_BYTES),
        lambda page: page.last if page.more else None,
        None if after == _BEGINNING else after,
    )
    sent = False
    async with aclosing(pages_read):
        async for page in pages_read:
            if page.last:
                token = deps.tokens.make("tasks", asked.project, page.last)
            if page.last or not sent:
                sent = True
                yield pages.task_page(await _infos(deps, page), token)


# The position before the newest task: what the token of an empty stream says.
_BEGINNING = (2**63 - 1, "")


async def _infos(deps: Deps, page: TaskPage) -> list[bytes]:
    """The infos, with what runs and what waits added to those that live."""
    live = deps.live
    infos = list(page.infos)
    for position, key in enumerate(page.keys):
        if not live.is_live(key):
            continue
        if running := len(live.running(key)):
            try:
                task = await deps.store.get_task(task_bytes.name_of(infos[position]))
            except NotFound:  # deleted since; the row shows it as it was
                continue
            infos[position] += task_bytes.live_overlay(task, running, live.waiting(key))
        elif waiting := live.waiting(key):
            infos[position] += pages.waiting(waiting)
    return infos
