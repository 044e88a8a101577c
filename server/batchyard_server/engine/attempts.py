"""ListRecordAttempts."""

from __future__ import annotations

from batchyard_server.codec import attempts as codec
from batchyard_server.codec.queries import ListAttempts
from batchyard_server.engine.deps import Deps
from batchyard_server.model.errors import NotFound
from batchyard_server.model.names import RECORD_TYPE, TaskName


async def list_attempts(deps: Deps, asked: ListAttempts) -> bytes:
    """Serialized ListRecordAttemptsResponse, by generation, then attempt. Raises NotFound, InvalidArgument.

    All that is kept of a record, limits.RECORD_ATTEMPTS with an error of limits.ERROR each, is less than a page may
    have, so only the number of attempts ends one. One that goes while the pages are read is not missed.
    """
    name = asked.name
    task = await deps.store.get_task(TaskName(name.project, name.task))
    if name.index >= task.total:
        raise NotFound(RECORD_TYPE, str(name))
    scope = f"{task.uid}/{name.index}"
    last = deps.tokens.read("attempts", scope, asked.token, "page_token")
    after = (last[0], int(last[1])) if last else (0, 0)
    found = await deps.store.record_attempts(task.key, name.index)
    left = [each for each in found if (each.generation, each.attempt) > after]
    shown = left[: asked.size]
    token = ""
    if len(left) > len(shown):
        token = deps.tokens.make("attempts", scope, (shown[-1].generation, str(shown[-1].attempt)))
    return codec.page(shown, token)
