"""What does the caller ask for? Bytes of a request → checked plain values; the only reader of request messages.

Every function raises InvalidArgument: MALFORMED_REQUEST for bytes that are no such message, else naming the field.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from google.longrunning import operations_pb2 as lro
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.codec import inputs
from batchyard_server.model import limits, names
from batchyard_server.model.errors import InvalidArgument, Reason
from batchyard_server.model.names import HandlerName, OperationName, RecordName, TaskName
from batchyard_server.model.record import Order, View
from batchyard_server.model.task import RequestKey

M = TypeVar("M", bound=Message)

_UUID4 = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}")
_LABEL_KEY = re.compile(rf"[a-z][a-z0-9_.-]{{0,{limits.LABEL_KEY.maximum - 1}}}")
_DIGEST_VERSION = b"\x01"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTask:
    """CreateBatchTask. `task_id` is empty if the server is to choose; `parameters` is a serialized Payload or b""."""

    project: str
    task_id: str
    handler: str
    display_name: str
    labels: Mapping[str, str]
    parameters: bytes
    record_timeout_us: int
    inputs: inputs.Inputs
    start: bool
    validate_only: bool
    request: RequestKey | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeTask:
    """StartBatchTask, CancelBatchTask, DeleteBatchTask; `reason` is for Cancel."""

    name: TaskName
    request: RequestKey | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """One page of a collection. `token` is the page or resume token, unread; `token_field` is what errors call it."""

    project: str
    size: int
    token: str
    token_field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRecords:
    """One page of a task's records, or a stream of them."""

    name: TaskName
    size: int
    token: str
    token_field: str
    order: Order
    view: View


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
        _id(request.batch_task_id, limits.ID.field)
    _id(info.handler, "batch_task.handler")
    _at_most(limits.DISPLAY_NAME, len(info.display_name.encode()))
    _at_most(limits.RECORDS, len(request.records))
    start = request.start if request.HasField("start") else True
    if start and not request.records:
        raise InvalidArgument("records", "a task cannot start without records", reason=Reason.NO_RECORDS)
    return CreateTask(
        project=project,
        task_id=request.batch_task_id,
        handler=info.handler,
        display_name=info.display_name,
        labels=_labels(info),
        parameters=_parameters(info),
        record_timeout_us=_record_timeout(info),
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
    return ChangeTask(name=name, request=_request_key("start", name.project, request))


def cancel_task(raw: bytes) -> ChangeTask:
    """Read CancelBatchTask."""
    request = parse(service.CancelBatchTaskRequest, raw)
    name = names.parse_task(request.name)
    _at_most(limits.REASON, len(request.reason.encode()))
    return ChangeTask(name=name, request=_request_key("cancel", name.project, request), reason=request.reason)


def delete_task(raw: bytes) -> ChangeTask:
    """Read DeleteBatchTask."""
    request = parse(service.DeleteBatchTaskRequest, raw)
    name = names.parse_task(request.name)
    return ChangeTask(name=name, request=_request_key("delete", name.project, request))


def get_task(raw: bytes) -> TaskName:
    """Read GetBatchTask."""
    return names.parse_task(parse(service.GetBatchTaskRequest, raw).name)


def get_record(raw: bytes) -> tuple[RecordName, View]:
    """Read GetRecord; the default view is FULL."""
    request = parse(service.GetRecordRequest, raw)
    return names.parse_record(request.name), _view(request.view, View.FULL)


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
    seconds = _duration_us(request.timeout, "timeout") / 1e6 if request.HasField("timeout") else None
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


def _view(value: int, default: View) -> View:
    if value not in (0, *View):
        raise InvalidArgument("view", "is not a value of RecordInfo.View")
    return View(value or default)


def _id(text: str, field: str) -> None:
    if names.ID.fullmatch(text) is None:
        raise InvalidArgument(field, f"must be {names.ID.pattern}")


def _at_most(limit: limits.Limit, size: int) -> None:
    if size > limit.maximum:
        raise InvalidArgument(limit.field, f"has {size} {limit.unit}, at most {limit.maximum} are allowed")


def _labels(info: BatchTaskInfo) -> Mapping[str, str]:
    if not info.labels:
        return {}
    labels = dict(info.labels)
    _at_most(limits.LABELS, len(labels))
    for key, value in labels.items():
        if _LABEL_KEY.fullmatch(key) is None:
            raise InvalidArgument(limits.LABEL_KEY.field, f"a key must be {_LABEL_KEY.pattern}", metadata={"key": key})
        if len(value.encode()) > limits.LABEL_VALUE.maximum:
            raise InvalidArgument(
                limits.LABEL_VALUE.field,
                f"the value of {key} is longer than {limits.LABEL_VALUE.maximum} bytes",
                metadata={"key": key},
            )
    return labels


def _parameters(info: BatchTaskInfo) -> bytes:
    if not info.HasField("parameters"):
        return b""
    content_type = len(info.parameters.content_type.encode())
    if content_type > limits.CONTENT_TYPE.maximum:
        raise InvalidArgument(
            "batch_task.parameters.content_type",
            f"has {content_type} bytes, at most {limits.CONTENT_TYPE.maximum} are allowed",
        )
    parameters = info.parameters.SerializeToString()
    _at_most(limits.PARAMETERS, len(parameters))
    return parameters


def _record_timeout(info: BatchTaskInfo) -> int:
    if not (info.HasField("constraints") and info.constraints.HasField("record_timeout")):
        return 0
    limit = limits.RECORD_TIMEOUT
    micros = _duration_us(info.constraints.record_timeout, limit.field)
    if not limit.minimum <= micros <= limit.maximum:
        raise InvalidArgument(
            limit.field, f"must be from {limit.minimum // 1000} ms to {limit.maximum // 86_400_000_000} days"
        )
    return micros


def _duration_us(duration: Duration, field: str) -> int:
    """Microseconds, of which a part is rounded up, so that a bound is not passed unseen."""
    seconds, nanos = duration.seconds, duration.nanos
    if abs(seconds) > 315_576_000_000 or abs(nanos) > 999_999_999 or seconds * nanos < 0:
        raise InvalidArgument(field, "is not a valid google.protobuf.Duration")
    return -((-seconds * 1_000_000_000 - nanos) // 1000)


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
