"""What is done to a batch task before it runs: records are appended, and it is started."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from batchyard._aio.call import call
from batchyard._aio.upload import AsyncUpload
from batchyard._progress import Progress, RecordCounts, Reporter
from batchyard._records import MessageBuilder
from batchyard._transport_aio import Records, Source
from batchyard.v1 import batch_task_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchyard._aio.connection import AsyncConnection


class AsyncDraft:
    """Fills and starts a draft. Base of the handle of a task."""

    _connection: AsyncConnection
    _name: str
    _task_name: str

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
