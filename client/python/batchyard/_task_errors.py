"""What do errors look like to users of the task operations? Codes of the seed's service over our own errors.

The error of ours is always the `__cause__`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc

from batchyard._errors import BatchyardError, RpcError

if TYPE_CHECKING:
    from collections.abc import Mapping

_Code = grpc.StatusCode
# gRPC code -> (HTTP status, code of the error), where no reason below says it better.
_BY_CODE: Final = {
    _Code.INVALID_ARGUMENT: (400, "InvalidPropertyValue"),
    _Code.NOT_FOUND: (404, "ResourceNotFound"),
    _Code.ALREADY_EXISTS: (409, "TaskExists"),
    _Code.FAILED_PRECONDITION: (409, "OperationInvalidForCurrentState"),
    _Code.ABORTED: (409, "OperationInvalidForCurrentState"),
    _Code.OUT_OF_RANGE: (416, "InvalidRange"),
    _Code.RESOURCE_EXHAUSTED: (429, "TooManyRequests"),
    _Code.UNAUTHENTICATED: (401, "AuthenticationFailed"),
    _Code.PERMISSION_DENIED: (403, "InsufficientAccountPermissions"),
    _Code.DEADLINE_EXCEEDED: (500, "OperationTimedOut"),
    _Code.UNAVAILABLE: (503, "ServerBusy"),
}
_BY_REASON: Final = {
    "TASK_COMPLETED": (409, "TaskCompleted"),
    "TASK_NOT_COMPLETED": (409, "TaskNotCompleted"),
    "TASK_SUCCEEDED": (409, "TaskSucceeded"),
    "PROJECT_CLOSED": (409, "JobCompleted"),
    "PROJECT_DELETING": (409, "JobBeingDeleted"),
    "ETAG_MISMATCH": (412, "ConditionNotMet"),
    "INVALID_FILTER": (400, "InvalidQueryParameterValue"),
    "DISK_FULL": (503, "ServerBusy"),
    "ARTIFACT_DAMAGED": (409, "TaskFilesUnavailable"),
}
_BY_MISSING: Final = {
    "batchyard.dev/BatchTask": (404, "TaskNotFound"),
    "batchyard.dev/Project": (404, "JobNotFound"),
    "batchyard.dev/Handler": (404, "HandlerNotFound"),
    "batchyard.dev/Artifact": (404, "FileNotFound"),
    "batchyard.dev/Record": (404, "FileNotFound"),
}
TOO_LARGE: Final = (413, "RequestBodyTooLarge")


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """Text for people. `lang`: its language."""

    value: str
    lang: str = "en-US"


@dataclass(frozen=True, slots=True)
class BatchErrorDetail:
    """One more fact about an error."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class BatchError:
    """An error as the seed's service words it.

    Attributes:
        code: such as "TaskExists"; scripts compare it.
        message: text for people.
        values: further facts: `reason` (name of our `ErrorReason`), its metadata, and the fields refused.
    """

    code: str
    message: ErrorMessage
    values: Sequence[BatchErrorDetail] = ()


@dataclass(frozen=True, slots=True)
class Response:
    """What stands for an HTTP response. `status_code`: the one that the seed's service would have answered with."""

    status_code: int
    headers: Mapping[str, str]


class BatchErrorException(BatchyardError):
    """A call was refused or failed.

    Attributes:
        error: code, message and further facts.
        status_code: HTTP status that stands for it; 304 and 412 for a condition that does not hold.
        response: the same as an object, as scripts know it.
        message: the text alone.
    """

    def __init__(self, error: BatchError, status_code: int) -> None:
        self.error = error
        self.status_code = status_code
        self.response = Response(status_code, {})
        self.message = error.message.value
        super().__init__(f"{error.code}: {error.message.value}")


class NotModified(BatchErrorException):
    """A get with a condition: the task has not changed, so it is not answered (304, "ConditionNotMet")."""


class CreateTasksErrorException(BatchyardError):
    """Not every task of a collection was added.

    Attributes:
        results: `TaskAddResult`s of those that were added, or were there already; in the order given.
        failure_tasks: `TaskAddResult`s of those that were refused, each with its error; in the order given.
        pending_tasks: those that were not decided, since a whole request failed; in the order given.
        errors: the errors of those requests.
    """

    def __init__(
        self,
        pending_tasks: Sequence[Any] = (),
        failure_tasks: Sequence[Any] = (),
        errors: Sequence[Exception] = (),
        results: Sequence[Any] = (),
    ) -> None:
        self.pending_tasks = list(pending_tasks)
        self.failure_tasks = list(failure_tasks)
        self.errors = list(errors)
        self.results = list(results)
        super().__init__(self._text())

    def _text(self) -> str:
        parts = [f"{task.task_id}: {task.error.code}: {task.error.message.value}" for task in self.failure_tasks[:3]]
        parts += [str(error) for error in self.errors[:3]]
        counts = f"{len(self.results)} added, {len(self.failure_tasks)} refused, {len(self.pending_tasks)} pending"
        return f"{counts}; " + "; ".join(parts)


def refused(status_code: int, code: str, text: str) -> BatchErrorException:
    """Return the exception for what the client itself refuses."""
    kind = NotModified if status_code == 304 else BatchErrorException
    return kind(BatchError(code, ErrorMessage(text)), status_code)


def translated(error: RpcError) -> BatchErrorException:
    """Return the exception that stands for an error of ours; raise it `from` that one."""
    status, code = _kind(error)
    values = [BatchErrorDetail("reason", error.reason)] if error.reason else []
    values += [BatchErrorDetail(key, value) for key, value in error.metadata.items()]
    values += [BatchErrorDetail(field.field, field.description) for field in error.detail.field_violations]
    return BatchErrorException(BatchError(code, ErrorMessage(error.message), values), status)


def is_too_large(error: RpcError) -> bool:
    """Whether a call was refused for the size of its message: by gRPC, without a reason, unlike a quota; or by us."""
    if error.code is _Code.RESOURCE_EXHAUSTED:
        return not error.reason
    return error.reason == "INVALID_FIELD" and any(not violation.field for violation in error.detail.field_violations)


def _kind(error: RpcError) -> tuple[int, str]:
    if is_too_large(error):
        return TOO_LARGE
    if error.code is _Code.NOT_FOUND and error.detail.resource_type in _BY_MISSING:
        return _BY_MISSING[error.detail.resource_type]
    return _BY_REASON.get(error.reason) or _BY_CODE.get(error.code, (500, "InternalError"))
