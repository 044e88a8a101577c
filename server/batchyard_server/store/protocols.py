"""What must a store do? The obligations of every driver; tests/conformance/store is the same text as tests.

All methods are coroutines that are called on the event loop and never block it. A mutation returns only when it is
durable (fsynced); cancelling the caller does not undo it. `decide` functions run inside the mutation's transaction:
pure, quick, and whatever they raise undoes that mutation alone and reaches the caller. Every mutation may raise
ResourceExhausted (DISK_FULL) and Unavailable (STORE_UNAVAILABLE). After a commit the store tells its subscribers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from batchyard_server.model.errors import BatchyardError
from batchyard_server.model.names import OperationName, TaskName
from batchyard_server.model.record import PastAttempt, RecordPage, RecordQuery
from batchyard_server.model.states import TaskState
from batchyard_server.model.subtask import COMPLETED, RETURNED, LeaseEnd
from batchyard_server.model.task import (
    Attempts,
    Flush,
    InputSegment,
    Lease,
    NewTask,
    Operation,
    RequestKey,
    Retries,
    Task,
)
from batchyard_server.model.task_query import Position, TaskQuery
from batchyard_server.model.watch import Change, LogEntry
from batchyard_server.store.artifact_store import ArtifactStore
from batchyard_server.store.event_log import EventStore
from batchyard_server.store.log_store import NO_LOGS, LogStore
from batchyard_server.store.operation_store import OperationStore
from batchyard_server.store.stop_store import StopStore
from batchyard_server.store.upkeep import MaintenanceStore, TimeStore

Decide = Callable[[Task], Task]


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One committed change.

    Attributes:
        task: as of that commit (for DELETED: as it was before).
        operation: of its generation with the snapshot that was stored, if the state became final in that commit.
        entry: as it is in the log; None if it was joined with a later one of its task in the same commit.
    """

    task: Task
    change: Change
    operation: Operation | None = None
    entry: LogEntry | None = None


