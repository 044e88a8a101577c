"""What the server says about batch tasks and handlers, as Python objects over the messages.

Each object wraps its message (`.message`) and converts a field when it is asked for; nothing is copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchyard import _payload
from batchyard._enums import BatchTaskState, HandlerIsolation, HandlerKind, StopReason, WaitingReason
from batchyard._policies import FailurePolicy, RetryPolicy
from batchyard._spans import span_of, time_of
from batchyard._status import BatchTaskStatus, OperationErrorInfo

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from batchyard.v1 import batch_task_pb2, handler_pb2


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
    def priority(self) -> int:
        """From −1000 to 1000; of the tasks that wait, those with a higher one get workers first."""
        return self.message.priority

    @property
    def parallel_count(self) -> int | None:
        """At most so many records run at the same time; None: all free slots."""
        return self.message.parallel_count if self.message.HasField("parallel_count") else None

    @property
    def max_wall_clock_time(self) -> timedelta | None:
        """How long a generation may take from its start on; None: no limit."""
        return span_of(self.message.constraints, "max_wall_clock_time")

    @property
    def record_timeout(self) -> timedelta | None:
        """How long the handler may run on one record; None: no limit."""
        return span_of(self.message.constraints, "record_timeout")

    @property
    def retention_time(self) -> timedelta | None:
        """How long the task is kept after its end; None: 30 days."""
        return span_of(self.message.constraints, "retention_time")

    @property
    def max_retry_count(self) -> int:
        """How often a record is tried again after a retryable failure; −1: any number."""
        return self.message.constraints.max_retry_count

    @property
    def retry_policy(self) -> RetryPolicy | None:
        """When and for which errors a record is tried again; None: the defaults."""
        return RetryPolicy.of(self.message.retry_policy) if self.message.HasField("retry_policy") else None

    @property
    def failure_policy(self) -> FailurePolicy | None:
        """How many records may fail; None: any number short of all."""
        return FailurePolicy.of(self.message.failure_policy) if self.message.HasField("failure_policy") else None

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
        return time_of(self.message, "create_time")

    @property
    def start_time(self) -> datetime | None:
        """When its first subtask was leased."""
        return time_of(self.message, "start_time")

    @property
    def end_time(self) -> datetime | None:
        """When it entered its final state."""
        return time_of(self.message, "end_time")

    @property
    def update_time(self) -> datetime | None:
        """Last change of configuration or state."""
        return time_of(self.message, "update_time")

    @property
    def state_transition_time(self) -> datetime | None:
        """Last change of `state`."""
        return time_of(self.message, "state_transition_time")

    @property
    def expire_time(self) -> datetime | None:
        """When the server deletes it; None in states in which it does not."""
        return time_of(self.message, "expire_time")

    @property
    def folder_id(self) -> str:
        """Id of the project, under its name in Yandex's SDK, as are the three below."""
        return self.message.name.split("/")[1]

    @property
    def created_at(self) -> datetime | None:
        """`create_time`."""
        return self.create_time

    @property
    def started_at(self) -> datetime | None:
        """`start_time`."""
        return self.start_time

    @property
    def finished_at(self) -> datetime | None:
        """`end_time`."""
        return self.end_time

    @property
    def archived(self) -> bool:
        """A mark for people who want to see it no more."""
        return self.message.archived

    @property
    def etag(self) -> str:
        """Stands for the present configuration; given back with a verb, it refuses what others have changed."""
        return self.message.etag


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
