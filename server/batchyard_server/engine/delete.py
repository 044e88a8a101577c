"""DeleteBatchTask."""

from __future__ import annotations

from batchyard_server.codec.requests import DeleteTask
from batchyard_server.engine import etag
from batchyard_server.engine.deps import Deps
from batchyard_server.model.states import Event, after
from batchyard_server.model.task import Task


async def delete_task(deps: Deps, asked: DeleteTask) -> None:
    """Remove a task with everything it owns; one that is neither DRAFT nor final only with `force`.

    What runs is killed by who runs it, who learns of it through the store's events; what still lives after a restart is
    killed then. Idempotent by request_id. Raises: NotFound (unless `allow_missing`), FailedPrecondition
    (ILLEGAL_STATE), Aborted (ETAG_MISMATCH), AlreadyExists (REQUEST_ID_REUSED).
    """

    def decide(task: Task) -> Task:
        etag.check(task, asked.etag)
        if not asked.force:
            after(task.state, Event.DELETE)
        return task

    await deps.store.delete_task(asked.name, decide, asked.request, allow_missing=asked.allow_missing)
    deps.failpoints.hit("engine.delete.after_store")
