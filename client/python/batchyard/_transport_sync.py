"""The few things that differ between grpc.aio and grpc, for the synchronous client. `_transport_aio` is its twin."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from batchyard._records import MessageBuilder, check_records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.v1.batch_task_service_pb2 import AppendRecordsRequest, AppendRecordsResponse

Records: TypeAlias = Iterable[object]
sleep = time.sleep


def open_channel(
    target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
) -> grpc.Channel:
    """Open a channel; nothing is sent before the first call."""
    if credentials is None:
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(target, credentials, options=options)


def unary(method: Any, request: Any, timeout: float) -> Any:
    """Make one unary call. A KeyboardInterrupt in it cancels the call."""
    return method(request, timeout=timeout)


def read(call: Any) -> Any:
    """Return the next message of a stream, None at its end."""
    return next(call, None)


class AppendStream:
    """One AppendRecords call.

    grpc takes the messages from a thread of its own, so they pass through a queue; how much lies in it is bounded by
    the window of the upload.
    """

    def __init__(self, method: Any, timeout: float) -> None:
        self._outgoing: queue.SimpleQueue[AppendRecordsRequest | None] = queue.SimpleQueue()
        self._call = method(iter(self._outgoing.get, None), timeout=timeout)

    def write(self, request: AppendRecordsRequest) -> None:
        """Queue one message; never waits."""
        self._outgoing.put(request)

    def read(self) -> AppendRecordsResponse | None:
        """Return the next reply, None at the end."""
        return read(self._call)

    def done_writing(self) -> None:
        """Tell the server that nothing more comes."""
        self._outgoing.put(None)

    def cancel(self) -> None:
        """Give the call up and let grpc's thread go. May be repeated."""
        self._call.cancel()
        self._outgoing.put(None)


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
