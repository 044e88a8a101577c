"""Appending records to a DRAFT over a stream that may be cut at any point.

What was sent and not acknowledged stays in a window of bounded size. After a cut the server is asked for the next index
it expects, what lies below it is dropped from the window, the rest is sent again: nothing is lost and nothing doubled.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, cast

import grpc

from batchyard._error_map import rpc_error
from batchyard._records import WINDOW_BYTES
from batchyard._retry import Backoff, StreamEnded, late, now, transient
from batchyard._transport_aio import AppendStream, sleep
from batchyard.v1 import batch_task_service_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchyard._records import MessageBuilder
    from batchyard._transport_aio import Source
    from batchyard.v1.batch_task_service_pb2 import AppendRecordsRequest


class AsyncUpload:
    """One upload into one task.

    Args:
        method: the stub's AppendRecords.
        name: resource name of the task.
        timeout: seconds without progress after which it gives up.
        acknowledged: called with the next index whenever it has risen.
    """

    def __init__(self, method: Any, name: str, timeout: float, acknowledged: Callable[[int], None]) -> None:
        self._method = method
        self._name = name
        self._timeout = timeout
        self._acknowledged = acknowledged
        self._stream: AppendStream | None = None
        self._window: deque[tuple[AppendRecordsRequest, int]] = deque()
        self._window_bytes = 0
        self._backoff = Backoff()
        self._patience = timeout  # what is left of it; only time spent here counts, not that of the caller's source
        self.next_index = 0

    async def send(self, source: Source, builder: MessageBuilder, first: AppendRecordsRequest | None) -> None:
        """Append `first` and everything in `source`; returns when all of it is durable.

        Raises:
            RpcError: refused, or no progress for `timeout` seconds.
            RecordValueError: a record has no form on the wire.
            ValueError: the draft holds more records than these already.
        """
        try:
            message = first
            end = 0
            while message is not None:
                end = message.first_index + len(message.records)
                await self._push(message)
                message = None if source.exhausted else await source.next_message(builder)
            builder.finish()
            while self._window:
                await self._repeat(None)
            if self.next_index > end > 0:
                raise ValueError(f"the draft holds {self.next_index} records already, but {end} were given")
            await self._finish()
        finally:
            self.close()

    async def ask(self) -> int:
        """Return the next index that the server expects."""
        self.close()
        while self._stream is None:
            await self._repeat(None)
        return self.next_index

    def close(self) -> None:
        """Give the current call up, if there is one."""
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None

    async def _push(self, message: AppendRecordsRequest) -> None:
        size = message.ByteSize()
        while self._window and self._window_bytes + size > WINDOW_BYTES:
            await self._repeat(None)
        self._window.append((message, size))
        self._window_bytes += size
        await self._repeat(message)

    async def _repeat(self, message: AppendRecordsRequest | None) -> None:
        """Write `message`, or read one reply if it is None; reconnect as often as `timeout` allows.

        Opening a stream sends the whole window, so it writes `message` too.
        """
        while True:
            began = now()
            try:
                if self._stream is None:
                    await self._open()
                elif message is None:
                    self._acknowledge(await self._stream.read())
                else:
                    await self._stream.write(message)
            except grpc.RpcError as error:
                self._patience -= now() - began
                await self._cut(error)
            else:
                return

    async def _open(self) -> None:
        """Open a stream, learn the next index, send what the server does not have."""
        self._stream = stream = AppendStream(self._method, self._patience)
        await stream.write(batch_task_service_pb2.AppendRecordsRequest(name=self._name))
        self._acknowledge(await stream.read())
        for message, _ in self._window:
            await stream.write(message)

    def _acknowledge(self, reply: Any) -> None:
        if reply is None:
            raise StreamEnded
        if reply.next_index <= self.next_index:
            return
        self.next_index = reply.next_index
        self._patience = self._timeout
        self._backoff.reset()
        while self._window:
            message, size = self._window[0]
            if message.first_index + len(message.records) > self.next_index:
                break
            self._window.popleft()
            self._window_bytes -= size
        if self._window and self._window[0][0].first_index < self.next_index:
            message = self._window[0][0]  # part of it is durable: keep the rest
            del message.records[: self.next_index - message.first_index]
            message.first_index = self.next_index
        self._acknowledged(self.next_index)

    async def _cut(self, error: grpc.RpcError) -> None:
        """Wait before the next try; raise if there should be none."""
        self.close()
        again = transient(error)
        # A stream's own deadline says nothing: only time without progress does. ABORTED: the server has not noticed yet
        # that the stream before is dead.
        again_soon = late(error) or cast("Any", error).code() is grpc.StatusCode.ABORTED
        delay = self._backoff.delay(again)
        if (again is None and not again_soon) or delay >= self._patience:
            raise rpc_error(error) from error
        await sleep(delay)
        self._patience -= delay

    async def _finish(self) -> None:
        """End the stream in good order, so that the server is done with it; everything is durable already."""
        if self._stream is None:
            return
        try:
            await self._stream.done_writing()
            while await self._stream.read() is not None:
                pass
        except grpc.RpcError:
            return  # a cut after the last acknowledgement costs nothing
