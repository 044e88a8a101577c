"""DeleteBatchTask."""

from __future__ import annotations

from batchyard_server.codec.requests import ChangeTask
from batchyard_server.engine.deps import Deps
from batchyard_server.model.states import Event, after
from batchyard_server.model.task import Task


async def delete_task(deps: Deps, asked: ChangeTask) -> None:
    """Remove a task in DRAFT or a final state with everything it owns.

    Idempotent by request_id. Raises: NotFound, FailedPrecondition (ILLEGAL_STATE), AlreadyExists (REQUEST_ID_REUSED).
    """

    def decide(task: Task) -> Task:
        return task.enter(after(task.state, Event.DELETE), task.update_us)

    await deps.store.delete_task(asked.name, decide, asked.request)
    deps.failpoints.hit("engine.delete.after_store")
