"""Waiting for the end of an operation by long polls, over server restarts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.longrunning import operations_pb2
from google.protobuf.duration_pb2 import Duration

from batchyard._error_map import rpc_error
from batchyard._errors import WaitTimeoutError
from batchyard._names import last_id
from batchyard._operation_status import OperationStatus
from batchyard._retry import Backoff, late, now, transient
from batchyard._transport_aio import sleep, unary

if TYPE_CHECKING:
    from collections.abc import Callable

# poll_timeout None: 72 hours, as in Yandex's SDK for batches.
DEFAULT_POLL_TIMEOUT: Final = 72 * 3600.0
# Seconds between two looks at the counts while a progress listener is there.
PROGRESS_INTERVAL: Final = 0.5
# The RPC deadline of a long poll lies this much after the time asked for, so that the answer arrives before it.
MARGIN: Final = 1.0
# The same for the last poll before poll_timeout, where nothing is lost if the answer does not make it.
LAST_MARGIN: Final = 0.25
# An answer sooner than this after the question (a draining server) is no long poll: wait before asking again.
EARLY: Final = 5.0


@dataclass(frozen=True, slots=True)
class WaitRule:
    """How to wait. All in seconds.

    Attributes:
        timeout: deadline of each RPC.
        poll_timeout: the whole wait.
        poll_interval: least time between two RPCs.
        slice: longest time that one long poll asks for.
    """

    timeout: float
    poll_timeout: float
    poll_interval: float
    slice: float

    @classmethod
    def of(cls, timeout: float, poll_timeout: float | None, poll_interval: float | None, listening: bool) -> WaitRule:
        """Fill in the defaults."""
        slice_ = timeout - MARGIN if timeout >= 2 * MARGIN else timeout / 2
        if listening:
            slice_ = min(slice_, poll_interval or PROGRESS_INTERVAL)
        whole = DEFAULT_POLL_TIMEOUT if poll_timeout is None else max(poll_timeout, 0.0)
        return cls(timeout, whole, poll_interval or 0.0, slice_)


async def wait_done(
    operations: Any, name: str, rule: WaitRule, seen: Callable[[OperationStatus], None]
) -> operations_pb2.Operation:
    """Return the operation once it is done.

    Args:
        operations: stub of google.longrunning.Operations.
        name: resource name of the operation.
        rule: how to wait.
        seen: called with each status read.

    Raises:
        WaitTimeoutError: `rule.poll_timeout` passed; nothing was changed.
        RpcError: the server refuses, e.g. NOT_FOUND.
    """
    deadline = now() + rule.poll_timeout
    backoff = Backoff()
    last: OperationStatus | None = None
    while True:
        began = now()
        cause: grpc.RpcError | None = None
        try:
            operation = await _poll(operations, name, rule, deadline - began)
        except grpc.RpcError as error:
            delay = _pause(error, backoff)
            cause = error
        else:
            last = OperationStatus.of(operation)
            seen(last)
            if operation.done:
                return operation
            early = now() - began < min(rule.slice / 2, EARLY)
            if not early:
                backoff.reset()
            delay = backoff.delay() if early else 0.0
        delay = max(delay, rule.poll_interval - (now() - began))
        if now() + delay >= deadline:
            # A poll that ends at the deadline has said the last word; a pause that would pass it ends here.
            await sleep(max(deadline - now(), 0.0))
            raise WaitTimeoutError(last_id(name), last, rule.poll_timeout) from cause
        if delay > 0:
            await sleep(delay)


async def _poll(operations: Any, name: str, rule: WaitRule, left: float) -> operations_pb2.Operation:
    """Ask once, for at most `left` more seconds."""
    asked = max(min(rule.slice, left), 0.0)
    wanted = Duration(seconds=int(asked), nanos=int(asked % 1 * 1e9))
    request = operations_pb2.WaitOperationRequest(name=name, timeout=wanted)
    margin = MARGIN if asked < left else LAST_MARGIN
    # A question about now (poll_timeout 0) still gets the time that an RPC needs.
    deadline = min(asked + margin, rule.timeout) if asked > 0 else min(MARGIN, rule.timeout)
    return await unary(operations.WaitOperation, request, deadline)


def _pause(error: grpc.RpcError, backoff: Backoff) -> float:
    """Return the seconds before the next try; raise if the server's answer is final."""
    again = transient(error)
    # DEADLINE_EXCEEDED: a frozen server or a lost packet; the next poll tells.
    if again is None and not late(error):
        raise rpc_error(error) from error
    return backoff.delay(again)
