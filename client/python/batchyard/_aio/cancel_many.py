"""Stopping all tasks that match a filter: call by call, to the last one."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from batchyard._aio.call import pages
from batchyard._cancelled import NAMES, CancelledTasks
from batchyard._names import derived_id, project_name
from batchyard.v1 import batch_task_service_pb2

if TYPE_CHECKING:
    from batchyard._aio.connection import AsyncConnection


async def cancel_many(
    connection: AsyncConnection, wanted: str, reason: str, validate_only: bool, request_id: str | None, timeout: float
) -> CancelledTasks:
    """Make the calls; each one's request_id follows from that of the first."""
    first = request_id or str(uuid.uuid4())
    request = batch_task_service_pb2.CancelBatchTasksRequest(
        parent=project_name(connection.project),
        filter=wanted,
        reason=reason,
        validate_only=validate_only,
        request_id=first,
    )
    count, names = 0, list[str]()
    async for page in pages(connection.service.CancelBatchTasks, request, timeout):
        count += page.cancelled_count
        names += page.batch_tasks[: NAMES - len(names)]
        request.request_id = derived_id(first, page.next_page_token)
    return CancelledTasks(count, tuple(names))
