"""The handle of one batch task."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import grpc
from google.longrunning import operations_pb2

from batchyard._aio.call import call
from batchyard._aio.operation import AsyncOperationHandle
from batchyard._aio.result import VIEWS, AsyncRecordReader, View
from batchyard._aio.upload import AsyncUpload
from batchyard._errors import NotFoundError
from batchyard._info import BatchTaskInfo, RecordInfo
from batchyard._names import last_id
from batchyard._progress import Progress, RecordCounts, Reporter
from batchyard._records import MessageBuilder
from batchyard._status import BatchTaskStatus
from batchyard._transport_aio import Records, Source
from batchyard.v1 import batch_task_pb2, batch_task_service_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batchyard._aio.connection import AsyncConnection
    from batchyard._aio.wait import WaitRule
    from batchyard._operation_status import OperationStatus


class AsyncBatchTaskOperation(AsyncOperationHandle, AsyncRecordReader):
    """A batch task and the operation of one of its generations.

    `await` it (asynchronous client) or call `wait()` for the result. Nothing runs in the background: a handle that is
    dropped leaves the task alone, and `client.batch.get(task_id)` makes another one, in any process.
    """

    def __init__(self, connection: AsyncConnection, task_name: str, operation_name: str) -> None:
        super().__init__(connection, operation_name)
        self._task_name = task_name

    @property
    def task_id(self) -> str:
        """Id of the batch task in its project."""
        return last_id(self._task_name)

    @property
    def task_name(self) -> str:
        """`projects/{project}/batchTasks/{batch_task}`."""
        return self._task_name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._task_name}>"

    async def get_task_info(self, *, timeout: float = 60) -> BatchTaskInfo:
        """Read everything about the task, counts included, in any state.

        Raises:
            NotFoundError: it was deleted.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        request = batch_task_service_pb2.GetBatchTaskRequest(name=self._task_name)
        return BatchTaskInfo(await call(self._connection.service.GetBatchTask, request, timeout))

    async def get_status(self, *, timeout: float = 60) -> BatchTaskStatus:
        """Return how far this generation of the task has come.

        Raises:
            NotFoundError: the task was deleted.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        metadata = (await self.get_operation_status(timeout=timeout)).metadata
        assert isinstance(metadata, batch_task_pb2.BatchTaskMetadata)
        return BatchTaskStatus.of_state(metadata.state)

    async def cancel(self, *, timeout: float = 60) -> None:
        """Stop the task for good; what runs is killed. Returns when that is decided, `wait` sees the end.

        Of a task that has ended: no effect.

        Raises:
            NotFoundError: the task was deleted.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        try:
            if self._name:
                await super().cancel(timeout=timeout)
                return
        except NotFoundError:
            pass  # only the operation of a task that has ended can be forgotten
        await self.get_task_info(timeout=timeout)

    async def get_record(self, index: int, *, view: View = "full", timeout: float = 60) -> RecordInfo:
        """Read one record.

        Raises:
            NotFoundError: no such index.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        request = batch_task_service_pb2.GetRecordRequest(name=f"{self._task_name}/records/{index}", view=VIEWS[view])
        return RecordInfo(await call(self._connection.service.GetRecord, request, timeout))

    async def delete(self, *, timeout: float = 60) -> None:
        """Delete the task with its records and outcomes. Only a draft and a task that has ended can be deleted.

        Raises:
            IllegalStateError: it has not ended: cancel it first and wait.
            NotFoundError: it is gone already.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        request = batch_task_service_pb2.DeleteBatchTaskRequest(name=self._task_name, request_id=str(uuid.uuid4()))
        await call(self._connection.service.DeleteBatchTask, request, timeout)

    async def start(self, *, request_id: str | None = None, timeout: float = 60) -> None:
        """Start a draft. Of a task that is queued or running: no effect.

        Args:
            request_id: UUID4 that makes the call safe to repeat from another process. None: a new one.
            timeout: seconds.

        Raises:
            NoRecordsError: the draft is empty.
            TaskCompletedError: it has ended.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        request = batch_task_service_pb2.StartBatchTaskRequest(
            name=self._task_name, request_id=request_id or str(uuid.uuid4())
        )
        operation = await call(self._connection.service.StartBatchTask, request, timeout)
        self._name = operation.name

    async def append(
        self,
        records: Records,
        *,
        record_ids: Iterable[str] | None = None,
        skip_appended: bool = False,
        progress: Progress = None,
        timeout: float = 60,
    ) -> int:
        """Append records to a draft; returns when they are durable.

        Args:
            records: any iterable (asynchronous client: or asynchronous iterable), of any size; see `run`.
            record_ids: one id per record, in the same order.
            skip_appended: `records` begins with what the draft holds already, e.g. because an earlier call broke off:
                that part is skipped.
            progress: called with `RecordCounts` as they become durable, or "bar".
            timeout: seconds without progress after which it gives up; cuts and restarts in between are survived.

        Returns:
            How many records the draft holds now.

        Raises:
            RecordValueError: a record has no form on the wire; those before it may have been appended.
            AppendInProgressError: somebody else appends to this task.
            IllegalStateError: the task is no draft any more.
            RpcError: refused, or no progress.
        """
        reporter = Reporter(progress)
        upload = self.new_upload(reporter, timeout)
        builder = MessageBuilder(record_ids)
        try:
            if not skip_appended:
                builder.begin_at(await upload.ask())
            source = Source(records)
            await upload.send(source, builder, await source.next_message(builder))
        finally:
            upload.close()
            reporter.close()
        return upload.next_index

    def new_upload(self, reporter: Reporter, timeout: float) -> AsyncUpload:
        """Return an upload into this task; internal to the client."""

        def acknowledged(next_index: int) -> None:
            reporter(RecordCounts(total=next_index, pending=next_index))

        return AsyncUpload(self._connection.service.AppendRecords, self._task_name, timeout, acknowledged)

    async def _get(self, timeout: float) -> operations_pb2.Operation:
        try:
            if self._name:
                return await super()._get(timeout)
        except NotFoundError:
            pass
        return await self._from_task(timeout)

    async def _wait_done(self, rule: WaitRule, seen: Callable[[OperationStatus], None]) -> operations_pb2.Operation:
        try:
            if self._name:
                return await super()._wait_done(rule, seen)
        except NotFoundError:
            pass
        return await self._from_task(rule.timeout)

    async def _from_task(self, timeout: float) -> operations_pb2.Operation:
        """Describe the operation, which was forgotten, by its task; only a task that has ended lost its operation."""
        task = await self.get_task_info(timeout=timeout)
        if not task.state.is_final:
            raise NotFoundError(grpc.StatusCode.NOT_FOUND, f"the operation of {task.name} was forgotten")
        info = task.message
        operation = operations_pb2.Operation(done=True)
        operation.metadata.Pack(
            batch_task_pb2.BatchTaskMetadata(
                batch_task=info.name,
                generation=info.generation,
                state=info.state,
                stop_reason=info.stop_reason,
                counts=info.counts,
                start_time=info.start_time,
                end_time=info.end_time,
            )
        )
        if info.state == batch_task_pb2.BatchTaskInfo.SUCCEEDED:
            operation.response.Pack(info)
        else:
            operation.error.CopyFrom(info.error)
        return operation
