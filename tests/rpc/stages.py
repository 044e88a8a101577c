"""A task in a state that a test asks for, made through the API and through what workers would store."""

from __future__ import annotations

from typing import Any

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.model.states import TaskState
from tests.rpc.world import create, name
from tests.support.server import Served

STATES = [state.name for state in TaskState]
FINAL = [state.name for state in TaskState if state.is_final]
OPEN = [state.name for state in TaskState if not state.is_final]
RECORDS = 3


async def put(server: Served, state: str, task_id: str = "t", **fields: Any) -> BatchTaskInfo:
    """A new task of three records in that state; record 0 is leased where one lives. `fields` of BatchTaskInfo."""
    request = create(task_id, records=RECORDS, start=state != "DRAFT")
    request.batch_task.MergeFrom(BatchTaskInfo(**fields))
    await server.tasks.CreateBatchTask(request)
    if state in ("RUNNING", "PAUSING", "CANCELLING"):
        await server.lease(name(task_id), [0])
    if state in ("PAUSING", "PAUSED"):
        await server.tasks.PauseBatchTask(service.PauseBatchTaskRequest(name=name(task_id)))
    if state in ("CANCELLING", "CANCELLED"):
        await server.tasks.CancelBatchTask(service.CancelBatchTaskRequest(name=name(task_id)))
    if state in ("SUCCEEDED", "FAILED"):
        await server.finish(name(task_id), failed=range(RECORDS) if state == "FAILED" else [1])
    found = await info(server, task_id)
    assert BatchTaskInfo.State.Name(found.state) == state
    return found


async def info(server: Served, task_id: str = "t") -> BatchTaskInfo:
    """The task as it is now."""
    return await server.tasks.GetBatchTask(service.GetBatchTaskRequest(name=name(task_id)))
