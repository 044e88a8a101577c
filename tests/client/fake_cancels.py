"""The scripted server's CancelBatchTasks. It reads two filters: `*`, and `state=X`."""

from __future__ import annotations

import threading
from typing import Any

import grpc
from google.rpc import code_pb2, error_details_pb2

from batchyard.v1 import batch_task_service_pb2 as service_pb
from tests.client.fake_operations import FINAL, State, refuse, status_of


class FakeCancels:
    """See the module. `most_cancelled`: tasks that one call stops."""

    changed: threading.Condition
    tasks: dict[str, Any]
    requests: dict[str, Any]
    end: Any
    _begin: Any

    def __init__(self) -> None:
        super().__init__()
        self.most_cancelled = 2

    def CancelBatchTasks(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin("CancelBatchTasks", request, context)
        if request.filter != "*" and not request.filter.startswith("state="):
            wrong = error_details_pb2.BadRequest.FieldViolation(field="filter", description="at character 0")
            details = error_details_pb2.BadRequest(field_violations=[wrong])
            refuse(context, code_pb2.INVALID_ARGUMENT, "no such filter", "INVALID_FILTER", details, position="0")
        with self.changed:
            if request.request_id in self.requests:
                return self.requests[request.request_id][1]
            begin = int(request.page_token or 0)
            matching = [
                task.info
                for task in list(self.tasks.values())[::-1][begin:]
                if task.info.state not in FINAL | {State.CANCELLING}
                and request.filter in {"*", f"state={State.State.Name(task.info.state)}"}
            ]
            stopped = matching[: self.most_cancelled]
            answer = service_pb.CancelBatchTasksResponse(
                cancelled_count=len(stopped), batch_tasks=[info.name for info in stopped]
            )
            if len(matching) > len(stopped):
                behind = [task.info.name for task in list(self.tasks.values())[::-1]].index(stopped[-1].name) + 1
                answer.next_page_token = str(behind)
            if not request.validate_only:
                for info in stopped:
                    self.end(info.name, State.CANCELLED, status_of(1, f"cancelled: {request.reason}"))
                self.requests[request.request_id] = (b"", answer)
            return answer
