"""How does a lease end whose worker is gone? LOST if the worker died by itself, KILLED if it was ended, or RETURNED."""

from __future__ import annotations

from batchyard_server.codec import subtasks
from batchyard_server.dispatch.protocols import Cause, Loss, Subtask
from batchyard_server.model.states import StopReason, SubtaskState
from batchyard_server.model.subtask import RETURNED, Killed, LeaseEnd
from batchyard_server.model.task import Task


def of_loss(loss: Loss, subtask: Subtask, now: Task | None, *, shuts_down: bool) -> LeaseEnd:
    """The end of one lease of the worker. `now`: its task, None = gone; `shuts_down`: whether the server ends."""
    if loss.cause is Cause.CRASH:
        return LeaseEnd(state=SubtaskState.LOST, exit_code=loss.exit_code, error=subtasks.lost_error(loss.exit))
    if loss.cause is Cause.TIMEOUT and loss.index is not None:
        return _killed(subtasks.timeout_error(subtask.task.settings.record_timeout_us))
    if now is not None and now.stop_reason is not StopReason.NONE:
        return _killed(subtasks.stopped_error(now.stop_reason))
    if shuts_down:
        return _killed(subtasks.killed_error(Killed.SERVER_SHUT_DOWN))
    if not loss.begun_to:
        return RETURNED  # untouched: nothing of it was cut short
    return _killed(subtasks.killed_error(Killed.OTHER_RECORD))


def _killed(error: bytes) -> LeaseEnd:
    return LeaseEnd(state=SubtaskState.KILLED, error=error)
