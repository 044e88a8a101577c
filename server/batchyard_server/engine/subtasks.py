"""ListSubtasks."""

from __future__ import annotations

from batchyard_server.codec import pages
from batchyard_server.codec.queries import ListSubtasks
from batchyard_server.engine.deps import Deps
from batchyard_server.model import limits

_BEGINNING = 2**63 - 1  # above every epoch


async def list_subtasks(deps: Deps, asked: ListSubtasks) -> bytes:
    """Serialized ListSubtasksResponse, newest first. Raises NotFound, InvalidArgument (INVALID_TOKEN)."""
    task = await deps.store.get_task(asked.name)
    found = deps.tokens.read("subtasks", task.uid, asked.token, "page_token")
    before_epoch = found[0] if found else _BEGINNING
    most = limits.UNARY_PAGE_BYTES - limits.SUBTASKS_TAIL_BYTES
    page = await deps.store.subtasks(task.key, before_epoch, asked.size, most)
    token = deps.tokens.make("subtasks", task.uid, (page.last_epoch, "")) if page.more else ""
    return pages.subtask_page(page.entries, token)
