"""What does a caller see of a task? The seed's CloudTask, as a view of our BatchTaskInfo and of its first record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from batchyard._enums import BatchTaskState, RecordState
from batchyard._errors import RecordFailedError
from batchyard._task_failure import ExecutionResult, FailureInformation, failure_of_record, failure_of_task
from batchyard._task_parameters import EnvironmentSetting, MultiInstanceSettings, TaskConstraints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from batchyard._info import BatchTaskInfo
    from batchyard._record_info import RecordInfo

_T = TypeVar("_T")
# What stands for "no limit" of max_wall_clock_time: the longest time that the seed's service knows.
NO_LIMIT: Final = timedelta(days=10675199, hours=2, minutes=48, seconds=5, microseconds=477580)
DEFAULT_RETENTION: Final = timedelta(days=30)


class TaskState(StrEnum):
    """Where a task is. DRAFT, QUEUED and PAUSED are active; `preparing` is never seen of a task."""

    active = "active"
    preparing = "preparing"
    running = "running"
    completed = "completed"


class SubtaskState(StrEnum):
    """Where a record of a task of several is: waiting, running or ended."""

    preparing = "preparing"
    running = "running"
    completed = "completed"


_STATES: Final = {
    BatchTaskState.DRAFT: TaskState.active,
    BatchTaskState.QUEUED: TaskState.active,
    BatchTaskState.PAUSED: TaskState.active,
    BatchTaskState.RUNNING: TaskState.running,
    BatchTaskState.PAUSING: TaskState.running,
    BatchTaskState.CANCELLING: TaskState.running,
    BatchTaskState.SUCCEEDED: TaskState.completed,
    BatchTaskState.FAILED: TaskState.completed,
    BatchTaskState.CANCELLED: TaskState.completed,
}
_RECORD_STATES: Final = {
    RecordState.PENDING: SubtaskState.preparing,
    RecordState.RUNNING: SubtaskState.running,
    RecordState.SUCCEEDED: SubtaskState.completed,
    RecordState.FAILED: SubtaskState.completed,
    RecordState.CANCELLED: SubtaskState.completed,
}


def wire_name(name: str) -> str:
    """Return the name of a field as `select` has it: `executionInfo` of `execution_info`."""
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


class _Field(property, Generic[_T]):
    """A property that is None unless its field was selected."""

    def __init__(self, read: Callable[[Any], _T]) -> None:
        super().__init__(read)
        self._read = read

    @overload
    def __get__(self, instance: None, owner: type, /) -> _Field[_T]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None, /) -> _T | None: ...
    def __get__(self, instance: Any, owner: type | None = None, /) -> Any:
        """Read the field if it was selected."""
        if instance is None:
            return self
        return self._read(instance) if instance.selected(self._read.__name__) else None


class _Selected:
    """Something of which only some fields were asked for; None: all."""

    __slots__ = ("_select",)

    def __init__(self, select: frozenset[str] | None) -> None:
        self._select = select

    def selected(self, name: str) -> bool:
        """Whether the field was asked for."""
        return self._select is None or name in self._select

    def as_dict(self) -> dict[str, Any]:
        """Return all fields by name; those that were not asked for are None."""
        return {name: getattr(self, name) for name in field_names(type(self))}


def field_names(kind: type) -> list[str]:
    """Return the names of the fields of a view."""
    return [name for base in kind.__mro__ for name, value in vars(base).items() if isinstance(value, _Field)]


def read_select(select: str | None, kind: type) -> frozenset[str] | None:
    """Return the fields that are asked for; None: all.

    Raises:
        ValueError: there is no such field.
    """
    if select is None:
        return None
    names = {spelt: name for name in field_names(kind) for spelt in (name, wire_name(name))}
    wanted = [part.strip() for part in select.split(",") if part.strip()]
    if unknown := [part for part in wanted if part not in names]:
        raise ValueError(f"select: no field {', '.join(unknown)}; there are {', '.join(field_names(kind))}")
    return frozenset(names[part] for part in wanted)


@dataclass(frozen=True, slots=True)
class TaskExecutionInformation:
    """How a task went.

    Attributes:
        start_time: when its generation began to run; None before.
        end_time: when it ended; None before.
        exit_code: of the command, once it has ended; −n: ended by signal n. None if it is no command.
        failure_info: why it failed; None unless it did.
        retry_count: how often it was tried again in this generation; 0 again after `reactivate`.
        result: success or failure, once it has ended.
    """

    start_time: datetime | None
    end_time: datetime | None
    exit_code: int | None
    failure_info: FailureInformation | None
    retry_count: int
    result: ExecutionResult | None


@dataclass(frozen=True, slots=True)
class TaskStatistics:
    """What is known of the time that a task took.

    Attributes:
        url: the task.
        start_time: from when on it is measured: its creation.
        last_update_time: when it last changed.
        wait_time: from creation to start; None before the start.
        wall_clock_time: from start to end; None before the end.
    """

    url: str
    start_time: datetime | None
    last_update_time: datetime | None
    wait_time: timedelta | None
    wall_clock_time: timedelta | None


class CloudTask(_Selected):
    """A task as it was at one moment. Times are aware (UTC), None while unset.

    What is not in the listing (exit code, retry count, command line) belongs to its first record, which is read once,
    when the first of these fields is; of the generation that the task was in.

    Args:
        info: the task.
        read_record: reads its first record with the input; returns None if there is none.
        select: names of the fields that are wanted; None: all but `stats`.
        stats: whether `stats` is wanted.
    """

    __slots__ = ("_read_record", "_record", "_stats", "info")

    def __init__(
        self,
        info: BatchTaskInfo,
        read_record: Callable[[], RecordInfo | None],
        select: frozenset[str] | None = None,
        stats: bool = False,
    ) -> None:
        super().__init__(select)
        self.info = info
        self._read_record = read_record
        self._record: list[RecordInfo | None] = []
        self._stats = stats

    def __repr__(self) -> str:
        return f"<CloudTask {self.info.task_id} {_STATES.get(self.info.state)}>"

    @property
    def needs_record(self) -> bool:
        """Whether a field was asked for that belongs to the first record."""
        return any(map(self.selected, ("command_line", "environment_settings", "execution_info")))

    def first_record(self) -> RecordInfo | None:
        """Return the first record, read at the first call.

        Raises:
            BatchErrorException: it cannot be read; "TaskNotFound": the task was deleted since.
        """
        if not self._record:
            self._record.append(self._read_record())
        return self._record[0]

    @_Field
    def id(self) -> str:
        """Its id in the job."""
        return self.info.task_id

    @_Field
    def display_name(self) -> str | None:
        """Text for people; None if there is none."""
        return self.info.display_name or None

    @_Field
    def url(self) -> str:
        """Its resource name, `projects/{job}/batchTasks/{id}`."""
        return self.info.name

    @_Field
    def e_tag(self) -> str:
        """Stands for its configuration; changed by `update`, not by its state."""
        return self.info.etag

    @_Field
    def last_modified(self) -> datetime | None:
        """Last change of its configuration or state."""
        return self.info.update_time

    @_Field
    def creation_time(self) -> datetime | None:
        """When it was added."""
        return self.info.create_time

    @_Field
    def state(self) -> TaskState | None:
        """Where it is; None for a state that a newer server has."""
        return _STATES.get(self.info.state)

    @_Field
    def state_transition_time(self) -> datetime | None:
        """Last change of our state, which is finer: from PAUSED to QUEUED it stays active."""
        return self.info.state_transition_time

    @_Field
    def command_line(self) -> str | None:
        """What was to be run; None if its first record says nothing of it."""
        found = self._from_input("command_line")
        return found if isinstance(found, str) else None

    @_Field
    def environment_settings(self) -> Sequence[EnvironmentSetting] | None:
        """Environment variables of the command; None if there are none."""
        found = self._from_input("environment_settings")
        return [EnvironmentSetting(*item) for item in found.items()] if isinstance(found, dict) else None

    @_Field
    def constraints(self) -> TaskConstraints:
        """Its limits, with the defaults that hold; `NO_LIMIT` stands for none."""
        info = self.info
        return TaskConstraints(
            max_wall_clock_time=NO_LIMIT if info.max_wall_clock_time is None else info.max_wall_clock_time,
            retention_time=DEFAULT_RETENTION if info.retention_time is None else info.retention_time,
            max_task_retry_count=info.max_retry_count,
        )

    @_Field
    def multi_instance_settings(self) -> MultiInstanceSettings | None:
        """How many records it has; None if it has not several."""
        total = self.info.counts.total
        return MultiInstanceSettings(number_of_instances=total) if total > 1 else None

    @_Field
    def execution_info(self) -> TaskExecutionInformation:
        """How it went; exit code and retry count are those of its first record."""
        info, record = self.info, self.first_record()
        ended = info.state.is_final
        result = ExecutionResult.success if info.state is BatchTaskState.SUCCEEDED else ExecutionResult.failure
        return TaskExecutionInformation(
            start_time=info.start_time,
            end_time=info.end_time,
            exit_code=record.exit_code if ended and record is not None else None,
            failure_info=failure_of_task(info) if ended else None,
            retry_count=max(record.attempt - 1, 0) if record is not None else 0,
            result=result if ended else None,
        )

    @_Field
    def stats(self) -> TaskStatistics | None:
        """The times it took; None unless asked for by `expand="stats"`."""
        if not self._stats:
            return None
        created, started, ended = self.info.create_time, self.info.start_time, self.info.end_time
        return TaskStatistics(
            url=self.info.name,
            start_time=created,
            last_update_time=self.info.update_time,
            wait_time=started - created if started and created else None,
            wall_clock_time=ended - started if ended and started else None,
        )

    def _from_input(self, key: str) -> Any:
        record = self.first_record()
        given = record.input if record is not None else None
        return given.get(key) if isinstance(given, dict) else None


class SubtaskInformation(_Selected):
    """One record of a task of several. Times are aware (UTC), by the worker's clock, None while unset."""

    __slots__ = ("record",)

    def __init__(self, record: RecordInfo, select: frozenset[str] | None = None) -> None:
        super().__init__(select)
        self.record = record

    def __repr__(self) -> str:
        return f"<SubtaskInformation {self.record.index} {_RECORD_STATES.get(self.record.state)}>"

    @_Field
    def id(self) -> int:
        """Index of the record."""
        return self.record.index

    @_Field
    def state(self) -> SubtaskState | None:
        """Where it is; None for a state that a newer server has."""
        return _RECORD_STATES.get(self.record.state)

    @_Field
    def start_time(self) -> datetime | None:
        """When the execution that ended began."""
        return self.record.start_time

    @_Field
    def end_time(self) -> datetime | None:
        """When it ended."""
        return self.record.end_time

    @_Field
    def exit_code(self) -> int | None:
        """Exit code of a command; −n: ended by signal n."""
        return self.record.exit_code

    @_Field
    def failure_info(self) -> FailureInformation | None:
        """Why it failed; None unless it did."""
        error = self.record.error
        return failure_of_record(error) if isinstance(error, RecordFailedError) else None

    @_Field
    def result(self) -> ExecutionResult | None:
        """Success or failure, once it has ended."""
        if _RECORD_STATES.get(self.record.state) is not SubtaskState.completed:
            return None
        return ExecutionResult.success if self.record.is_succeeded else ExecutionResult.failure


@dataclass(frozen=True, slots=True)
class CloudTaskListSubtasksResult:
    """`value`: the subtasks, by id; empty for a task of one record."""

    value: Sequence[SubtaskInformation]
