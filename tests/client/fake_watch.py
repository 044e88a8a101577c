"""The watches of the scripted server: a test says what happened; a token is the number of messages before it."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from typing import Any

import grpc
from google.rpc import code_pb2

from batchyard.v1.operation_status_pb2 import OperationStatus
from tests.client.fake_operations import refuse


class FakeWatches:
    """See the module.

    Attributes:
        told: what happened, by the name of the task or project that is watched.
        watching: how many watches are open.
    """

    changed: threading.Condition
    stream_cuts: deque[int]
    stopping: bool
    _begin: Any

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, list[OperationStatus]] = defaultdict(list)
        self.watching = 0

    def tell(self, watched: str, **fields: Any) -> None:
        """Something happened."""
        with self.changed:
            told = self.told[watched]
            message = OperationStatus(**fields, resume_token=str(len(told) + 1))
            message.event_time.FromSeconds(1_700_000_000 + len(told))
            told.append(message)
            self.changed.notify_all()

    def WatchBatchTask(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin("WatchBatchTask", request, context)
        yield from self._watch(request.name, request, context)

    def WatchBatchTasks(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin("WatchBatchTasks", request, context)
        yield from self._watch(request.parent, request, context)

    def _watch(self, watched: str, request: Any, context: grpc.ServicerContext) -> Any:
        """Yield what was told after the token; a task's watch ends when it is done, or deleted."""
        cut = self.stream_cuts.popleft() if self.stream_cuts else -1
        number = int(request.resume_token or 0)
        context.add_callback(self._left)
        with self.changed:
            self.watching += 1
            self.changed.notify_all()
        while (message := self._next(watched, number, context)) is not None:
            number += 1
            if message.records and not request.include_records:
                continue
            if cut == 0:
                refuse(context, code_pb2.UNAVAILABLE, "cut")
            cut -= 1
            if message.deleted and "/batchTasks/" in watched:
                refuse(context, code_pb2.NOT_FOUND, "it was deleted", "RESOURCE_NOT_FOUND")
            yield message
            if message.done and "/batchTasks/" in watched:
                return

    def _next(self, watched: str, number: int, context: grpc.ServicerContext) -> OperationStatus | None:
        """Wait for a message; None if the caller has left."""
        told = self.told[watched]
        with self.changed:
            self.changed.wait_for(lambda: len(told) > number or self.stopping or not context.is_active())
            if self.stopping:
                refuse(context, code_pb2.UNAVAILABLE, "stopping")
            return told[number] if context.is_active() else None

    def _left(self) -> None:
        with self.changed:
            self.watching -= 1
            self.changed.notify_all()
