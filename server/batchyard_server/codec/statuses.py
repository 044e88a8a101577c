"""How does an error look on the wire? BatchyardError → google.rpc.Status, ErrorInfo and standard detail (AIP-193)."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    PreconditionFailure,
    QuotaFailure,
    ResourceInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status

from batchyard_server.model.errors import (
    DOMAIN,
    AlreadyExists,
    BatchyardError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

# gRPC may refuse metadata beyond 8 KiB at random, and a status travels in it: text that a caller chose is cut here.
_METADATA_CHARACTERS = 512


def _pack(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed


def _standard_detail(error: BatchyardError) -> Message | None:
    """The detail that belongs to the error's code; None for codes that have none."""
    match error:
        case InvalidArgument():
            violation = BadRequest.FieldViolation(
                field=error.field, description=error.description, reason=error.reason.value
            )
            return BadRequest(field_violations=[violation])
        case NotFound():
            return ResourceInfo(
                resource_type=error.resource_type, resource_name=error.resource_name, description=error.message
            )
        case AlreadyExists():
            return ResourceInfo(
                resource_type=error.resource_type, resource_name=error.resource_name, description=error.message
            )
        case FailedPrecondition():
            failure = PreconditionFailure.Violation(
                type=error.reason.value, subject=error.subject, description=error.message
            )
            return PreconditionFailure(violations=[failure])
        case ResourceExhausted():
            return QuotaFailure(violations=[QuotaFailure.Violation(subject=error.subject, description=error.message)])
        case Unavailable():
            delay = Duration()
            delay.FromMilliseconds(round(error.retry_seconds * 1000))
            return RetryInfo(retry_delay=delay)
        case _:
            return None


def to_status(error: BatchyardError) -> Status:
    """The status of the RPC that `error` ends."""
    cut = {key: value[:_METADATA_CHARACTERS] for key, value in error.metadata.items()}
    details = [_pack(ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=cut))]
    standard = _standard_detail(error)
    if standard is not None:
        details.append(_pack(standard))
    return Status(code=error.code, message=error.message, details=details)
