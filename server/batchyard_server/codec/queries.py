"""What does the caller want to see? Bytes of a request that only reads → checked plain values.

Every function raises InvalidArgument: MALFORMED_REQUEST for bytes that are no such message, else naming the field.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.longrunning import operations_pb2 as lro

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard_server.codec.configuration import at_most, duration_us
from batchyard_server.codec.parts import parse
from batchyard_server.model import limits, names
from batchyard_server.model.errors import InvalidArgument
from batchyard_server.model.names import ArtifactName, HandlerName, OperationName, RecordName, TaskName
from batchyard_server.model.record import CURRENT_GENERATION, EVERY_GENERATION, Order, View


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """One page of a collection. `token` is the page or resume token, unread; `token_field` is what errors call it."""

    project: str
    size: int
    token: str
    token_field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOperations:
    """One page of the operations of a project. `filter` is not read yet."""

    project: str
    size: int
    token: str
    filter: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTasks:
    """One page of the tasks of a project, or a stream of them. `filter` and `order_by` are not read yet."""

    project: str
    size: int
    token: str
    token_field: str
    filter: str
    order_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRecords:
    """One page of a task's records, or a stream of them. `filter`: unread. `generation`: see model.record."""

    name: TaskName
    size: int
    token: str
    token_field: str
    filter: str
    order: Order
    view: View
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRecord:
    """GetRecord. `generation`: CURRENT_GENERATION or the number of one, which may not exist."""

    name: RecordName
    view: View
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAttempts:
    """One page of a record's attempts."""

    name: RecordName
    size: int
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSubtasks:
    """One page of a task's subtasks."""

    name: TaskName
    size: int
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchTask:
    """WatchBatchTask. `view`: of the outcomes; None = they are not wanted."""

    name: TaskName
    token: str
    view: View | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchTasks:
    """WatchBatchTasks. `view`: of the outcomes; None = they are not wanted. `filter` is not read yet."""

    project: str
    token: str
    view: View | None
    filter: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListArtifacts:
    """One page of the artifacts of a task; `index`: of that record alone."""

    name: TaskName
    index: int | None
    prefix: str
    size: int
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadArtifact:
    """ReadArtifact. `limit` 0 = to the end."""

    name: ArtifactName
    offset: int
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitOperation:
    """WaitOperation; `seconds` is None if the request carries no timeout."""

    name: OperationName
    seconds: float | None


def get_task(raw: bytes) -> TaskName:
    """Read GetBatchTask."""
    return names.parse_task(parse(service.GetBatchTaskRequest, raw).name)


def get_task_counts(raw: bytes) -> str:
    """Read GetBatchTaskCounts: the project."""
    return names.parse_counts(parse(service.GetBatchTaskCountsRequest, raw).name)


def get_record(raw: bytes) -> GetRecord:
    """Read GetRecord; the default view is FULL."""
    request = parse(service.GetRecordRequest, raw)
    name = names.parse_record(request.name)
    if request.generation < CURRENT_GENERATION:
        raise InvalidArgument("generation", "must not be negative: one record is read as it was in one generation")
    return GetRecord(name=name, view=_view(request.view, View.FULL), generation=request.generation)


def get_handler(raw: bytes) -> HandlerName:
    """Read GetHandler."""
    return names.parse_handler(parse(service.GetHandlerRequest, raw).name)


def list_tasks(raw: bytes) -> ListTasks:
    """Read ListBatchTasks."""
    request = parse(service.ListBatchTasksRequest, raw)
    return _tasks(request, _page_size(request.page_size), request.page_token, "page_token")


def stream_tasks(raw: bytes) -> ListTasks:
    """Read StreamBatchTasks."""
    request = parse(service.StreamBatchTasksRequest, raw)
    return _tasks(request, _stream_page_size(request.page_size), request.resume_token, "resume_token")


def list_handlers(raw: bytes) -> ListPage:
    """Read ListHandlers."""
    request = parse(service.ListHandlersRequest, raw)
    return _list_page(request.parent, "parent", request.page_size, request.page_token)


def list_operations(raw: bytes) -> ListOperations:
    """Read ListOperations. Nothing is ever unreachable, so return_partial_success changes nothing."""
    request = parse(lro.ListOperationsRequest, raw)
    return ListOperations(
        project=names.parse_project(request.name, "name"),
        size=_page_size(request.page_size),
        token=request.page_token,
        filter=request.filter,
    )


def list_subtasks(raw: bytes) -> ListSubtasks:
    """Read ListSubtasks."""
    request = parse(service.ListSubtasksRequest, raw)
    name = names.parse_task(request.parent, "parent")
    return ListSubtasks(name=name, size=_page_size(request.page_size), token=request.page_token)


def list_records(raw: bytes) -> ListRecords:
    """Read ListRecords."""
    request = parse(service.ListRecordsRequest, raw)
    name = names.parse_task(request.parent, "parent")
    return _records(request, name, _page_size(request.page_size), request.page_token, "page_token")


