"""GetBatchTask, ListBatchTasks, StreamBatchTasks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from batchyard_server.codec import pages, task_bytes
from batchyard_server.codec.requests import ListPage
from batchyard_server.engine import show
from batchyard_server.engine.deps import Deps
from batchyard_server.model import limits
from batchyard_server.model.errors import NotFound
from batchyard_server.model.names import TaskName
from batchyard_server.store.protocols import TaskRow

# No BatchTaskInfo is larger: parameters, labels, the error, and room for names, times and counts.
_LARGEST_INFO = limits.PARAMETERS.maximum + limits.LABELS.maximum * 512 + limits.ERROR.maximum + 8 * limits.KIB


async def get_task(deps: Deps, name: TaskName) -> bytes:
    """Serialized BatchTaskInfo. Raises NotFound."""
    return show.task_info(deps, await deps.store.get_task(name))


async def list_tasks(deps: Deps, asked: ListPage) -> bytes:
    """Serialized ListBatchTasksResponse: create_time descending, then name. Raises InvalidArgument (INVALID_TOKEN)."""
    after = deps.tokens.read("tasks", asked.project, asked.token, asked.token_field)
    # One row more than wanted tells whether there is another page.
    rows = await deps.store.list_tasks(asked.project, after, asked.size + 1, limits.UNARY_PAGE_BYTES)
    more = len(rows) > asked.size or _may_be_cut(rows, limits.UNARY_PAGE_BYTES)
    rows = rows[: asked.size]
    token = _token(deps, asked.project, rows[-1]) if more and rows else ""
    return pages.task_page(await _infos(deps, asked.project, rows), token)


async def stream_tasks(deps: Deps, asked: ListPage) -> AsyncGenerator[bytes, None]:
    """Serialized StreamBatchTasksResponse messages, at least one. Raises InvalidArgument (INVALID_TOKEN)."""
    after = deps.tokens.read("tasks", asked.project, asked.token, asked.token_field)
    token = asked.token or deps.tokens.make("tasks", asked.project, _BEGINNING)
    sent = False
    while True:
        # Each page is a read of its own: none is held open while the client takes its time.
        position = None if after == _BEGINNING else after
        rows = await deps.store.list_tasks(asked.project, position, asked.size, limits.STREAM_PAGE_BYTES)
        if rows:
            after = (rows[-1].create_us, rows[-1].task_id)
            token = deps.tokens.make("tasks", asked.project, after)
        if rows or not sent:
            sent = True
            yield pages.task_page(await _infos(deps, asked.project, rows), token)
        if len(rows) < asked.size and not _may_be_cut(rows, limits.STREAM_PAGE_BYTES):
            return


# The position before the newest task: what the token of an empty stream says.
_BEGINNING = (2**63 - 1, "")


def _may_be_cut(rows: Sequence[TaskRow], max_bytes: int) -> bool:
    """Whether `rows` may have ended for their bytes, not because there are no more."""
    return bool(rows) and sum(len(row.info) for row in rows) > max_bytes - _LARGEST_INFO


def _token(deps: Deps, project: str, row: TaskRow) -> str:
    return deps.tokens.make("tasks", project, (row.create_us, row.task_id))


async def _infos(deps: Deps, project: str, rows: Sequence[TaskRow]) -> list[bytes]:
    """The rows' infos, with what runs and what waits added to those that live."""
    live = deps.live
    infos = [row.info for row in rows]
    for position, row in enumerate(rows):
        if not live.is_live(row.key):
            continue
        if running := len(live.running(row.key)):
            try:
                task = await deps.store.get_task(TaskName(project, row.task_id))
            except NotFound:  # deleted since; the row shows it as it was
                continue
            infos[position] += task_bytes.live_overlay(task, running, live.waiting(row.key))
        elif waiting := live.waiting(row.key):
            infos[position] += pages.waiting(waiting)
    return infos
