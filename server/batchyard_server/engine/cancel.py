"""CancelBatchTask and CancelOperation."""

from __future__ import annotations

from batchyard_server.codec.requests import ChangeTask
from batchyard_server.engine import etag, show, stop
from batchyard_server.engine.deps import Deps
from batchyard_server.model.names import OperationName
from batchyard_server.model.task import Task


async def cancel_task(deps: Deps, asked: ChangeTask) -> bytes:
    """Stop the task for good; return its serialized BatchTaskInfo, CANCELLING or CANCELLED.

    From the commit on no record starts; who runs the records learns of it through the store's events. Idempotent while
    CANCELLING, for whatever reason. Raises: NotFound, FailedPrecondition (TASK_COMPLETED), Aborted (ETAG_MISMATCH),
    AlreadyExists (REQUEST_ID_REUSED).
    """
    now = deps.clock.now_us()

    def decide(task: Task) -> Task:
        etag.check(task, asked.etag)
        return stop.cancelled(task, asked.reason, now)

    task = await deps.store.update_task(asked.name, decide, asked.request)
    deps.failpoints.hit("engine.cancel.after_store")
    return show.task_info(deps, task)


async def cancel_operation(deps: Deps, name: OperationName) -> None:
    """Stop the generation that the operation stands for; nothing happens if that has ended. Raises NotFound."""
    operation, task = await deps.store.get_operation(name)
    if operation.done:
        return
    now = deps.clock.now_us()

    def decide(found: Task) -> Task:
        if found.key != task.key or found.generation != operation.generation or found.state.is_final:
            return found
        return stop.cancelled(found, "", now)

    await deps.store.update_task(task.name, decide, None)
    deps.failpoints.hit("engine.cancel.after_store")
