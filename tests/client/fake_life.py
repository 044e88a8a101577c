"""The scripted server's verbs on a task that exists: pause, resume, update, reactivate, delete, and what they leave.

Nothing runs here, so a pause of a QUEUED task is PAUSED at once, and one of a RUNNING task waits for `last_lease_ends`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.rpc import code_pb2, error_details_pb2

from batchyard.v1 import batch_task_pb2 as task_pb
from batchyard.v1 import batch_task_service_pb2 as service_pb
from batchyard.v1 import record_pb2, subtask_pb2
from tests.client.fake_operations import FINAL, State, refuse

Record = record_pb2.RecordInfo


@dataclass
class FakeTask:
    """One task: its description, its records, and what its request ids answered.

    Attributes:
        history: records and completion order at the end of each earlier generation.
        snapshots: the done operations of those, by name.
    """

    info: task_pb.BatchTaskInfo
    inputs: list[record_pb2.RecordInput] = field(default_factory=list)
    records: list[record_pb2.RecordInfo] = field(default_factory=list)
    completed: list[int] = field(default_factory=list)
    appending: bool = False
    deleted: bool = False
    revision: int = 1
    history: dict[int, tuple[list[record_pb2.RecordInfo], list[int]]] = field(default_factory=dict)
    snapshots: dict[str, operations_pb2.Operation] = field(default_factory=dict)
    subtasks: list[subtask_pb2.Subtask] = field(default_factory=list)
    attempts: dict[int, list[record_pb2.RecordAttempt]] = field(default_factory=dict)

    def stamp(self) -> None:
        """Make the etag that of the present revision."""
        self.info.etag = f'"{self.info.uid[-12:]}-{self.revision}"'


class FakeLifeCycle:
    """The methods. The state is `FakeServer`'s.

    Attributes:
        last: the last request of each method here.
    """

    lock: threading.RLock
    changed: threading.Condition
    operations: dict[str, Any]
    requests: dict[str, Any]
    last: dict[str, Any]
    _enter: Any
    _task: Any
    _counted: Any
    _operation: Any

    # ------------------------------------------------------------------------------------------------------ script

    def last_lease_ends(self, name: str) -> None:
        """What runs has ended: PAUSING becomes PAUSED."""
        with self.changed:
            info = self._task(name, None).info
            assert info.state == State.PAUSING
            info.state = State.PAUSED
            self.changed.notify_all()

    # ------------------------------------------------------------------------------------------------------ pieces

    def _begin(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        self._enter(method, context)
        self.last[method] = request

    def _checked(self, name: str, etag: str, context: grpc.ServicerContext) -> FakeTask:
        task: FakeTask = self._task(name, context)
        if etag and etag != task.info.etag:
            refuse(context, code_pb2.ABORTED, "the etag is another", "ETAG_MISMATCH", etag=task.info.etag)
        return task

    def _refuse_state(self, task: FakeTask, verb: str, context: grpc.ServicerContext) -> None:
        reason = "TASK_COMPLETED" if task.info.state in FINAL else "ILLEGAL_STATE"
        state = State.State.Name(task.info.state)
        refuse(context, code_pb2.FAILED_PRECONDITION, f"cannot {verb}", reason, state=state, verb=verb)

    def _generation(self, task: FakeTask, number: int, order: int, context: grpc.ServicerContext) -> list[Record]:
        """Return the records of a generation in an order; -1: every outcome of every one."""
        completion = order == Record.COMPLETION
        shown = [(task.records, task.completed)]
        if number == -1 and completion:
            shown = [*task.history.values(), *shown]
        elif number not in {0, task.info.generation}:
            if number not in task.history:
                wrong = error_details_pb2.BadRequest.FieldViolation(field="generation", description="no such one")
                details = error_details_pb2.BadRequest(field_violations=[wrong])
                refuse(context, code_pb2.INVALID_ARGUMENT, "no such generation", "INVALID_FIELD", details)
            shown = [task.history[number]]
        found: list[Record] = []
        for records, completed in shown:
            for index in completed if completion else range(len(records)):
                if number != -1 or not any(each == records[index] for each in found):
                    found.append(Record())
                    found[-1].CopyFrom(records[index])
        return found

    # ------------------------------------------------------------------------------------------------------ service

    def PauseBatchTask(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin("PauseBatchTask", request, context)
        with self.changed:
            task = self._checked(request.name, request.etag, context)
            after = {State.QUEUED: State.PAUSED, State.RUNNING: State.PAUSING}
            after |= {State.PAUSED: State.PAUSED, State.PAUSING: State.PAUSING}
            return self._moved(task, after, "pause", context)

    def ResumeBatchTask(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin("ResumeBatchTask", request, context)
        with self.changed:
            task = self._checked(request.name, request.etag, context)
            after = {State.PAUSED: State.QUEUED, State.PAUSING: State.RUNNING}
            after |= {State.QUEUED: State.QUEUED, State.RUNNING: State.RUNNING}
            return self._moved(task, after, "resume", context)

    def _moved(self, task: FakeTask, after: dict[int, int], verb: str, context: grpc.ServicerContext) -> Any:
        if task.info.state not in after:
            self._refuse_state(task, verb, context)
        task.info.state = after[task.info.state]  # type: ignore[assignment]
        self.changed.notify_all()
        return self._counted(task)

    def UpdateBatchTask(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin("UpdateBatchTask", request, context)
        with self.changed:
            given = request.batch_task
            task = self._checked(given.name, given.etag, context)
            if request.request_id in self.requests:
                return self._counted(task)
            paths: Sequence[str] = request.update_mask.paths
            free = {"display_name", "labels", "archived"}
            if task.info.state in FINAL and not set(paths) <= {*free, "constraints.retention_time"}:
                self._refuse_state(task, "update", context)
            if task.info.state != State.DRAFT and {"handler", "parameters"} & set(paths):
                self._refuse_state(task, "update", context)
            for path in paths:
                *outer, last = path.split(".")
                source, target = given, task.info
                for name in outer:
                    source, target = getattr(source, name), getattr(target, name)
                _take(source, target, last)
            task.revision += 1
            task.stamp()
            self.requests[request.request_id] = (b"", task)
            return self._counted(task)

    def ReactivateBatchTask(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin("ReactivateBatchTask", request, context)
        with self.changed:
            task = self._checked(request.name, request.etag, context)
            if request.request_id in self.requests:
                return self._operation(task)
            info = self._counted(task)
            if info.state not in FINAL:
                state = State.State.Name(info.state)
                refuse(context, code_pb2.FAILED_PRECONDITION, "not ended", "TASK_NOT_COMPLETED", state=state)
            if not task.records:
                refuse(context, code_pb2.FAILED_PRECONDITION, "no records", "NO_RECORDS")
            if info.state == State.SUCCEEDED and not info.counts.failed:
                refuse(context, code_pb2.FAILED_PRECONDITION, "nothing to re-run", "TASK_SUCCEEDED")
            self._next_generation(task, everything=request.scope == service_pb.ReactivateBatchTaskRequest.ALL)
            self.requests[request.request_id] = (b"", task)
            self.changed.notify_all()
            return self._operation(task)

    def _next_generation(self, task: FakeTask, *, everything: bool) -> None:
        info = task.info
        task.history[info.generation] = (task.records, task.completed)
        if info.operation:
            task.snapshots[info.operation] = self._operation(task)
        info.generation += 1
        kept = {record.index for record in task.records if record.state == Record.SUCCEEDED and not everything}
        task.completed = [index for index in task.completed if index in kept]
        task.records = [
            record
            if record.index in kept
            else Record(
                name=record.name,
                index=record.index,
                record_id=record.record_id,
                state=Record.PENDING,
                generation=info.generation,
            )
            for record in task.records
        ]
        for cleared in ("error", "start_time", "end_time", "expire_time", "stop_reason"):
            info.ClearField(cleared)  # type: ignore[arg-type]
        project = info.name.partition("/batchTasks/")[0]
        info.operation = f"{project}/operations/op-{info.name.rpartition('/')[2]}-{info.generation}"
        info.state = State.QUEUED if len(kept) < len(task.records) else State.SUCCEEDED
        self.operations[info.operation] = task

    def DeleteBatchTask(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin("DeleteBatchTask", request, context)
        with self.changed:
            if request.request_id in self.requests or (request.allow_missing and not self.exists(request.name)):
                return empty_pb2.Empty()
            task = self._checked(request.name, request.etag, context)
            if task.info.state not in FINAL | {State.DRAFT} and not request.force:
                self._refuse_state(task, "delete", context)
            task.deleted = True
            self.requests[request.request_id] = (b"", task)
            self.changed.notify_all()
        return empty_pb2.Empty()

    def exists(self, name: str) -> bool:
        """Whether there is a task of that name."""
        raise NotImplementedError

    def ListSubtasks(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin("ListSubtasks", request, context)
        with self.lock:
            found = self._task(request.parent, context).subtasks
            part, token = _page(found, request)
            return service_pb.ListSubtasksResponse(subtasks=part, next_page_token=token)

    def ListRecordAttempts(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin("ListRecordAttempts", request, context)
        with self.lock:
            name, _, index = request.parent.rpartition("/records/")
            task = self._task(name, context)
            if not 0 <= int(index) < len(task.records):
                refuse(context, code_pb2.NOT_FOUND, "no such record", "RESOURCE_NOT_FOUND")
            part, token = _page(task.attempts.get(int(index), []), request)
            return service_pb.ListRecordAttemptsResponse(attempts=part, next_page_token=token)


def _page(found: list[Any], request: Any) -> tuple[list[Any], str]:
    """Return the page that is asked for, two items if no size is, and the token of the next one."""
    begin = int(request.page_token or 0)
    end = begin + (request.page_size or 2)
    return found[begin:end], str(end) if end < len(found) else ""


def _take(source: Any, target: Any, name: str) -> None:
    """Make one field of `target` what it is in `source`; unset there is unset here."""
    target.ClearField(name)
    only = type(source)()
    kind = source.DESCRIPTOR.fields_by_name[name]
    value = getattr(source, name)
    if kind.message_type is not None and kind.message_type.GetOptions().map_entry:
        getattr(only, name).update(value)
    elif kind.message_type is not None:
        if source.HasField(name):
            getattr(only, name).CopyFrom(value)
    elif not kind.has_presence or source.HasField(name):
        setattr(only, name, value)
    target.MergeFrom(only)
