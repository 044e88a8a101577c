"""What the server says about records, their attempts and subtasks, as Python objects over the messages.

As in `_info`, each object wraps its message and converts a field when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchyard import _payload
from batchyard._enums import RecordState, SubtaskState
from batchyard._error_map import record_error
from batchyard._spans import time_of
from batchyard._status import OperationErrorInfo

if TYPE_CHECKING:
    from datetime import datetime

    from batchyard._errors import RecordFailedError
    from batchyard.v1 import record_pb2, subtask_pb2


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
    def artifact_count(self) -> int:
        """How many artifacts came with this outcome."""
        return self.message.artifact_count

    @property
    def start_time(self) -> datetime | None:
        """When the execution that ended began."""
        return time_of(self.message, "start_time")

    @property
    def end_time(self) -> datetime | None:
        """When it ended."""
        return time_of(self.message, "end_time")


class RecordAttempt:
    """One execution of a record that ended. Times are aware (UTC), by the worker's clock, None while unset.

    Attributes:
        message: the `batchyard.v1.RecordAttempt`.
        index: position of the record in its task.
    """

    __slots__ = ("index", "message")

    def __init__(self, message: record_pb2.RecordAttempt, index: int) -> None:
        self.message = message
        self.index = index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordAttempt) and (self.index, self.message) == (other.index, other.message)

    __hash__ = None  # type: ignore[assignment]  # it wraps a mutable message

    def __repr__(self) -> str:
        return f"<RecordAttempt {self.index} {self.generation}.{self.attempt} {self.state.name}>"

    @property
    def attempt(self) -> int:
        """Which one, 1-based within its generation."""
        return self.message.attempt

    @property
    def generation(self) -> int:
        """The task's generation in which it was made."""
        return self.message.generation

    @property
    def state(self) -> RecordState:
        """SUCCEEDED, FAILED, or CANCELLED: interrupted, which says nothing about the record."""
        return RecordState(self.message.state)

    @property
    def error(self) -> RecordFailedError | None:
        """Why it failed or was interrupted, as an exception that can be raised; None if it succeeded."""
        return record_error(self.message.error, self.index) if self.message.HasField("error") else None

    @property
    def exit_code(self) -> int | None:
        """Exit code of a command (−n: ended by signal n); None for other kinds."""
        return self.message.exit_code if self.message.HasField("exit_code") else None

    @property
    def worker(self) -> str:
        """The worker that ran it; empty if that is not known any more."""
        return self.message.worker

    @property
    def start_time(self) -> datetime | None:
        """When it began."""
        return time_of(self.message, "start_time")

    @property
    def end_time(self) -> datetime | None:
        """When it ended."""
        return time_of(self.message, "end_time")


class Subtask:
    """Records that were leased to one worker as a unit. Times are aware (UTC), None while unset."""

    __slots__ = ("message",)

    def __init__(self, message: subtask_pb2.Subtask) -> None:
        self.message = message

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subtask) and self.message == other.message

    __hash__ = None  # type: ignore[assignment]  # it wraps a mutable message

    def __repr__(self) -> str:
        return f"<Subtask {self.name} {self.state.name}>"

    @property
    def name(self) -> str:
        """`projects/{project}/batchTasks/{batch_task}/subtasks/{epoch}`."""
        return self.message.name

    @property
    def epoch(self) -> int:
        """Rises with every lease of the task."""
        return self.message.epoch

    @property
    def state(self) -> SubtaskState:
        """What became of it."""
        return SubtaskState(self.message.state)

    @property
    def ranges(self) -> list[range]:
        """Indexes of the records with which it was leased, ascending."""
        return [range(each.start, each.end) for each in self.message.ranges]

    @property
    def worker(self) -> str:
        """The worker slot that has or had it, unique on its node."""
        return self.message.worker

    @property
    def node(self) -> str:
        """The machine of that worker."""
        return self.message.node

    @property
    def exit_code(self) -> int | None:
        """Exit code of a worker that was lost (−n: ended by signal n); None if it was not, or nobody knows."""
        return self.message.exit_code if self.message.HasField("exit_code") else None

    @property
    def error(self) -> OperationErrorInfo | None:
        """Why it did not complete; None unless LOST or KILLED."""
        return OperationErrorInfo.of(self.message.error) if self.message.HasField("error") else None

    @property
    def start_time(self) -> datetime | None:
        """When it was leased."""
        return time_of(self.message, "start_time")

    @property
    def end_time(self) -> datetime | None:
        """When its lease ended."""
        return time_of(self.message, "end_time")
