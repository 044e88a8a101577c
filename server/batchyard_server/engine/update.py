"""UpdateBatchTask."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from batchyard_server.codec import update
from batchyard_server.codec.requests import UpdateTask
from batchyard_server.engine import etag, show, stop
from batchyard_server.engine.deps import Deps
from batchyard_server.model.errors import FailedPrecondition, NotFound, Reason
from batchyard_server.model.names import HANDLER_TYPE, HandlerName
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Task

_BEFORE_START = frozenset({"handler", "parameters"})
_AFTER_END = frozenset({"display_name", "labels", "archived", "constraints.retention_time"})


async def update_task(deps: Deps, asked: UpdateTask) -> bytes:
    """Change the configuration of a task; return its serialized BatchTaskInfo.

    What counts is what really changes: an equal value is never refused, and changes neither etag nor update_time.
    Whoever runs the records learns of it through the store's events. A max_wall_clock_time that is over by now stops
    the task in the same transaction. Raises: NotFound (also of the new handler), InvalidArgument (a DRAFT would have no
    handler), FailedPrecondition (ILLEGAL_STATE, TASK_COMPLETED), Aborted (ETAG_MISMATCH), AlreadyExists
    (REQUEST_ID_REUSED).
    """
    now = deps.clock.now_us()
    patch = asked.patch
    has_handler = deps.handlers.get(patch.handler) is not None

    def decide(task: Task) -> Task:
        etag.check(task, asked.etag)
        changeable = _changeable(task.state)
        patched = update.apply(patch, changeable if patch.leaves is None else patch.leaves, task)
        if not patched.differs:
            return task
        if not patched.differs <= changeable:
            raise _refusal(task, patched.differs - changeable)
        if "handler" in patched.differs and not has_handler:
            raise NotFound(HANDLER_TYPE, str(HandlerName(task.project, patch.handler)))
        configuration = patched.configuration
        changed = replace(
            task,
            fixed=patched.fixed,
            handler=configuration.handler,
            parameters=configuration.parameters,
            settings=configuration.settings,
            revision=task.revision + 1,
            update_us=now,
        )
        return stop.out_of_time(changed, now)

    task = await deps.store.update_task(asked.name, decide, asked.request)
    deps.failpoints.hit("engine.update.after_store")
    return show.task_info(deps, task)


def _changeable(state: TaskState) -> frozenset[str]:
    if state.is_final:
        return _AFTER_END
    return update.LEAVES if state is TaskState.DRAFT else update.LEAVES - _BEFORE_START


def _refusal(task: Task, leaves: Collection[str]) -> FailedPrecondition:
    fields = ", ".join(sorted(leaves))
    return FailedPrecondition(
        Reason.TASK_COMPLETED if task.state.is_final else Reason.ILLEGAL_STATE,
        f"cannot change {fields} of a batch task that is {task.state.name}",
        subject="state",
        metadata={"state": task.state.name, "verb": "update", "fields": fields},
    )
