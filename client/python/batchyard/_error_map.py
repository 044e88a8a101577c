"""Which exception stands for which gRPC code and `ErrorReason`, and how a `google.rpc.Status` is read.

The table knows every value of `batchyard.v1.ErrorReason`; a test walks the enum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from batchyard import _artifact_errors, _errors, _filter_errors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.any_pb2 import Any as AnyMessage
    from google.protobuf.message import Message
    from google.rpc.status_pb2 import Status

DOMAIN: Final = "batchyard.dev"
_StatusCode = grpc.StatusCode

BY_CODE: Final[dict[grpc.StatusCode, type[_errors.RpcError]]] = {
    _StatusCode.CANCELLED: _errors.CallCancelledError,
    _StatusCode.UNKNOWN: _errors.UnknownError,
    _StatusCode.INVALID_ARGUMENT: _errors.InvalidArgumentError,
    _StatusCode.DEADLINE_EXCEEDED: _errors.DeadlineExceededError,
    _StatusCode.NOT_FOUND: _errors.NotFoundError,
    _StatusCode.ALREADY_EXISTS: _errors.AlreadyExistsError,
    _StatusCode.PERMISSION_DENIED: _errors.PermissionDeniedError,
    _StatusCode.RESOURCE_EXHAUSTED: _errors.ResourceExhaustedError,
    _StatusCode.FAILED_PRECONDITION: _errors.FailedPreconditionError,
    _StatusCode.ABORTED: _errors.AbortedError,
    _StatusCode.OUT_OF_RANGE: _errors.OutOfRangeError,
    _StatusCode.UNIMPLEMENTED: _errors.UnimplementedError,
    _StatusCode.INTERNAL: _errors.InternalError,
    _StatusCode.UNAVAILABLE: _errors.UnavailableError,
    _StatusCode.DATA_LOSS: _errors.DataLossError,
    _StatusCode.UNAUTHENTICATED: _errors.UnauthenticatedError,
}


_NUMBERED: Final = {code.value[0]: code for code in _StatusCode}


class _NoRecordsToCreateError(_errors.NoRecordsError, _errors.InvalidArgumentError):
    """NO_RECORDS of a create that starts; caught as either of its bases."""


class _NoRecordsToStartError(_errors.NoRecordsError, _errors.FailedPreconditionError):
    """NO_RECORDS of a start or a reactivation; caught as either of its bases."""


class _CancelledNotReapedError(_errors.ProcessNotReapedError, _errors.BatchTaskCancelled):
    """PROCESS_NOT_REAPED of a cancelled task; caught as either of its bases."""


# Reasons of a failed call. Two classes where one reason comes with two codes.
BY_RPC_REASON: Final[dict[str, tuple[type[_errors.RpcError], ...]]] = {
    "INVALID_FIELD": (_errors.InvalidFieldError,),
    "MALFORMED_REQUEST": (_errors.MalformedRequestError,),
    "INVALID_TOKEN": (_errors.InvalidTokenError,),
    "INVALID_FILTER": (_filter_errors.InvalidFilterError,),
    "INVALID_ORDER_BY": (_filter_errors.InvalidOrderByError,),
    "NO_RECORDS": (_NoRecordsToCreateError, _NoRecordsToStartError),
    "DUPLICATE_RECORD_ID": (_errors.DuplicateRecordIdError,),
    "RESOURCE_NOT_FOUND": (_errors.ResourceNotFoundError,),
    "RESOURCE_EXISTS": (_errors.ResourceExistsError,),
    "REQUEST_ID_REUSED": (_errors.RequestIdReusedError,),
    "ILLEGAL_STATE": (_errors.IllegalStateError,),
    "TASK_COMPLETED": (_errors.TaskCompletedError,),
    "TASK_NOT_COMPLETED": (_errors.TaskNotCompletedError,),
    "TASK_SUCCEEDED": (_errors.TaskSucceededError,),
    "ETAG_MISMATCH": (_errors.EtagMismatchError,),
    "OFFSET_BEYOND_END": (_artifact_errors.OffsetBeyondEndError,),
    "ARTIFACT_DAMAGED": (_artifact_errors.ArtifactDamagedError,),
    "OPERATION_NOT_DONE": (_errors.OperationNotDoneError,),
    "INDEX_MISMATCH": (_errors.IndexMismatchError,),
    "RESUME_TOKEN_EXPIRED": (_errors.ResumeTokenExpiredError,),
    "APPEND_IN_PROGRESS": (_errors.AppendInProgressError,),
    "DISK_FULL": (_errors.DiskFullError,),
    "STORE_UNAVAILABLE": (_errors.StoreUnavailableError,),
    "DRAINING": (_errors.DrainingError,),
    "INTERNAL_ERROR": (_errors.ServerFaultError,),
}

# Reasons of a task's error.
BY_TASK_REASON: Final[dict[str, type[_errors.BatchTaskError]]] = {
    "ALL_RECORDS_FAILED": _errors.AllRecordsFailedError,
    "TASK_CANCELLED": _errors.BatchTaskCancelled,
    "PROCESS_NOT_REAPED": _errors.ProcessNotReapedError,
    "FAILURE_POLICY": _errors.FailurePolicyError,
    "WALL_CLOCK_EXCEEDED": _errors.WallClockExceededError,
    "TASK_LIFETIME_EXCEEDED": _errors.TaskLifetimeExceededError,
}

# Reasons of a record's error.
BY_RECORD_REASON: Final[dict[str, type[_errors.RecordFailedError]]] = {
    "HANDLER_EXCEPTION": _errors.HandlerExceptionError,
    "RECORD_ERROR": _errors.HandlerRecordError,
    "INPUT_NOT_JSON": _errors.InputNotJsonError,
    "INVALID_PLACEHOLDER": _errors.InvalidPlaceholderError,
    "OUTPUT_NOT_SERIALIZABLE": _errors.OutputNotSerializableError,
    "OUTPUT_TOO_LARGE": _errors.OutputTooLargeError,
    "RECORD_TIMEOUT": _errors.RecordTimeoutError,
    "WORKER_LOST": _errors.WorkerLostError,
    "NONZERO_EXIT": _errors.NonzeroExitError,
    "COMMAND_NOT_STARTED": _errors.CommandNotStartedError,
}


def unpack_any(packed: AnyMessage) -> Message | None:
    """Return the message inside, None if this process does not know its type or the bytes are not of it."""
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(packed.TypeName())
        message = message_factory.GetMessageClass(descriptor)()
        return message if packed.Unpack(message) else None
    except (KeyError, DecodeError):
        return None


def read_details(details: Iterable[AnyMessage]) -> _errors.ErrorDetail:
    """Read the details of a `google.rpc.Status`; unknown ones are left out."""
    reason, metadata, resource_type, resource_name, delay = "", {}, "", "", None
    violations: list[_errors.FieldViolation] = []
    messages: list[Message] = []
    for packed in details:
        message = unpack_any(packed)
        if message is None:
            continue
        messages.append(message)
        if isinstance(message, error_details_pb2.ErrorInfo):
            if message.domain == DOMAIN and not reason:
                reason, metadata = message.reason, dict(message.metadata)
        elif isinstance(message, error_details_pb2.BadRequest):
            violations += [_errors.FieldViolation(v.field, v.description) for v in message.field_violations]
        elif isinstance(message, error_details_pb2.ResourceInfo):
            resource_type, resource_name = message.resource_type, message.resource_name
        elif isinstance(message, error_details_pb2.RetryInfo):
            delay = message.retry_delay.seconds + message.retry_delay.nanos / 1e9
    return _errors.ErrorDetail(reason, metadata, violations, resource_type, resource_name, delay, messages)


def rpc_error(error: grpc.RpcError) -> _errors.RpcError:
    """Translate what grpc raised into the exception for its code and reason."""
    call = cast("grpc.Call", error)  # every RpcError of a finished call is its call too
    code = call.code()
    text = call.details() or ""
    try:
        status = rpc_status.from_call(call)
    except ValueError:  # trailers that contradict the call's own code: believe the call
        status = None
    detail = read_details(status.details) if status is not None else _errors.ErrorDetail()
    return rpc_error_class(code, detail.reason)(code, text, detail)


def status_error(status: Status) -> _errors.RpcError:
    """Make the exception for a call that was one of many: its status is part of their answer."""
    detail = read_details(status.details)
    code = _NUMBERED.get(status.code, _StatusCode.UNKNOWN)
    return rpc_error_class(code, detail.reason)(code, status.message, detail)


def rpc_error_class(code: grpc.StatusCode, reason: str) -> type[_errors.RpcError]:
    """Return the class for a failed call: by reason if it fits the code, else by code."""
    base = BY_CODE.get(code, _errors.RpcError)
    for candidate in BY_RPC_REASON.get(reason, ()):
        if issubclass(candidate, base):
            return candidate
    return base


def record_error(status: Status, index: int = -1, record_id: str = "") -> _errors.RecordFailedError:
    """Make the exception for the error of one record."""
    detail = read_details(status.details)
    kind = BY_RECORD_REASON.get(detail.reason, _errors.RecordFailedError)
    return kind(status.code, status.message, detail, index, record_id)


def task_error_class(code: int, reason: str) -> type[_errors.BatchTaskError]:
    """Return the class for a task that ended with this error; CANCELLED (1) always is BatchTaskCancelled."""
    if code == _StatusCode.CANCELLED.value[0]:
        return _CancelledNotReapedError if reason == "PROCESS_NOT_REAPED" else _errors.BatchTaskCancelled
    return BY_TASK_REASON.get(reason, _errors.BatchTaskError)
