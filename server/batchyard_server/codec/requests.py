"""What does the caller ask for? Bytes of a request → checked plain values; the only reader of request messages.

Every function raises InvalidArgument: MALFORMED_REQUEST for bytes that are no such message, else naming the field.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TypeVar

from google.longrunning import operations_pb2 as lro
from google.protobuf.message import DecodeError, Message

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard_server.codec import configuration, inputs, update
from batchyard_server.codec.configuration import Configuration, at_most, check_id, duration_us
from batchyard_server.model import limits, names
from batchyard_server.model.errors import InvalidArgument, Reason
from batchyard_server.model.names import HandlerName, OperationName, RecordName, TaskName
from batchyard_server.model.record import CURRENT_GENERATION, EVERY_GENERATION, Order, View
from batchyard_server.model.task import RequestKey

M = TypeVar("M", bound=Message)

_UUID4 = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}")
_DIGEST_VERSION = b"\x01"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTask:
    """CreateBatchTask. `task_id` is empty if the server is to choose."""

    project: str
    task_id: str
    configuration: Configuration
    inputs: inputs.Inputs
    start: bool
    validate_only: bool
    request: RequestKey | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeTask:
    """A verb on one task. `etag`: "" = whatever it is; `reason` is for Cancel."""

    name: TaskName
    request: RequestKey | None
    etag: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTask:
    """DeleteBatchTask."""

    name: TaskName
    request: RequestKey | None
    etag: str
    allow_missing: bool
    force: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateTask:
    """UpdateBatchTask."""

    name: TaskName
    request: RequestKey | None
    etag: str
    patch: update.Patch


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactivateTask:
    """ReactivateBatchTask. `everything`: scope ALL."""

    name: TaskName
    request: RequestKey | None
    etag: str
    everything: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """One page of a collection. `token` is the page or resume token, unread; `token_field` is what errors call it."""

    project: str
    size: int
    token: str
    token_field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRecords:
    """One page of a task's records, or a stream of them. `generation`: see model.record."""

    name: TaskName
    size: int
    token: str
    token_field: str
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
    token_field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitOperation:
    """WaitOperation; `seconds` is None if the request carries no timeout."""

    name: OperationName
    seconds: float | None


def parse(kind: type[M], raw: bytes) -> M:
    """`raw` as a message of `kind`."""
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise InvalidArgument(
            "", f"the request is not a valid {kind.DESCRIPTOR.full_name}", reason=Reason.MALFORMED_REQUEST
        ) from None


def create_task(raw: bytes) -> CreateTask:
    """Read CreateBatchTask."""
    request = parse(service.CreateBatchTaskRequest, raw)
    project = names.parse_project(request.parent)
    info = request.batch_task
    if request.batch_task_id:
        check_id(request.batch_task_id, limits.ID.field)
    asked = configuration.read(info)
    at_most(limits.RECORDS, len(request.records))
    start = request.start if request.HasField("start") else True
    if start and not request.records:
        raise InvalidArgument("records", "a task cannot start without records", reason=Reason.NO_RECORDS)
    return CreateTask(
        project=project,
        task_id=request.batch_task_id,
        configuration=asked,
        inputs=inputs.created_inputs(raw, request),
        start=start,
        validate_only=request.validate_only,
        request=_request_key("create", project, request),
    )


def append_records(raw: bytes) -> inputs.Append:
    """Read one message of AppendRecords."""
    return inputs.append(raw, parse(service.AppendRecordsRequest, raw))


def start_task(raw: bytes) -> ChangeTask:
    """Read StartBatchTask."""
    request = parse(service.StartBatchTaskRequest, raw)
    name = names.parse_task(request.name)
    return ChangeTask(name=name, etag=request.etag, request=_request_key("start", name.project, request))


def pause_task(raw: bytes) -> ChangeTask:
    """Read PauseBatchTask."""
    request = parse(service.PauseBatchTaskRequest, raw)
    name = names.parse_task(request.name)
    return ChangeTask(name=name, etag=request.etag, request=_request_key("pause", name.project, request))


def resume_task(raw: bytes) -> ChangeTask:
    """Read ResumeBatchTask."""
    request = parse(service.ResumeBatchTaskRequest, raw)
    name = names.parse_task(request.name)
    return ChangeTask(name=name, etag=request.etag, request=_request_key("resume", name.project, request))


def update_task(raw: bytes) -> UpdateTask:
    """Read UpdateBatchTask."""
    request = parse(service.UpdateBatchTaskRequest, raw)
    name = names.parse_task(request.batch_task.name, "batch_task.name")
    return UpdateTask(
        name=name,
        etag=request.batch_task.etag,
        patch=update.read(request),
        request=_request_key("update", name.project, request),
    )


def reactivate_task(raw: bytes) -> ReactivateTask:
    """Read ReactivateBatchTask."""
    request = parse(service.ReactivateBatchTaskRequest, raw)
    scopes = service.ReactivateBatchTaskRequest.Scope
    name = names.parse_task(request.name)
    if request.scope not in scopes.values():
        raise InvalidArgument("scope", "is not a value of ReactivateBatchTaskRequest.Scope")
    return ReactivateTask(
        name=name,
        etag=request.etag,
        everything=request.scope == scopes.ALL,
        request=_request_key("reactivate", name.project, request),
    )


