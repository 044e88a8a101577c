# Generated from _aio/watch.py by client/python/unasync.py; change that file and run `make gen`.
"""Watching tasks: streams that go on over cuts and restarts of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchyard._names import project_name
from batchyard._sync.call import stream
from batchyard._sync.result import VIEWS, View, word
from batchyard.v1 import batch_task_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard._sync.connection import Connection
    from batchyard.v1.operation_status_pb2 import OperationStatus


def wanted(include_records: bool, view: View) -> View | None:
    """Return how much of each outcome is wanted, None if none are.

    Raises:
        ValueError: a view of records that are not wanted.
    """
    if not include_records and view != "basic":
        raise ValueError(f"view {view!r} is for records: give include_records=True")
    return view if include_records else None


def watch_task(
    connection: Connection, name: str, records: View | None, resume_token: str, timeout: float
) -> Iterator[OperationStatus]:
    """Yield what happens to one task; `records`: how much of each outcome, None: no outcomes."""
    request = batch_task_service_pb2.WatchBatchTaskRequest(name=name, resume_token=resume_token)
    return stream(connection.service.WatchBatchTask, _with_records(request, records), timeout)


def watch_tasks(
    connection: Connection, filter: str, records: View | None, resume_token: str, timeout: float
) -> Iterator[OperationStatus]:
    """Yield what happens to the tasks of the project that match; other arguments as of `watch_task`."""
    parent = project_name(connection.project)
    request = batch_task_service_pb2.WatchBatchTasksRequest(parent=parent, filter=filter, resume_token=resume_token)
    return stream(connection.service.WatchBatchTasks, _with_records(request, records), timeout)


def _with_records(request: Any, records: View | None) -> Any:
    if records is not None:
        request.include_records = True
        request.view = word(VIEWS, "view", records)
    return request
