"""May this call begin? While the server drains, reads go on; changes and streams are asked to come back.

open ──close──▶ reads only ──shut──▶ nothing, until no call comes any more
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from batchyard_server.model.errors import Reason, Unavailable
from batchyard_server.rpc.interceptors.errors import Bidi, Context, Messages, Stream, Unary

RETRY_SECONDS = 2.0
QUIET_SECONDS = 0.05  # without a call: then none is on its way
MOST_ROUNDS = 20  # of QUIET_SECONDS; who is refused and calls again at once is not waited for longer


class Gate:
    """Open until `close`; handlers wrapped by it are refused, and open streams ended, from then on."""

    def __init__(self) -> None:
        self._closed = asyncio.Event()
        self._shut = False
        self._calls = 0

    def close(self) -> None:
        """Begin to drain."""
        self._closed.set()

    async def shut(self) -> None:
        """Refuse every call; return when none comes any more.

        gRPC ends what it has not yet handed over when it stops with a bare CANCELLED, which tells nobody to come back.
        """
        self.close()
        self._shut = True
        for _ in range(MOST_ROUNDS):
            before = self._calls
            await asyncio.sleep(QUIET_SECONDS)
            if self._calls == before:
                return

    def enter(self) -> None:
        """A call of any method begins. Raises Unavailable (DRAINING) if the gate is shut."""
        self._calls += 1
        if self._shut:
            raise _draining()

    def check(self) -> None:
        """Raise Unavailable (DRAINING) if closed."""
        if self._closed.is_set():
            raise _draining()

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


def _draining() -> Unavailable:
    return Unavailable(Reason.DRAINING, "the server is shutting down", retry_seconds=RETRY_SECONDS)
