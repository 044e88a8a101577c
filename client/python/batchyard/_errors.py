"""What can go wrong, as exceptions.

    BatchyardError
    ├── RpcError                      a call failed: one class per gRPC code
    │   ├── InvalidArgumentError      … and below it one per `ErrorReason`
    │   └── …
    ├── WaitTimeoutError              the client stopped waiting; the task goes on
    ├── WrongOperationStatusError     a result was asked for before the end
    ├── BatchTaskError                the task ended FAILED
    │   └── …                         one class per `ErrorReason` of a task
    ├── BatchTaskCancelled            the task ended CANCELLED
    └── RecordFailedError             one record failed: one class per `ErrorReason` below it

A failed *call* is an `RpcError`; failed *work* is never one. `_error_map` chooses the class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.message import Message

    from batchyard._operation_status import OperationStatus
    from batchyard._status import OperationErrorInfo


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that the server refused (`google.rpc.BadRequest`)."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """What a `google.rpc.Status` says beyond code and message.

    Attributes:
        reason: name of an `ErrorReason`; empty if the error was not made by Batchyard.
        metadata: further facts, by `ErrorInfo.metadata` key.
        field_violations: the fields refused.
        resource_type: type of the resource that is missing or exists, e.g. `batchyard.dev/BatchTask`.
        resource_name: its name.
        retry_delay: seconds after which the server wants to be asked again; None if it does not say.
        messages: every detail that this process knows the type of, unpacked.
    """

    reason: str = ""
    metadata: Mapping[str, str] | None = None
    field_violations: Sequence[FieldViolation] = ()
    resource_type: str = ""
    resource_name: str = ""
    retry_delay: float | None = None
    messages: Sequence[Message] = ()


class BatchyardError(Exception):
    """Everything that this package raises on purpose, but for bad arguments (ValueError, TypeError)."""


class RpcError(BatchyardError):
    """A call failed.

    Attributes:
        code: the gRPC code.
        message: the server's (or the transport's) text.
        detail: the parsed details; `reason` and `metadata` are shortcuts into it.
    """

    def __init__(self, code: grpc.StatusCode, message: str, detail: ErrorDetail | None = None) -> None:
        self.code = code
        self.message = message
        self.detail = detail or ErrorDetail()
        super().__init__(f"{code.name}: {message}")

    @property
    def reason(self) -> str:
        """Name of the `ErrorReason`, empty if the error was not made by Batchyard."""
        return self.detail.reason

    @property
    def metadata(self) -> Mapping[str, str]:
        """Facts beside the reason, such as `state` and `verb` of ILLEGAL_STATE."""
        return self.detail.metadata or {}


class CallCancelledError(RpcError):
    """CANCELLED: the call, not the task, was cancelled."""


class UnknownError(RpcError):
    """UNKNOWN."""


class InvalidArgumentError(RpcError):
    """INVALID_ARGUMENT: the request can never succeed; `detail.field_violations` names the fields."""


class DeadlineExceededError(RpcError, TimeoutError):
    """DEADLINE_EXCEEDED: no answer within the call's `timeout`."""


class NotFoundError(RpcError):
    """NOT_FOUND: `detail.resource_name` does not exist."""


class AlreadyExistsError(RpcError):
    """ALREADY_EXISTS."""


class PermissionDeniedError(RpcError):
    """PERMISSION_DENIED."""


class ResourceExhaustedError(RpcError):
    """RESOURCE_EXHAUSTED: a size, a quota or the disk."""


class FailedPreconditionError(RpcError):
    """FAILED_PRECONDITION: not in this state."""


class AbortedError(RpcError):
    """ABORTED: somebody else was faster."""


class OutOfRangeError(RpcError):
    """OUT_OF_RANGE."""


class UnimplementedError(RpcError):
    """UNIMPLEMENTED: the server is older than this client, or is no Batchyard server."""


class InternalError(RpcError):
    """INTERNAL: a fault of the server."""


class UnavailableError(RpcError):
    """UNAVAILABLE: no server answers, after the retries that `timeout` allowed."""


