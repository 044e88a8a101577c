# Generated from _aio/operation.py by client/python/unasync.py; change that file and run `make gen`.
"""Handles of operations: wait, cancel, result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.longrunning import operations_pb2

from batchyard._error_map import read_details, task_error_class
from batchyard._errors import NotFoundError, WrongOperationStatusError
from batchyard._info import BatchTaskInfo
from batchyard._names import child_name, last_id, project_name
from batchyard._operation_status import OperationStatus
from batchyard._progress import Progress, Reporter
from batchyard._status import OperationErrorInfo
from batchyard._sync.call import call, pages
from batchyard._sync.result import BatchTaskResult
from batchyard._sync.wait import WaitRule, wait_done
from batchyard.v1 import batch_task_pb2, batch_task_service_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchyard._sync.connection import Connection


def metadata_of(operation: operations_pb2.Operation) -> batch_task_pb2.BatchTaskMetadata:
    """Return the metadata of an operation of a batch task."""
    metadata = batch_task_pb2.BatchTaskMetadata()
    operation.metadata.Unpack(metadata)
    return metadata


class OperationHandle:
    """What both kinds of handle share."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    @property
    def id(self) -> str:
        """Id of the operation, unique over all projects."""
        return last_id(self._name)

    @property
    def name(self) -> str:
        """`projects/{project}/operations/{operation}`."""
        return self._name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"

    def get_operation_status(self, *, timeout: float = 60) -> OperationStatus:
        """Read the operation once.

        Raises:
            RpcError: not answered within `timeout` seconds, or refused.
        """
        return OperationStatus.of(self._get(timeout))

    def wait(
        self,
        *,
        timeout: float = 60,
        poll_timeout: float | None = None,
        poll_interval: float | None = None,
        progress: Progress = None,
    ) -> BatchTaskResult:
        """Wait for the end and return the result; single records may have failed.

        Long polls: the answer comes when the task ends, not at the next tick. A restart of the server, or its absence,
        is waited out. To stop waiting, by poll_timeout, by Ctrl-C or by cancelling the caller, changes nothing on the
        server.

        Args:
            timeout: seconds, deadline of each RPC; a long poll asks for a second less.
            poll_timeout: seconds, the whole wait. None: 72 hours. 0: look once.
            poll_interval: seconds, least time between two RPCs. None: as the server answers.
            progress: called with the `RecordCounts` about twice a second (every poll_interval, if given), or "bar".

        Raises:
            BatchTaskError: the task ended FAILED. `partial` is the result with what there is.
            BatchTaskCancelled: it ended CANCELLED.
            WaitTimeoutError: poll_timeout passed; the task goes on.
            RpcError: the server refuses, e.g. the task was deleted.
        """
        reporter = Reporter(progress)
        rule = WaitRule.of(timeout, poll_timeout, poll_interval, reporter.wanted)

        def seen(status: OperationStatus) -> None:
            if isinstance(status.metadata, batch_task_pb2.BatchTaskMetadata):
                reporter(status.metadata.counts)

        try:
            operation = self._wait_done(rule, seen)
        finally:
            reporter.close()
        return self._outcome(operation, timeout)

    def get_result(self, *, timeout: float = 60) -> BatchTaskResult:
        """Return the result of a task that has ended.

        Raises:
            WrongOperationStatusError: it has not.
            BatchTaskError, BatchTaskCancelled: as of `wait`.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        operation = self._get(timeout)
        if not operation.done:
            raise WrongOperationStatusError(self.id, OperationStatus.of(operation))
        return self._outcome(operation, timeout)

    def cancel(self, *, timeout: float = 60) -> None:
        """Stop the task for good; what runs is killed. Returns when that is decided, `wait` sees the end.

        Of a task that has ended: no effect.

        Raises:
            RpcError: not answered within `timeout` seconds, or refused.
        """
        request = operations_pb2.CancelOperationRequest(name=self._name)
        call(self._connection.operations.CancelOperation, request, timeout)

    def _wait_done(self, rule: WaitRule, seen: Callable[[OperationStatus], None]) -> operations_pb2.Operation:
        return wait_done(self._connection.operations, self._name, rule, seen)

    def _get(self, timeout: float) -> operations_pb2.Operation:
        request = operations_pb2.GetOperationRequest(name=self._name)
        return call(self._connection.operations.GetOperation, request, timeout)

    def _outcome(self, operation: operations_pb2.Operation, timeout: float) -> BatchTaskResult:
        """Turn a done operation into the result, or into the exception that holds it."""
        status = OperationStatus.of(operation)
        if status.error is None:
            response = status.response
            info = response if isinstance(response, BatchTaskInfo) else self._final_info(operation, timeout)
            return BatchTaskResult(self._connection, info)
        partial = BatchTaskResult(self._connection, self._final_info(operation, timeout))
        reason = read_details(operation.error.details).reason
        error = OperationErrorInfo.of(operation.error)
        raise task_error_class(error.code, reason)(last_id(operation.name), error, status, partial, reason)

    def _final_info(self, operation: operations_pb2.Operation, timeout: float) -> BatchTaskInfo:
        """Describe the task of a failed operation; from the operation alone if the task is gone or has moved on."""
        metadata = metadata_of(operation)
        request = batch_task_service_pb2.GetBatchTaskRequest(name=metadata.batch_task)
        try:
            task = call(self._connection.service.GetBatchTask, request, timeout)
            if task.generation == metadata.generation:
                return BatchTaskInfo(task)
        except NotFoundError:
            task = batch_task_pb2.BatchTaskInfo(name=metadata.batch_task)
        for field in ("generation", "state", "stop_reason"):
            setattr(task, field, getattr(metadata, field))
        for field in ("counts", "start_time", "end_time"):
            task.ClearField(field)
            if metadata.HasField(field):
                getattr(task, field).CopyFrom(getattr(metadata, field))
        for field in ("waiting_reason", "state_transition_time", "expire_time"):  # of the generation that runs now
            task.ClearField(field)
        task.error.CopyFrom(operation.error)
        task.operation = operation.name
        return BatchTaskInfo(task)


class Operation(OperationHandle):
    """A `google.longrunning.Operation`, by its own name."""

    def get_status(self, *, timeout: float = 60) -> OperationStatus:
        """Read the operation once.

        Raises:
            RpcError: not answered within `timeout` seconds, or refused.
        """
        return self.get_operation_status(timeout=timeout)

    def delete(self, *, timeout: float = 60) -> None:
        """Forget the operation; its task stays. Only a done one can be forgotten.

        Raises:
            OperationNotDoneError: it has not ended.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        request = operations_pb2.DeleteOperationRequest(name=self._name)
        call(self._connection.operations.DeleteOperation, request, timeout)


