"""GetBatchTask, ListBatchTasks, StreamBatchTasks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from batchyard_server.codec import pages, task_bytes
from batchyard_server.codec.queries import ListPage
from batchyard_server.engine import show
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.streaming import read_ahead
from batchyard_server.model import limits
from batchyard_server.model.errors import NotFound
from batchyard_server.model.names import TaskName
from batchyard_server.store.protocols import TaskPage


async def get_task(deps: Deps, name: TaskName) -> bytes:
    """Serialized BatchTaskInfo. Raises NotFound."""
    found = await deps.store.get_info(name)
    if not found.live or not deps.live.is_live(found.key):
        return found.info
    return show.task_info(deps, await deps.store.get_task(name))


async def list_tasks(deps: Deps, asked: ListPage) -> bytes:
    """Serialized ListBatchTasksResponse: create_time descending, then name. Raises InvalidArgument (INVALID_TOKEN)."""
    after = deps.tokens.read("tasks", asked.project, asked.token, asked.token_field)
    most = limits.UNARY_PAGE_BYTES - limits.TASKS_TAIL_BYTES
    page = await deps.store.list_tasks(asked.project, after, asked.size, most)
    token = deps.tokens.make("tasks", asked.project, page.last) if page.more and page.last else ""
    return pages.task_page(await _entries(deps, page), token)


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
                yield pages.task_page(await _entries(deps, page), token)


# The position before the newest task: what the token of an empty stream says.
_BEGINNING = (2**63 - 1, "")


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