class DataLossError(RpcError):
    """DATA_LOSS."""


class UnauthenticatedError(RpcError):
    """UNAUTHENTICATED."""


class InvalidFieldError(InvalidArgumentError):
    """INVALID_FIELD: a field is missing, malformed or out of bounds."""


class MalformedRequestError(InvalidArgumentError):
    """MALFORMED_REQUEST: the bytes of the request are not the message they should be."""


class InvalidTokenError(InvalidArgumentError):
    """INVALID_TOKEN: a page or resume token was not made by this server for these arguments."""


class NoRecordsError(RpcError):
    """NO_RECORDS: a task cannot run without records.

    INVALID_ARGUMENT at creation, FAILED_PRECONDITION at start and reactivation.
    """


class DuplicateRecordIdError(InvalidArgumentError):
    """DUPLICATE_RECORD_ID: two records of one task have the same record_id."""


class ResourceNotFoundError(NotFoundError):
    """RESOURCE_NOT_FOUND."""


class ResourceExistsError(AlreadyExistsError):
    """RESOURCE_EXISTS: the id is taken."""


class RequestIdReusedError(AlreadyExistsError):
    """REQUEST_ID_REUSED: the request_id was used before with other content."""


class IllegalStateError(FailedPreconditionError):
    """ILLEGAL_STATE: metadata `state` and `verb` say what met."""


class TaskCompletedError(FailedPreconditionError):
    """TASK_COMPLETED: the task is in a final state."""


class TaskNotCompletedError(FailedPreconditionError):
    """TASK_NOT_COMPLETED: only a task that has ended can be reactivated; metadata `state`."""


class TaskSucceededError(FailedPreconditionError):
    """TASK_SUCCEEDED: every record succeeded, so there is nothing to reactivate."""


class OperationNotDoneError(FailedPreconditionError):
    """OPERATION_NOT_DONE: only a done operation can be deleted."""


class IndexMismatchError(OutOfRangeError):
    """INDEX_MISMATCH: appended records do not continue at the next index."""


class ResumeTokenExpiredError(OutOfRangeError):
    """RESUME_TOKEN_EXPIRED: a watch lagged too far behind; begin it without a resume_token."""


class AppendInProgressError(AbortedError):
    """APPEND_IN_PROGRESS: somebody else appends to this task now."""


class EtagMismatchError(AbortedError):
    """ETAG_MISMATCH: the configuration was changed since the etag was read; metadata `etag` is the present one."""


class DiskFullError(ResourceExhaustedError):
    """DISK_FULL: the disk of the server's data directory is full."""


class StoreUnavailableError(UnavailableError):
    """STORE_UNAVAILABLE: the store cannot take the write now."""


class DrainingError(UnavailableError):
    """DRAINING: the server is shutting down."""


class ServerFaultError(InternalError):
    """INTERNAL_ERROR: metadata `error_id` finds the cause in the server's log."""


class WaitTimeoutError(BatchyardError, TimeoutError):
    """`poll_timeout` passed before the end. The task is untouched and goes on.

    Attributes:
        id: id of the operation that was waited for.
        last_status: what was last heard of it, None if nothing was.
    """

    def __init__(self, operation_id: str, last_status: OperationStatus | None, seconds: float) -> None:
        self.id = operation_id
        self.last_status = last_status
        seen = last_status.status_name if last_status else "not reached"
        super().__init__(f"operation {operation_id} has not ended after {seconds:g} s (last seen: {seen})")


class WrongOperationStatusError(BatchyardError):
    """A result was asked for before the end.

    Attributes:
        id: id of the operation.
        last_status: its status.
    """

    def __init__(self, operation_id: str, last_status: OperationStatus) -> None:
        self.id = operation_id
        self.last_status = last_status
        super().__init__(f"operation {operation_id} has not ended: no result yet")


