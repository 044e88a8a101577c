"""What does dispatch say to execution, and execution to dispatch? One subtask, one side each."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from batchyard_server.dispatch.tickets import Ticket
from batchyard_server.model import ranges as rg
from batchyard_server.model.artifact import Stage
from batchyard_server.model.task import Attempts, Flush, Lease, Task


@dataclass(slots=True, eq=False, kw_only=True)
class Subtask:
    """Records of one task that one worker runs as a unit.

    Attributes:
        task: the task as it was when the subtask was cut.
        inputs: serialized RawInputs of the records, in the order of `lease.ranges`.
        attempts: of those records that began before.
        estimate_ns: how long it will take, by what is known of the task or handler; None = nothing is known.
        ticket: what it is charged with.
        open: indexes whose outcome is not durable yet and which were not trimmed. `lease.ranges` stays as it was cut:
            places in `inputs`, and what a worker counts, are counted in it.
        granted: done once the store has said whether the lease is held.
        commits: flushes and trims that are being written.
        settled: done when `commits` has become 0, if somebody waits for that.
        stage: where its records leave files, None if they cannot; `location` is its path.
        left_files: whether there may be some that are not kept.
    """

    task: Task
    lease: Lease
    inputs: bytes
    attempts: dict[int, Attempts]
    estimate_ns: int | None
    ticket: Ticket
    open: rg.Ranges
    granted: asyncio.Future[bool]
    commits: int = 0
    settled: asyncio.Future[None] | None = None
    stage: Stage | None = None
    location: bytes = b""
    left_files: bool = False

    @property
    def count(self) -> int:
        """How many records it was cut with."""
        return rg.count(self.lease.ranges)


class Cause(enum.Enum):
    """Why a worker is gone."""

    CRASH = "crash"
    """By itself, or by somebody else's kill. Counts against the record that was running."""
    TIMEOUT = "timeout"
    """Killed because the running record passed its record_timeout."""
    KILLED = "killed"
    """Killed by us for another reason (cancel, drain, eviction). Counts against nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The end of a worker under a subtask.

    Attributes:
        index: the record of this subtask that was running, None if none was. Of a crash the one that began last, also
            if it had ended: what it left in the process may have been the cause. Without effect if it has its outcome.
        begun_to: records of the subtask, counted from its first, that had begun.
        started_us, ended_us: wall clock; when that record began, when the loss was seen.
        exit: how the process ended, for people: `signal 11 (SIGSEGV)`, `exit code 3`.
        exit_code: the same as a number, −n for signal n; None = not known.
        unreaped: ids of processes that not even SIGKILL ended within the bound.
        logs: what records of the subtask wrote that have no outcome yet, by index.
    """

    cause: Cause
    index: int | None
    begun_to: int
    started_us: int
    ended_us: int
    exit: str
    exit_code: int | None = None
    unreaped: tuple[int, ...] = ()
    logs: Mapping[int, bytes] = field(default_factory=dict[int, bytes])


class Reports(Protocol):
    """What execution tells dispatch. Called on the loop; returns at once."""

    def outcomes(self, subtask: Subtask, flush: Flush, *, last: bool, work_ns: int, ack: Callable[[], None]) -> None:
        """Records ended (none: an empty flush). `ack` is to be called once they are durable. `work_ns` 0: not known.

        `last`: the worker is done with the subtask; those of its records that are still open go back.
        """
        ...

    def runs(self, subtask: Subtask, ran_ns: int) -> None:
        """The present record of the subtask has run for so long. Said of slow ones only, again and again."""
        ...

    def returned(self, subtask: Subtask) -> None:
        """The subtask came back untouched."""
        ...

    def trimmed(self, subtask: Subtask, ranges: rg.Ranges) -> None:
        """The worker gave back these records of the subtask: none of them has begun or will. Comes before its end."""
        ...

    def lost(self, subtask: Subtask, loss: Loss) -> None:
        """The worker is gone and everything it started is reaped (or `loss.unreaped`)."""
        ...

    def capacity(self) -> None:
        """A slot, a worker or a handler has become free or available."""
        ...


class Slot(Protocol):
    """A place for one worker."""

    @property
    def name(self) -> str:
        """For people, and the `worker` of leases; unlike that of any other slot."""
        ...

    @property
    def begins_at_once(self) -> bool:
        """Whether a subtask that is sent now begins now: its worker has loaded the handler and has nothing to do."""
        ...

    def run(self, subtask: Subtask) -> None:
        """Send the subtask behind those the slot already has."""
        ...

    def reserve(self, estimate_ns: int | None) -> None:
        """Count a subtask that is being prepared for this slot; `run` or `unreserve` follows."""
        ...

    def unreserve(self, estimate_ns: int | None) -> None:
        """The subtask will not come after all."""
        ...


class Claim(NamedTuple):
    """What a handler wants.

    Attributes:
        waits: whether slots that it does not have yet would be of use to it.
        project: whose turn it is, of those that have records of it.
        virtual_ns: what that one has had, see shares.Share.
        soon: whether records of it may begin soon, though none may now: a worker that is idle for a moment is kept.
    """

    waits: bool
    project: str
    virtual_ns: float
    soon: bool = False


class Executor(Protocol):
    """What owns workers."""

    def slot_for(
        self, handler: str, estimate_ns: int | None, rivals: Mapping[str, Claim], within: Collection[str] | None = None
    ) -> Slot | None:
        """A slot that can take a subtask of this handler now, or None.

        Starts a worker, or lets one of another handler go, if that is needed and fair. None is followed by
        `Reports.capacity` once there may be a slot.

        Args:
            handler: Of the subtask.
            estimate_ns: How long it will take, None = nothing is known.
            rivals: The handlers that have records to run, this one among them. Left out: those of which all that a
                project has is of a lower priority than what it waits for.
            within: Names of the only slots that may take it; None = any.
        """
        ...

    def suits(self, slot: str, handler: str, rivals: Mapping[str, Claim]) -> bool:
        """Whether the slot of this name will take records of this handler when it has nothing to do."""
        ...

    def can_start(self, handler: str) -> bool:
        """Whether a worker of this handler may be started: any slot that becomes free is of use to it."""
        ...

    def is_available(self, handler: str) -> bool:
        """Whether the handler is configured and its last load did not fail."""
        ...

    def withdraw(self, subtask: Subtask, *, kill: bool) -> None:
        """Take the subtask back: `returned` if it is untouched.

        Else, with `kill`, its worker is killed and `lost` follows (KILLED); without, it ends after the record at hand:
        the others are `trimmed`, or open when it ends. A subtask that the executor does not have (any more) is ignored.
        """
        ...

    def running(self) -> Iterator[tuple[Subtask, int]]:
        """The records whose handler runs at this moment."""
        ...

    async def stop(self) -> None:
        """Kill and reap every worker; `lost` (KILLED) comes for what they had."""
        ...
