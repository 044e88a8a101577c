"""When a failed call is tried again, and how long to wait before.

Mutations may be repeated because every one carries a request_id or is idempotent by nature.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Final, cast

import grpc

from batchyard._error_map import rpc_error

if TYPE_CHECKING:
    from batchyard._errors import RpcError

now = time.monotonic
# Seconds. The first repetition is quick (a server restarts in well under a second), the later ones spare it.
FIRST_DELAY: Final = 0.05
MOST_DELAY: Final = 2.0
FACTOR: Final = 1.7
# A server's RetryInfo is followed up to this many seconds.
MOST_ADVISED: Final = 10.0
# What grpc.aio says of a write into a call that has just ended, before the call's own status arrives.
CUT_WHILE_WRITING: Final = "Internal error from Core"


class StreamEnded(grpc.RpcError):
    """A stream ended in good order before it should have: treated as a cut."""

    def code(self) -> grpc.StatusCode:
        """UNAVAILABLE, as of any other cut."""
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        """Text for people."""
        return "the server ended the stream early"

    def trailing_metadata(self) -> tuple[()]:
        """Nothing."""
        return ()


class Backoff:
    """Growing, jittered delays between the tries of one call or stream."""

    def __init__(self) -> None:
        self._next = FIRST_DELAY

    def reset(self) -> None:
        """Start again from the first delay: something worked."""
        self._next = FIRST_DELAY

    def delay(self, error: RpcError | None = None) -> float:
        """Return the seconds to wait now; at least what the server asked for (RetryInfo), within reason."""
        chosen = self._next * random.uniform(0.5, 1.0)
        self._next = min(self._next * FACTOR, MOST_DELAY)
        advised = error.detail.retry_delay if error is not None else None
        return max(chosen, min(advised, MOST_ADVISED)) if advised else chosen


def transient(error: grpc.RpcError) -> RpcError | None:
    """Return the typed error if trying again makes sense, None if it does not.

    UNAVAILABLE (AIP-194), and what a dying server leaves behind in other clothes: a bare CANCELLED that nobody here
    asked for, UNKNOWN "Stream removed", INTERNAL with a reset stream or a failed write.
    """
    call = cast("Any", error)
    code, text = call.code(), call.details() or ""
    again = (
        code is grpc.StatusCode.UNAVAILABLE
        or code is grpc.StatusCode.CANCELLED
        or (code is grpc.StatusCode.UNKNOWN and "Stream removed" in text)
        or (code is grpc.StatusCode.INTERNAL and ("RST_STREAM" in text or text == CUT_WHILE_WRITING))
    )
    if not again:
        return None
    typed = rpc_error(error)
    return typed if code is grpc.StatusCode.UNAVAILABLE or not typed.reason else None


def late(error: grpc.RpcError) -> bool:
    """Whether a call failed only because its own deadline passed."""
    return cast("Any", error).code() is grpc.StatusCode.DEADLINE_EXCEEDED