class Operations:
    """The operations of the client's project (`client.operations`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, operation: str, *, timeout: float = 60) -> Operation:
        """Return the handle of an operation that exists.

        Args:
            operation: id or resource name.
            timeout: seconds.

        Raises:
            NotFoundError: there is none, or it was forgotten.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        handle = Operation(self._connection, child_name(self._connection.project, "operations", operation))
        handle.get_status(timeout=timeout)
        return handle

    def list(self, *, filter: str = "", page_size: int = 0, timeout: float = 60) -> Iterator[Operation]:
        """Yield the operations of the project, newest first; a page is read when it is needed.

        Args:
            filter: e.g. `done=false` or `error.code=DEADLINE_EXCEEDED`. Fields: id, name, done, error.code,
                metadata.batch_task, metadata.generation, metadata.state, metadata.create_time, .start_time, .end_time.
                "": all.
            page_size: most operations in one page. 0: the server's choice.
            timeout: seconds, of each page.

        Raises:
            InvalidArgumentError: the filter cannot be read; the message has the position.
            RpcError: a page was not answered within `timeout` seconds, or refused.
        """
        request = operations_pb2.ListOperationsRequest(
            name=project_name(self._connection.project), filter=filter, page_size=page_size
        )
        for page in pages(self._connection.operations.ListOperations, request, timeout):
            for operation in page.operations:
                yield Operation(self._connection, operation.name)
