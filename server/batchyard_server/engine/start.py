"""StartBatchTask."""

from __future__ import annotations

from batchyard_server.codec.requests import ChangeTask
from batchyard_server.engine import etag, show
from batchyard_server.engine.deps import Deps
from batchyard_server.model.errors import FailedPrecondition, Reason
from batchyard_server.model.states import Event, TaskState, after
from batchyard_server.model.task import Task


async def start_task(deps: Deps, asked: ChangeTask) -> bytes:
    """Make a DRAFT QUEUED; return the serialized Operation, the one that the create returned.

    Idempotent on QUEUED, RUNNING, PAUSING and PAUSED. Raises: NotFound, FailedPrecondition (NO_RECORDS, ILLEGAL_STATE,
    TASK_COMPLETED), Aborted (ETAG_MISMATCH), AlreadyExists (REQUEST_ID_REUSED).
    """
    now = deps.clock.now_us()

    def decide(task: Task) -> Task:
        etag.check(task, asked.etag)
        state = after(task.state, Event.START)
        if task.state is TaskState.DRAFT and not task.total:
            raise FailedPrecondition(Reason.NO_RECORDS, "a task cannot start without records", subject="records")
        return task.enter(state, now)

    task = await deps.store.update_task(asked.name, decide, asked.request)
    deps.failpoints.hit("engine.start.after_store")
    return await show.current_operation(deps, task)
