"""What is a batch task, inside the server? Plain values; bytes fields are serialized messages made by codec/."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

from batchyard_server.model.artifact import Folder, NewArtifact
from batchyard_server.model.names import OperationName, TaskName
from batchyard_server.model.settings import DEFAULTS, Settings
from batchyard_server.model.states import StopReason, TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One batch task as it is in the store. Times are microseconds since 1970 UTC, 0 = not yet.

    Attributes:
        key: the store's own number of the task; never reused.
        operation: id of the current generation's operation; "" once that was deleted.
        fixed: serialized BatchTaskInfo with the fields that nothing but an update of the configuration changes (name,
            uid, handler, parameters, constraints, …).
        error: serialized google.rpc.Status, b"" = none.
        parameters: serialized Payload, b"" = none.
        settings: what of `fixed` the server acts on.
        revision: of the configuration, from 1; part of the etag.
        due_us: when time alone changes the task: a DRAFT and a final one are deleted, one that runs has passed its
            max_wall_clock_time; 0 = never.
        base_generation: outcomes of this generation on count, as far as they were not replaced by later ones: the
            last one that runs, or ran, every record.
        next_sequence: completion number that the next outcome gets, from 0 in generation 1.
        next_epoch: the epoch that the next lease gets.
        subtasks: how many leases were granted in this generation. live_subtasks: how many live.
        exit_code: of a task with one record, what came with its outcome; None = nothing, or it has none.
    """

    key: int
    project: str
    task_id: str
    uid: str
    operation: str
    handler: str
    state: TaskState
    fixed: bytes
    create_us: int
    update_us: int
    transition_us: int
    start_us: int = 0
    end_us: int = 0
    stop_reason: StopReason = StopReason.NONE
    generation: int = 1
    total: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    error: bytes = b""
    parameters: bytes = b""
    settings: Settings = DEFAULTS
    revision: int = 1
    due_us: int = 0
    base_generation: int = 1
    next_sequence: int = 0
    next_epoch: int = 1
    subtasks: int = 0
    live_subtasks: int = 0
    exit_code: int | None = None

    @property
    def name(self) -> TaskName:
        """Resource name."""
        return TaskName(self.project, self.task_id)

    @property
    def operation_name(self) -> OperationName:
        """Resource name of the current operation. Meaningless when `operation` is empty."""
        return OperationName(self.project, self.operation)

    @property
    def folder(self) -> Folder:
        """Where its files are."""
        return Folder(self.key, self.uid)

    @property
    def etag(self) -> str:
        """Stands for the configuration (AIP-154, quoted as in RFC 7232)."""
        return f'"{self.uid[-12:]}-{self.revision}"'

    @property
    def expire_us(self) -> int:
        """When the task is deleted; 0 = that is not known yet."""
        return self.due_us if self.state is TaskState.DRAFT or self.state.is_final else 0

    @property
    def deadline_us(self) -> int:
        """When its max_wall_clock_time is over; 0 = never, or it has not started or has ended."""
        limit = self.settings.max_wall_clock_us
        ends = self.state.is_final or self.state in (TaskState.DRAFT, TaskState.CANCELLING)
        return 0 if ends or not limit or not self.start_us else self.start_us + limit

    @property
    def ended(self) -> int:
        """Records that have ended, cancelled ones included."""
        return self.succeeded + self.failed + self.cancelled

    def enter(self, state: TaskState, now_us: int) -> Task:
        """The task in `state` from `now_us` on (unchanged if it is in it already)."""
        if state is self.state:
            return self
        return replace(self, state=state, update_us=now_us, transition_us=now_us)


