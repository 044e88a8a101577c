"""ReactivateBatchTask: the next generation of a finished task."""

from __future__ import annotations

from dataclasses import replace

from batchyard_server.codec.requests import ReactivateTask
from batchyard_server.engine import etag, show
from batchyard_server.engine.deps import Deps
from batchyard_server.model.clock import uuid7
from batchyard_server.model.errors import FailedPrecondition, Reason
from batchyard_server.model.states import Event, StopReason, TaskState, after
from batchyard_server.model.task import Task


async def reactivate_task(deps: Deps, asked: ReactivateTask) -> bytes:
    """Make the task QUEUED in its next generation; return the serialized Operation of that one.

    What succeeded stays, unless everything is to be run again; which records those are is read from the outcomes when
    they are needed, so the change itself costs the same for a million records as for one. Idempotent by request_id: a
    repeated call answers with the task's current operation. Raises: NotFound, FailedPrecondition (TASK_NOT_COMPLETED,
    NO_RECORDS, TASK_SUCCEEDED), Aborted (ETAG_MISMATCH), AlreadyExists (REQUEST_ID_REUSED).
    """
    now = deps.clock.now_us()
    operation = uuid7(deps.clock, deps.randomness)

    def decide(task: Task) -> Task:
        etag.check(task, asked.etag)
        _check(task)
        return next_generation(task, operation, now, everything=asked.everything)

    task = await deps.store.update_task(asked.name, decide, asked.request)
    deps.failpoints.hit("engine.reactivate.after_store")
    return await show.current_operation(deps, task)


def _check(task: Task) -> None:
    metadata = {"state": task.state.name, "verb": Event.REACTIVATE.value}
    if not task.state.is_final:
        raise FailedPrecondition(
            Reason.TASK_NOT_COMPLETED,
            f"cannot reactivate a batch task that is {task.state.name}",
            subject="state",
            metadata=metadata,
        )
    if not task.total:
        raise FailedPrecondition(Reason.NO_RECORDS, "a task cannot start without records", subject="records")
    if task.state is TaskState.SUCCEEDED and not task.failed:
        raise FailedPrecondition(
            Reason.TASK_SUCCEEDED, "every record of the batch task succeeded", subject="state", metadata=metadata
        )


def next_generation(task: Task, operation: str, now_us: int, *, everything: bool) -> Task:
    """A final task as it begins its next generation, whose operation has this id; SUCCEEDED if nothing is to be run.

    `everything`: what succeeded is run again too.
    """
    generation = task.generation + 1
    begun = replace(
        task,
        generation=generation,
        base_generation=generation if everything else task.base_generation,
        operation=operation,
        stop_reason=StopReason.NONE,
        error=b"",
        start_us=0,
        end_us=0,
        succeeded=0 if everything else task.succeeded,
        failed=0,
        cancelled=0,
        subtasks=0,
        live_subtasks=0,
    ).enter(after(task.state, Event.REACTIVATE), now_us)
    if begun.ended < begun.total:
        return replace(begun, exit_code=None)
    return begun.enter(after(begun.state, Event.ALL_SUCCEEDED_OR_SOME_FAILED), now_us)
