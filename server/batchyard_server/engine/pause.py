"""PauseBatchTask and ResumeBatchTask."""

from __future__ import annotations

import asyncio
import contextlib

from batchyard_server.codec.requests import ChangeTask
from batchyard_server.engine import etag, show
from batchyard_server.engine.deps import Deps
from batchyard_server.model.errors import BatchyardError
from batchyard_server.model.states import Event, TaskState, after
from batchyard_server.model.task import Task
from batchyard_server.store.protocols import Decide


async def pause_task(deps: Deps, asked: ChangeTask) -> bytes:
    """Let records that run end and start no other ones; return the serialized BatchTaskInfo, PAUSING or PAUSED.

    Idempotent on both. Raises: NotFound, FailedPrecondition (ILLEGAL_STATE, TASK_COMPLETED), Aborted (ETAG_MISMATCH),
    AlreadyExists (REQUEST_ID_REUSED).
    """
    now = deps.clock.now_us()

    def decide(task: Task) -> Task:
        etag.check(task, asked.etag)
        state = after(task.state, Event.PAUSE)
        if state is TaskState.PAUSING and not task.live_subtasks:
            state = after(state, Event.NOTHING_RUNS)
        return task.enter(state, now)

    # A caller who goes away does not call the commit back, so the hold goes on, too.
    task = await asyncio.shield(_update_held(deps, asked, decide))
    deps.failpoints.hit("engine.pause.after_store")
    return show.task_info(deps, task)


async def _update_held(deps: Deps, asked: ChangeTask, decide: Decide) -> Task:
    """Change the task while no record of it begins, so that the change kills none.

    A pause that will be refused, or changes nothing, holds up nothing. The store decides, since it knows the request_id
    and what has changed meanwhile: a resume may be on its way there.
    """
    key = 0
    with contextlib.suppress(BatchyardError):
        found = await deps.store.get_task(asked.name)
        key = found.key if decide(found) != found else 0
    if not key:
        try:
            return await deps.store.update_task(asked.name, _unheld(decide), asked.request)
        except _HoldNeeded as needed:
            key = needed.key
    async with deps.live.hold(key):
        return await deps.store.update_task(asked.name, decide, asked.request)


def _unheld(decide: Decide) -> Decide:
    """Raises _HoldNeeded instead of changing the task."""

    def refuse_changes(task: Task) -> Task:
        if decide(task) != task:
            raise _HoldNeeded(task.key)
        return task

    return refuse_changes


class _HoldNeeded(Exception):
    """The task would change."""

    def __init__(self, key: int) -> None:
        super().__init__(key)
        self.key = key


async def resume_task(deps: Deps, asked: ChangeTask) -> bytes:
    """Let a paused task go on; return its serialized BatchTaskInfo, QUEUED or RUNNING.

    Idempotent on both. Raises: as pause_task.
    """
    now = deps.clock.now_us()

    def decide(task: Task) -> Task:
        etag.check(task, asked.etag)
        return task.enter(after(task.state, Event.RESUME), now)

    task = await deps.store.update_task(asked.name, decide, asked.request)
    deps.failpoints.hit("engine.resume.after_store")
    return show.task_info(deps, task)
