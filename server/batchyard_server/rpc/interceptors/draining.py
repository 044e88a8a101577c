"""May this call begin? While the server shuts down, reads go on; changes and streams are asked to come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from batchyard_server.model.errors import Reason, Unavailable
from batchyard_server.rpc.interceptors.errors import Bidi, Context, Messages, Stream, Unary

RETRY_SECONDS = 2.0


class Gate:
    """Open until `close`; handlers wrapped by it are refused, and open streams ended, from then on."""

    def __init__(self) -> None:
        self._closed = asyncio.Event()

    def close(self) -> None:
        """Begin to drain."""
        self._closed.set()

    def check(self) -> None:
        """Raise Unavailable (DRAINING) if closed."""
        if self._closed.is_set():
            raise Unavailable(Reason.DRAINING, "the server is shutting down", retry_seconds=RETRY_SECONDS)

    def unary(self, handler: Unary) -> Unary:
        """`handler` behind the gate."""

        async def call(raw: bytes, context: Context) -> bytes:
            self.check()
            return await handler(raw, context)

        return call

    def stream(self, handler: Stream) -> Stream:
        """`handler` behind the gate. An open stream ends after the message that it is at; its token resumes it."""

        async def call(raw: bytes, context: Context) -> Messages:
            self.check()
            async with aclosing(handler(raw, context)) as messages:
                async for message in messages:
                    yield message
                    self.check()

        return call

    def bidi(self, handler: Bidi) -> Bidi:
        """`handler` behind the gate. In an open stream no message is read any more; what was read is still answered."""

        async def call(raws: AsyncIterator[bytes], context: Context) -> Messages:
            self.check()
            async with aclosing(self._until_closed(raws)) as read, aclosing(handler(read, context)) as messages:
                async for message in messages:
                    yield message

        return call

    async def _until_closed(self, raws: AsyncIterator[bytes]) -> Messages:
        source = aiter(raws)
        closed = asyncio.create_task(self._closed.wait())
        try:
            while True:
                reading = asyncio.ensure_future(anext(source))
                try:
                    await asyncio.wait((reading, closed), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    reading.cancel()
                self.check()
                try:
                    yield reading.result()
                except StopAsyncIteration:
                    return
        finally:
            closed.cancel()
