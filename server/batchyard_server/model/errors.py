"""What can go wrong, in the words of the API? One tree; rpc/ turns each into a google.rpc.Status.

BatchyardError                 code                  standard detail
├─ InvalidArgument             INVALID_ARGUMENT      BadRequest
├─ NotFound                    NOT_FOUND             ResourceInfo
├─ AlreadyExists               ALREADY_EXISTS        ResourceInfo
├─ FailedPrecondition          FAILED_PRECONDITION   PreconditionFailure
├─ OutOfRange                  OUT_OF_RANGE          –
├─ TokenExpired                OUT_OF_RANGE          –
├─ OffsetBeyondEnd             OUT_OF_RANGE          –
├─ DataLoss                    DATA_LOSS             –
├─ Aborted                     ABORTED               –
│  └─ StaleLease               (never leaves the server)
├─ ResourceExhausted           RESOURCE_EXHAUSTED    QuotaFailure
└─ Unavailable                 UNAVAILABLE           RetryInfo
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

DOMAIN = "batchyard.dev"


class Code(enum.IntEnum):
    """Canonical codes of google.rpc.Code."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Reason(enum.StrEnum):
    """`ErrorInfo.reason`; the same names as `batchyard.v1.ErrorReason` (a test compares them)."""

    INVALID_FIELD = "INVALID_FIELD"
    MALFORMED_REQUEST = "MALFORMED_REQUEST"
    INVALID_TOKEN = "INVALID_TOKEN"  # noqa: S105 - a reason, not a secret
    NO_RECORDS = "NO_RECORDS"
    DUPLICATE_RECORD_ID = "DUPLICATE_RECORD_ID"
    RESOURCE_NOT_FOUND = "RESOURCE_NOT_FOUND"
    RESOURCE_EXISTS = "RESOURCE_EXISTS"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    ILLEGAL_STATE = "ILLEGAL_STATE"
    TASK_COMPLETED = "TASK_COMPLETED"
    OPERATION_NOT_DONE = "OPERATION_NOT_DONE"
    INDEX_MISMATCH = "INDEX_MISMATCH"
    APPEND_IN_PROGRESS = "APPEND_IN_PROGRESS"
    DISK_FULL = "DISK_FULL"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    DRAINING = "DRAINING"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    TASK_NOT_COMPLETED = "TASK_NOT_COMPLETED"
    TASK_SUCCEEDED = "TASK_SUCCEEDED"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    RESUME_TOKEN_EXPIRED = "RESUME_TOKEN_EXPIRED"  # noqa: S105 - a reason, not a secret
    OFFSET_BEYOND_END = "OFFSET_BEYOND_END"
    ARTIFACT_DAMAGED = "ARTIFACT_DAMAGED"
    INVALID_FILTER = "INVALID_FILTER"
    INVALID_ORDER_BY = "INVALID_ORDER_BY"
    ALL_RECORDS_FAILED = "ALL_RECORDS_FAILED"
    TASK_CANCELLED = "TASK_CANCELLED"
    PROCESS_NOT_REAPED = "PROCESS_NOT_REAPED"
    FAILURE_POLICY = "FAILURE_POLICY"
    WALL_CLOCK_EXCEEDED = "WALL_CLOCK_EXCEEDED"
    TASK_LIFETIME_EXCEEDED = "TASK_LIFETIME_EXCEEDED"
    HANDLER_EXCEPTION = "HANDLER_EXCEPTION"
    RECORD_ERROR = "RECORD_ERROR"
    INPUT_NOT_JSON = "INPUT_NOT_JSON"
    INVALID_PLACEHOLDER = "INVALID_PLACEHOLDER"
    OUTPUT_NOT_SERIALIZABLE = "OUTPUT_NOT_SERIALIZABLE"
    OUTPUT_TOO_LARGE = "OUTPUT_TOO_LARGE"
    RECORD_TIMEOUT = "RECORD_TIMEOUT"
    WORKER_LOST = "WORKER_LOST"
    NONZERO_EXIT = "NONZERO_EXIT"
    COMMAND_NOT_STARTED = "COMMAND_NOT_STARTED"
    WORKER_KILLED = "WORKER_KILLED"


class BatchyardError(Exception):
    """Base of every error that a caller may see.

    Attributes:
        code: canonical code of the RPC.
        reason: `ErrorInfo.reason`.
        message: one sentence for people; its dynamic parts are in `metadata` too (AIP-193).
        metadata: `ErrorInfo.metadata`.
    """

    code = Code.INTERNAL

    def __init__(self, reason: Reason, message: str, *, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})


