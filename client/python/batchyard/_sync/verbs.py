# Generated from _aio/verbs.py by client/python/unasync.py; change that file and run `make gen`.
"""The verbs on tasks by id or name, and on all that match a filter: what `client.batch` has of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard._names import child_name
from batchyard._sync.cancel_many import cancel_many
from batchyard._sync.task import BatchTaskOperation, Scope

if TYPE_CHECKING:
    from typing import Unpack

    from batchyard._cancelled import CancelledTasks
    from batchyard._info import BatchTaskInfo
    from batchyard._settings import TaskChanges
    from batchyard._sync.connection import Connection


class TaskVerbs:
    """A part of Batch."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def pause(self, task: str, *, etag: str | None = None, timeout: float = 60) -> BatchTaskInfo:
        """Pause a task by id or resource name; arguments and errors as of `BatchTaskOperation.pause`."""
        return self._named(task).pause(etag=etag, timeout=timeout)

    def resume(self, task: str, *, etag: str | None = None, timeout: float = 60) -> BatchTaskInfo:
        """Resume a task by id or resource name; arguments and errors as of `BatchTaskOperation.resume`."""
        return self._named(task).resume(etag=etag, timeout=timeout)

    def reactivate(
        self,
        task: str,
        *,
        scope: Scope = "failed_and_unfinished",
        etag: str | None = None,
        request_id: str | None = None,
        timeout: float = 60,
    ) -> BatchTaskOperation:
        """Run records of a task that has ended again; as `BatchTaskOperation.reactivate`, by id or resource name."""
        return self._named(task).reactivate(scope=scope, etag=etag, request_id=request_id, timeout=timeout)

    def update(
        self,
        task: str,
        *,
        etag: str | None = None,
        request_id: str | None = None,
        timeout: float = 60,
        **changes: Unpack[TaskChanges],
    ) -> BatchTaskInfo:
        """Change a task by id or resource name; arguments and errors as of `BatchTaskOperation.update`."""
        return self._named(task).update(etag=etag, request_id=request_id, timeout=timeout, **changes)

    def delete(
        self,
        task: str,
        *,
        timeout: float = 60,
        force: bool = False,
        allow_missing: bool = False,
        etag: str | None = None,
    ) -> None:
        """Delete a task by id or resource name; arguments and errors as of `BatchTaskOperation.delete`."""
        self._named(task).delete(timeout=timeout, force=force, allow_missing=allow_missing, etag=etag)

    def cancel_many(
        self,
        filter: str,
        *,
        reason: str | None = None,
        validate_only: bool = False,
        request_id: str | None = None,
        timeout: float = 60,
    ) -> CancelledTasks:
        """Stop every task of the project that matches a filter for good; what runs is killed.

        Those that have ended, or are being stopped, are passed over. Returns when that is decided, page by page.

        Args:
            filter: as of ListBatchTasks, e.g. `state=QUEUED AND labels.team=red`; `*` is every task.
            reason: for people; part of each task's error.
            validate_only: stop nothing, only count.
            request_id: UUID4 that makes the whole safe to repeat: what was counted is told again. None: a new one.
            timeout: seconds, of each call with its repetitions.

        Raises:
            InvalidArgumentError: the filter is empty or cannot be read; the message has the position.
            RpcError: not answered within `timeout`, or refused; calls before may have stopped tasks.
        """
        return cancel_many(self._connection, filter, reason or "", validate_only, request_id, timeout)

    def _named(self, task: str) -> BatchTaskOperation:
        """Return a handle that knows no operation, for verbs that need none."""
        return BatchTaskOperation(self._connection, child_name(self._connection.project, "batchTasks", task), "")
