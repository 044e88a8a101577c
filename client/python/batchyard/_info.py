"""What the server says about batch tasks, records and handlers, as Python objects over the messages.

Each object wraps its message (`.message`) and converts a field when it is asked for; nothing is copied.
"""

from __future__ import annotations

import enum
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from batchyard import _payload
from batchyard._error_map import record_error
from batchyard._status import BatchTaskStatus, OperationErrorInfo

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from batchyard._errors import RecordFailedError
    from batchyard.v1 import batch_task_pb2, handler_pb2, record_pb2


class _OpenEnum(enum.IntEnum):
    """An enum of the contract. A number that this client does not know yet is a member named after its number."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"{cls.__name__.upper()}_{value}"
        member._value_ = value
        return member


class BatchTaskState(_OpenEnum):
    """`batchyard.v1.BatchTaskInfo.State`."""

    STATE_UNSPECIFIED = 0
    DRAFT = 1
    QUEUED = 2
    RUNNING = 3
    CANCELLING = 6
    SUCCEEDED = 7
    FAILED = 8
    CANCELLED = 9

    @property
    def is_final(self) -> bool:
        """Whether this state of a generation never changes again."""
        return self in {BatchTaskState.SUCCEEDED, BatchTaskState.FAILED, BatchTaskState.CANCELLED}


class StopReason(_OpenEnum):
    """`batchyard.v1.BatchTaskInfo.StopReason`."""

    STOP_REASON_UNSPECIFIED = 0
    CANCEL = 1


class WaitingReason(_OpenEnum):
    """`batchyard.v1.BatchTaskInfo.WaitingReason`."""

    WAITING_REASON_UNSPECIFIED = 0
    HANDLER_UNAVAILABLE = 1
    NO_SLOT = 2


class RecordState(_OpenEnum):
    """`batchyard.v1.RecordInfo.State`."""

    STATE_UNSPECIFIED = 0
    PENDING = 1
    RUNNING = 2
    SUCCEEDED = 3
    FAILED = 4
    CANCELLED = 5

    @property
    def is_final(self) -> bool:
        """Whether the record has an outcome."""
        return self in {RecordState.SUCCEEDED, RecordState.FAILED, RecordState.CANCELLED}


class HandlerKind(_OpenEnum):
    """`batchyard.v1.Handler.Kind`."""

    KIND_UNSPECIFIED = 0
    PYTHON = 1
    COMMAND = 2


class HandlerIsolation(_OpenEnum):
    """`batchyard.v1.Handler.Isolation`."""

    ISOLATION_UNSPECIFIED = 0
    CGROUP = 1
    PID_NAMESPACE = 2
    SUBREAPER = 3


def _time(message: Any, field: str) -> datetime | None:
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime(tzinfo=UTC)


class BatchTaskInfo:
    """A batch task as the server described it at one moment. Times are aware (UTC), None while unset."""

    __slots__ = ("message",)

    def __init__(self, message: batch_task_pb2.BatchTaskInfo) -> None:
        self.message = message

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BatchTaskInfo) and self.message == other.message

    __hash__ = None  # type: ignore[assignment]  # it wraps a mutable message

    def __repr__(self) -> str:
        counts = self.counts
        ended = counts.succeeded + counts.failed + counts.cancelled
        return f"<BatchTaskInfo {self.name} {self.state.name} {ended}/{counts.total}>"

    @property
    def name(self) -> str:
        """`projects/{project}/batchTasks/{batch_task}`."""
        return self.message.name

    @property
    def task_id(self) -> str:
        """Last segment of the name."""
        return self.message.name.rpartition("/")[2]

    @property
    def uid(self) -> str:
        """UUIDv7, never reused."""
        return self.message.uid

    @property
    def display_name(self) -> str:
        """Free text."""
        return self.message.display_name

    @property
    def handler(self) -> str:
        """Id of the handler."""
        return self.message.handler

    @property
    def parameters(self) -> Any:
        """Batch-level arguments, decoded; None if there are none."""
        return _payload.decode(self.message.parameters) if self.message.HasField("parameters") else None

    @property
    def state(self) -> BatchTaskState:
        """The exact state."""
        return BatchTaskState(self.message.state)

    @property
    def status(self) -> BatchTaskStatus:
        """The state in Yandex's six steps."""
        return BatchTaskStatus.of_state(self.message.state)

    @property
    def stop_reason(self) -> StopReason:
        """Why it was told to stop."""
        return StopReason(self.message.stop_reason)

    @property
    def waiting_reason(self) -> WaitingReason:
        """Why it makes no progress now."""
        return WaitingReason(self.message.waiting_reason)

    @property
    def generation(self) -> int:
        """1 from creation."""
        return self.message.generation

    @property
    def operation(self) -> str:
        """Name of the operation of this generation; empty once that was deleted."""
        return self.message.operation

    @property
    def operation_id(self) -> str:
        """Last segment of `operation`."""
        return self.message.operation.rpartition("/")[2]

    @property
    def labels(self) -> dict[str, str]:
        """Labels, a copy."""
        return dict(self.message.labels)

    @property
    def record_timeout(self) -> timedelta | None:
        """How long the handler may run on one record; None: no limit."""
        constraints = self.message.constraints
        return constraints.record_timeout.ToTimedelta() if constraints.HasField("record_timeout") else None

    @property
    def counts(self) -> batch_task_pb2.RecordCounts:
        """How many records are in which state: total, pending, running, succeeded, failed, cancelled."""
        return self.message.counts

    @property
    def error(self) -> OperationErrorInfo | None:
        """Why it is FAILED or CANCELLED."""
        return OperationErrorInfo.of(self.message.error) if self.message.HasField("error") else None

    @property
    def create_time(self) -> datetime | None:
        """When it was created."""
        return _time(self.message, "create_time")

    @property
    def start_time(self) -> datetime | None:
        """When its first subtask was leased."""
        return _time(self.message, "start_time")

    @property
    def end_time(self) -> datetime | None:
        """When it entered its final state."""
        return _time(self.message, "end_time")

    @property
    def update_time(self) -> datetime | None:
        """Last change of configuration or state."""
        return _time(self.message, "update_time")

    @property
    def state_transition_time(self) -> datetime | None:
        """Last change of `state`."""
        return _time(self.message, "state_transition_time")


