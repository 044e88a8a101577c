"""How far a batch task has come, in the six steps of Yandex's SDK (its members and numbers), and why it failed."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf import text_format

from batchyard._error_map import unpack_any
from batchyard.v1 import batch_task_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.any_pb2 import Any as AnyMessage
    from google.rpc.status_pb2 import Status


class BatchTaskStatus(enum.IntEnum):
    """State of a batch task in six steps. UNKNOWN is a state that this client does not know."""

    UNKNOWN = -1
    STATUS_UNSPECIFIED = 0
    CREATED = 1
    PENDING = 2
    IN_PROGRESS = 3
    COMPLETED = 4
    FAILED = 5
    CANCELED = 6

    @classmethod
    def of_state(cls, state: int) -> BatchTaskStatus:
        """Translate a number of `BatchTaskInfo.State`."""
        return _STATUS_OF_STATE.get(state, cls.UNKNOWN)

    @classmethod
    def coerce(cls, value: BatchTaskStatus | str | int) -> BatchTaskStatus:
        """Accept a member, its number, or its name in any case.

        Raises:
            ValueError: no such member.
            TypeError: another type.
        """
        if isinstance(value, str):
            try:
                return cls[value.upper()]
            except KeyError:
                raise ValueError(f"{value!r} is not a valid BatchTaskStatus") from None
        if not isinstance(value, int):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may not check types
            raise TypeError(f"a BatchTaskStatus, str or int is needed, not {type(value).__name__}")
        return cls(value)

    @property
    def is_running(self) -> bool:
        """Not ended: CREATED, PENDING or IN_PROGRESS."""
        return self in {BatchTaskStatus.CREATED, BatchTaskStatus.PENDING, BatchTaskStatus.IN_PROGRESS}

    @property
    def is_succeeded(self) -> bool:
        """COMPLETED; single records may have failed."""
        return self is BatchTaskStatus.COMPLETED

    @property
    def is_failed(self) -> bool:
        """FAILED or CANCELED."""
        return self in {BatchTaskStatus.FAILED, BatchTaskStatus.CANCELED}

    @property
    def is_finished(self) -> bool:
        """Ended, well or badly."""
        return self.is_succeeded or self.is_failed

    @property
    def status_name(self) -> str:
        """`success`, `failed` or `running`."""
        if self.is_succeeded:
            return "success"
        return "failed" if self.is_failed else "running"


_State = batch_task_pb2.BatchTaskInfo.State
_STATUS_OF_STATE: dict[_State.ValueType, BatchTaskStatus] = {
    _State.STATE_UNSPECIFIED: BatchTaskStatus.STATUS_UNSPECIFIED,
    _State.DRAFT: BatchTaskStatus.CREATED,
    _State.QUEUED: BatchTaskStatus.PENDING,
    _State.PAUSED: BatchTaskStatus.PENDING,
    _State.RUNNING: BatchTaskStatus.IN_PROGRESS,
    _State.PAUSING: BatchTaskStatus.IN_PROGRESS,
    _State.CANCELLING: BatchTaskStatus.IN_PROGRESS,
    _State.SUCCEEDED: BatchTaskStatus.COMPLETED,
    _State.FAILED: BatchTaskStatus.FAILED,
    _State.CANCELLED: BatchTaskStatus.CANCELED,
}


def with_status(wanted: str, status: BatchTaskStatus) -> str:
    """Return the filter for tasks that match `wanted`, "" = all of them, and are of a status.

    STATUS_UNSPECIFIED adds nothing; UNKNOWN stands for the states that this client does not know.
    """
    if status is BatchTaskStatus.STATUS_UNSPECIFIED:
        return wanted
    unknown = status is BatchTaskStatus.UNKNOWN
    known = sorted(state for state, each in _STATUS_OF_STATE.items() if state and (unknown or each is status))
    states = " OR ".join(f"state = {_State.Name(state)}" for state in known)
    if unknown:
        states = f"NOT ({states})"
    return states if wanted.strip() in {"", "*"} else f"({wanted}) AND ({states})"


@dataclass(frozen=True)
class OperationErrorInfo:
    """Why an operation failed.

    Attributes:
        code: a `google.rpc.Code`, never 0.
        message: text for people.
        details: each detail as one line of text, None if there are none.
    """

    code: int
    message: str
    details: Iterable[str] | None = None

    @classmethod
    def of(cls, status: Status) -> OperationErrorInfo:
        """Make one from a `google.rpc.Status`."""
        return cls(status.code, status.message, [_detail_line(d) for d in status.details] or None)


def _detail_line(packed: AnyMessage) -> str:
    message = unpack_any(packed)
    if message is None:
        return f"{packed.TypeName()} {{ {len(packed.value)} bytes }}"
    return f"{packed.TypeName()} {{ {text_format.MessageToString(message, as_one_line=True)} }}"
