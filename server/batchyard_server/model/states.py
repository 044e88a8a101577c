"""Which state follows which event? The one table; nothing else decides a transition.

    DRAFT ──start──▶ QUEUED ──first lease──▶ RUNNING ──every record ended──▶ SUCCEEDED | FAILED
      │                │                        │
      └────cancel──────┴──▶ CANCELLED           └─cancel─▶ CANCELLING ──no lease lives──▶ CANCELLED

Numbers are those of `batchyard.v1.BatchTaskInfo.State` and `RecordInfo.State`; a test compares them.
"""

from __future__ import annotations

import enum

from batchyard_server.model.errors import FailedPrecondition, Reason


class TaskState(enum.IntEnum):
    """State of a batch task, `BatchTaskInfo.State` on the wire."""

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
        return self in FINAL

    @property
    def is_live(self) -> bool:
        """Whether records may run or processes may have to be killed in this state."""
        return self in LIVE


FINAL = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED})
LIVE = frozenset({TaskState.QUEUED, TaskState.RUNNING, TaskState.CANCELLING})


class StopReason(enum.IntEnum):
    """Why a task was told to stop, `BatchTaskInfo.StopReason` on the wire."""

    NONE = 0
    CANCEL = 1


class WaitingReason(enum.IntEnum):
    """Why a task does not move, `BatchTaskInfo.WaitingReason` on the wire. Never stored."""

    NONE = 0
    HANDLER_UNAVAILABLE = 1
    NO_SLOT = 2


class RecordState(enum.IntEnum):
    """State of a record, `RecordInfo.State` on the wire."""

    PENDING = 1
    RUNNING = 2
    SUCCEEDED = 3
    FAILED = 4
    CANCELLED = 5


class Event(enum.StrEnum):
    """What can happen to a task; the value is the `verb` in an ILLEGAL_STATE error."""

    APPEND = "append"
    START = "start"
    LEASE = "lease"
    CANCEL = "cancel"
    DELETE = "delete"
    ALL_SUCCEEDED_OR_SOME_FAILED = "end"
    ALL_FAILED = "fail"
    ALL_REAPED = "reap"


S = TaskState
TRANSITIONS: dict[tuple[TaskState, Event], TaskState] = {
    (S.DRAFT, Event.APPEND): S.DRAFT,
    (S.DRAFT, Event.START): S.QUEUED,
    (S.QUEUED, Event.START): S.QUEUED,
    (S.RUNNING, Event.START): S.RUNNING,
    (S.QUEUED, Event.LEASE): S.RUNNING,
    (S.RUNNING, Event.LEASE): S.RUNNING,
    (S.RUNNING, Event.ALL_SUCCEEDED_OR_SOME_FAILED): S.SUCCEEDED,
    (S.RUNNING, Event.ALL_FAILED): S.FAILED,
    (S.DRAFT, Event.CANCEL): S.CANCELLED,
    (S.QUEUED, Event.CANCEL): S.CANCELLED,
    (S.RUNNING, Event.CANCEL): S.CANCELLING,
    (S.CANCELLING, Event.CANCEL): S.CANCELLING,
    (S.CANCELLING, Event.ALL_REAPED): S.CANCELLED,
    (S.DRAFT, Event.DELETE): S.DRAFT,
    (S.SUCCEEDED, Event.DELETE): S.SUCCEEDED,
    (S.FAILED, Event.DELETE): S.FAILED,
    (S.CANCELLED, Event.DELETE): S.CANCELLED,
}


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