def twins(like: Task) -> Callable[[int, str, str, str, bytes], Task]:
    """What makes tasks like that one, given their own key, task_id, uid, operation and fixed.

    It takes less than half the time of the constructor, which looks up how to set each of the fields of a frozen class:
    that counts where a thousand of them are made at once.
    """
    shared = [(setter, getattr(like, name)) for name, setter in _SETTERS.items() if name not in _OWN]
    own = [_SETTERS[name] for name in _OWN]

    def make(*values: int | str | bytes) -> Task:
        task = object.__new__(Task)
        for setter, value in shared:
            setter(task, value)
        for setter, value in zip(own, values, strict=True):
            setter(task, value)
        return task

    return make


_OWN = ("key", "task_id", "uid", "operation", "fixed")
_SETTERS = {each.name: Task.__dict__[each.name].__set__ for each in fields(Task)}


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSegment:
    """Consecutive records as stored: `blob` is a serialized RawInputs of `count` records from index `first` on."""

    first: int
    count: int
    blob: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """What a create stores.

    Attributes:
        record_ids: (record_id, index) of the records that have one.
        like: a task that differs from this one in its ids and names alone (key, task_id, uid, operation, fixed), the
            same one for many of them; None = there is none.
        mutable: with `like`, what `codec.task_bytes.mutable_info` makes of the task.
    """

    task: Task
    segments: list[InputSegment]
    record_ids: list[tuple[str, int]]
    like: Task | None = None
    mutable: bytes = b""


class RequestKey(NamedTuple):
    """Identity of one idempotent call (AIP-155): `digest` covers verb and content without the request_id."""

    project: str
    request_id: str
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation. `metadata` and `result` are b"" until its generation ended; then they never change.

    Attributes:
        metadata: serialized BatchTaskMetadata without failed_requests.
        result: serialized google.longrunning.Operation with only `error` or only `response` set.
    """

    operation_id: str
    project: str
    task_key: int
    generation: int
    create_us: int
    metadata: bytes = b""
    result: bytes = b""

    @property
    def done(self) -> bool:
        """Whether its generation ended."""
        return bool(self.result)


@dataclass(slots=True, kw_only=True, eq=False)
class Lease:
    """An exclusive claim on a subtask. `epoch` is 0 until the store granted it; it fences every outcome.

    `worker` is the slot that runs it, `node` the machine.
    """

    task_key: int
    generation: int
    ranges: list[tuple[int, int]]
    worker: str
    node: str = ""
    epoch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """Outcomes of some records of a lease, ready to store.

    Attributes:
        ranges: their indexes, ascending; the records in `page` are in the same order.
        page: serialized RawRecordPage (field 1 = records).
        failed: indexes that failed, ascending.
        failures: (index, serialized google.rpc.Status) of the first failures.
        staged: indexes whose records may have left files, which are not collected yet.
        artifacts: what was collected, by index, then path.
        logs: (index, text) of those that wrote anything, in the order of `page`; an empty one is in a file, and that
            one among `artifacts`.
    """

    ranges: list[tuple[int, int]]
    count: int
    page: bytes
    failed: list[int]
    failures: list[tuple[int, bytes]]
    staged: Sequence[int] = ()
    artifacts: Sequence[NewArtifact] = ()
    logs: Sequence[tuple[int, bytes]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """What is known of a record without an outcome.

    Attributes:
        begun: executions that began in this generation.
        lost: those of them under which the worker died.
        failures: those of them that failed and count as tries.
        retry_us: the next one does not begin before this moment; 0 = at once.
    """

    begun: int
    lost: int = 0
    failures: int = 0
    retry_us: int = 0


NO_ATTEMPTS = Attempts(begun=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """Failed records of a flush that are to be tried again.

    Attributes:
        rest: the flush without them; its `count` may be 0.
        attempts: what is known of them from now on, by index.
        history: (index, serialized RecordAttempt) of the executions that failed; their number is `begun` in `attempts`.
        logs: what these wrote, by index, cut to limits.ATTEMPT_LOG_BYTES.
    """

    rest: Flush
    attempts: Mapping[int, Attempts]
    history: Sequence[tuple[int, bytes]]
    logs: Mapping[int, bytes] = field(default_factory=dict[int, bytes])
