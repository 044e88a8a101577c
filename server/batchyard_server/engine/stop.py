"""How does a task end before all its records have? Decided here, for cancels and for what time does."""

from __future__ import annotations

from dataclasses import replace

from batchyard_server.codec import task_bytes
from batchyard_server.model.states import Event, StopReason, after
from batchyard_server.model.task import Task


def cancelled(task: Task, reason: str, now_us: int) -> Task:
    """The task as a cancel leaves it, `reason` is the caller's text. Raises FailedPrecondition (TASK_COMPLETED)."""
    return _stopped(task, Event.CANCEL, StopReason.CANCEL, task_bytes.cancelled_error(reason), now_us)


def out_of_time(task: Task, now_us: int) -> Task:
    """The task as it is after its max_wall_clock_time; as it is now if that is not over."""
    if not task.deadline_us or now_us < task.deadline_us:
        return task
    return _stopped(task, Event.STOP, StopReason.DEADLINE, task_bytes.wall_clock_error(task), now_us)


def too_old(task: Task, lifetime_us: int, now_us: int) -> Task:
    """The task as it is after the longest lifetime that the server gives; as it is now if that is not over."""
    if task.state.is_final or now_us < task.create_us + lifetime_us:
        return task
    return _stopped(task, Event.STOP, StopReason.TASK_LIFETIME, task_bytes.lifetime_error(lifetime_us), now_us)


def _stopped(task: Task, event: Event, reason: StopReason, error: bytes, now_us: int) -> Task:
    """Whoever comes first says why: a task that is being stopped stays as it is."""
    state = after(task.state, event)
    if state is task.state:
        return task
    stopped = replace(task, stop_reason=reason, error=error).enter(state, now_us)
    return replace(stopped, end_us=now_us) if state.is_final else stopped
