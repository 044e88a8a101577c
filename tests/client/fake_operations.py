"""The scripted server's google.longrunning.Operations, and how both of its services answer with errors."""

from __future__ import annotations

import threading
from typing import Any

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from batchyard.v1 import batch_task_pb2 as task_pb
from batchyard.v1 import record_pb2

State = task_pb.BatchTaskInfo
FINAL = {State.SUCCEEDED, State.FAILED, State.CANCELLED}


def status_of(code: int, message: str, reason: str = "", *details: Any, **metadata: str) -> status_pb2.Status:
    """Build a google.rpc.Status as the server does."""
    status = status_pb2.Status(code=code, message=message)
    if reason:
        info = error_details_pb2.ErrorInfo(reason=reason, domain="batchyard.dev", metadata=metadata)
        status.details.add().Pack(info)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def refuse(context: grpc.ServicerContext, code: int, message: str, reason: str = "", *details: Any, **more: str) -> Any:
    """End the call with an error."""
    context.abort_with_status(rpc_status.to_status(status_of(code, message, reason, *details, **more)))


class FakeOperations(operations_pb2_grpc.OperationsServicer):
    """The five methods. The state is `FakeServer`'s.

    Attributes:
        early_waits: how many next long polls are answered at once, as while draining.
        waiting: how many long polls are open.
    """

    lock: threading.RLock
    changed: threading.Condition
    operations: dict[str, Any]
    stopping: bool
    early_waits = 0
    waiting = 0
    _enter: Any
    _counted: Any
    end: Any

    def _operation(self, task: Any) -> operations_pb2.Operation:
        info = self._counted(task)
        operation = operations_pb2.Operation(name=info.operation, done=info.state in FINAL)
        metadata = task_pb.BatchTaskMetadata(
            batch_task=info.name,
            generation=info.generation,
            state=info.state,
            stop_reason=info.stop_reason,
            counts=info.counts,
        )
        if info.HasField("end_time"):
            metadata.end_time.CopyFrom(info.end_time)
        operation.metadata.Pack(metadata)
        if info.state == State.SUCCEEDED:
            operation.response.Pack(info)
        elif operation.done:
            operation.error.CopyFrom(info.error)
        return operation

    def _by_operation(self, name: str, context: grpc.ServicerContext) -> Any:
        task = self.operations.get(name)
        if task is None or task.deleted:
            resource = error_details_pb2.ResourceInfo(resource_type="operation", resource_name=name)
            refuse(context, code_pb2.NOT_FOUND, f"{name} not found", "RESOURCE_NOT_FOUND", resource)
        assert task is not None
        return task

    def GetOperation(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._enter("GetOperation", context)
        with self.lock:
            return self._answer(self._by_operation(request.name, context), request.name)

    def _answer(self, task: Any, name: str) -> operations_pb2.Operation:
        """Return an operation by its name: that of the current generation, or the snapshot of an earlier one."""
        snapshot: operations_pb2.Operation | None = task.snapshots.get(name)
        return self._operation(task) if snapshot is None else snapshot

    def ListOperations(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Two a page; of filters it reads `done=true` and `done=false`."""
        self._enter("ListOperations", context)
        with self.lock:
            found = [self._answer(t, n) for n, t in self.operations.items() if n.startswith(request.name + "/")][::-1]
        if request.filter:
            found = [each for each in found if request.filter == f"done={str(each.done).lower()}"]
        begin = int(request.page_token or 0)
        end = begin + 2
        token = str(end) if end < len(found) else ""
        return operations_pb2.ListOperationsResponse(operations=found[begin:end], next_page_token=token)

    def DeleteOperation(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._enter("DeleteOperation", context)
        with self.changed:
            task = self._by_operation(request.name, context)
            if task.snapshots.pop(request.name, None) is None:
                if task.info.state not in FINAL:
                    refuse(context, code_pb2.FAILED_PRECONDITION, "not done", "OPERATION_NOT_DONE")
                task.info.operation = ""
            del self.operations[request.name]
        return empty_pb2.Empty()

    def CancelOperation(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._enter("CancelOperation", context)
        with self.changed:
            task = self._by_operation(request.name, context)
            if task.info.state not in FINAL and request.name not in task.snapshots:
                for record in task.records:
                    if record.state == record_pb2.RecordInfo.PENDING:
                        record.state = record_pb2.RecordInfo.CANCELLED
                self.end(task.info.name, State.CANCELLED, status_of(1, "cancelled", "TASK_CANCELLED"))
        return empty_pb2.Empty()

    def WaitOperation(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._enter("WaitOperation", context)
        asked = request.timeout.seconds + request.timeout.nanos / 1e9
        with self.changed:
            task = self._by_operation(request.name, context)
            if self.early_waits > 0:  # as while draining
                self.early_waits -= 1
                return self._answer(task, request.name)
            self.waiting += 1
            context.add_callback(self._wake)
            self.changed.notify_all()
            try:
                self.changed.wait_for(
                    lambda: (
                        self._answer(task, request.name).done
                        or task.deleted
                        or self.stopping
                        or not context.is_active()
                    ),
                    asked,
                )
            finally:
                self.waiting -= 1
                self.changed.notify_all()
            if self.stopping:
                refuse(context, code_pb2.UNAVAILABLE, "going down")
            return self._answer(self._by_operation(request.name, context), request.name)

    def _wake(self) -> None:
        with self.changed:
            self.changed.notify_all()
