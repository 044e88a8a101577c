"""What `batchyard.app_batches` is asked for: the request objects, and what they become on the wire.

Each method takes such an object, or its fields as keywords.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc

from batchyard import _payload
from batchyard._app_batch import STATUS_OF_STATE, AppBatch, ItemsImport, PriorityOrder, known
from batchyard._app_errors import ApiError, api_error
from batchyard._errors import ErrorDetail, FieldViolation, InvalidArgumentError
from batchyard._filter_text import any_state, quoted
from batchyard._records import RECORD_BYTES, check_records
from batchyard.v1 import record_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_Request = TypeVar("_Request")
# Most batches, or items, in one answer of the server.
MOST: Final = 1000
# How many `find_app_batches` returns if nobody says.
FOUND_BATCHES: Final = 100
_COMPARED: Final = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_FIELDS: Final = {"id": "id", "name": "display_name", "created": "create_time"}
_SORTED: Final = {"id": "id", "name": "display_name", "created": "create_time", "status": "state"}
_SHOWN_ERRORS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class AppBatchSearchRequest:
    """Which batches are wanted: those that fulfil everything that is not None.

    Attributes:
        after_id: id greater than this one, byte by byte; the same as `id_gt`.
        status: of this status, a member of `AppBatch.Status` or its name.
        id_lt: id lower than this one. `id_lte`, `id_gt`, `id_gte` likewise.
        name_lt: name lower than this one, byte by byte of its UTF-8. `name_lte`, `name_gt`, `name_gte` likewise.
        created_lt: created before this time; one without a zone is in UTC. `created_lte`, `created_gt`, `created_gte`
            likewise.
    """

    after_id: str | None = None
    status: AppBatch.Status | str | None = None
    id_lt: str | None = None
    id_lte: str | None = None
    id_gt: str | None = None
    id_gte: str | None = None
    name_lt: str | None = None
    name_lte: str | None = None
    name_gt: str | None = None
    name_gte: str | None = None
    created_lt: datetime | None = None
    created_lte: datetime | None = None
    created_gt: datetime | None = None
    created_gte: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppBatchCreateRequest:
    """A new batch.

    Attributes:
        name: text for people, at most 256 bytes.
        items: its first items; what JSON can say, a str, bytes. None: none yet.
        priority_order: None: FIVE.
        force_new_original: None or True: items are never recognized as copies of earlier ones.
        ignore_errors: True: leave out the items that have no form on the wire or are too large. None, False: refuse all
            of them then.
    """

    name: str | None = None
    items: Iterable[object] | None = None
    priority_order: PriorityOrder | str | None = None
    force_new_original: bool | None = None
    ignore_errors: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppItemsCreateRequest:
    """More items for a batch that is NEW.

    Attributes:
        batch_id: the batch.
        items: what JSON can say, a str, bytes.
        force_new_original: as of `AppBatchCreateRequest`.
        ignore_errors: as of `AppBatchCreateRequest`.
    """

    batch_id: str
    items: Iterable[object]
    force_new_original: bool | None = None
    ignore_errors: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppBatchPatch:
    """What is to be changed of a batch; None stays as it is.

    Attributes:
        name: text for people, at most 256 bytes.
        priority_order: can be changed until the batch has ended.
    """

    name: str | None = None
    priority_order: PriorityOrder | str | None = None


@dataclass(frozen=True, slots=True)
class AppBatchSearchResult:
    """What `find_app_batches` found.

    Attributes:
        content: the first batches, at most `limit`; never empty if there are more.
        has_more: whether there are more.
    """

    content: list[AppBatch]
    has_more: bool

    @property
    def items(self) -> list[AppBatch]:
        """The same as `content`."""
        return self.content


def one_of(kind: type[_Request], request: _Request | None, fields: Mapping[str, Any]) -> _Request:
    """Return the request object that was given, or that its fields make.

    Raises:
        TypeError: both were given, another object, or a field that it does not have.
    """
    if request is None:
        return kind(**fields)
    if not isinstance(request, kind):
        raise TypeError(f"a {kind.__name__} or its fields as keywords are needed, not a {type(request).__name__}")
    if given := sorted(name for name, value in fields.items() if value is not None):
        raise TypeError(f"{', '.join(given)}: a field of the {kind.__name__} that is given as well")
    return request


def search_filter(request: AppBatchSearchRequest) -> str | None:
    """Return the server's filter for a search, empty if all are wanted; None if no batch can ever be found.

    Raises:
        ValueError: no such status.
        TypeError: a value that its field cannot have.
    """
    terms = [] if request.after_id is None else [f"id > {_text('after_id', request.after_id)}"]
    for name, field in _FIELDS.items():
        literal = _time if name == "created" else _text
        for suffix, sign in _COMPARED.items():
            value = getattr(request, f"{name}_{suffix}")
            if value is not None:
                terms.append(f"{field} {sign} {literal(f'{name}_{suffix}', value)}")
    if request.status is not None:
        term = _status_term(request.status)
        if term is None:
            return None
        terms.append(term)
    return " AND ".join(terms)


def _status_term(status: AppBatch.Status | str) -> str | None:
    """Return the filter for one status; None if no batch has it ever."""
    wanted = known("status", AppBatch.Status, status)
    if wanted is AppBatch.Status.ARCHIVE:
        return "archived = true"
    states = [state.name for state, each in STATUS_OF_STATE.items() if each is wanted]
    if not states:
        return None
    term = any_state(states)
    return f"{term if len(states) == 1 else f'({term})'} AND archived = false"


def _text(name: str, value: object) -> str:
    """Return a str as the literal of a filter; a star stands for itself."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    return quoted(value)