Subscriber = Callable[[Sequence[TaskEvent]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInfo:
    """A task as it is shown: its serialized BatchTaskInfo, ready for the wire, and whether it lives."""

    key: int
    info: bytes
    live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    """Some tasks of a list.

    Attributes:
        entries: serialized RawTaskPage without a token: the tasks' BatchTaskInfos as the list's message has them.
        count: how many they are.
        live: (position in the page, key) of those that are QUEUED, RUNNING, PAUSING or CANCELLING.
        last: where the next page begins, the last task that was looked at; None if there was none.
        more: whether there may be more after it at this moment.
    """

    entries: bytes
    count: int
    live: Sequence[tuple[int, int]]
    last: Position | None
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtaskPage:
    """Some subtasks of a task.

    Attributes:
        entries: serialized RawTaskPage without a token: the Subtasks as the list's message has them.
        count: how many they are.
        last_epoch: of the last one, where the next page begins.
        more: whether there are more after it at this moment.
    """

    entries: bytes
    count: int
    last_epoch: int
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTask:
    """A task that is not final and not a DRAFT, as the dispatcher needs it after a start of the server.

    Attributes:
        pending: indexes without an outcome, normalized ranges.
        attempts: by index, of those pending ones that began before.
    """

    task: Task
    pending: list[tuple[int, int]]
    attempts: Mapping[int, Attempts]


class TaskStore(Protocol):
    """Batch tasks, operations, idempotency."""

    async def create_task(self, new: NewTask, request: RequestKey | None) -> Task:
        """Store a task with its first records and its operation; return it with its `key` set.

        A known `request` with the same digest returns its task as it is now and stores nothing.
        Raises: AlreadyExists (RESOURCE_EXISTS: id taken without regard to case; REQUEST_ID_REUSED), NotFound (the
        request's task, or its operation, was deleted), InvalidArgument (DUPLICATE_RECORD_ID, field `records`).
        """
        ...

    async def new_keys(self, count: int) -> Sequence[int]:
        """So many values of `Task.key` that no task has, or had, for `create_tasks`; they need not be used."""
        ...

    async def create_tasks(
        self, creates: Sequence[tuple[NewTask, RequestKey | None]], request: RequestKey | None, *, atomic: bool
    ) -> Sequence[Task | BatchyardError]:
        """Do what `create_task` does for each, in one commit; return the tasks, or why one was refused, in their order.

        Their tasks have keys of `new_keys`. A create that was refused leaves nothing; with `atomic` none leaves
        anything, and the first one is raised as Refused. `request` is that of the whole, which answers nothing itself:
        it is remembered for limits.REQUEST_ID_HOURS. Raises AlreadyExists (REQUEST_ID_REUSED) for that one.
        """
        ...

    async def task_counts(self, project: str) -> Mapping[TaskState, int]:
        """How many tasks of the project are in each state, deleted ones left out. Kept, not counted; one snapshot.

        A state without tasks may be missing.
        """
        ...

    async def append_records(
        self,
        name: TaskName,
        uid: str,
        first: int,
        segments: Sequence[InputSegment],
        record_ids: Sequence[tuple[str, int]],
    ) -> int:
        """Add records to a DRAFT at index `first`; return the next index (the new total).

        Nothing is stored, and the total returned, if all of them lie below the total. `uid` guards against a task that
        was deleted and made anew. Raises: NotFound, FailedPrecondition (by model.states, Event.APPEND), OutOfRange
        (gap or overlap), InvalidArgument (DUPLICATE_RECORD_ID; or limits.RECORDS exceeded, field `records`).
        """
        ...

    async def update_task(self, name: TaskName, decide: Decide, request: RequestKey | None) -> Task:
        """Replace the task by `decide(task)`; return it. The one way in which a verb changes a state.

        If the state became final in it, its operation's snapshot is stored in the same transaction, the counts'
        `cancelled` is total − succeeded − failed, and the error of a FAILED one has its first failures in the details.
        If the generation is the next one, its operation is stored. `due_us` is set by the store. A known `request` with
        the same digest returns the task as it is now without calling `decide`. Nothing is written if `decide` returns
        an equal task. Raises: NotFound, AlreadyExists (REQUEST_ID_REUSED), whatever `decide` raises.
        """
        ...

    async def delete_task(
        self, name: TaskName, decide: Decide, request: RequestKey | None, *, allow_missing: bool = False
    ) -> None:
        """Remove the task and all it owns, after `decide(task)` allowed it (its result is ignored).

        From the commit on every name below it is NotFound and its id is free; the bytes go with `sweep`. A known
        `request` with the same digest returns at once, also one that found nothing to remove, which is no error with
        `allow_missing`. Raises: as update_task.
        """
        ...

    async def get_task(self, name: TaskName) -> Task:
        """Read one task. Raises NotFound. Cost: one indexed look-up; sees every commit that was acknowledged."""
        ...

    async def get_info(self, name: TaskName) -> TaskInfo:
        """Read one task as it is shown. Raises NotFound. Sees every commit that was acknowledged."""
        ...

    async def list_tasks(self, query: TaskQuery) -> TaskPage:
        """The next tasks that match the filter, in the order, ties by id ascending.

        Stops before `max_bytes` are exceeded, never before one task; and once about limits.EXAMINED_TASKS were looked
        at, be it without a task. Keyset: the cost does not depend on how far in.
        """
        ...

    async def get_operation(self, name: OperationName) -> tuple[Operation, Task]:
        """Read an operation and its task. Raises NotFound (also for one that was deleted)."""
        ...

    async def list_operations(
        self, project: str, after: tuple[int, str] | None, limit: int
    ) -> list[tuple[Operation, Task]]:
        """The next operations in order create_us descending, operation_id descending, after that pair."""
        ...

    async def delete_operation(self, name: OperationName) -> None:
        """Forget a done operation: NotFound from now on, and the task's `operation` becomes empty.

        Raises: NotFound, FailedPrecondition (OPERATION_NOT_DONE).
        """
        ...

    async def failures(self, task_key: int, generation: int) -> list[tuple[int, bytes]]:
        """The first failures, (index, serialized google.rpc.Status) in commit order; within limits.FAILED_REQUESTS*."""
        ...


class RecordStore(Protocol):
    """Records and outcomes."""

    async def record_page(self, query: RecordQuery) -> RecordPage:
        """Read one page: without a filter at least one record if there is one. INDEX order is dense.

        Placeholders carry name, index, record_id, state (PENDING, RUNNING by query.running, CANCELLED at the end of a
        generation), generation and, in view FULL, input. Of an earlier generation than the query's those outcomes are
        seen that succeeded, if it is not before the base. One snapshot; ends before it returns.
        """
        ...

    async def record_attempts(self, task_key: int, index: int) -> list[PastAttempt]:
        """The executions of a record that ended, by generation, then attempt: the last limits.RECORD_ATTEMPTS.

        Those that became an outcome, in whichever generation, and those that did not. Raises NotFound if the task was
        deleted.
        """
        ...

    async def inputs(
        self, task_key: int, ranges: Sequence[tuple[int, int]], max_bytes: int
    ) -> tuple[list[tuple[int, int]], bytes]:
        """The first records of `ranges` that are worth one subtask: (their ranges, serialized RawInputs in that order).

        At least one record, at most `max_bytes` beyond it. Stops at the end of an input segment once at least half of
        what was asked for is there, so that later calls meet whole segments, which are passed on unparsed. Records that
        were just appended, and small reads, are answered without leaving the event loop (a thread hop costs 0.1 ms).
        """
        ...


class LeaseStore(Protocol):
    """Leases and what they bring. One writer: calls take effect in the order in which they were made."""

    async def grant(self, lease: Lease) -> Task:
        """Make the lease durable and set `lease.epoch`; the first one of a QUEUED task makes it RUNNING.

        What it starts has started when this is called, since records may begin before it is durable.

        Raises: StaleLease if the task is gone, of another generation, not QUEUED or RUNNING, or an index is leased
        already or has an outcome, be it one that succeeded in an earlier generation and counts in this one.
        """
        ...

    async def record_outcomes(
        self, lease: Lease, flush: Flush, retries: Retries | None = None, *, end: LeaseEnd = COMPLETED
    ) -> Task:
        """Store outcomes and shrink the lease's open indexes, in one transaction; return the task after it.

        When these were the last ones of a RUNNING or PAUSING task it enters SUCCEEDED or FAILED in the same
        transaction, with its error (ABORTED / ALL_RECORDS_FAILED or FAILURE_POLICY with the first failures in its
        details; of a one-record task the record's own status) and the operation's snapshot. When more failed than the
        failure policy allows it enters CANCELLING before that. A lease without open indexes has ended, as in `end`;
        with the last one a PAUSING task is PAUSED. In CANCELLING outcomes under a live lease are kept. Raises
        StaleLease, storing nothing, if the lease does not hold every index (ended, older epoch, stored before).

        The flush's artifacts are stored with it; those that its records had from earlier generations go.
        What records of the flush wrote is stored beside their outcomes, and comes with `record_log`.

        With `retries` only the rest of the flush becomes outcomes; the other records are pending again, and what is
        known of them and their executions is remembered. Not in CANCELLING: there the whole flush does.
        """
        ...

    async def release(
        self,
        lease: Lease,
        begun: Mapping[int, Attempts],
        unreaped: Sequence[int] = (),
        interrupted: Sequence[tuple[int, bytes]] = (),
        logs: Mapping[int, bytes] = NO_LOGS,
        *,
        ends_cancel: bool = True,
        end: LeaseEnd = RETURNED,
    ) -> Task | None:
        """End the lease, as in `end`; its open indexes go back to pending, `begun` is remembered for those that began.

        `interrupted`: (index, serialized RecordAttempt) of their executions, numbered by `begun`; the last
        limits.RECORD_ATTEMPTS of a record are kept. `logs`: what these wrote, by index.

        A CANCELLING task without a live lease becomes CANCELLED, or FAILED by its stop_reason, in the same transaction;
        a PAUSING one PAUSED; `unreaped` process ids make PROCESS_NOT_REAPED the reason of a CANCELLING one's error. Not
        without `ends_cancel`: the caller knows of a worker that may still run records of the task without a lease. None
        = the task is gone. Idempotent: a lease that does not live is left alone, but the state rule is still applied.
        """
        ...

    async def shrink(self, lease: Lease, ranges: Sequence[tuple[int, int]]) -> Task:
        """Take indexes that have not begun out of the lease: they are pending again; return the task after it.

        The other open indexes stay as they are. A lease without open indexes has ended, RETURNED; its task stays
        CANCELLING, if it is. Raises StaleLease, changing nothing, if the lease does not hold every index.
        """
        ...

    async def recover(self) -> list[LiveTask]:
        """At start, before anything else: end all leases of an earlier process, KILLED.

        CANCELLING tasks are finished, PAUSING ones become PAUSED. Returns the QUEUED and RUNNING tasks, oldest first.
        Reads no segment's bytes.
        """
        ...

    async def subtasks(self, task_key: int, before_epoch: int, limit: int, max_bytes: int) -> SubtaskPage:
        """The next subtasks in order epoch descending, below `before_epoch`: live leases, and those that ended.

        Of the latter the last limits.ENDED_SUBTASKS of the task, by epoch, whatever their generation. May stop earlier,
        and stops before `max_bytes` are exceeded, never before one subtask. Keyset. Raises NotFound.
        """
        ...

    async def unfinished(self, task: Task) -> LiveTask:
        """What of a task that was resumed or reactivated is still to be run. Reads no segment's bytes."""
        ...


class Store(
    TaskStore,
    StopStore,
    OperationStore,
    RecordStore,
    LeaseStore,
    ArtifactStore,
    LogStore,
    TimeStore,
    EventStore,
    MaintenanceStore,
    Protocol,
):
    """Everything, plus the life of the store itself."""

    @property
    def secret(self) -> bytes:
        """32 bytes made with the store, the key of all tokens."""
        ...

    @property
    def server_id(self) -> str:
        """Made with the store; marks the processes of its servers."""
        ...

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Have `subscriber` called on the loop after each commit, in commit order; returns the un-subscriber.

        The call comes before the mutation's own caller continues.
        """
        ...

    @property
    def healthy(self) -> bool:
        """False after an fsync failed: nothing is acknowledged any more until a restart."""
        ...

    async def close(self) -> None:
        """Finish what was accepted, then release the data directory."""
        ...
