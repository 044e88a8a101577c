"""Batches and items as `batchyard.app_batches` shows them.

As in `_info`, what the server says wraps its message and converts a field when it is asked for.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from batchyard._enums import BatchTaskState, RecordState
from batchyard._names import last_id
from batchyard._spans import time_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from batchyard._record_info import RecordInfo
    from batchyard.v1 import batch_task_pb2

# Names of priorities, from the default to the highest: the numbers that `priority` of a batch task has.
_PRIORITIES: Final = ("FIVE", "FOUR", "THREE", "TWO", "ONE")
_ITEM_SEPARATOR: Final = ":"


class OpenStrEnum(enum.StrEnum):
    """Words that later versions may add to: one that is not known yet is a member named after itself."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = value
        member._value_ = value
        return member


_Word = TypeVar("_Word", bound=OpenStrEnum)


class PriorityOrder(OpenStrEnum):
    """Which of the batches that wait get workers first: ONE before TWO, and FIVE, the default, last."""

    ONE = "ONE"
    TWO = "TWO"
    THREE = "THREE"
    FOUR = "FOUR"
    FIVE = "FIVE"


def known(name: str, kind: type[_Word], value: _Word | str) -> _Word:
    """Return a member of `kind` that a caller gave, or named.

    Raises:
        ValueError: it is none.
    """
    if value not in kind.__members__:
        raise ValueError(f"{name} must be one of {', '.join(kind)}, not {value!r}")
    return kind(value)


def priority_of(order: PriorityOrder | str) -> int:
    """Return the priority of a batch task: 0 for FIVE, 4 for ONE.

    Raises:
        ValueError: it is none of the five.
    """
    return _PRIORITIES.index(known("priority_order", PriorityOrder, order))


@dataclass(frozen=True, slots=True)
class ItemsImport:
    """What became of the items of one call.

    Attributes:
        records_count: items given.
        records_processed: items that are in the batch now.
        records_skipped: items that have no form on the wire, or are too large.
        errors: position among those given → why it was skipped.
    """

    records_count: int
    records_processed: int
    records_skipped: int
    errors: Mapping[int, str]


class AppItemIds(list[str]):
    """Ids of the items that were added, in their order.

    Attributes:
        last_items_import: what became of all that were given.
    """

    def __init__(self, ids: Iterable[str], last_items_import: ItemsImport) -> None:
        super().__init__(ids)
        self.last_items_import = last_items_import


class AppBatch:
    """A batch as the server described it at one moment. Times are aware (UTC), None while unset.

    Attributes:
        message: the batch task (`batchyard.v1.BatchTaskInfo`).
        last_items_import: of what `create_app_batch` returns: what became of the items. Else None.
    """

    class Status(OpenStrEnum):
        """How far it has come. LOADING and NO_MONEY never occur here."""

        NEW = "NEW"
        QUEUED = "QUEUED"
        PROCESSING = "PROCESSING"
        COMPLETED = "COMPLETED"
        ERROR = "ERROR"
        CANCELLED = "CANCELLED"
        NO_MONEY = "NO_MONEY"
        ARCHIVE = "ARCHIVE"
        LOADING = "LOADING"
        STOPPING = "STOPPING"
        STOPPED = "STOPPED"

    __slots__ = ("last_items_import", "message")

    def __init__(self, message: batch_task_pb2.BatchTaskInfo, last_items_import: ItemsImport | None = None) -> None:
        self.message = message
        self.last_items_import = last_items_import

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AppBatch) and self.message == other.message

    __hash__ = None  # type: ignore[assignment]  # it wraps a mutable message

    def __repr__(self) -> str:
        return f"<AppBatch {self.id} {self.status} {self.items_processed_count}/{self.items_count}>"

    @property
    def id(self) -> str:
        """Id of the batch task in its project."""
        return last_id(self.message.name)

    @property
    def app_project_id(self) -> str:
        """Id of the project."""
        return self.message.name.split("/")[1]

    @property
    def name(self) -> str:
        """Text for people; the `display_name` of the batch task."""
        return self.message.display_name

    @property
    def status(self) -> AppBatch.Status:
        """How far it has come; ARCHIVE if it was archived, whatever it was then."""
        if self.message.archived:
            return AppBatch.Status.ARCHIVE
        state = BatchTaskState(self.message.state)
        return STATUS_OF_STATE.get(state) or AppBatch.Status(state.name)

    @property
    def items_count(self) -> int:
        """How many items it has."""
        return self.message.counts.total

    @property
    def items_processed_count(self) -> int:
        """How many of them ended, well or badly; those that a cancel ended are not among them."""
        return self.message.counts.succeeded + self.message.counts.failed

    @property
    def items_per_state(self) -> dict[AppItem.Status, int]:
        """How many items are in each state."""
        counts = self.message.counts
        return {
            AppItem.Status.NEW: counts.pending,
            AppItem.Status.PROCESSING: counts.running,
            AppItem.Status.COMPLETED: counts.succeeded,
            AppItem.Status.ERROR: counts.failed,
            AppItem.Status.CANCELLED: counts.cancelled,
        }

    @property
    def read_only(self) -> bool:
        """Whether items can be added no more: it was started."""
        return self.message.state != BatchTaskState.DRAFT.value

    @property
    def priority_order(self) -> PriorityOrder:
        """ONE for a priority of 4 and higher, …, FIVE for one of 0 and lower."""
        return PriorityOrder(_PRIORITIES[min(max(self.message.priority, 0), len(_PRIORITIES) - 1)])

    @property
    def created_at(self) -> datetime | None:
        """When it was created."""
        return time_of(self.message, "create_time")

    @property
    def started_at(self) -> datetime | None:
        """When its first items were given to a worker."""
        return time_of(self.message, "start_time")

    @property
    def finished_at(self) -> datetime | None:
        """When it was completed, failed or was cancelled."""
        return time_of(self.message, "end_time")

    @property
    def operation_id(self) -> str:
        """What `get_operation` takes; empty once the operation was deleted."""
        return self.message.operation


