"""A project with one task in every state, made through the API and through what workers would store."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from google.longrunning.operations_pb2 import Operation

from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.batch_task_service_pb2 import CancelBatchTaskRequest, CreateBatchTaskRequest
from batchyard.v1.record_pb2 import RecordInput
from tests.support.server import Served

PROJECT = "projects/default"
REQUEST_ID = "0b6ef9b0-5b62-4b43-9c0e-2d6d1c3f1a11"  # of the create of `queued`
STATES = ("empty", "draft", "queued", "running", "cancelling", "succeeded", "failed", "cancelled")


def name(task_id: str) -> str:
    """Name of a task of the project."""
    return f"{PROJECT}/batchTasks/{task_id}"


def record(text: str = "1", record_id: str = "") -> RecordInput:
    """A record of JSON text."""
    made = RecordInput(record_id=record_id)
    made.payload.text = text
    return made


def create(
    task_id: str = "", *, records: int | Sequence[RecordInput] = 1, start: bool | None = None, request_id: str = ""
) -> CreateBatchTaskRequest:
    """A create that is right; tests change what they are about."""
    inputs = [record(str(i)) for i in range(records)] if isinstance(records, int) else records
    return CreateBatchTaskRequest(
        parent=PROJECT,
        batch_task=BatchTaskInfo(handler="echo"),
        batch_task_id=task_id,
        records=inputs,
        start=start,
        request_id=request_id,
    )


def fresh_request_id() -> str:
    """A new UUID4."""
    return str(uuid.uuid4())


async def populate(server: Served) -> dict[str, Operation]:
    """Make one task of two records in every state (`empty` has none); return their operations."""
    operations: dict[str, Operation] = {}
    for state in STATES:
        is_draft = state in ("empty", "draft")
        request = create(state, records=0 if state == "empty" else 2, start=not is_draft)
        request.request_id = REQUEST_ID if state == "queued" else ""
        operations[state] = await server.tasks.CreateBatchTask(request)
    await server.lease(name("running"), [0])
    await server.lease(name("cancelling"), [0])
    await server.finish(name("succeeded"))
    await server.finish(name("failed"), failed=[0, 1])
    for state in ("cancelling", "cancelled"):
        await server.tasks.CancelBatchTask(CancelBatchTaskRequest(name=name(state)))
    return operations
