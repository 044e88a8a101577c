"""Calls of the public API as the drivers and rows make them: the generated stubs, nothing of the Python client."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import duration_pb2

from batchyard.v1 import batch_task_pb2, batch_task_service_pb2, batch_task_service_pb2_grpc

SERVICE = "/batchyard.v1.BatchTaskService/"
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
PROJECT = "projects/bench"
WAIT_SECONDS = 55


@contextmanager
def connect(address: str) -> Iterator[grpc.Channel]:
    """A channel to `host:port`."""
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        yield channel


def stubs(channel: grpc.Channel) -> tuple[Any, Any]:
    """Stubs of BatchTaskService and of Operations."""
    return batch_task_service_pb2_grpc.BatchTaskServiceStub(channel), operations_pb2_grpc.OperationsStub(channel)


def create_request(handler: str, *, start: bool, payload: bytes | None = None, task_id: str = "") -> Any:
    """A CreateBatchTask with at most one record of JSON text, a request_id, and what a real task carries."""
    request = batch_task_service_pb2.CreateBatchTaskRequest(
        parent=PROJECT,
        batch_task=batch_task_pb2.BatchTaskInfo(
            handler=handler,
            display_name="nightly scoring of search results",
            labels={"team": "search-ranking", "env": "production", "cost-center": "cc-1234567890ab"},
        ),
        batch_task_id=task_id,
        start=start,
        request_id=str(uuid.uuid4()),
    )
    if payload is not None:
        request.records.add().payload.text = payload.decode()
    return request


def wait(operations: Any, name: str) -> Any:
    """The operation once it is done, by as many WaitOperation calls as it takes."""
    request = operations_pb2.WaitOperationRequest(name=name, timeout=duration_pb2.Duration(seconds=WAIT_SECONDS))
    while True:
        operation = operations.WaitOperation(request, timeout=WAIT_SECONDS + 10)
        if operation.done:
            return operation


def task_of(operation: Any) -> str:
    """Name of the batch task that an operation belongs to."""
    metadata = batch_task_pb2.BatchTaskMetadata()
    if not operation.metadata.Unpack(metadata):
        raise ValueError(f"metadata of {operation.name} is {operation.metadata.type_url}")
    return metadata.batch_task


def require_counts(operation: Any, total: int) -> None:
    """Check that a done operation ended with `total` records, all of them SUCCEEDED.

    Raises:
        ValueError: It did not; the text has the operation.
    """
    info = batch_task_pb2.BatchTaskInfo()
    if not operation.response.Unpack(info) or info.counts.succeeded != total or info.counts.total != total:
        raise ValueError(f"the task did not end with {total} succeeded records: {operation}"[:500])
