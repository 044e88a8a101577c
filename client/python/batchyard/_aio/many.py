"""Creating any number of batch tasks: in calls of bounded size, each repeated as long as that makes sense."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc

from batchyard._aio.call import call
from batchyard._aio.operation import metadata_of
from batchyard._aio.task import AsyncBatchTaskOperation
from batchyard._error_map import status_error
from batchyard._errors import RpcError
from batchyard._names import derived_id, project_name
from batchyard._new_task import NewTask
from batchyard._records import INLINE_RECORDS, MESSAGE_RECORDS, MessageBuilder
from batchyard._retry import Backoff, now
from batchyard._transport_aio import Source, numbered, sleep
from batchyard.v1 import batch_task_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from batchyard._aio.connection import AsyncConnection
    from batchyard._transport_aio import Tasks
    from batchyard.v1.batch_task_service_pb2 import AppendRecordsRequest, CreateBatchTaskRequest

# Bounds of one call: the server's own, and half of what it takes.
CALL_TASKS: Final = 1000
CALL_BYTES: Final = 2 * 1024 * 1024
# How often a task is tried that is refused for what passes.
MOST_TRIES: Final = 8
PASSING: Final = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class AsyncSubmission:
    """What became of one task that was given to `run_many`: it was created, or it was refused.

    Attributes:
        index: its position among those given.
        operation: the handle of the task; None if it was refused.
        error: why it was refused: an RpcError, or a RecordValueError for what has no form on the wire. None if it was
            not.
    """

    __slots__ = ("error", "index", "operation")

    def __init__(
        self, index: int, operation: AsyncBatchTaskOperation | None, error: RpcError | ValueError | None
    ) -> None:
        self.index = index
        self.operation = operation
        self.error = error

    def get(self) -> AsyncBatchTaskOperation:
        """Return the handle.

        Raises:
            RpcError, ValueError: it was refused; `error`.
        """
        if self.operation is None:
            assert self.error is not None
            raise self.error
        return self.operation

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.index} {self.operation or self.error!r}>"


@dataclass(slots=True)
class _Item:
    """One task on its way. `rest`: where the records come from that do not fit into `request`; the first are there."""

    index: int
    request: CreateBatchTaskRequest
    size: int
    rest: tuple[Source, MessageBuilder, AppendRecordsRequest | None] | None = None
    operation: AsyncBatchTaskOperation | None = None
    error: RpcError | ValueError | None = None


class AsyncMany:
    """One `run_many`.

    Args:
        connection: to the server.
        request_id: what the ids of the tasks' requests are made of; None: each is a new one.
        upload: creates a task of which not all records are at hand.
        timeout: seconds, of each call with its repetitions.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        request_id: str | None,
        upload: Callable[[CreateBatchTaskRequest, Source, MessageBuilder, Any], Any],
        timeout: float,
    ) -> None:
        self._connection = connection
        self._request_id = request_id
        self._upload = upload
        self._timeout = timeout

    async def run(self, tasks: Tasks) -> AsyncIterator[AsyncSubmission]:
        """Yield what became of each, in order. Not more is read ahead than goes into one call."""
        waiting: list[_Item] = []
        size = 0
        async for index, task in numbered(tasks):
            item = await self._item(index, task)
            if waiting and (len(waiting) == CALL_TASKS or size + item.size > CALL_BYTES or item.rest is not None):
                async for done in self._send(waiting):
                    yield done
                waiting, size = [], 0
            if item.rest is not None:
                yield await self._send_large(item, item.rest)
            else:
                waiting.append(item)
                size += item.size
        async for done in self._send(waiting):
            yield done

    async def _item(self, index: int, task: NewTask | CreateBatchTaskRequest) -> _Item:
        """Read the first records of a task; of most these are all."""
        request = batch_task_service_pb2.CreateBatchTaskRequest()
        if not isinstance(task, NewTask):
            request.CopyFrom(task)
            request.request_id = request.request_id or self._new_id(index)
            return _Item(index, request, request.ByteSize())
        request.batch_task.CopyFrom(task.message)
        request.batch_task_id = task.task_id or ""
        request.start = task.start
        request.request_id = self._new_id(index)
        source, builder = Source(task.records), MessageBuilder(task.record_ids)
        builder.most_records = INLINE_RECORDS
        try:
            first = await source.next_message(builder)
            if source.exhausted:
                builder.finish()
        except ValueError as error:
            return _Item(index, request, 0, error=error)
        builder.most_records = MESSAGE_RECORDS
        if not source.exhausted:
            request.parent = project_name(self._connection.project)
            return _Item(index, request, 0, (source, builder, first))
        if first is not None:
            request.records.MergeFrom(first.records)
        return _Item(index, request, request.ByteSize())

    def _new_id(self, index: int) -> str:
        return derived_id(self._request_id, f"task {index}") if self._request_id else str(uuid.uuid4())

    async def _send_large(
        self, item: _Item, rest: tuple[Source, MessageBuilder, AppendRecordsRequest | None]
    ) -> AsyncSubmission:
        """Create a task whose records are streamed."""
        try:
            item.operation = await self._upload(item.request, *rest)
        except (RpcError, ValueError) as error:
            item.error = error
        return AsyncSubmission(item.index, item.operation, item.error)

    async def _send(self, items: Sequence[_Item]) -> AsyncIterator[AsyncSubmission]:
        """Create tasks in one call, and again those that were refused for what passes."""
        backoff, deadline = Backoff(), now() + self._timeout
        left = [item for item in items if item.error is None]
        for tries in range(1, MOST_TRIES + 1):
            if not left:
                break
            advised = await self._call(left, deadline)
            left = [item for item in left if isinstance(item.error, RpcError) and item.error.code in PASSING]
            delay = backoff.delay(advised)
            if not left or tries == MOST_TRIES or now() + delay >= deadline:
                break
            await sleep(delay)
        for item in items:
            yield AsyncSubmission(item.index, item.operation, item.error)

    async def _call(self, items: Sequence[_Item], deadline: float) -> RpcError | None:
        """Make one call and note what became of each; return a refusal that says how long to wait, if there is one.

        A call that fails as a whole for what passes refuses all of them.
        """
        request = batch_task_service_pb2.BatchCreateBatchTasksRequest(
            parent=project_name(self._connection.project), requests=[item.request for item in items]
        )
        try:
            timeout = max(deadline - now(), 0.0)
            response = await call(self._connection.service.BatchCreateBatchTasks, request, timeout)
        except RpcError as error:
            # Without a reason it is gRPC's own RESOURCE_EXHAUSTED: the message is too large, and stays so.
            if error.code not in PASSING or (error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and not error.reason):
                raise
            for item in items:
                item.error = error
            return error
        advised: RpcError | None = None
        for item, result in zip(items, response.results, strict=True):
            item.error = None
            if result.WhichOneof("result") == "operation":
                task = metadata_of(result.operation)
                item.operation = AsyncBatchTaskOperation(
                    self._connection, task.batch_task, result.operation.name, task.generation
                )
                continue
            item.error = status_error(result.status)
            if item.error.detail.retry_delay:
                advised = item.error
        return advised
