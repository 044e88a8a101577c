"""How far a batch task has come, in the six steps of Yandex's SDK (its members and numbers), and why it failed."""

from __future__ import annotations

import base64
import enum
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf import json_format

from batchyard._error_map import unpack_any
from batchyard._filter_text import any_state
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
        """Accept a member, its number, or its name.

        A name may be of any case, begin with `STATUS_` or `BATCH_TASK_STATUS_`, and have CANCELLED for CANCELED.

        Raises:
            ValueError: no such member.
            TypeError: another type; also another enum, such as `BatchTaskState`, whose numbers mean something else.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            name = value.strip().upper().removeprefix("BATCH_TASK_STATUS_").removeprefix("STATUS_")
            try:
                return cls[_SPELLINGS.get(name, name)]
            except KeyError:
                raise ValueError(f"{value!r} is not a valid BatchTaskStatus") from None
        # Callers may not check types.
        if not isinstance(value, int) or isinstance(value, enum.Enum):  # pyright: ignore[reportUnnecessaryIsInstance]
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


# Other spellings of members, without prefix.
_SPELLINGS: Final = {"CANCELLED": "CANCELED", "UNSPECIFIED": "STATUS_UNSPECIFIED"}
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
    states = any_state(map(_State.Name, known))
    if unknown:
        states = f"NOT ({states})"
    return states if wanted.strip() in {"", "*"} else f"({wanted}) AND ({states})"


@dataclass(frozen=True, slots=True)
class OperationErrorInfo:
    """Why an operation failed.

    Attributes:
        code: a `google.rpc.Code`, never 0.
        message: text for people.
        details: each detail as JSON text, one line: the protobuf JSON of an Any, `@type` beside its fields. One of an
            unknown type has its bytes in base64 as `value`. None if there are none.
    """

    code: int
    message: str
    details: Iterable[str] | None

    @classmethod
    def of(cls, status: Status) -> OperationErrorInfo:
        """Make one from a `google.rpc.Status`."""
        return cls(status.code, status.message, tuple(map(_detail_json, status.details)) or None)


def _detail_json(packed: AnyMessage) -> str:
    known = unpack_any(packed) is not None  # also one whose bytes are not of its type counts as unknown
    try:
        said = json_format.MessageToDict(packed) if known else None
    except (TypeError, ValueError):  # a known type that holds an Any of an unknown one
        said = None
    if said is None:
        said = {"@type": packed.type_url, "value": base64.b64encode(packed.value).decode("ascii")}
    return json.dumps(said, ensure_ascii=False)
