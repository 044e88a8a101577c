"""Which small pieces do all messages share? Parsing, numbers and times of the wire, and a Status with its ErrorInfo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from batchyard_server.model.errors import DOMAIN, Code, InvalidArgument, Reason

M = TypeVar("M", bound=Message)


def parse(kind: type[M], raw: bytes) -> M:
    """`raw` as a message of `kind`. Raises InvalidArgument (MALFORMED_REQUEST)."""
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise InvalidArgument(
            "", f"the request is not a valid {kind.DESCRIPTOR.full_name}", reason=Reason.MALFORMED_REQUEST
        ) from None


def varint(value: int) -> bytes:
    """A number ≥ 0 as the wire has it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def timestamp(us: int) -> Timestamp:
    """Microseconds since 1970 UTC as a Timestamp."""
    return Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000)


def microseconds(time: Timestamp) -> int:
    """The reverse of `timestamp`."""
    return time.seconds * 1_000_000 + time.nanos // 1000


def status(code: Code, reason: Reason, message: str, metadata: Mapping[str, str]) -> Status:
    """A google.rpc.Status with its ErrorInfo (AIP-193)."""
    made = Status(code=code, message=message)
    add_reason(made, reason, metadata)
    return made


def add_reason(to: Status, reason: Reason, metadata: Mapping[str, str]) -> None:
    """Append an ErrorInfo to the details of a status."""
    to.details.add().Pack(ErrorInfo(reason=reason.value, domain=DOMAIN, metadata=metadata))