_State = BatchTaskState
STATUS_OF_STATE: Final = {
    _State.DRAFT: AppBatch.Status.NEW,
    _State.QUEUED: AppBatch.Status.QUEUED,
    _State.RUNNING: AppBatch.Status.PROCESSING,
    _State.PAUSING: AppBatch.Status.STOPPING,
    _State.PAUSED: AppBatch.Status.STOPPED,
    _State.CANCELLING: AppBatch.Status.STOPPING,
    _State.SUCCEEDED: AppBatch.Status.COMPLETED,
    _State.FAILED: AppBatch.Status.ERROR,
    _State.CANCELLED: AppBatch.Status.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class AppItemError:
    """Why an item failed.

    Attributes:
        code: name of an `ErrorReason`, e.g. HANDLER_EXCEPTION; empty if the error has none.
        message: text for people.
        payload: further facts.
    """

    code: str
    message: str
    payload: Mapping[str, str]


class AppItem:
    """An item with its output, once it has one. Times are aware (UTC), None while unset.

    Attributes:
        info: the record (`batchyard.RecordInfo`).
    """

    class Status(OpenStrEnum):
        """How far it has come. ARCHIVE, NO_MONEY and STOPPED never occur here."""

        NEW = "NEW"
        PROCESSING = "PROCESSING"
        COMPLETED = "COMPLETED"
        ERROR = "ERROR"
        CANCELLED = "CANCELLED"
        ARCHIVE = "ARCHIVE"
        NO_MONEY = "NO_MONEY"
        STOPPED = "STOPPED"

    __slots__ = ("info",)

    def __init__(self, info: RecordInfo) -> None:
        self.info = info

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AppItem) and self.info == other.info

    __hash__ = None  # type: ignore[assignment]  # it wraps a mutable message

    def __repr__(self) -> str:
        return f"<AppItem {self.id} {self.status}>"

    @property
    def id(self) -> str:
        """`{batch_id}:{position}`; the position is counted from 0."""
        return item_id(self.batch_id, self.info.index)

    @property
    def batch_id(self) -> str:
        """Id of its batch."""
        return self.info.name.split("/")[3]

    @property
    def app_project_id(self) -> str:
        """Id of the project."""
        return self.info.name.split("/")[1]

    @property
    def status(self) -> AppItem.Status:
        """How far it has come."""
        state = self.info.state
        return _STATUS_OF_RECORD.get(state) or AppItem.Status(state.name)

    @property
    def input_data(self) -> Any:
        """What was given."""
        return self.info.input

    @property
    def output_data(self) -> Any:
        """What the handler returned; None if it returned nothing or has not ended well."""
        return self.info.output

    @property
    def errors(self) -> list[AppItemError]:
        """Why it failed; empty if it did not."""
        error = self.info.error
        return [] if error is None else [AppItemError(error.reason, error.message, error.metadata)]

    @property
    def started_at(self) -> datetime | None:
        """When the handler began with it."""
        return self.info.start_time

    @property
    def finished_at(self) -> datetime | None:
        """When it ended."""
        return self.info.end_time


_STATUS_OF_RECORD: Final = {
    RecordState.PENDING: AppItem.Status.NEW,
    RecordState.RUNNING: AppItem.Status.PROCESSING,
    RecordState.SUCCEEDED: AppItem.Status.COMPLETED,
    RecordState.FAILED: AppItem.Status.ERROR,
    RecordState.CANCELLED: AppItem.Status.CANCELLED,
}


def item_id(batch_id: str, index: int) -> str:
    """Return the id of the item at this position of a batch."""
    return f"{batch_id}{_ITEM_SEPARATOR}{index}"


def item_place(app_item_id: str) -> tuple[str, int]:
    """Return batch and position of an item, the reverse of `item_id`.

    Raises:
        ValueError: not the id of an item.
    """
    batch_id, _, index = app_item_id.rpartition(_ITEM_SEPARATOR)
    if not batch_id or not (index.isascii() and index.isdigit()):
        raise ValueError(f"{app_item_id!r} is not the id of an item")
    return batch_id, int(index)
