"""Which options does a call take beside its arguments? Each is honoured or refused, none is passed over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from datetime import datetime

MOST_RESULTS: Final = 1000
_HEADER: Final = re.compile(r"[a-z0-9_.-]+")
# gRPC's own, and those that would do something at the seed's service, where options do it here.
_TAKEN: Final = {
    *("content-length", "content-type", "host", "te", "user-agent"),
    *("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "ocp-date", "ocp-range"),
}
_VALUE: Final = re.compile(r"[ -~]+")
_Options = TypeVar("_Options", bound="Options")


@dataclass(slots=True, kw_only=True)
class Options:
    """What every call takes.

    Attributes:
        timeout: seconds for the call, repetitions after UNAVAILABLE included. None: that of the configuration.
        client_request_id: goes with the request as metadata `client-request-id`, for logs.
    """

    timeout: float | None = None
    client_request_id: str | None = None


@dataclass(slots=True, kw_only=True)
class _Conditions(Options):
    """Only if; at most one of them (else "MultipleConditionHeadersNotSupported"). Times are aware.

    Attributes:
        if_match: only if the task's etag is this one; "*": any.
        if_none_match: only if it is not.
        if_modified_since: only if the task was changed (`last_modified`) after this time.
        if_unmodified_since: only if it was not.
    """

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: datetime | None = None
    if_unmodified_since: datetime | None = None


class TaskAddOptions(Options):
    """Options of `add`."""

    __slots__ = ()


class TaskAddCollectionOptions(Options):
    """Options of `add_collection`. `timeout`: seconds for each request, repetitions included."""

    __slots__ = ()


class TaskDeleteOptions(_Conditions):
    """Options of `delete`: conditions."""

    __slots__ = ()


class TaskTerminateOptions(_Conditions):
    """Options of `terminate`: conditions."""

    __slots__ = ()


class TaskReactivateOptions(_Conditions):
    """Options of `reactivate`: conditions."""

    __slots__ = ()


class TaskUpdateOptions(_Conditions):
    """Options of `update`: conditions."""

    __slots__ = ()


@dataclass(slots=True, kw_only=True)
class TaskGetOptions(_Conditions):
    """Options of `get`: conditions, fields and statistics.

    Attributes:
        select: names of the fields that are wanted, `"id, state"`; the others are None. Default: all.
        expand: "stats": fill `stats`, too.
    """

    select: str | None = None
    expand: str | None = None


@dataclass(slots=True, kw_only=True)
class TaskListOptions(Options):
    """Options of `list`.

    Attributes:
        filter: which tasks, in OData: see `odata_to_filter`.
        select: names of the fields that are wanted, `"id, state"`; the others are None. Default: all.
        expand: "stats": fill `stats`, too.
        max_results: most tasks in one page, 1 to 1000. Default: 1000.
    """

    filter: str | None = None
    select: str | None = None
    expand: str | None = None
    max_results: int | None = None


@dataclass(slots=True, kw_only=True)
class TaskListSubtasksOptions(Options):
    """Options of `list_subtasks`. `select`: names of the fields that are wanted; the others are None. Default: all."""

    select: str | None = None


@dataclass(slots=True, kw_only=True)
class FileListFromTaskOptions(Options):
    """Options of `list_from_task`.

    Attributes:
        filter: `startswith(name, '…')`. Default: all.
        max_results: most files in one page, 1 to 1000. Default: 1000.
    """

    filter: str | None = None
    max_results: int | None = None


@dataclass(slots=True, kw_only=True)
class _FileConditions(Options):
    """Only if. Times are aware.

    Attributes:
        if_modified_since: only if the file came after this time.
        if_unmodified_since: only if it did not.
    """

    if_modified_since: datetime | None = None
    if_unmodified_since: datetime | None = None


@dataclass(slots=True, kw_only=True)
class FileGetFromTaskOptions(_FileConditions):
    """Options of `get_from_task`: conditions and a range.

    Attributes:
        ocp_range: which bytes, `bytes=FIRST-LAST` (both included) or `bytes=FIRST-`. Default: all.
    """

    ocp_range: str | None = None


class FileGetPropertiesFromTaskOptions(_FileConditions):
    """Options of `get_properties_from_task`: conditions."""

    __slots__ = ()


class FileDeleteFromTaskOptions(Options):
    """Options of `delete_from_task`."""

    __slots__ = ()


def read_options(given: object, kind: type[_Options]) -> _Options:
    """Return the options of a call, given as such an object, as a dict, or not at all.

    Raises:
        TypeError: an option that there is not, or the options of another method.
    """
    if given is None:
        return kind()
    if isinstance(given, Mapping):
        known = {field.name for field in fields(kind)}
        if unknown := sorted(set(map(str, given)) - known):
            raise TypeError(f"{kind.__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        return kind(**given)
    if not isinstance(given, kind):
        raise TypeError(f"a {kind.__name__} or dict is expected, not {type(given).__name__}")
    return given


def timeout_of(options: Options, operation_config: Mapping[str, Any], default: float) -> float:
    """Return the seconds of a call: of its operation_config, of its options, or the default.

    Raises:
        TypeError: something else in operation_config than `timeout`.
        ValueError: not a positive number.
    """
    if unknown := sorted(set(operation_config) - {"timeout"}):
        raise TypeError(f"unexpected keyword arguments {', '.join(unknown)}; possible is timeout")
    chosen = operation_config.get("timeout", options.timeout)
    if chosen is None:
        return default
    if not isinstance(chosen, (int, float)) or not chosen > 0:
        raise ValueError(f"timeout is a positive number of seconds, not {chosen!r}")
    return float(chosen)


def page_size_of(max_results: int | None) -> int:
    """Return the size of a page.

    Raises:
        ValueError: outside 1…1000.
    """
    if max_results is None:
        return MOST_RESULTS
    if not 1 <= max_results <= MOST_RESULTS:
        raise ValueError(f"max_results is from 1 to {MOST_RESULTS}, not {max_results}")
    return max_results


def expands_stats(expand: str | None) -> bool:
    """Whether statistics are wanted.

    Raises:
        ValueError: anything else is.
    """
    if expand not in {None, "stats"}:
        raise ValueError(f'expand can be "stats", not {expand!r}')
    return expand is not None


def metadata_of(custom_headers: Mapping[str, str] | None, options: Options) -> list[tuple[str, str]]:
    """Return the metadata that goes with a request.

    Raises:
        ValueError: a header that no request can carry.
    """
    headers = dict(custom_headers or {})
    if options.client_request_id is not None:
        headers["client-request-id"] = options.client_request_id
    found: list[tuple[str, str]] = []
    for given, value in headers.items():
        name = given.lower()
        if not _HEADER.fullmatch(name) or name.startswith("grpc-") or name.endswith("-bin"):
            raise ValueError(f"custom_headers: {given!r} cannot be the name of a header")
        if name in _TAKEN:
            raise ValueError(f"custom_headers: {given!r} would do nothing; conditions and ranges are options")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"custom_headers: the value of {given!r} must be printable ASCII, not {value!r}")
        found.append((name, value))
    return found
