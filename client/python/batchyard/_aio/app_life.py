"""What becomes of a batch of `batchyard.app_batches` once it is made: start, stop, archive, change, wait."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import grpc

from batchyard._aio.batch import AsyncBatch
from batchyard._aio.operation import AsyncOperation
from batchyard._aio.task import AsyncBatchTaskOperation
from batchyard._aio.wait import WaitRule, wait_done
from batchyard._app_batch import AppBatch, priority_of
from batchyard._app_errors import api_error, api_errors
from batchyard._app_operation import AppOperation
from batchyard._app_requests import AppBatchPatch, one_of
from batchyard._enums import BatchTaskState
from batchyard._errors import ErrorDetail, IllegalStateError
from batchyard._names import child_name
from batchyard._operation_status import OperationStatus
from batchyard._progress import Reporter
from batchyard.v1 import batch_task_pb2

if TYPE_CHECKING:
    from batchyard._aio.connection import AsyncConnection
    from batchyard._settings import TaskChanges

# States in which work goes on, or will without anybody's doing.
_ACTIVE: Final = {BatchTaskState.QUEUED, BatchTaskState.RUNNING, BatchTaskState.PAUSING, BatchTaskState.CANCELLING}


class AsyncAppLife:
    """The verbs of a batch, by project and id. Base of `AsyncAppBatches`.

    All of them raise DoesNotExistApiError if there is no such batch, ConflictStateApiError if its state does not allow
    it, and another ApiError if the call is not answered within `timeout`, or refused.
    """

    _connection: AsyncConnection
    _timeout: float

    async def start_app_batch(self, app_project_id: str, batch_id: str) -> None:
        """Start a NEW batch. Of one that was started and has not ended: no effect.

        Raises:
            ConflictStateApiError: it has no items, or has ended.
        """
        with api_errors():
            await self._handle(app_project_id, batch_id).start(timeout=self._timeout)

    async def stop_app_batch(self, app_project_id: str, batch_id: str) -> None:
        """Let no further item begin; those that are worked on may end. Of a STOPPING or STOPPED batch: no effect.

        Raises:
            ConflictStateApiError: it is NEW, is being cancelled, or has ended.
        """
        with api_errors():
            await self._handle(app_project_id, batch_id).pause(timeout=self._timeout)

    async def resume_app_batch(self, app_project_id: str, batch_id: str) -> None:
        """Let a STOPPING or STOPPED batch go on. Of a QUEUED or PROCESSING one: no effect.

        Raises:
            ConflictStateApiError: it is NEW, is being cancelled, or has ended.
        """
        with api_errors():
            await self._handle(app_project_id, batch_id).resume(timeout=self._timeout)

    async def archive_app_batch(self, app_project_id: str, batch_id: str) -> None:
        """Give a batch the status ARCHIVE, which it keeps until it is unarchived. Nothing else changes.

        Raises:
            ConflictStateApiError: it is QUEUED, PROCESSING or STOPPING: stop it first.
        """
        batch = await self.get_app_batch(app_project_id, batch_id)
        state = BatchTaskState(batch.message.state)
        if state in _ACTIVE and not batch.message.archived:
            detail = ErrorDetail("ILLEGAL_STATE", {"state": state.name, "verb": "archive"})
            text = f"batch {batch.id} is {batch.status}: stop it before it is archived"
            raise api_error(IllegalStateError(grpc.StatusCode.FAILED_PRECONDITION, text, detail))
        await self._update(app_project_id, batch_id, {"archived": True})

    async def unarchive_app_batch(self, app_project_id: str, batch_id: str) -> None:
        """Give an archived batch the status again that it had before. Of one that is not archived: no effect."""
        await self._update(app_project_id, batch_id, {"archived": False})

    async def patch_app_batch(
        self, app_project_id: str, batch_id: str, patch: AppBatchPatch | None = None, **fields: Any
    ) -> AppBatch:
        """Change name or priority_order of a batch.

        Args:
            app_project_id: id of the project.
            batch_id: id of the batch.
            patch: what to change; or its fields as keywords: name, priority_order. What is None stays as it is.
            fields: those.

        Returns:
            The batch as it is then.

        Raises:
            ValueError, TypeError: nothing to change, no such priority_order, a field that does not exist.
            ValidationApiError: the server refuses the name.
            ConflictStateApiError: a priority_order, and it has ended.
        """
        given = one_of(AppBatchPatch, patch, fields)
        changes: TaskChanges = {}
        if given.name is not None:
            changes["display_name"] = given.name
        if given.priority_order is not None:
            changes["priority"] = priority_of(given.priority_order)
        return await self._update(app_project_id, batch_id, changes)

    async def get_app_batch(self, app_project_id: str, batch_id: str) -> AppBatch:
        """Read one batch."""
        with api_errors():
            info = await self._batches(app_project_id).get_info(batch_id, timeout=self._timeout)
        return AppBatch(info.message)

    async def get_operation(self, operation_id: str) -> AppOperation:
        """Read the operation of a batch once.

        Args:
            operation_id: `AppBatch.operation_id`, or the last segment of one in the client's own project.

        Raises:
            DoesNotExistApiError: there is none.
        """
        name = child_name(self._connection.project, "operations", operation_id)
        with api_errors():
            status = await AsyncOperation(self._connection, name).get_status(timeout=self._timeout)
        return AppOperation(name, status)

    async def wait_operation(
        self, op: AppOperation, timeout: timedelta = timedelta(minutes=10), disable_progress: bool = False
    ) -> AppOperation:
        """Wait until a batch has ended, well or badly; the server answers when it has. A restart of it is waited out.

        Args:
            op: what `get_operation` returned.
            timeout: the whole wait.
            disable_progress: False: show a bar on stderr, where rich is installed (extra `cli`).

        Returns:
            The operation as it ended; `raise_on_fail` makes an exception of a failure.

        Raises:
            TimeoutError: `timeout` passed (`batchyard.WaitTimeoutError`); the batch goes on.
            DoesNotExistApiError: the batch was deleted.
        """
        if op.is_completed():
            return op
        reporter = _reporter(disable_progress)
        rule = WaitRule.of(self._timeout, timeout.total_seconds(), None, reporter.wanted)

        def seen(status: OperationStatus) -> None:
            if isinstance(status.metadata, batch_task_pb2.BatchTaskMetadata):
                reporter(status.metadata.counts)

        try:
            with api_errors():
                done = await wait_done(self._connection.operations, op.id, rule, seen)
        finally:
            reporter.close()
        return AppOperation(op.id, OperationStatus.of(done))

    def _batches(self, app_project_id: str) -> AsyncBatch:
        return AsyncBatch(self._connection.of(app_project_id))

    def _handle(self, app_project_id: str, batch_id: str) -> AsyncBatchTaskOperation:
        """Return a handle that knows no operation, for verbs that need none."""
        return AsyncBatchTaskOperation(self._connection, child_name(app_project_id, "batchTasks", batch_id), "")

    async def _update(self, app_project_id: str, batch_id: str, changes: TaskChanges) -> AppBatch:
        with api_errors():
            info = await self._batches(app_project_id).update(batch_id, timeout=self._timeout, **changes)
        return AppBatch(info.message)

    # The short names of these verbs.
    start = start_app_batch
    stop = stop_app_batch
    resume = resume_app_batch
    archive = archive_app_batch
    unarchive = unarchive_app_batch
    patch = patch_app_batch


def _reporter(disable_progress: bool) -> Reporter:
    """Return what shows a bar, if one is wanted and can be shown."""
    try:
        return Reporter(None if disable_progress else "bar")
    except ImportError:
        return Reporter(None)
