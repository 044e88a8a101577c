"""How calls are made: deadlines, repetition, typed errors, streams that resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from batchyard._error_map import rpc_error
from batchyard._errors import InternalError
from batchyard._retry import Backoff, late, now, transient
from batchyard._transport_aio import open_stream, sleep, unary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


async def call(method: Any, request: Any, timeout: float) -> Any:
    """Make a unary call that is safe to repeat.

    Args:
        method: the stub's method.
        request: its request; a mutation carries a request_id.
        timeout: seconds for the whole, repetitions included.

    Raises:
        RpcError: the last failure.
    """
    deadline = now() + timeout
    backoff = Backoff()
    while True:
        try:
            return await unary(method, request, max(deadline - now(), 0.0))
        except grpc.RpcError as error:
            again = transient(error)
            delay = backoff.delay(again)
            if again is None or now() + delay >= deadline:
                raise rpc_error(error) from error
        await sleep(delay)


def follow_token(request: Any, message: Any) -> None:
    """Let a request ask for what comes after the message."""
    request.resume_token = message.resume_token


async def stream(
    method: Any, request: Any, timeout: float, follow: Callable[[Any, Any], None] = follow_token
) -> AsyncIterator[Any]:
    """Yield the messages of a server stream that can be resumed.

    A cut stream goes on after the last message yielded. Each call lives at most `timeout` seconds, so a consumer that
    takes its time costs the server nothing meanwhile.

    Args:
        method: the stub's method.
        request: its request, which is moved on.
        timeout: seconds to wait for one message, repetitions included.
        follow: moves the request on, to what comes after a message.

    Raises:
        RpcError: no message came within `timeout`, or the server refuses.
    """
    backoff = Backoff()
    patience = timeout
    while True:
        current = open_stream(method, request, patience)
        try:
            while True:
                began = now()
                try:
                    message = await current.read()
                except grpc.RpcError as error:
                    patience -= now() - began
                    delay = _pause(error, backoff, patience)
                    break
                if message is None:
                    return
                patience = timeout
                backoff.reset()
                follow(request, message)
                yield message
        finally:
            current.cancel()
        await sleep(delay)
        patience -= delay


def _pause(error: grpc.RpcError, backoff: Backoff, patience: float) -> float:
    """Return the seconds to wait before the stream is opened again; raise if it should not be."""
    again = transient(error)
    delay = backoff.delay(again)
    # The call's own deadline can pass while the consumer is busy: only the time spent waiting here counts.
    if (again is None and not late(error)) or delay >= patience:
        raise rpc_error(error) from error
    return 0.0 if late(error) else delay


async def pages(method: Any, request: Any, timeout: float) -> AsyncIterator[Any]:
    """Yield the pages of a unary list method (AIP-158), each fetched when it is asked for.

    An empty page with a token is not the end; a token that comes back unchanged is one, for it would never end.

    Raises:
        RpcError: a page could not be read within `timeout` seconds, or its token repeats.
    """
    while True:
        page = await call(method, request, timeout)
        yield page
        if not page.next_page_token:
            return
        if page.next_page_token == request.page_token:
            raise InternalError(grpc.StatusCode.INTERNAL, f"page token {request.page_token!r} leads to itself")
        request.page_token = page.next_page_token
