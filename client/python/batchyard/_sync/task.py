# Generated from _aio/task.py by client/python/unasync.py; change that file and run `make gen`.
"""The handle of one batch task."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import grpc
from google.longrunning import operations_pb2

from batchyard._errors import NotFoundError
from batchyard._info import BatchTaskInfo
from batchyard._names import last_id
from batchyard._record_info import Subtask
from batchyard._settings import update_request
from batchyard._status import BatchTaskStatus
from batchyard._sync.call import call, pages
from batchyard._sync.draft import Draft
from batchyard._sync.operation import OperationHandle, metadata_of
from batchyard._sync.result import RecordReader, View
from batchyard._sync.watch import wanted, watch_task
from batchyard.v1 import batch_task_pb2, batch_task_service_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Unpack

    from batchyard._operation_status import OperationStatus
    from batchyard._settings import TaskChanges
    from batchyard._sync.connection import Connection
    from batchyard._sync.wait import WaitRule
    from batchyard.v1.operation_status_pb2 import OperationStatus as WatchMessage

Scope: TypeAlias = Literal["failed_and_unfinished", "all"]

_Scopes = batch_task_service_pb2.ReactivateBatchTaskRequest
_SCOPES: Final = {"failed_and_unfinished": _Scopes.FAILED_AND_UNFINISHED, "all": _Scopes.ALL}


class BatchTaskOperation(OperationHandle, Draft, RecordReader):
    """A batch task and the operation of one of its generations.

    `await` it (asynchronous client) or call `wait()` for the result. Nothing runs in the background: a handle that is
    dropped leaves the task alone, and `client.batch.get(task_id)` makes another one, in any process.
    """

    def __init__(self, connection: Connection, task_name: str, operation_name: str, generation: int = 0) -> None:
        super().__init__(connection, operation_name)
        self._task_name = task_name
        self._generation = generation

    @property
    def task_id(self) -> str:
        """Id of the batch task in its project."""
        return last_id(self._task_name)

    @property
    def task_name(self) -> str:
        """`projects/{project}/batchTasks/{batch_task}`."""
        return self._task_name

    @property
    def generation(self) -> int:
        """The generation of the task that `wait`, `cancel`, `get_status` and `get_result` are about."""
        return self._generation

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._task_name}>"

    def get_task_info(self, *, timeout: float = 60) -> BatchTaskInfo:
        """Read everything about the task, counts included, in any state.

        Raises:
            NotFoundError: it was deleted.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        request = batch_task_service_pb2.GetBatchTaskRequest(name=self._task_name)
        return BatchTaskInfo(call(self._connection.service.GetBatchTask, request, timeout))

    def get_status(self, *, timeout: float = 60) -> BatchTaskStatus:
        """Return how far this generation of the task has come.

        Raises:
            NotFoundError: the task was deleted.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        metadata = (self.get_operation_status(timeout=timeout)).metadata
        assert isinstance(metadata, batch_task_pb2.BatchTaskMetadata)
        return BatchTaskStatus.of_state(metadata.state)

    def watch(
        self, *, include_records: bool = False, view: View = "basic", resume_token: str = "", timeout: float = 60
    ) -> Iterator[WatchMessage]:
        """Yield what happens to the task, as it happens, to the end of its current generation.

        First a snapshot, then each change of the state once and in order, and between them the counts, about five times
        a second. Cuts of the connection and restarts of the server are survived, nothing is missed or repeated.

        Args:
            include_records: also every outcome of the generation, in the order of the commits.
            view: "full" adds the input to each; needs include_records.
            resume_token: of a message that came before, in any process: goes on after it, with the same
                include_records. With include_records also of a page in order "completion".
            timeout: seconds to wait for one message; a server that lives sends one every 15 seconds.

        Yields:
            Messages (`batchyard.v1.OperationStatus`): a change (`state`, `counts`; the last one is `done`), outcomes
            (`records`), or only a `resume_token`, which every one of them has.

        Raises:
            ValueError: view is none of the words, or needs include_records.
            NotFoundError: the task was deleted.
            ResumeTokenExpiredError: the server does not keep what came after the token.
            RpcError: no message within `timeout`, or refused.
        """
        return watch_task(self._connection, self._task_name, wanted(include_records, view), resume_token, timeout)

    def cancel(self, *, timeout: float = 60) -> None:
        """Stop the task for good; what runs is killed. Returns when that is decided, `wait` sees the end.

        Of a task that has ended: no effect.

        Raises:
            NotFoundError: the task was deleted.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        try:
            if self._name:
                super().cancel(timeout=timeout)
                return
        except NotFoundError:
            pass  # only the operation of a task that has ended can be forgotten
        self.get_task_info(timeout=timeout)

    def pause(self, *, etag: str | None = None, timeout: float = 60) -> BatchTaskInfo:
        """Let no further record start: those that run may end, then the task is paused until it is resumed.

        Of a task that pauses or is paused: no effect.

        Args:
            etag: of a `BatchTaskInfo`: only if its configuration is still that one.
            timeout: seconds.

        Returns:
            The task, PAUSING or PAUSED.

        Raises:
            IllegalStateError: it is a draft, or is being stopped.
            TaskCompletedError: it has ended.
            EtagMismatchError: it was changed.
            NotFoundError: it was deleted.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        request = batch_task_service_pb2.PauseBatchTaskRequest(
            name=self._task_name, etag=etag or "", request_id=str(uuid.uuid4())
        )
        return BatchTaskInfo(call(self._connection.service.PauseBatchTask, request, timeout))

    def resume(self, *, etag: str | None = None, timeout: float = 60) -> BatchTaskInfo:
        """Let a paused task go on. Of one that is queued or running: no effect. Arguments and errors as of `pause`."""
        request = batch_task_service_pb2.ResumeBatchTaskRequest(
            name=self._task_name, etag=etag or "", request_id=str(uuid.uuid4())
        )
        return BatchTaskInfo(call(self._connection.service.ResumeBatchTask, request, timeout))

    def reactivate(
        self,
        *,
        scope: Scope = "failed_and_unfinished",
        etag: str | None = None,
        request_id: str | None = None,
        timeout: float = 60,
    ) -> BatchTaskOperation:
        """Run records of a task that has ended again: its next generation. This handle stays what it is.

        Args:
            scope: "failed_and_unfinished": the records that failed or have no outcome; "all": every record.
            etag: of a `BatchTaskInfo`: only if its configuration is still that one.
            request_id: UUID4 that makes the call safe to repeat from another process. None: a new one.
            timeout: seconds.

        Returns:
            A new handle, of the new generation's operation.

        Raises:
            TaskNotCompletedError: it has not ended.
            TaskSucceededError: every record of it succeeded.
            NoRecordsError: it has none.
            EtagMismatchError: it was changed.
            NotFoundError: it was deleted.
            ValueError: scope is none of the words.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        if scope not in _SCOPES:
            raise ValueError(f"scope must be one of {list(_SCOPES)}, not {scope!r}")
        request = batch_task_service_pb2.ReactivateBatchTaskRequest(
            name=self._task_name, etag=etag or "", request_id=request_id or str(uuid.uuid4()), scope=_SCOPES[scope]
        )
        operation = call(self._connection.service.ReactivateBatchTask, request, timeout)
        generation = metadata_of(operation).generation
        return BatchTaskOperation(self._connection, self._task_name, operation.name, generation)

    def update(
        self,
        *,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: float = 60,
        **changes: Unpack[TaskChanges],
    ) -> BatchTaskInfo:
        """Change the configuration, e.g. `update(priority=5, labels=None)`; it holds for records that start later.

        Args:
            etag: of a `BatchTaskInfo`: only if its configuration is still that one.
            request_id: UUID4 that makes the call safe to repeat from another process. None: a new one.
            timeout: seconds.
            changes: what `TaskChanges` lists. What is not given stays as it is, None sets the default again.

        Returns:
            The task, with its new etag.

        Raises:
            ValueError, TypeError: nothing to change, or a value that its field cannot hold.
            IllegalStateError: handler or parameters, and it is no draft any more.
            TaskCompletedError: it has ended.
            InvalidArgumentError: a bound is exceeded.
            EtagMismatchError: it was changed.
            NotFoundError: it was deleted, or there is no such handler.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        request = update_request(self._task_name, changes, etag, request_id)
        return BatchTaskInfo(call(self._connection.service.UpdateBatchTask, request, timeout))

    def delete(
        self, *, timeout: float = 60, force: bool = False, allow_missing: bool = False, etag: str | None = None
    ) -> None:
        """Delete the task with its records and outcomes.

        Args:
            timeout: seconds.
            force: also if it has neither ended nor is a draft: what runs is killed.
            allow_missing: no error if there is no such task.
            etag: of a `BatchTaskInfo`: only if its configuration is still that one.

        Raises:
            IllegalStateError: it has not ended: cancel it first and wait, or use force.
            NotFoundError: it is gone already.
            EtagMismatchError: it was changed.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        request = batch_task_service_pb2.DeleteBatchTaskRequest(
            name=self._task_name,
            etag=etag or "",
            request_id=str(uuid.uuid4()),
            allow_missing=allow_missing,
            force=force,
        )
        call(self._connection.service.DeleteBatchTask, request, timeout)

    def subtasks(self, *, page_size: int = 0, timeout: float = 60) -> Iterator[Subtask]:
        """Yield the subtasks, newest first: those that are leased, and of those that ended the last 10,000.

        Args:
            page_size: most subtasks in one page, which is read when it is needed; 0: the server's choice.
            timeout: seconds to wait for one page.

        Raises:
            NotFoundError: the task was deleted.
            RpcError: a page was not answered within `timeout` seconds, or refused.
        """
        request = batch_task_service_pb2.ListSubtasksRequest(parent=self._task_name, page_size=page_size)
        for page in pages(self._connection.service.ListSubtasks, request, timeout):
            for subtask in page.subtasks:
                yield Subtask(subtask)

    def _get(self, timeout: float) -> operations_pb2.Operation:
        try:
            if self._name:
                return super()._get(timeout)
        except NotFoundError:
            pass
        return self._from_task(timeout)

    def _wait_done(self, rule: WaitRule, seen: Callable[[OperationStatus], None]) -> operations_pb2.Operation:
        try:
            if self._name:
                return super()._wait_done(rule, seen)
        except NotFoundError:
            pass
        return self._from_task(rule.timeout)

    def _from_task(self, timeout: float) -> operations_pb2.Operation:
        """Describe the operation, which was forgotten, by its task; only a task that has ended lost its operation."""
        task = self.get_task_info(timeout=timeout)
        if not task.state.is_final or task.generation != self._generation:
            text = f"the operation of generation {self._generation} of {task.name} was forgotten"
            raise NotFoundError(grpc.StatusCode.NOT_FOUND, text)
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