class BatchTaskError(BatchyardError):
    """The task ended FAILED.

    Attributes:
        id: id of the operation.
        error: code, message and details of the task's error.
        reason: name of its `ErrorReason`; empty if a record's own error became the task's.
        last_status: the status that said so.
        partial: a `BatchTaskResult` (`AsyncBatchTaskResult`) with whatever outcomes there are.
    """

    verb = "failed"

    def __init__(
        self, operation_id: str, error: OperationErrorInfo, last_status: OperationStatus, partial: Any, reason: str = ""
    ) -> None:
        self.id = operation_id
        self.error = error
        self.last_status = last_status
        self.partial = partial
        self.reason = reason
        super().__init__(f"operation {operation_id} {self.verb}: {error.message} (code {error.code})")


class AllRecordsFailedError(BatchTaskError):
    """ALL_RECORDS_FAILED: every record of the task failed."""


class BatchTaskCancelled(BatchTaskError):
    """TASK_CANCELLED: the task ended CANCELLED. `partial` holds the outcomes recorded before."""

    verb = "was cancelled"


class ProcessNotReapedError(BatchTaskError):
    """PROCESS_NOT_REAPED: the task was stopped, and a process of it could not be ended even by SIGKILL.

    Of a task that was cancelled it is a `BatchTaskCancelled` too.
    """


class FailurePolicyError(BatchTaskError):
    """FAILURE_POLICY: more records failed than the task's `failure_policy` allows, so it was stopped."""


class WallClockExceededError(BatchTaskError):
    """WALL_CLOCK_EXCEEDED: the task took longer than its `max_wall_clock_time`.

    No TimeoutError: of a wait that one means that the task goes on.
    """


class TaskLifetimeExceededError(BatchTaskError):
    """TASK_LIFETIME_EXCEEDED: the task was older than the server lets a task live."""


class RecordFailedError(BatchyardError):
    """One record ended FAILED.

    Attributes:
        code: the `google.rpc.Code`, a number.
        message: the handler's or the server's text.
        detail: the parsed details; `reason` and `metadata` are shortcuts into it.
        index: position of the record in its task.
        record_id: the caller's own id, empty if it gave none.
    """

    def __init__(self, code: int, message: str, detail: ErrorDetail, index: int = -1, record_id: str = "") -> None:
        self.code = code
        self.message = message
        self.detail = detail
        self.index = index
        self.record_id = record_id
        who = f"record {index}" + (f" ({record_id})" if record_id else "") + ": " if index >= 0 else ""
        super().__init__(who + message)

    @property
    def reason(self) -> str:
        """Name of the `ErrorReason`."""
        return self.detail.reason

    @property
    def metadata(self) -> Mapping[str, str]:
        """Facts beside the reason, such as `type` of HANDLER_EXCEPTION."""
        return self.detail.metadata or {}


class HandlerExceptionError(RecordFailedError):
    """HANDLER_EXCEPTION: the handler raised something that is no RecordError; metadata `type`."""


class HandlerRecordError(RecordFailedError):
    """RECORD_ERROR: the handler raised `batchyard_worker.RecordError` with this code."""


class InputNotJsonError(RecordFailedError):
    """INPUT_NOT_JSON: the payload says it is JSON and is not."""


class InvalidPlaceholderError(RecordFailedError):
    """INVALID_PLACEHOLDER: a command's placeholder cannot be filled from this record."""


class OutputNotSerializableError(RecordFailedError):
    """OUTPUT_NOT_SERIALIZABLE: the handler returned a value that no payload can hold."""


class OutputTooLargeError(RecordFailedError):
    """OUTPUT_TOO_LARGE: the output is larger than 1 MiB."""


class RecordTimeoutError(RecordFailedError, TimeoutError):
    """RECORD_TIMEOUT: the record ran longer than `record_timeout` and was killed."""


class WorkerLostError(RecordFailedError):
    """WORKER_LOST: the worker died under this record too often; metadata `exit`."""


class NonzeroExitError(RecordFailedError):
    """NONZERO_EXIT: a command exited with another code than 0; metadata `exit_code`."""


class CommandNotStartedError(RecordFailedError):
    """COMMAND_NOT_STARTED: a command's program could not be started."""
