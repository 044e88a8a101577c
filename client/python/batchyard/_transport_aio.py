"""The few things that differ between grpc.aio and grpc, for the asynchronous client. `_transport_sync` is its twin."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, Iterable
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, TypeVar

import grpc
import grpc.aio

from batchyard._new_task import NewTask
from batchyard._records import MessageBuilder, check_records
from batchyard._retry import CUT_WHILE_WRITING, StreamEnded
from batchyard.v1.batch_task_service_pb2 import CreateBatchTaskRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from batchyard.v1.batch_task_service_pb2 import AppendRecordsRequest

_T = TypeVar("_T")
Records: TypeAlias = Iterable[object] | AsyncIterable[object]
Task: TypeAlias = NewTask | CreateBatchTaskRequest
Tasks: TypeAlias = Iterable[Task] | AsyncIterable[Task]
sleep = asyncio.sleep
# Seconds within which the status of a call that has ended arrives.
_STATUS_TIMEOUT: Final = 0.5


def open_channel(
    target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
) -> grpc.aio.Channel:
    """Open a channel; nothing is sent before the first call."""
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, credentials, options=options)


async def in_thread(function: Callable[..., _T], *args: Any) -> _T:
    """Call what may wait for the disk."""
    return await asyncio.to_thread(function, *args)


async def unary(method: Any, request: Any, timeout: float) -> Any:
    """Make one unary call."""
    return await method(request, timeout=timeout)


class Stream:
    """One streaming call."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def read(self) -> Any:
        """Return the next message, None at the end."""
        message = await self._call.read()
        return None if message is grpc.aio.EOF else message

    def cancel(self) -> None:
        """Give the call up. May be repeated."""
        self._call.cancel()


def open_stream(method: Any, request: Any, timeout: float) -> Stream:
    """Begin a server stream."""
    return Stream(method(request, timeout=timeout))


class AppendStream(Stream):
    """One AppendRecords call. Writes and reads alternate; replies are small, so neither blocks the other."""

    def __init__(self, method: Any, timeout: float) -> None:
        super().__init__(method(timeout=timeout))
        self._error: grpc.aio.AioRpcError | None = None
        self._ended = asyncio.Event()
        self._call.add_done_callback(self._note_end)

    async def write(self, request: AppendRecordsRequest) -> None:
        """Send one message; waits while the transport's window is full."""
        try:
            await self._call.write(request)
        except asyncio.InvalidStateError:  # the call has ended already
            await self._raise_status()
        except grpc.aio.AioRpcError as error:
            if error.details() != CUT_WHILE_WRITING:
                raise
            await self._raise_status()

    def _note_end(self, call: Any) -> None:
        """Keep the call's own status: grpc.aio makes up another one for a failed write, before or after it."""
        details = _at_once(call.details())
        if details == CUT_WHILE_WRITING or self._ended.is_set():
            return
        code = _at_once(call.code())
        if code is not grpc.StatusCode.OK:
            trailing = _at_once(call.trailing_metadata()) or grpc.aio.Metadata()
            self._error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details)
        self._ended.set()

    async def _raise_status(self) -> NoReturn:
        """Raise the status of a call that has ended."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), _STATUS_TIMEOUT)
        raise self._error or StreamEnded()

    async def done_writing(self) -> None:
        """Tell the server that nothing more comes."""
        await self._call.done_writing()


def _at_once(status: Coroutine[Any, Any, Any]) -> Any:
    """Return what a coroutine that need not wait returns: a part of the status of a call that has ended."""
    try:
        status.send(None)
    except StopIteration as stop:
        return stop.value
    status.close()
    return None


async def numbered(tasks: Tasks) -> AsyncIterator[tuple[int, Task]]:
    """Yield them with their positions, one by one as they are asked for."""
    index = 0
    if isinstance(tasks, AsyncIterable):
        async for task in tasks:
            yield index, task
            index += 1
        return
    for each in enumerate(tasks):
        yield each


class Source:
    """The caller's records, pulled one by one: an iterable or an asynchronous iterable.

    Attributes:
        exhausted: True once everything was taken.
    """

    def __init__(self, records: Records) -> None:
        check_records(records)
        self.exhausted = False
        self._pulled = aiter(records) if isinstance(records, AsyncIterable) else None
        self._values = iter(()) if isinstance(records, AsyncIterable) else iter(records)

    async def next_message(self, builder: MessageBuilder) -> AppendRecordsRequest | None:
        """Fill the builder's message from the records; None if there are none left."""
        self.exhausted = not (builder.fill(self._values) if self._pulled is None else await self._pull(builder))
        return builder.take()

    async def _pull(self, builder: MessageBuilder) -> bool:
        assert self._pulled is not None
        while not builder.fill(iter(())):
            try:
                value = await anext(self._pulled)
            except StopAsyncIteration:
                return False
            if builder.fill(iter((value,))):
                break
        return True
