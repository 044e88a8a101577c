"""The batch tasks of a project (`client.batch`): run, get, list, and the verbs by task id."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.longrunning import operations_pb2

from batchyard._aio.call import call, stream
from batchyard._aio.many import AsyncMany
from batchyard._aio.operation import metadata_of
from batchyard._aio.result import View
from batchyard._aio.task import AsyncBatchTaskOperation
from batchyard._aio.verbs import AsyncTaskVerbs
from batchyard._aio.watch import wanted, watch_tasks
from batchyard._errors import BatchyardError, InvalidArgumentError, NotFoundError
from batchyard._info import BatchTaskInfo
from batchyard._names import child_name, derived_id, project_name
from batchyard._progress import Progress, Reporter
from batchyard._records import INLINE_RECORDS, MESSAGE_RECORDS, MessageBuilder
from batchyard._settings import new_task
from batchyard._status import BatchTaskStatus, with_status
from batchyard._transport_aio import Records, Source
from batchyard._undefined import UNDEFINED, Undefined
from batchyard.v1 import batch_task_pb2, batch_task_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from typing import Unpack

    from batchyard._aio.many import AsyncSubmission
    from batchyard._settings import TaskSettings
    from batchyard._transport_aio import Tasks
    from batchyard.v1.batch_task_pb2 import BatchTaskCounts
    from batchyard.v1.batch_task_service_pb2 import (
        AppendRecordsRequest,
        CreateBatchTaskRequest,
        StreamBatchTasksResponse,
    )
    from batchyard.v1.operation_status_pb2 import OperationStatus

# Seconds spent on removing a draft whose upload broke off and that nobody could find again.
_TIDY_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class _Upload:
    """Where the records of a `run` come from and how they travel; `repeatable`: the caller can go on with the draft."""

    source: Source
    builder: MessageBuilder
    progress: Progress
    repeatable: bool
    timeout: float


class AsyncBatch(AsyncTaskVerbs):
    """The batch tasks of the client's project."""

    async def run(
        self,
        handler: str,
        records: Records,
        *,
        task_id: str | None = None,
        record_ids: Iterable[str] | None = None,
        start: bool = True,
        request_id: str | None = None,
        progress: Progress = None,
        timeout: float = 60,
        **settings: Unpack[TaskSettings],
    ) -> AsyncBatchTaskOperation:
        """Hand a batch of records to a handler; returns when all of them are durable and the task is started.

        A small batch travels in one request. A larger one, of any size, is streamed into a draft with flat memory; cuts
        of the connection and restarts of the server are survived, and nothing is lost or doubled.

        Args:
            handler: id of a handler of the server; `client.handlers.list()` names them.
            records: any iterable, also a generator (asynchronous client: or asynchronous iterable). A str reaches a
                `python` handler as str, bytes as bytes, what JSON can say as that object, a protobuf message as Any; a
                `Record` adds a record_id or content_type; a `batchyard.v1.RecordInput` passes unchanged.
            task_id: id of the new task, `[a-zA-Z0-9_-]{1,64}`. None: made by the server.
            record_ids: one id per record, in the same order.
            start: False leaves a draft: `append` more to it, then `start` it.
            request_id: UUID4 that makes the whole call safe to repeat, also from another process and in the middle of
                an upload: the same call with the same id goes on where the first one stopped. None: a new one, and a
                draft whose upload fails is removed.
            progress: called with `RecordCounts` as records become durable, or "bar".
            timeout: seconds, of each call, and without progress while records are streamed.
            settings: what `TaskSettings` lists: parameters, labels, priority, record_timeout, retry_policy, …

        Raises:
            RecordValueError: a record has no form on the wire (it names the index).
            NotFoundError: no such handler.
            AlreadyExistsError: task_id is taken, or request_id was used with other content.
            InvalidArgumentError: a bound is exceeded, or there are no records to start.
            TypeError, ValueError: a setting that does not exist, or a value that it cannot have.
            RpcError: any other refusal, or no answer within `timeout`.
        """
        request = batch_task_service_pb2.CreateBatchTaskRequest(
            parent=project_name(self._connection.project),
            batch_task=new_task(handler, settings),
            batch_task_id=task_id or "",
            start=start,
            request_id=request_id or str(uuid.uuid4()),
        )
        upload = _Upload(Source(records), MessageBuilder(record_ids), progress, request_id is not None, timeout)
        return await self._submit(request, upload)

    async def _submit(self, request: CreateBatchTaskRequest, upload: _Upload) -> AsyncBatchTaskOperation:
        """Send a small batch within the request; stream a larger one into a draft."""
        source, builder = upload.source, upload.builder
        builder.most_records = INLINE_RECORDS
        first = await source.next_message(builder)
        builder.most_records = MESSAGE_RECORDS
        if source.exhausted:
            builder.finish()
            if first is not None:
                request.records.MergeFrom(first.records)
            return (await self._create(request, upload.timeout))[0]
        return await self._stream_in(request, upload, first)

    async def _stream_in(
        self, request: CreateBatchTaskRequest, upload: _Upload, first: AppendRecordsRequest | None
    ) -> AsyncBatchTaskOperation:
        """Create a draft, append `first` and all that follows it, and start it unless it is to stay one."""
        source, builder, start = upload.source, upload.builder, request.start
        request.start = False
        operation, state = await self._create(request, upload.timeout)
        if state != batch_task_pb2.BatchTaskInfo.DRAFT:  # an earlier call with this request_id has done it all
            return operation
        reporter = Reporter(upload.progress)
        try:
            await operation.new_upload(reporter, upload.timeout).send(source, builder, first)
            if start:
                start_id = derived_id(request.request_id, "start")
                await operation.start(request_id=start_id, timeout=upload.timeout)
        except BaseException:
            if not upload.repeatable:
                with suppress(BatchyardError):
                    await operation.delete(timeout=_TIDY_TIMEOUT)
            raise
        finally:
            reporter.close()
        return operation

    async def _create(self, request: Any, timeout: float) -> tuple[AsyncBatchTaskOperation, int]:
        """Create the task; return its handle and the state that it is in."""
        operation = await call(self._connection.service.CreateBatchTask, request, timeout)
        task = metadata_of(operation)
        handle = AsyncBatchTaskOperation(self._connection, task.batch_task, operation.name, task.generation)
        return handle, task.state

    def run_many(
        self, tasks: Tasks, *, request_id: str | None = None, timeout: float = 60
    ) -> AsyncIterator[AsyncSubmission]:
        """Create any number of batch tasks, and yield what became of each, in their order.

        They travel many in one call, and are read and sent as what became of them is asked for: iterate to the end.
        One that is refused stops no other. What passes (the server is restarted, its disk is full) is tried again;
        nothing is doubled by that.

        Args:
            tasks: any iterable of `NewTask` (or of `batchyard.v1.CreateBatchTaskRequest`), also a generator
                (asynchronous client: or asynchronous iterable). One with many records is streamed, as by `run`.
            request_id: UUID4 that makes the whole safe to repeat, also from another process: the same tasks in the same
                order with the same id are created once. None: new ones.
            timeout: seconds, of each call with its repetitions.

        Yields:
            One for each: `.operation`, or `.error` (an RpcError, or a RecordValueError); `.get()` returns the one or
            raises the other.

        Raises:
            RpcError: a call was refused as a whole; what was not yielded may be repeated with the same request_id.
        """

        async def upload(
            request: CreateBatchTaskRequest, source: Source, builder: MessageBuilder, first: AppendRecordsRequest | None
        ) -> AsyncBatchTaskOperation:
            return await self._stream_in(
                request, _Upload(source, builder, None, request_id is not None, timeout), first
            )

        return AsyncMany(self._connection, request_id, upload, timeout).run(tasks)

    async def counts(self, *, timeout: float = 60) -> BatchTaskCounts:
        """Read how many tasks of the project are in each state.

        Returns:
            A `batchyard.v1.BatchTaskCounts`: `.draft`, `.queued`, `.running`, `.pausing`, `.paused`, `.cancelling`,
            `.succeeded`, `.failed`, `.cancelled`.

        Raises:
            RpcError: not answered within `timeout` seconds, or refused.
        """
        name = f"{project_name(self._connection.project)}/batchTaskCounts"
        request = batch_task_service_pb2.GetBatchTaskCountsRequest(name=name)
        return await call(self._connection.service.GetBatchTaskCounts, request, timeout)

    async def get(self, task: str | BatchTaskInfo, *, timeout: float = 60) -> AsyncBatchTaskOperation:
        """Return the handle of a batch task.

        Args:
            task: id or resource name, looked up on the server; or a `BatchTaskInfo`, taken as it is without a call.
                If no task has this id: the id of an operation of one; the handle is then of that generation.
            timeout: seconds, of each call.

        Raises:
            NotFoundError: there is no such task.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        try:
            info = task if isinstance(task, BatchTaskInfo) else await self.get_info(task, timeout=timeout)
        except NotFoundError:
            found = await self._get_by_operation(str(task), timeout)
            if found is None:
                raise
            return found
        return AsyncBatchTaskOperation(self._connection, info.name, info.operation, info.generation)

    async def _get_by_operation(self, operation_id: str, timeout: float) -> AsyncBatchTaskOperation | None:
        """Return the handle of the task that an operation is of, None if there is no operation of this id."""
        if "/" in operation_id:
            return None
        name = child_name(self._connection.project, "operations", operation_id)
        request = operations_pb2.GetOperationRequest(name=name)
        try:
            operation = await call(self._connection.operations.GetOperation, request, timeout)
        except (NotFoundError, InvalidArgumentError):
            return None
        task = metadata_of(operation)
        return AsyncBatchTaskOperation(self._connection, task.batch_task, operation.name, task.generation)

    async def get_info(self, task: str, *, timeout: float = 60) -> BatchTaskInfo:
        """Read one batch task by id or resource name.

        Raises:
            NotFoundError: there is no such task.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        name = child_name(self._connection.project, "batchTasks", task)
        request = batch_task_service_pb2.GetBatchTaskRequest(name=name)
        return BatchTaskInfo(await call(self._connection.service.GetBatchTask, request, timeout))

    def info_pages(
        self,
        *,
        page_size: int = 0,
        resume_token: str = "",
        timeout: float = 60,
        filter: str = "",
        order_by: str = "",
    ) -> AsyncIterator[StreamBatchTasksResponse]:
        """Yield the tasks of the project page by page, as messages: the fastest way to read many.

        Args:
            page_size: most tasks in one page; 0: the server's choice. A page also ends at 256 KiB.
            resume_token: of a page read before, with the same filter and order: goes on after it.
            timeout: seconds to wait for one page. A cut stream resumes within it.
            filter: which tasks (AIP-160), as in `state = FAILED AND labels.team = "search"`. Empty: all.
            order_by: in which order, as in `end_time desc`. Empty: the newest first.

        Yields:
            Pages: `.batch_tasks` (`batchyard.v1.BatchTaskInfo`; may be empty where a filter matches little) and
            `.resume_token`.

        Raises:
            InvalidArgumentError: the filter or order cannot be read; it says where.
            RpcError: no page within `timeout`, or refused.
        """
        request = batch_task_service_pb2.StreamBatchTasksRequest(
            parent=project_name(self._connection.project),
            page_size=page_size,
            resume_token=resume_token,
            filter=filter,
            order_by=order_by,
        )
        return stream(self._connection.service.StreamBatchTasks, request, timeout)

    def watch(
        self,
        *,
        filter: str = "",
        include_records: bool = False,
        view: View = "basic",
        resume_token: str = "",
        timeout: float = 60,
    ) -> AsyncIterator[OperationStatus]:
        """Yield what happens to all tasks of the project, as it happens; ends when the caller stops.

        First a snapshot of each task, newest first, and then a message with only a token. Then every change of every
        task, of those that are created later and of later generations too; a deleted one ends with `deleted`. With
        include_records the outcomes that come after a task's snapshot.

        With a filter, as of ListBatchTasks, only of tasks that match it, each change judged by what it left. Other
        arguments, messages and errors as of `BatchTaskOperation.watch`.
        """
        return watch_tasks(self._connection, filter, wanted(include_records, view), resume_token, timeout)

    async def list_info(
        self,
        *,
        page_size: int | Undefined = UNDEFINED,
        status: BatchTaskStatus | str | int | Undefined = UNDEFINED,
        timeout: float = 60,
        filter: str = "",
        order_by: str = "",
    ) -> AsyncIterator[BatchTaskInfo]:
        """Yield the tasks of the project, newest first or in another order.

        Args:
            page_size: most tasks in one message of the stream.
            status: only tasks of this status; what `BatchTaskStatus.coerce` accepts: a member, its name or number.
                Unset, or STATUS_UNSPECIFIED: all.
            timeout: seconds to wait for one message.
            filter: which tasks, see `info_pages`; with a status both must match.
            order_by: see `info_pages`.

        Raises:
            ValueError: no such status.
            InvalidArgumentError: the filter or order cannot be read; it says where.
            RpcError: no message within `timeout`, or refused.
        """
        wanted = filter if isinstance(status, Undefined) else with_status(filter, BatchTaskStatus.coerce(status))
        size = 0 if isinstance(page_size, Undefined) else page_size
        async for page in self.info_pages(page_size=size, timeout=timeout, filter=wanted, order_by=order_by):
            for task in page.batch_tasks:
                yield BatchTaskInfo(task)

    async def list_operations(
        self,
        *,
        page_size: int | Undefined = UNDEFINED,
        status: BatchTaskStatus | str | int | Undefined = UNDEFINED,
        timeout: float = 60,
        filter: str = "",
        order_by: str = "",
    ) -> AsyncIterator[AsyncBatchTaskOperation]:
        """Yield one handle per task, of its current generation; arguments and errors as of `list_info`."""
        found = self.list_info(page_size=page_size, status=status, timeout=timeout, filter=filter, order_by=order_by)
        async for info in found:
            yield AsyncBatchTaskOperation(self._connection, info.name, info.operation, info.generation)
