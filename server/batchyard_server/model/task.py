"""What is a batch task, inside the server? Plain values; bytes fields are serialized messages made by codec/."""

from __future__ import annotations

from dataclasses import dataclass, replace

from batchyard_server.model.names import OperationName, TaskName
from batchyard_server.model.states import StopReason, TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One batch task as it is in the store. Times are microseconds since 1970 UTC, 0 = not yet.

    Attributes:
        key: the store's own number of the task; never reused.
        operation: id of the current generation's operation; "" once that was deleted.
        fixed: serialized BatchTaskInfo with the fields that never change (name, uid, handler, parameters, …).
        error: serialized google.rpc.Status, b"" = none.
        parameters: serialized Payload, b"" = none.
        record_timeout_us: 0 = no limit.
        next_sequence: completion number that the next outcome gets, from 0, per generation.
        next_epoch: the epoch that the next lease gets.
        subtasks: how many leases were granted. live_subtasks: how many live.
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
    record_timeout_us: int = 0
    next_sequence: int = 0
    next_epoch: int = 1
    subtasks: int = 0
    live_subtasks: int = 0

    @property
    def name(self) -> TaskName:
        """Resource name."""
        return TaskName(self.project, self.task_id)

    @property
    def operation_name(self) -> OperationName:
        """Resource name of the current operation. Meaningless when `operation` is empty."""
        return OperationName(self.project, self.operation)

    @property
    def ended(self) -> int:
        """Records that have ended, cancelled ones included."""
        return self.succeeded + self.failed + self.cancelled

    def enter(self, state: TaskState, now_us: int) -> Task:
        """The task in `state` from `now_us` on (unchanged if it is in it already)."""
        if state is self.state:
            return self
        return replace(self, state=state, update_us=now_us, transition_us=now_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSegment:
    """Consecutive records as stored: `blob` is a serialized RawInputs of `count` records from index `first` on."""

    first: int
    count: int
    blob: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """What a create stores. `record_ids`: (record_id, index) of the records that have one."""

    task: Task
    segments: list[InputSegment]
    record_ids: list[tuple[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKey:
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
    """An exclusive claim on a subtask. `epoch` is 0 until the store granted it; it fences every outcome."""

    task_key: int
    generation: int
    ranges: list[tuple[int, int]]
    worker: str
    epoch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """Outcomes of some records of a lease, ready to store.

    Attributes:
        ranges: their indexes, ascending; the records in `page` are in the same order.
        page: serialized RawRecordPage (field 1 = records).
        failed: indexes that failed, ascending.
        failures: (index, serialized google.rpc.Status) of the first failures.
    """

    ranges: list[tuple[int, int]]
    count: int
    page: bytes
    failed: list[int]
    failures: list[tuple[int, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """What is known of a record without an outcome: executions that began, and how many of them were lost."""

    begun: int
    lost: int
