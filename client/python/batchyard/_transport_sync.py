"""The few things that differ between grpc.aio and grpc, for the synchronous client. `_transport_aio` is its twin."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import grpc

from batchyard._new_task import NewTask
from batchyard._records import MessageBuilder, check_records
from batchyard.v1.batch_task_service_pb2 import CreateBatchTaskRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from batchyard.v1.batch_task_service_pb2 import AppendRecordsRequest

_T = TypeVar("_T")
Records: TypeAlias = Iterable[object]
Task: TypeAlias = NewTask | CreateBatchTaskRequest
Tasks: TypeAlias = Iterable[Task]
sleep = time.sleep


def open_channel(
    target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
) -> grpc.Channel:
    """Open a channel; nothing is sent before the first call."""
    if credentials is None:
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(target, credentials, options=options)


def in_thread(function: Callable[..., _T], *args: Any) -> _T:
    """Call what may wait for the disk: here, where nobody else waits."""
    return function(*args)


def unary(method: Any, request: Any, timeout: float) -> Any:
    """Make one unary call. A KeyboardInterrupt in it cancels the call."""
    return method(request, timeout=timeout)


class Stream:
    """One streaming call, driven by a thread of its own.

    The caller's thread only waits on queues: grpc guards a stream with Python locks that a KeyboardInterrupt at the
    wrong moment leaves locked for ever, and closing the channel would then hang. One message is fetched ahead.

    Args:
        begin: makes the call.
    """

    def __init__(self, begin: Callable[[], Any]) -> None:
        self._begin = begin
        self._call: Any = None
        self._cancelled = False
        self._ended = False
        self._wanted: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._wanted.put(True)
        threading.Thread(target=self._drive, name="batchyard-stream", daemon=True).start()

    def read(self) -> Any:
        """Return the next message, None at the end and ever after."""
        if self._ended:
            return None
        self._wanted.put(True)
        arrived = self._arrived.get()
        self._ended = arrived is None or isinstance(arrived, BaseException)
        if isinstance(arrived, BaseException):
            raise arrived
        return arrived

    def cancel(self) -> None:
        """Give the call up. May be repeated."""
        self._cancelled = True
        self._wanted.put(False)
        if self._call is not None:
            self._call.cancel()

    def _drive(self) -> None:
        try:
            self._call = self._begin()
            if self._cancelled:
                self._call.cancel()
            while self._wanted.get():
                message = next(self._call, None)
                self._arrived.put(message)
                if message is None:
                    return
        except Exception as error:  # noqa: BLE001 - raised in the caller's thread
            self._arrived.put(error)


def open_stream(method: Any, request: Any, timeout: float) -> Stream:
    """Begin a server stream."""
    return Stream(lambda: method(request, timeout=timeout))


class AppendStream(Stream):
    """One AppendRecords call. How much lies in its queue is bounded by the window of the upload."""

    def __init__(self, method: Any, timeout: float) -> None:
        self._outgoing: queue.SimpleQueue[AppendRecordsRequest | None] = queue.SimpleQueue()
        super().__init__(lambda: method(iter(self._outgoing.get, None), timeout=timeout))

    def write(self, request: AppendRecordsRequest) -> None:
        """Queue one message; never waits."""
        self._outgoing.put(request)

    def done_writing(self) -> None:
        """Tell the server that nothing more comes."""
        self._outgoing.put(None)

    def cancel(self) -> None:
        """Give the call up and let grpc's own thread go. May be repeated."""
        super().cancel()
        self._outgoing.put(None)


def numbered(tasks: Tasks) -> Iterator[tuple[int, Task]]:
    """Yield them with their positions, one by one as they are asked for."""
    return iter(enumerate(tasks))


class Source:
    """The caller's records, pulled one by one, always in the caller's own thread.

    Attributes:
        exhausted: True once everything was taken.
    """

    def __init__(self, records: Records) -> None:
        check_records(records)
        self.exhausted = False
        self._values = iter(records)

    def next_message(self, builder: MessageBuilder) -> AppendRecordsRequest | None:
        """Fill the builder's message from the records; None if there are none left."""
        self.exhausted = not builder.fill(self._values)
        return builder.take()
