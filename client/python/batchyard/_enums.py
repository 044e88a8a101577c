"""The enums of the contract, as Python enums that are open: a number from a newer server is no error."""

from __future__ import annotations

import enum
from typing import Self


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
    PAUSING = 4
    PAUSED = 5
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
    DEADLINE = 2
    FAILURE_POLICY = 3
    TASK_LIFETIME = 4


class WaitingReason(_OpenEnum):
    """`batchyard.v1.BatchTaskInfo.WaitingReason`."""

    WAITING_REASON_UNSPECIFIED = 0
    HANDLER_UNAVAILABLE = 1
    NO_SLOT = 2
    LIMITED = 3


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


class SubtaskState(_OpenEnum):
    """`batchyard.v1.Subtask.State`."""

    STATE_UNSPECIFIED = 0
    RUNNING = 1
    COMPLETED = 2
    RETURNED = 3
    LOST = 4
    KILLED = 5

    @property
    def is_final(self) -> bool:
        """Whether its lease has ended."""
        return self not in {SubtaskState.STATE_UNSPECIFIED, SubtaskState.RUNNING}


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
