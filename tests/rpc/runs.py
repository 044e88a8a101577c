"""A server process with handlers of these tests, asked over raw stubs: what became of every record?

with running(folder, toml) as server:
    run = server.run("act", {"do": "give", "what": "text"})
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.longrunning import operations_pb2 as lro
from google.longrunning import operations_pb2_grpc
from google.protobuf import json_format, struct_pb2
from google.protobuf.duration_pb2 import Duration

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1 import batch_task_service_pb2_grpc
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata
from batchyard.v1.payload_pb2 import Payload
from batchyard.v1.record_pb2 import RecordAttempt, RecordInfo, RecordInput
from batchyard_server.model import limits
from batchyard_server.model.errors import Reason
from tests.rpc.world import PROJECT
from tests.support import errors
from tests.support.server import SECONDS, Process, process

HANDLERS = pathlib.Path(__file__).parent / "handlers"
ACT = f"""\
[handlers.act]
kind = "python"
callable = "acting:act"
path = ["{HANDLERS}"]
"""


@dataclass(frozen=True)
class Run:
    """A task that has ended: its operation, itself, and its records in order of index, view FULL."""

    operation: lro.Operation
    info: BatchTaskInfo
    records: list[RecordInfo]

    @property
    def only(self) -> RecordInfo:
        """The one record of a task that has one."""
        (record,) = self.records
        return record

    @property
    def outputs(self) -> list[Any]:
        """What every record's JSON output says; every one must have one."""
        assert all(each.state == RecordInfo.SUCCEEDED for each in self.records), self.records
        return [json.loads(each.output.text) for each in self.records]


class Server:
    """Raw stubs of one server process. `folder`: where it lives."""

    def __init__(self, served: Process, folder: pathlib.Path) -> None:
        self.process = served
        self.folder = folder
        self.channel = served.channel()
        self.tasks = batch_task_service_pb2_grpc.BatchTaskServiceStub(self.channel)
        self.operations = operations_pb2_grpc.OperationsStub(self.channel)

    def submit(
        self,
        handler: str,
        *records: Any,
        parameters: Any = None,
        timeout: float = 0.0,
        task: BatchTaskInfo | None = None,
        **fields: Any,
    ) -> str:
        """Create a task and return its name.

        Args:
            handler: its id.
            records: each a RecordInput, a Payload, or what is sent as JSON text.
            parameters: a Payload, or what is sent as JSON text.
            timeout: record_timeout in seconds, 0 = none.
            task: what else it is to be like.
            fields: of the request.
        """
        task = BatchTaskInfo.FromString(task.SerializeToString()) if task is not None else BatchTaskInfo()
        task.handler = handler
        if parameters is not None:
            task.parameters.CopyFrom(as_payload(parameters))
        if timeout:
            task.constraints.record_timeout.FromNanoseconds(int(timeout * 1e9))
        request = service.CreateBatchTaskRequest(
            parent=PROJECT, batch_task=task, records=[as_record(each) for each in records], **fields
        )
        return metadata(self.tasks.CreateBatchTask(request, timeout=SECONDS)).batch_task

    def info(self, name: str) -> BatchTaskInfo:
        return self.tasks.GetBatchTask(service.GetBatchTaskRequest(name=name), timeout=SECONDS)

    def operation(self, name: str) -> lro.Operation:
        """The operation of the task, as it is now."""
        return self.operations.GetOperation(lro.GetOperationRequest(name=self.info(name).operation), timeout=SECONDS)

    def records(self, name: str, **fields: Any) -> list[RecordInfo]:
        """All of them, as one stream; `fields` of the request."""
        pages = self.tasks.StreamRecords(service.StreamRecordsRequest(parent=name, **fields), timeout=SECONDS)
        return [record for page in pages for record in page.records]

    def record(self, name: str, index: int, view: RecordInfo.View = RecordInfo.VIEW_UNSPECIFIED) -> RecordInfo:
        request = service.GetRecordRequest(name=f"{name}/records/{index}", view=view)
        return self.tasks.GetRecord(request, timeout=SECONDS)

    def attempts(self, name: str, index: int = 0, size: int = 0) -> list[RecordAttempt]:
        """What is kept of the executions of a record, page by page."""
        found: list[RecordAttempt] = []
        request = service.ListRecordAttemptsRequest(parent=f"{name}/records/{index}", page_size=size)
        while True:
            page = self.tasks.ListRecordAttempts(request, timeout=SECONDS)
            assert not size or len(page.attempts) <= size
            found += page.attempts
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    def cancel(self, name: str, reason: str = "") -> BatchTaskInfo:
        return self.tasks.CancelBatchTask(
            service.CancelBatchTaskRequest(name=name, reason=reason, request_id=str(uuid.uuid4())), timeout=SECONDS
        )

    def finish(self, name: str) -> Run:
        """The task, once it has ended; at most SECONDS from now."""
        request = lro.WaitOperationRequest(name=self.info(name).operation, timeout=Duration(seconds=SECONDS))
        operation = self.operations.WaitOperation(request, timeout=SECONDS + 1)
        assert operation.done, operation
        return Run(operation, self.info(name), self.records(name, view=RecordInfo.FULL))

    def run(self, handler: str, *records: Any, **arguments: Any) -> Run:
        """Submit a task and wait for its end."""
        return self.finish(self.submit(handler, *records, **arguments))