class InvalidArgument(BatchyardError):
    """A field is wrong; `field` is its path in the request, empty for the request as a whole."""

    code = Code.INVALID_ARGUMENT

    def __init__(
        self,
        field: str,
        description: str,
        *,
        reason: Reason = Reason.INVALID_FIELD,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason, f"{field}: {description}" if field else description, metadata=metadata)
        self.field = field
        self.description = description
        if field:
            self.metadata.setdefault("field", field)


class NotFound(BatchyardError):
    """`resource_name` of `resource_type` (`batchyard.dev/BatchTask`, …) does not exist."""

    code = Code.NOT_FOUND

    def __init__(self, resource_type: str, resource_name: str) -> None:
        super().__init__(
            Reason.RESOURCE_NOT_FOUND, f"{resource_name} does not exist", metadata={"resource": resource_name}
        )
        self.resource_type = resource_type
        self.resource_name = resource_name


class AlreadyExists(BatchyardError):
    """An id is taken (RESOURCE_EXISTS) or a request_id was used with other content (REQUEST_ID_REUSED)."""

    code = Code.ALREADY_EXISTS

    def __init__(self, reason: Reason, message: str, *, resource_type: str, resource_name: str) -> None:
        super().__init__(reason, message, metadata={"resource": resource_name})
        self.resource_type = resource_type
        self.resource_name = resource_name


class FailedPrecondition(BatchyardError):
    """The verb is not possible now; `subject` is what stands in the way (`state`, `records`, an operation's name)."""

    code = Code.FAILED_PRECONDITION

    def __init__(
        self, reason: Reason, message: str, *, subject: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(reason, message, metadata=metadata)
        self.subject = subject


class OutOfRange(BatchyardError):
    """Appended records leave a gap or overlap; metadata `next_index`."""

    code = Code.OUT_OF_RANGE

    def __init__(self, next_index: int, first_index: int) -> None:
        super().__init__(
            Reason.INDEX_MISMATCH,
            f"records must continue at index {next_index}, not at {first_index}",
            metadata={"next_index": str(next_index), "first_index": str(first_index)},
        )


class TokenExpired(BatchyardError):
    """Not all changes since this token of a watch are kept."""

    code = Code.OUT_OF_RANGE

    def __init__(self) -> None:
        super().__init__(
            Reason.RESUME_TOKEN_EXPIRED,
            "the server does not keep all changes since this resume_token any more: watch without one",
        )


class OffsetBeyondEnd(BatchyardError):
    """A file was to be read from behind its end; metadata `size`."""

    code = Code.OUT_OF_RANGE

    def __init__(self, offset: int, size: int) -> None:
        super().__init__(
            Reason.OFFSET_BEYOND_END,
            f"the artifact has {size} bytes, so it cannot be read from {offset} on",
            metadata={"size": str(size), "offset": str(offset)},
        )


class DataLoss(BatchyardError):
    """The file of an artifact is not what was stored; `what` is what was found instead."""

    code = Code.DATA_LOSS

    def __init__(self, resource: str, what: str) -> None:
        super().__init__(Reason.ARTIFACT_DAMAGED, f"{resource}: {what}", metadata={"resource": resource})


class Aborted(BatchyardError):
    """A concurrent call stands in the way; try again at a higher level (AIP-194)."""

    code = Code.ABORTED


class StaleLease(Exception):
    """An outcome came under a lease that no longer holds its indexes. Nothing was stored."""


class Refused(Exception):
    """Of mutations that are made together or not at all one was refused: its `position` among them, and why.

    Nothing was stored. Never leaves the server: see `placed`.
    """

    def __init__(self, position: int, error: BatchyardError) -> None:
        super().__init__(position, error)
        self.position = position
        self.error = error


class ResourceExhausted(BatchyardError):
    """Something ran out; `subject` names it."""

    code = Code.RESOURCE_EXHAUSTED

    def __init__(self, reason: Reason, message: str, *, subject: str) -> None:
        super().__init__(reason, message)
        self.subject = subject


class Unavailable(BatchyardError):
    """Not now; safe to repeat after `retry_seconds`."""

    code = Code.UNAVAILABLE

    def __init__(self, reason: Reason, message: str, *, retry_seconds: float = 1.0) -> None:
        super().__init__(reason, message)
        self.retry_seconds = retry_seconds


def placed(error: BatchyardError, index: int) -> BatchyardError:
    """The same error, of request `index` of a batch that is refused as a whole; metadata `index`."""
    place = f"requests[{index}]"
    error.metadata["index"] = str(index)
    if isinstance(error, InvalidArgument):
        error.field = f"{place}.{error.field}" if error.field else place
        error.metadata["field"] = error.field
        error.message = f"{error.field}: {error.description}"
    else:
        error.message = f"{place}: {error.message}"
    return error
