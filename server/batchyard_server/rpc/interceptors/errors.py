"""What does a failed call look like? The only place where an exception becomes a google.rpc.Status in the trailers.

Handlers take and give bytes: gRPC neither parses nor serializes for us. So malformed bytes are met inside a handler,
under the same roof as every other error, and stored bytes go out as they are.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, NoReturn

import grpc
from grpc.aio import AbortError, ServicerContext

from batchyard_server.codec.statuses import to_status
from batchyard_server.model import limits
from batchyard_server.model.clock import Randomness
from batchyard_server.model.errors import BatchyardError, Code, InvalidArgument, Reason

Context = ServicerContext[Any, Any]
Unary = Callable[[bytes, Context], Awaitable[bytes]]
Messages = AsyncGenerator[bytes, None]
Stream = Callable[[bytes, Context], Messages]
Bidi = Callable[[AsyncIterator[bytes], Context], Messages]

DETAILS_KEY = "grpc-status-details-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_log = logging.getLogger(__name__)


class Errors:
    """Wraps handlers so that whatever they raise is answered in the words of the API.

    Args:
        enter: called as every call begins; what it raises is answered.
    """

    def __init__(self, randomness: Randomness, enter: Callable[[], None]) -> None:
        self._randomness = randomness
        self._enter = enter

    def unary(self, method: str, handler: Unary) -> grpc.RpcMethodHandler[Any, Any]:
        """A unary method. `method` is its full name, for the log."""

        async def call(raw: bytes, context: Context) -> bytes:
            try:
                self._enter()
                check_size(raw)
                return await handler(raw, context)
            except Exception as error:  # noqa: BLE001 - every error of every kind must be answered
                await self._answer(method, context, error)

        return grpc.unary_unary_rpc_method_handler(call)  # pyright: ignore[reportArgumentType] - typed for sync servers

    def stream(self, method: str, handler: Stream) -> grpc.RpcMethodHandler[Any, Any]:
        """A server-streaming method."""

        async def call(raw: bytes, context: Context) -> None:
            try:
                self._enter()
                check_size(raw)
                await _send(handler(raw, context), context)
            except Exception as error:  # noqa: BLE001 - as above
                await self._answer(method, context, error)

        return grpc.unary_stream_rpc_method_handler(call)  # pyright: ignore[reportArgumentType]

    def bidi(self, method: str, handler: Bidi) -> grpc.RpcMethodHandler[Any, Any]:
        """A method that streams both ways."""

        async def call(raws: AsyncIterator[bytes], context: Context) -> None:
            try:
                self._enter()
                await _send(handler(raws, context), context)
            except Exception as error:  # noqa: BLE001 - as above
                await self._answer(method, context, error)

        return grpc.stream_stream_rpc_method_handler(call)  # pyright: ignore[reportArgumentType]

    async def _answer(self, method: str, context: Context, error: Exception) -> NoReturn:
        if isinstance(error, AbortError):  # answered already, by a handler that speaks plain gRPC
            raise error
        if not isinstance(error, BatchyardError):
            error = self._internal(method, error)
        status = to_status(error)
        await context.abort(_CODES[status.code], status.message, ((DETAILS_KEY, status.SerializeToString()),))

    def _internal(self, method: str, cause: Exception) -> BatchyardError:
        """An error that tells the caller nothing but an id, by which its cause is found in the log."""
        error_id = self._randomness.bytes(8).hex()
        _log.error("internal error %s in %s", error_id, method, exc_info=cause)
        error = BatchyardError(Reason.INTERNAL_ERROR, f"internal error {error_id}", metadata={"error_id": error_id})
        assert error.code is Code.INTERNAL
        return error


async def _send(messages: Messages, context: Context) -> None:
    """Write what the handler yields, when the client has room; close the handler with the call, however that ends."""
    async with aclosing(messages):
        async for message in messages:
            await context.write(message)


def check_size(raw: bytes) -> None:
    """Refuse a message beyond limits.REQUEST. Raises InvalidArgument."""
    if len(raw) > limits.REQUEST.maximum:
        raise InvalidArgument("", f"the message has {len(raw)} bytes, at most {limits.REQUEST.maximum} are allowed")