@contextlib.contextmanager
def running(
    folder: pathlib.Path,
    toml: str = ACT,
    *arguments: str,
    workers: int = 2,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """A server on `folder`, which may have had others before, with these handlers."""
    folder.mkdir(parents=True, exist_ok=True)
    handlers = folder / "handlers.toml"
    handlers.write_text(toml)
    # A test that failed in the middle may have left records that never return.
    arguments = ("--handlers", str(handlers), "--workers", str(workers), "--drain-timeout", "1s", *arguments)
    with process(folder, *arguments, environment=environment) as served:
        server = Server(served, folder)
        try:
            yield server
        finally:
            server.channel.close()


class Actor:
    """A record whose handler waits for the test's word.

    Attributes:
        index, record_id, attempt: as its context says.
        pid: of its worker, as that sees itself.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.settimeout(SECONDS)
        with connection.makefile("r") as lines:
            said = json.loads(lines.readline())
        self.index: int = said["index"]
        self.record_id: str = said["record_id"]
        self.attempt: int = said["attempt"]
        self.pid: int = said["pid"]

    def go(self, **orders: Any) -> None:
        """Let it go on as a record with these members would; without any it returns None."""
        self._connection.sendall(json.dumps(orders or {"do": "echo"}).encode() + b"\n")
        self.close()

    def is_gone(self) -> bool:
        """Wait until its process has ended, at most SECONDS."""
        return self._connection.recv(1) == b""

    def close(self) -> None:
        """Forget it."""
        self._connection.close()


class Stage:
    """Where records with `stage.record` say that they run, and wait; a socket that every process here can reach."""

    def __init__(self) -> None:
        self._name = f"batchyard-stage-{uuid.uuid4()}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind("\0" + self._name)
        self._listener.listen(256)
        self._listener.settimeout(SECONDS)
        self._actors: list[Actor] = []

    @property
    def record(self) -> dict[str, Any]:
        """What the handler `act` must get."""
        return {"do": "stage", "name": self._name}

    def enter(self) -> Actor:
        """The next record that runs; at most SECONDS from now."""
        self._actors.append(Actor(self._listener.accept()[0]))
        return self._actors[-1]

    def close(self) -> None:
        """Whoever waits raises an exception."""
        for actor in self._actors:
            actor.close()
        self._listener.close()


@contextlib.contextmanager
def staged() -> Iterator[Stage]:
    """A stage, closed at the end."""
    with contextlib.closing(Stage()) as stage:
        yield stage


def as_payload(value: Any) -> Payload:
    """A Payload as it is, anything else as JSON text."""
    return value if isinstance(value, Payload) else Payload(text=json.dumps(value))


def as_record(value: Any) -> RecordInput:
    """A RecordInput as it is, anything else as its payload."""
    return value if isinstance(value, RecordInput) else RecordInput(payload=as_payload(value))


def metadata(operation: lro.Operation) -> BatchTaskMetadata:
    """What an operation says of its task."""
    found = BatchTaskMetadata()
    assert operation.metadata.Unpack(found)
    return found


def failure(record: RecordInfo, reason: Reason) -> errors.Answer:
    """Why the record FAILED; its form is checked, and that it is for this reason."""
    assert record.state == RecordInfo.FAILED, record
    assert not record.HasField("output")
    assert record.error.ByteSize() <= limits.ERROR.maximum
    return seen(errors.Answer(record.error), reason)


def seen(found: errors.Answer, reason: Reason) -> errors.Answer:
    """The same error, which must be for this reason; the mark `provokes` counts it."""
    assert found.reason is reason, found.status
    assert found.status.message
    assert len({each.type_url for each in found.status.details}) == len(found.status.details)
    errors.seen.append(reason)
    return found


def message_payload(url: str, value: bytes) -> Payload:
    """The payload kind `message`."""
    payload = Payload()
    payload.message.type_url, payload.message.value = url, value
    return payload


def json_value(text: str) -> Payload:
    """The payload kind `json`, as grpcurl makes it of this JSON."""
    return Payload(json=json_format.Parse(text, struct_pb2.Value()))
