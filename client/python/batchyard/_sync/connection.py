# Generated from _aio/connection.py by client/python/unasync.py; change that file and run `make gen`.
"""What every handle of one client shares: the stubs and the project."""

from __future__ import annotations

import copy
from typing import Any

from google.longrunning import operations_pb2_grpc

from batchyard.v1 import batch_task_service_pb2_grpc


class Connection:
    """The stubs over one channel, and the project that ids are looked up in."""

    __slots__ = ("operations", "project", "service")

    def __init__(self, channel: Any, project: str) -> None:
        self.project = project
        self.service: Any = batch_task_service_pb2_grpc.BatchTaskServiceStub(channel)
        self.operations: Any = operations_pb2_grpc.OperationsStub(channel)

    def of(self, project: str) -> Connection:
        """Return the same stubs for another project."""
        other = copy.copy(self)
        other.project = project
        return other
