"""Which state follows which event? The one table; nothing else decides a transition.

    DRAFT ──start──▶ QUEUED ──first lease──▶ RUNNING ──every record ended──▶ SUCCEEDED | FAILED
      │                │  ◀─resume─ PAUSED ◀─ PAUSING ◀─pause─┘                 │   (or CANCELLED:)
      └──stop──────────┴──▶ CANCELLED | FAILED ◀── CANCELLING ◀──stop            └─reactivate─▶ QUEUED, generation + 1

A stop is a cancel (which ends in CANCELLED), or a deadline, a failure policy or the longest lifetime (FAILED).
Numbers are those of `batchyard.v1.BatchTaskInfo.State`, `RecordInfo.State` and `Subtask.State`; a test compares them.
"""

from __future__ import annotations

import enum

from batchyard_server.model.errors import FailedPrecondition, Reason


class TaskState(enum.IntEnum):
    """State of a batch task, `BatchTaskInfo.State` on the wire."""

    DRAFT = 1
    QUEUED = 2
    RUNNING = 3
    PAUSING = 4
    PAUSED = 5
    CANCELLING = 6
    SUCCEEDED = 7
    FAILED = 8
    CANCELLED = 9

    @property
    def is_final(self) -> bool:
        """Whether this state of a generation never changes again."""
        return self in FINAL

    @property
    def is_live(self) -> bool:
        """Whether records may run or processes may have to be killed in this state."""
        return self in LIVE

    @property
    def may_start_records(self) -> bool:
        """Whether subtasks may be leased in this state."""
        return self in STARTING


FINAL = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED})
LIVE = frozenset({TaskState.QUEUED, TaskState.RUNNING, TaskState.PAUSING, TaskState.CANCELLING})
STARTING = frozenset({TaskState.QUEUED, TaskState.RUNNING})


class StopReason(enum.IntEnum):
    """Why a task was told to stop, `BatchTaskInfo.StopReason` on the wire."""

    NONE = 0
    CANCEL = 1
    DEADLINE = 2
    FAILURE_POLICY = 3
    TASK_LIFETIME = 4


class WaitingReason(enum.IntEnum):
    """Why a task does not move, `BatchTaskInfo.WaitingReason` on the wire. Never stored."""

    NONE = 0
    HANDLER_UNAVAILABLE = 1
    NO_SLOT = 2
    LIMITED = 3


class RecordState(enum.IntEnum):
    """State of a record, `RecordInfo.State` on the wire."""

    PENDING = 1
    RUNNING = 2
    SUCCEEDED = 3
    FAILED = 4
    CANCELLED = 5


class SubtaskState(enum.IntEnum):
    """State of a subtask, `Subtask.State` on the wire."""

    RUNNING = 1
    COMPLETED = 2
    RETURNED = 3
    LOST = 4
    KILLED = 5


class Event(enum.StrEnum):
    """What can happen to a task; the value is the `verb` in an ILLEGAL_STATE error."""

    APPEND = "append"
    START = "start"
    LEASE = "lease"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    STOP = "stop"
    """A deadline, the failure policy or the longest lifetime: ends in FAILED."""
    REACTIVATE = "reactivate"
    DELETE = "delete"
    ALL_SUCCEEDED_OR_SOME_FAILED = "end"
    ALL_FAILED = "fail"
    TOO_MANY_FAILED = "fail early"
    """Every record ended, and more failed than the failure policy allows."""
    NOTHING_RUNS = "rest"
    """PAUSING: no lease lives."""
    REAPED_AFTER_CANCEL = "reap"
    REAPED_AFTER_STOP = "reap stopped"


S = TaskState
TRANSITIONS: dict[tuple[TaskState, Event], TaskState] = {
    (S.DRAFT, Event.APPEND): S.DRAFT,
    (S.DRAFT, Event.START): S.QUEUED,
    (S.QUEUED, Event.START): S.QUEUED,
    (S.RUNNING, Event.START): S.RUNNING,
    (S.PAUSING, Event.START): S.PAUSING,
    (S.PAUSED, Event.START): S.PAUSED,
    (S.QUEUED, Event.LEASE): S.RUNNING,
    (S.RUNNING, Event.LEASE): S.RUNNING,
    (S.QUEUED, Event.PAUSE): S.PAUSED,
    (S.RUNNING, Event.PAUSE): S.PAUSING,
    (S.PAUSING, Event.PAUSE): S.PAUSING,
    (S.PAUSED, Event.PAUSE): S.PAUSED,
    (S.PAUSING, Event.NOTHING_RUNS): S.PAUSED,
    (S.PAUSING, Event.RESUME): S.RUNNING,
    (S.PAUSED, Event.RESUME): S.QUEUED,
    (S.QUEUED, Event.RESUME): S.QUEUED,
    (S.RUNNING, Event.RESUME): S.RUNNING,
    **{
        (state, event): end
        for state in (S.RUNNING, S.PAUSING)
        for event, end in (
            (Event.ALL_SUCCEEDED_OR_SOME_FAILED, S.SUCCEEDED),
            (Event.ALL_FAILED, S.FAILED),
            (Event.TOO_MANY_FAILED, S.FAILED),
            (Event.CANCEL, S.CANCELLING),
            (Event.STOP, S.CANCELLING),
        )
    },
    **{(state, Event.CANCEL): S.CANCELLED for state in (S.DRAFT, S.QUEUED, S.PAUSED)},
    **{(state, Event.STOP): S.FAILED for state in (S.DRAFT, S.QUEUED, S.PAUSED)},
    (S.CANCELLING, Event.CANCEL): S.CANCELLING,
    (S.CANCELLING, Event.STOP): S.CANCELLING,
    (S.CANCELLING, Event.REAPED_AFTER_CANCEL): S.CANCELLED,
    (S.CANCELLING, Event.REAPED_AFTER_STOP): S.FAILED,
    **{(state, Event.REACTIVATE): S.QUEUED for state in FINAL},
    (S.QUEUED, Event.ALL_SUCCEEDED_OR_SOME_FAILED): S.SUCCEEDED,
    **{(state, Event.DELETE): state for state in (S.DRAFT, *FINAL)},
}
"""REACTIVATE is the one event that leads out of a final state: into the next generation, which ends at once if it has
nothing to run."""


def after(state: TaskState, event: Event) -> TaskState:
    """Return the state that follows `event` in `state`.

    Raises:
        FailedPrecondition: TASK_COMPLETED in a final state, else ILLEGAL_STATE; metadata `state`, `verb`.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        reason = Reason.TASK_COMPLETED if state.is_final else Reason.ILLEGAL_STATE
        raise FailedPrecondition(
            reason,
            f"cannot {event.value} a batch task that is {state.name}",
            subject="state",
            metadata={"state": state.name, "verb": event.value},
        ) from None
