"""A scripted server in this process: the contract's meaning in memory, and faults on demand.

It keeps its state over `restart`, as a real server does, and runs nothing by itself: a test says when a task ends.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections import defaultdict, deque
from concurrent import futures
from typing import Any

import grpc
from google.longrunning import operations_pb2_grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2

from batchyard.v1 import batch_task_pb2 as task_pb
from batchyard.v1 import batch_task_service_pb2 as service_pb
from batchyard.v1 import batch_task_service_pb2_grpc, handler_pb2, record_pb2
from tests.client.fake_artifacts import FakeArtifacts
from tests.client.fake_cancels import FakeCancels
from tests.client.fake_life import FakeLifeCycle, FakeTask
from tests.client.fake_many import FakeMany
from tests.client.fake_operations import FINAL, FakeOperations, State, refuse
from tests.client.fake_watch import FakeWatches


def _record_states(asked: str, context: grpc.ServicerContext) -> set[int]:
    """The states that a filter asks for; it may be `state = NAME`, or nothing."""
    names = record_pb2.RecordInfo.State.keys()
    if not asked:
        return set(record_pb2.RecordInfo.State.values())
    field, _, name = asked.partition(" = ")
    if field != "state" or name not in names:
        refuse(context, code_pb2.INVALID_ARGUMENT, "not what this server knows", "INVALID_FILTER")
    return {record_pb2.RecordInfo.State.Value(name)}


class FakeServer(
    FakeArtifacts,
    FakeCancels,
    FakeWatches,
    FakeLifeCycle,
    FakeMany,
    FakeOperations,
    batch_task_service_pb2_grpc.BatchTaskServiceServicer,
):
    """See the module. Also its own servicer for both services.

    Attributes:
        calls: how often each method was called.
        faults: per method, (code, message, reason) answered before the real thing, first in first out.
        append_cuts: after how many messages of a stream each next AppendRecords is cut (ABORT after commit, no ack).
        page: records per message of StreamRecords.
        stream_cuts: after how many messages each next StreamRecords, StreamBatchTasks or watch is cut.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.tasks: dict[str, FakeTask] = {}
        self.operations: dict[str, FakeTask] = {}
        self.requests: dict[str, Any] = {}
        self.calls: dict[str, int] = defaultdict(int)
        self.last: dict[str, Any] = {}
        self.faults: dict[str, deque[tuple[int, str, str]]] = defaultdict(deque)
        self.append_cuts: deque[int] = deque()
        self.stream_cuts: deque[int] = deque()
        self.page = 100
        self.port = 0
        self._server: grpc.Server | None = None
        self.stopping = False

    # ------------------------------------------------------------------------------------------------------ life

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> FakeServer:
        self.stopping = False
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 4 * 1024 * 1024)]
        self._server = grpc.server(futures.ThreadPoolExecutor(32), options=options)
        batch_task_service_pb2_grpc.add_BatchTaskServiceServicer_to_server(self, self._server)
        operations_pb2_grpc.add_OperationsServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()
        return self

    def stop(self) -> None:
        """End at once: calls in flight are cut."""
        assert self._server is not None
        with self.changed:
            self.stopping = True
            self.changed.notify_all()
        self._server.stop(None).wait()
        with self.lock:
            for task in self.tasks.values():
                task.appending = False

    def restart(self) -> None:
        self.stop()
        self.start()

    def __enter__(self) -> FakeServer:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # ------------------------------------------------------------------------------------------------------ script

    def fail_next(self, method: str, code: int, message: str = "scripted", reason: str = "", times: int = 1) -> None:
        self.faults[method].extend([(code, message, reason)] * times)

    def until(self, predicate: Any, timeout: float = 20.0) -> None:
        """Wait for a condition over the state; every change of it wakes this."""
        with self.changed:
            assert self.changed.wait_for(predicate, timeout), "the server never came to that state"

    def complete(self, name: str, index: int, output: Any = None, error: status_pb2.Status | None = None) -> None:
        """Give one record its outcome."""
        with self.changed:
            task = self.tasks[name]
            record = task.records[index]
            record.state = record_pb2.RecordInfo.FAILED if error else record_pb2.RecordInfo.SUCCEEDED
            record.attempt = 1
            record.generation = task.info.generation
            if error:
                record.error.CopyFrom(error)
            elif output is not None:
                record.output.CopyFrom(output)
            task.completed.append(index)
            task.info.state = State.RUNNING
            self.changed.notify_all()

    def echo(self, name: str) -> None:
        """Run the whole task: every output is its input."""
        for index, record in enumerate(self.tasks[name].inputs):
            self.complete(name, index, record.payload)
        self.end(name, State.SUCCEEDED)

    def end(self, name: str, state: int, error: status_pb2.Status | None = None) -> None:
        with self.changed:
            info = self.tasks[name].info
            info.state = state
            info.end_time.GetCurrentTime()
            if error:
                info.error.CopyFrom(error)
            self.changed.notify_all()

    # ------------------------------------------------------------------------------------------------------ pieces

    def _enter(self, method: str, context: grpc.ServicerContext) -> None:
        with self.changed:
            self.calls[method] += 1
            fault = self.faults[method].popleft() if self.faults[method] else None
            self.changed.notify_all()
        if fault:
            refuse(context, *fault)

    def _task(self, name: str, context: grpc.ServicerContext) -> FakeTask:
        task = self.tasks.get(name)
        if task is None or task.deleted:
            resource = error_details_pb2.ResourceInfo(resource_type="batchyard.dev/BatchTask", resource_name=name)
            refuse(context, code_pb2.NOT_FOUND, f"{name} not found", "RESOURCE_NOT_FOUND", resource)
        assert task is not None
        return task

    def exists(self, name: str) -> bool:
        return name in self.tasks and not self.tasks[name].deleted

    def _counted(self, task: FakeTask) -> task_pb.BatchTaskInfo:
        counts = task_pb.RecordCounts(total=len(task.records))
        for record in task.records:
            field_name = record_pb2.RecordInfo.State.Name(record.state).lower()
            setattr(counts, field_name, getattr(counts, field_name) + 1)
        task.info.counts.CopyFrom(counts)
        return task.info

    def _add(self, task: FakeTask, records: Any) -> None:
        for record in records:
            index = len(task.inputs)
            task.inputs.append(record)
            name = f"{task.info.name}/records/{index}"
            pending = record_pb2.RecordInfo.PENDING
            task.records.append(
                record_pb2.RecordInfo(name=name, index=index, record_id=record.record_id, state=pending, generation=1)
            )

    # ------------------------------------------------------------------------------------------------------ service

    def CreateBatchTask(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._enter("CreateBatchTask", context)
        with self.changed:
            digest = request.SerializeToString(deterministic=True)
            known = self.requests.get(request.request_id)
            if known is not None:
                if known[0] != digest:
                    refuse(context, code_pb2.ALREADY_EXISTS, "request_id reused", "REQUEST_ID_REUSED")
                return self._operation(known[1])
            if request.batch_task.handler == "missing":
                resource = error_details_pb2.ResourceInfo(resource_name=f"{request.parent}/handlers/missing")
                refuse(context, code_pb2.NOT_FOUND, "no such handler", "RESOURCE_NOT_FOUND", resource)
            start = request.start or not request.HasField("start")
            if start and not request.records:
                field_ = error_details_pb2.BadRequest(
                    field_violations=[error_details_pb2.BadRequest.FieldViolation(field="records", description="empty")]
                )
                refuse(context, code_pb2.INVALID_ARGUMENT, "no records", "NO_RECORDS", field_)
            task_id = request.batch_task_id or f"t{len(self.tasks):06d}"
            name = f"{request.parent}/batchTasks/{task_id}"
            if name in self.tasks and not self.tasks[name].deleted:
                refuse(context, code_pb2.ALREADY_EXISTS, "taken", "RESOURCE_EXISTS")
            task = FakeTask(task_pb.BatchTaskInfo())
            task.info.CopyFrom(request.batch_task)
            task.info.name, task.info.uid, task.info.generation = name, str(uuid.uuid4()), 1
            task.info.operation = f"{request.parent}/operations/op-{task_id}"
            task.info.state = State.QUEUED if start else State.DRAFT
            task.info.create_time.GetCurrentTime()
            task.stamp()
            self._add(task, request.records)
            self.tasks[name] = self.operations[task.info.operation] = task
            if request.request_id:
                self.requests[request.request_id] = (digest, task)
            self.changed.notify_all()
            return self._operation(task)

    def AppendRecords(self, requests: Any, context: grpc.ServicerContext) -> Any:
        self._enter("AppendRecords", context)
        cut = self.append_cuts.popleft() if self.append_cuts else -1
        task: FakeTask | None = None
        try:
            for number, request in enumerate(requests):
                with self.changed:
                    if task is None:
                        candidate = self._task(request.name, context)
                        if candidate.info.state != State.DRAFT:
                            reason = "TASK_COMPLETED" if candidate.info.state in FINAL else "ILLEGAL_STATE"
                            refuse(context, code_pb2.FAILED_PRECONDITION, "not a draft", reason)
                        if candidate.appending:
                            refuse(context, code_pb2.ABORTED, "another stream", "APPEND_IN_PROGRESS")
                        task = candidate
                        task.appending = True
                    self._append(task, request, context)
                    next_index = len(task.inputs)
                    self.changed.notify_all()
                if number == cut:
                    refuse(context, code_pb2.UNAVAILABLE, "cut")
                yield service_pb.AppendRecordsResponse(next_index=next_index)
        finally:
            if task is not None:
                with self.changed:
                    task.appending = False
                    self.changed.notify_all()

    def _append(self, task: FakeTask, request: Any, context: grpc.ServicerContext) -> None:
        expected = len(task.inputs)
        if not request.records or request.first_index + len(request.records) <= expected:
            return
        if request.first_index != expected:
            refuse(context, code_pb2.OUT_OF_RANGE, "gap or overlap", "INDEX_MISMATCH", next_index=str(expected))
        self._add(task, request.records)

    def StartBatchTask(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._enter("StartBatchTask", context)
        with self.changed:
            task = self._task(request.name, context)
            if request.request_id not in self.requests and task.info.state in FINAL:
                refuse(context, code_pb2.FAILED_PRECONDITION, "ended", "TASK_COMPLETED")
            if task.info.state == State.DRAFT:
                if not task.inputs:
                    refuse(context, code_pb2.FAILED_PRECONDITION, "no records", "NO_RECORDS")
                task.info.state = State.QUEUED
            self.requests[request.request_id] = (b"", task)
            self.changed.notify_all()
            return self._operation(task)

    def GetBatchTask(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._enter("GetBatchTask", context)
        with self.lock:
            return self._counted(self._task(request.name, context))

    def StreamBatchTasks(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._enter("StreamBatchTasks", context)
        self.last["StreamBatchTasks"] = request
        states = set(re.findall(r"state = (\w+)", request.filter))  # all that it understands of a filter
        size = request.page_size or 2
        with self.lock:
            alive = [task for task in self.tasks.values() if not task.deleted][::-1]
            mine = [self._counted(task) for task in alive if task.info.name.startswith(request.parent + "/")]
            state = task_pb.BatchTaskInfo.State.Name
            found = [info for info in mine if not states or state(info.state) in states]
        if states and not request.resume_token:
            yield service_pb.StreamBatchTasksResponse(resume_token="0")  # it looked at some that did not match
        yield from self._stream(found, size, request.resume_token, "batch_tasks", context)

    def _stream(self, found: list[Any], size: int, token: str, name: str, context: grpc.ServicerContext) -> Any:
        cut = self.stream_cuts.popleft() if self.stream_cuts else -1
        kind = service_pb.StreamBatchTasksResponse if name == "batch_tasks" else service_pb.StreamRecordsResponse
        for number, begin in enumerate(range(int(token or 0), len(found), size)):
            if number == cut:
                refuse(context, code_pb2.UNAVAILABLE, "cut")
            part = found[begin : begin + size]
            yield kind(**{name: part, "resume_token": str(begin + len(part))})

    def GetRecord(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin("GetRecord", request, context)
        name, _, index = request.name.rpartition("/records/")
        with self.lock:
            task = self._task(name, context)
            if request.generation not in {0, task.info.generation, *task.history}:
                refuse(context, code_pb2.NOT_FOUND, "no such generation", "RESOURCE_NOT_FOUND")
            return self._generation(task, request.generation, record_pb2.RecordInfo.INDEX, context)[int(index)]

    def StreamRecords(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin("StreamRecords", request, context)
        with self.lock:
            task = self._task(request.parent, context)
            found = self._generation(task, request.generation, request.order, context)
            if request.view == record_pb2.RecordInfo.FULL:
                for record in found:
                    record.input.CopyFrom(task.inputs[record.index].payload)
        wanted = _record_states(request.filter, context)
        size, token = request.page_size or self.page, request.resume_token
        for message in self._stream(found, size, token, "records", context):
            kept = [record for record in message.records if record.state in wanted]
            yield service_pb.StreamRecordsResponse(records=kept, resume_token=message.resume_token)

    def GetHandler(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._enter("GetHandler", context)
        return handler_pb2.Handler(name=request.name, kind=handler_pb2.Handler.PYTHON, available=True)

    def ListHandlers(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Three pages: one handler, none, two."""
        self._enter("ListHandlers", context)
        pages = {"": (["a"], "p1"), "p1": ([], "p2"), "p2": (["b", "c"], "")}
        names, token = pages[request.page_token]
        handlers = [handler_pb2.Handler(name=f"{request.parent}/handlers/{name}") for name in names]
        return service_pb.ListHandlersResponse(handlers=handlers, next_page_token=token)