def stream_records(raw: bytes) -> ListRecords:
    """Read StreamRecords."""
    request = parse(service.StreamRecordsRequest, raw)
    name = names.parse_task(request.parent, "parent")
    return _records(request, name, _stream_page_size(request.page_size), request.resume_token, "resume_token")


def list_attempts(raw: bytes) -> ListAttempts:
    """Read ListRecordAttempts."""
    request = parse(service.ListRecordAttemptsRequest, raw)
    name = names.parse_record(request.parent, "parent")
    return ListAttempts(name=name, size=_page_size(request.page_size), token=request.page_token)


def watch_task(raw: bytes) -> WatchTask:
    """Read WatchBatchTask."""
    request = parse(service.WatchBatchTaskRequest, raw)
    return WatchTask(name=names.parse_task(request.name), token=request.resume_token, view=_watched_view(request))


def watch_tasks(raw: bytes) -> WatchTasks:
    """Read WatchBatchTasks."""
    request = parse(service.WatchBatchTasksRequest, raw)
    project = names.parse_project(request.parent)
    view = _watched_view(request)
    return WatchTasks(project=project, token=request.resume_token, view=view, filter=request.filter)


def list_artifacts(raw: bytes) -> ListArtifacts:
    """Read ListArtifacts."""
    request = parse(service.ListArtifactsRequest, raw)
    name, index = names.parse_records(request.parent)
    at_most(limits.ARTIFACT_PREFIX, len(request.prefix.encode()))
    return ListArtifacts(
        name=name,
        index=index,
        prefix=request.prefix,
        size=_page_size(request.page_size),
        token=request.page_token,
    )


def get_artifact(raw: bytes) -> ArtifactName:
    """Read GetArtifact."""
    return names.parse_artifact(parse(service.GetArtifactRequest, raw).name)


def read_artifact(raw: bytes) -> ReadArtifact:
    """Read ReadArtifact."""
    request = parse(service.ReadArtifactRequest, raw)
    for field, value in (("offset", request.offset), ("limit", request.limit)):
        if value < 0:
            raise InvalidArgument(field, "must not be negative")
    return ReadArtifact(name=names.parse_artifact(request.name), offset=request.offset, limit=request.limit)


def get_operation(raw: bytes) -> OperationName:
    """Read GetOperation."""
    return names.parse_operation(parse(lro.GetOperationRequest, raw).name)


def wait_operation(raw: bytes) -> WaitOperation:
    """Read WaitOperation."""
    request = parse(lro.WaitOperationRequest, raw)
    seconds = duration_us(request.timeout, "timeout") / 1e6 if request.HasField("timeout") else None
    if seconds is not None and seconds < 0:
        raise InvalidArgument("timeout", "must not be negative")
    return WaitOperation(name=names.parse_operation(request.name), seconds=seconds)


def _tasks(
    request: service.ListBatchTasksRequest | service.StreamBatchTasksRequest, size: int, token: str, token_field: str
) -> ListTasks:
    return ListTasks(
        project=names.parse_project(request.parent),
        size=size,
        token=token,
        token_field=token_field,
        filter=request.filter,
        order_by=request.order_by,
    )


def _list_page(parent: str, parent_field: str, size: int, token: str) -> ListPage:
    return ListPage(
        project=names.parse_project(parent, parent_field),
        size=_page_size(size),
        token=token,
        token_field="page_token",  # noqa: S106
    )


def _records(
    request: service.ListRecordsRequest | service.StreamRecordsRequest,
    name: TaskName,
    size: int,
    token: str,
    token_field: str,
) -> ListRecords:
    return ListRecords(
        name=name,
        size=size,
        token=token,
        token_field=token_field,
        filter=request.filter,
        order=_order(request.order),
        view=_view(request.view, View.BASIC),
        generation=_generation(request.generation, request.order),
    )


def _page_size(size: int, default: int = limits.DEFAULT_PAGE_SIZE, limit: limits.Limit = limits.PAGE_SIZE) -> int:
    if size < 0:
        raise InvalidArgument(limit.field, "must not be negative")
    return min(size or default, limit.maximum)


def _stream_page_size(size: int) -> int:
    return _page_size(size, limits.STREAM_PAGE_SIZE.maximum, limits.STREAM_PAGE_SIZE)


def _order(value: int) -> Order:
    if value not in (0, *Order):
        raise InvalidArgument("order", "is not a value of RecordInfo.Order")
    return Order(value or Order.INDEX)


def _generation(value: int, order: int) -> int:
    if value < EVERY_GENERATION:
        raise InvalidArgument("generation", "is neither a generation, nor 0 for the current one, nor -1 for all")
    if value == EVERY_GENERATION and order != Order.COMPLETION:
        raise InvalidArgument("generation", "all of them are listed in order COMPLETION only")
    return value


def _view(value: int, default: View) -> View:
    if value not in (0, *View):
        raise InvalidArgument("view", "is not a value of RecordInfo.View")
    return View(value or default)


def _watched_view(request: service.WatchBatchTaskRequest | service.WatchBatchTasksRequest) -> View | None:
    view = _view(request.view, View.BASIC)
    if request.view and not request.include_records:
        raise InvalidArgument("view", "is for records: set include_records")
    return view if request.include_records else None
