"""The scripted server's methods about many tasks at once: BatchCreateBatchTasks, GetBatchTaskCounts."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from typing import Any

import grpc
from google.rpc import status_pb2

from batchyard.v1 import batch_task_pb2 as task_pb
from batchyard.v1 import batch_task_service_pb2 as service_pb
from tests.client.fake_operations import State, status_of


class _Caught(Exception):
    """A create of a batch was refused."""

    def __init__(self, status: status_pb2.Status) -> None:
        self.status = status


class _Context:
    """Stands in for the context of a call of its own."""

    def abort_with_status(self, status: Any) -> None:
        found = status_pb2.Status()
        found.ParseFromString(dict(status.trailing_metadata)["grpc-status-details-bin"])
        raise _Caught(found)


class FakeMany:
    """The methods. The state is `FakeServer`'s.

    Attributes:
        refusals: per batch_task_id, (code, message, reason) with which it is refused first, first in first out.
        batches: how many requests each BatchCreateBatchTasks had, and their bytes.
        lost_answers: how many next batches are done, and then their answers lost.
    """

    lock: threading.RLock
    changed: threading.Condition
    tasks: dict[str, Any]
    lost_answers = 0
    _enter: Any
    CreateBatchTask: Any

    def __init__(self) -> None:
        self.refusals: dict[str, deque[tuple[int, str, str]]] = defaultdict(deque)
        self.batches: list[tuple[int, int]] = []

    def BatchCreateBatchTasks(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._enter("BatchCreateBatchTasks", context)
        with self.changed:
            self.batches.append((len(request.requests), request.ByteSize()))
            response = service_pb.BatchCreateBatchTasksResponse()
            for each in request.requests:
                each.parent = request.parent
                response.results.append(self._one(each))
            if self.lost_answers:
                self.lost_answers -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
            return response

    def _one(self, request: Any) -> Any:
        result = service_pb.BatchCreateBatchTasksResponse.Result()
        if self.refusals[request.batch_task_id]:
            result.status.CopyFrom(status_of(*self.refusals[request.batch_task_id].popleft()))
            return result
        try:
            result.operation.CopyFrom(self.CreateBatchTask(request, _Context()))
        except _Caught as caught:
            result.status.CopyFrom(caught.status)
        return result

    def GetBatchTaskCounts(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._enter("GetBatchTaskCounts", context)
        parent = request.name.removesuffix("/batchTaskCounts")
        counts = task_pb.BatchTaskCounts(name=request.name)
        with self.lock:
            for name, task in self.tasks.items():
                if name.startswith(parent + "/") and not task.deleted:
                    state = State.State.Name(task.info.state).lower()
                    setattr(counts, state, getattr(counts, state) + 1)
        return counts
