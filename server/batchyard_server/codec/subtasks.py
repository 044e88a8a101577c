"""How is a subtask written for the wire, and what does it say of its end? Plain values → serialized messages."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.status_pb2 import Status

from batchyard.v1.subtask_pb2 import IndexRange, Subtask
from batchyard_server.codec import parts
from batchyard_server.model import ranges as rg
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.names import SubtaskName, TaskName
from batchyard_server.model.states import StopReason, SubtaskState
from batchyard_server.model.subtask import Killed, SubtaskInfo

_STOPPED = {
    StopReason.CANCEL: "the batch task was cancelled",
    StopReason.DEADLINE: "the batch task passed its max_wall_clock_time",
    StopReason.FAILURE_POLICY: "more records failed than the failure policy of the batch task allows",
    StopReason.TASK_LIFETIME: "the batch task grew too old",
}
_KILLED = {
    Killed.SERVER_SHUT_DOWN: "the server was shut down",
    Killed.SERVER_KILLED: "the server was killed, or could not write before it ended",
    Killed.OTHER_RECORD: "it was killed for a record of another subtask",
}


def info(task: TaskName, subtask: SubtaskInfo) -> bytes:
    """Serialized Subtask."""
    end = subtask.end
    state = SubtaskState.RUNNING if end is None else end.state
    message = Subtask(
        name=str(SubtaskName(task.project, task.task, subtask.epoch)),
        state=state,  # pyright: ignore[reportArgumentType] - the enums have the same numbers
        ranges=[IndexRange(start=start, end=stop) for start, stop in rg.unpack(subtask.ranges)],
        epoch=subtask.epoch,
        worker=subtask.worker,
        node=subtask.node,
        exit_code=None if end is None else end.exit_code,
        error=Status.FromString(end.error) if end is not None and end.error else None,
        start_time=_time(subtask.start_us),
        end_time=_time(subtask.end_us),
    )
    return message.SerializeToString()


def lost_error(exit_: str) -> bytes:
    """Serialized Status of a subtask whose worker died: ABORTED / WORKER_LOST; `exit_`: how, for people."""
    return _error(Code.ABORTED, Reason.WORKER_LOST, f"the worker died: {exit_}", {"exit": exit_})


def timeout_error(limit_us: int) -> bytes:
    """Serialized Status of one whose worker was killed for a record that passed its record_timeout."""
    limit = f"{limit_us / 1e6:g}"
    message = f"a record ran longer than its record_timeout of {limit} s"
    return _error(Code.DEADLINE_EXCEEDED, Reason.RECORD_TIMEOUT, message, {"record_timeout": f"{limit}s"})


def stopped_error(reason: StopReason) -> bytes:
    """Serialized Status of one whose task was stopped: CANCELLED / WORKER_KILLED."""
    return _killed(Killed.TASK_STOPPED, _STOPPED[reason], {"stop_reason": reason.name})


def killed_error(cause: Killed) -> bytes:
    """Serialized Status of one whose worker was killed for something else: CANCELLED / WORKER_KILLED."""
    return _killed(cause, _KILLED[cause], {})


def _killed(cause: Killed, why: str, metadata: dict[str, str]) -> bytes:
    message = f"the worker was killed: {why}"
    return _error(Code.CANCELLED, Reason.WORKER_KILLED, message, {"cause": cause.value, **metadata})


def _error(code: Code, reason: Reason, message: str, metadata: dict[str, str]) -> bytes:
    return parts.status(code, reason, message, metadata).SerializeToString()


def _time(us: int) -> Timestamp | None:
    return parts.timestamp(us) if us else None