class RecordInfo:
    """One record with its outcome, once it has one. Times are aware (UTC), by the worker's clock, None while unset."""

    __slots__ = ("message",)

    def __init__(self, message: record_pb2.RecordInfo) -> None:
        self.message = message

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordInfo) and self.message == other.message

    __hash__ = None  # type: ignore[assignment]  # it wraps a mutable message

    def __repr__(self) -> str:
        return f"<RecordInfo {self.index} {self.state.name}>"

    @property
    def name(self) -> str:
        """`projects/{project}/batchTasks/{batch_task}/records/{index}`."""
        return self.message.name

    @property
    def index(self) -> int:
        """Position in the task, 0-based and dense."""
        return self.message.index

    @property
    def record_id(self) -> str:
        """The caller's own id, empty if it gave none."""
        return self.message.record_id

    @property
    def state(self) -> RecordState:
        """Current state."""
        return RecordState(self.message.state)

    @property
    def is_succeeded(self) -> bool:
        """Whether it ended well."""
        return self.message.state == RecordState.SUCCEEDED.value

    @property
    def is_failed(self) -> bool:
        """Whether it ended badly."""
        return self.message.state == RecordState.FAILED.value

    @property
    def input(self) -> Any:
        """What was submitted, decoded; None if absent. Only read with view "full"."""
        return _payload.decode(self.message.input) if self.message.HasField("input") else None

    @property
    def output(self) -> Any:
        """What the handler returned, decoded; None if it returned nothing or has not ended well.

        Raises:
            ValueError: the output says it is JSON and is not.
        """
        return _payload.decode(self.message.output) if self.message.HasField("output") else None

    @property
    def error(self) -> RecordFailedError | None:
        """Why it failed, as an exception that can be raised; None unless FAILED."""
        message = self.message
        return record_error(message.error, message.index, message.record_id) if message.HasField("error") else None

    @property
    def attempt(self) -> int:
        """How many executions are known to have begun in this generation."""
        return self.message.attempt

    @property
    def generation(self) -> int:
        """The generation of this outcome."""
        return self.message.generation

    @property
    def exit_code(self) -> int | None:
        """Exit code of a command (−n: ended by signal n); None for other kinds."""
        return self.message.exit_code if self.message.HasField("exit_code") else None

    @property
    def start_time(self) -> datetime | None:
        """When the execution that ended began."""
        return _time(self.message, "start_time")

    @property
    def end_time(self) -> datetime | None:
        """When it ended."""
        return _time(self.message, "end_time")


class HandlerInfo:
    """A handler of the server (`batchyard.v1.Handler`)."""

    __slots__ = ("message",)

    def __init__(self, message: handler_pb2.Handler) -> None:
        self.message = message

    def __repr__(self) -> str:
        return f"<HandlerInfo {self.name} {self.kind.name}>"

    @property
    def name(self) -> str:
        """`projects/{project}/handlers/{handler}`."""
        return self.message.name

    @property
    def handler_id(self) -> str:
        """Last segment of the name, what `run` takes."""
        return self.message.name.rpartition("/")[2]

    @property
    def kind(self) -> HandlerKind:
        """How it is executed."""
        return HandlerKind(self.message.kind)

    @property
    def description(self) -> str:
        """What it does; may be empty."""
        return self.message.description

    @property
    def isolation(self) -> HandlerIsolation:
        """How its processes are isolated on this server."""
        return HandlerIsolation(self.message.isolation)

    @property
    def available(self) -> bool:
        """False after the last attempt to load it failed."""
        return self.message.available