def cancel_task(raw: bytes) -> ChangeTask:
    """Read CancelBatchTask."""
    request = parse(service.CancelBatchTaskRequest, raw)
    name = names.parse_task(request.name)
    at_most(limits.REASON, len(request.reason.encode()))
    key = _request_key("cancel", name.project, request)
    return ChangeTask(name=name, etag=request.etag, request=key, reason=request.reason)


def delete_task(raw: bytes) -> DeleteTask:
    """Read DeleteBatchTask."""
    request = parse(service.DeleteBatchTaskRequest, raw)
    name = names.parse_task(request.name)
    return DeleteTask(
        name=name,
        etag=request.etag,
        allow_missing=request.allow_missing,
        force=request.force,
        request=_request_key("delete", name.project, request),
    )


def get_task(raw: bytes) -> TaskName:
    """Read GetBatchTask."""
    return names.parse_task(parse(service.GetBatchTaskRequest, raw).name)


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


def list_tasks(raw: bytes) -> ListPage:
    """Read ListBatchTasks."""
    request = parse(service.ListBatchTasksRequest, raw)
    return _list_page(request.parent, "parent", request.page_size, request.page_token)


def stream_tasks(raw: bytes) -> ListPage:
    """Read StreamBatchTasks."""
    request = parse(service.StreamBatchTasksRequest, raw)
    return ListPage(
        project=names.parse_project(request.parent),
        size=_stream_page_size(request.page_size),
        token=request.resume_token,
        token_field="resume_token",  # noqa: S106 - the name of a field
    )


def list_handlers(raw: bytes) -> ListPage:
    """Read ListHandlers."""
    request = parse(service.ListHandlersRequest, raw)
    return _list_page(request.parent, "parent", request.page_size, request.page_token)


def list_operations(raw: bytes) -> ListPage:
    """Read ListOperations. Nothing is ever unreachable, so return_partial_success changes nothing."""
    request = parse(lro.ListOperationsRequest, raw)
    if request.filter:
        raise InvalidArgument("filter", "is not supported by this server")
    return _list_page(request.name, "name", request.page_size, request.page_token)


def list_records(raw: bytes) -> ListRecords:
    """Read ListRecords."""
    request = parse(service.ListRecordsRequest, raw)
    return ListRecords(
        name=names.parse_task(request.parent, "parent"),
        size=_page_size(request.page_size),
        token=request.page_token,
        token_field="page_token",  # noqa: S106
        order=_order(request.order),
        view=_view(request.view, View.BASIC),
        generation=_generation(request.generation, request.order),
    )


def stream_records(raw: bytes) -> ListRecords:
    """Read StreamRecords."""
    request = parse(service.StreamRecordsRequest, raw)
    return ListRecords(
        name=names.parse_task(request.parent, "parent"),
        size=_stream_page_size(request.page_size),
        token=request.resume_token,
        token_field="resume_token",  # noqa: S106
        order=_order(request.order),
        view=_view(request.view, View.BASIC),
        generation=_generation(request.generation, request.order),
    )


def list_attempts(raw: bytes) -> ListAttempts:
    """Read ListRecordAttempts."""
    request = parse(service.ListRecordAttemptsRequest, raw)
    return ListAttempts(
        name=names.parse_record(request.parent, "parent"),
        size=_page_size(request.page_size),
        token=request.page_token,
        token_field="page_token",  # noqa: S106
    )


def get_operation(raw: bytes) -> OperationName:
    """Read GetOperation."""
    return names.parse_operation(parse(lro.GetOperationRequest, raw).name)


def cancel_operation(raw: bytes) -> OperationName:
    """Read CancelOperation."""
    return names.parse_operation(parse(lro.CancelOperationRequest, raw).name)


def delete_operation(raw: bytes) -> OperationName:
    """Read DeleteOperation."""
    return names.parse_operation(parse(lro.DeleteOperationRequest, raw).name)


def wait_operation(raw: bytes) -> WaitOperation:
    """Read WaitOperation."""
    request = parse(lro.WaitOperationRequest, raw)
    seconds = duration_us(request.timeout, "timeout") / 1e6 if request.HasField("timeout") else None
    if seconds is not None and seconds < 0:
        raise InvalidArgument("timeout", "must not be negative")
    return WaitOperation(name=names.parse_operation(request.name), seconds=seconds)


def _list_page(parent: str, parent_field: str, size: int, token: str) -> ListPage:
    return ListPage(
        project=names.parse_project(parent, parent_field),
        size=_page_size(size),
        token=token,
        token_field="page_token",  # noqa: S106
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


def _request_key(verb: str, project: str, request: Message) -> RequestKey | None:
    """Identity of the call (AIP-155): what it asks for, whatever the order in which its maps were filled."""
    request_id: str = getattr(request, "request_id")  # noqa: B009 - Message does not declare it
    if not request_id:
        return None
    if _UUID4.fullmatch(request_id) is None:
        raise InvalidArgument("request_id", "must be a UUID4")
    request.ClearField("request_id")
    content = request.SerializeToString(deterministic=True)
    digest = hashlib.sha256(b"%b%b\0%b" % (_DIGEST_VERSION, verb.encode(), content)).digest()
    return RequestKey(project=project, request_id=request_id.lower(), digest=digest)