def _time(name: str, value: object) -> str:
    """Return a time as the literal of a filter."""
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime, not {type(value).__name__}")
    aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return f'"{aware.replace(tzinfo=None).isoformat(timespec="microseconds")}Z"'


def sort_order(sort: str | Iterable[str] | None) -> str:
    """Return the server's order for sort keys: `id`, `name`, `created` or `status`, descending with `-` before it.

    Raises:
        ValueError: another key, or several: equal ones can only be ordered by id, ascending.
    """
    keys = [sort] if isinstance(sort, str) else list(sort or ("id",))
    for key in keys:
        if key.removeprefix("-") not in _SORTED:
            raise ValueError(f"sort keys are {', '.join(_SORTED)}, with - before them for descending, not {key!r}")
    if keys[1:] not in ([], ["id"]):
        raise ValueError(f"batches are sorted by one key, equal ones by id: not by {', '.join(keys)}")
    return _SORTED[keys[0].removeprefix("-")] + (" desc" if keys[0].startswith("-") else "")


def at_most(name: str, value: int | None, default: int) -> int:
    """Return how many are wanted at once.

    Raises:
        ValueError: less than 1, or more than the server gives.
    """
    if value is None:
        return default
    if not 1 <= value <= MOST:
        raise ValueError(f"{name} must be from 1 to {MOST}, not {value}")
    return value


def pack_items(
    request: AppBatchCreateRequest | AppItemsCreateRequest,
) -> tuple[list[record_pb2.RecordInput], ItemsImport]:
    """Return the items in the form that they travel in, and what became of each.

    Raises:
        ValidationApiError: an item has no form on the wire or is too large, unless these are to be ignored.
        ValueError: copies are to be recognized.
        TypeError: a str, bytes or mapping was given where items belong.
    """
    if request.force_new_original is False:
        raise ValueError("force_new_original=False: items are never recognized as copies of earlier ones")
    items = () if request.items is None else request.items
    check_records(items)
    records: list[record_pb2.RecordInput] = []
    errors: dict[int, str] = {}
    position = -1
    for position, item in enumerate(items):
        try:
            records.append(_packed(item))
        except (ValueError, TypeError) as error:
            errors[position] = str(error)
    if errors and not request.ignore_errors:
        raise _refused(errors)
    return records, ItemsImport(position + 1, len(records), len(errors), errors)


def _packed(item: object) -> record_pb2.RecordInput:
    """Return an item in the form that it travels in; ValueError or TypeError: it has none, or is too large."""
    record = record_pb2.RecordInput()
    _payload.encode(item, record.payload)
    size = record.ByteSize()
    if size > RECORD_BYTES:
        raise ValueError(f"takes {size} bytes; at most {RECORD_BYTES} are possible")
    return record


def _refused(errors: Mapping[int, str]) -> ApiError:
    """Make the error for items of which nothing was sent."""
    violations = [FieldViolation(f"items[{position}]", why) for position, why in errors.items()]
    shown = "; ".join(f"{each.field}: {each.description}" for each in violations[:_SHOWN_ERRORS])
    more = f"; and {len(violations) - _SHOWN_ERRORS} more" if len(violations) > _SHOWN_ERRORS else ""
    detail = ErrorDetail(field_violations=violations)
    return api_error(InvalidArgumentError(grpc.StatusCode.INVALID_ARGUMENT, shown + more, detail))
