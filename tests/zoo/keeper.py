"""A server with the zoo in it, and the questions that its tests ask."""

from __future__ import annotations

import contextlib
import json
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.longrunning import operations_pb2_grpc
from google.longrunning.operations_pb2 import Operation, WaitOperationRequest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc

from batchyard.v1 import batch_task_service_pb2_grpc
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata, Constraints
from batchyard.v1.batch_task_service_pb2 import (
    CancelBatchTaskRequest,
    CreateBatchTaskRequest,
    GetBatchTaskRequest,
    StreamRecordsRequest,
)
from batchyard.v1.payload_pb2 import Payload
from batchyard.v1.record_pb2 import RecordInfo, RecordInput
from tests.support import processes
from tests.support.eventually import eventually
from tests.support.server import Process, process

LEVELS = ("cgroup", "pid_namespace", "subreaper")
PARENT = "projects/default"
WORKERS = 2
GRACE_SECONDS = 1.0  # the default of a handler's kill_grace
REAPED_SECONDS = 5.0  # from a task's final state until nothing is left of what it started
NEIGHBOURS = 5  # on either side
FINAL = (BatchTaskInfo.SUCCEEDED, BatchTaskInfo.FAILED, BatchTaskInfo.CANCELLED)
_HERE = pathlib.Path(__file__).resolve().parent
_TOML = f"""\
[handlers.cage]
kind = "python"
callable = "cage:cage"
path = ["{_HERE / "handlers"}", "{_HERE.parent / "support"}"]

[handlers.shell]
kind = "command"
argv = ["sh", "-c", "{{script}}"]
"""


class Keeper:
    """Talks to one life of a server."""

    def __init__(self, server: Process, data: pathlib.Path) -> None:
        self.server = server
        self.server_id = processes.server_id(data)
        self._channel = server.channel()
        self._tasks = batch_task_service_pb2_grpc.BatchTaskServiceStub(self._channel)
        self._operations = operations_pb2_grpc.OperationsStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def submit(self, handler: str, bad: Mapping[str, Any], timeout: float = 0.0) -> Operation:
        """One bad record in the middle of its neighbours."""
        neighbour = {"script": "echo $$"} if handler == "shell" else {}
        records = [neighbour] * NEIGHBOURS + [bad] + [neighbour] * NEIGHBOURS
        constraints = Constraints()
        if timeout:
            constraints.record_timeout.CopyFrom(Duration(nanos=int(timeout * 1e9)))
        request = CreateBatchTaskRequest(
            parent=PARENT,
            batch_task=BatchTaskInfo(handler=handler, constraints=constraints),
            records=[RecordInput(payload=Payload(text=json.dumps(each))) for each in records],
        )
        return self._tasks.CreateBatchTask(request, timeout=20)

    def finish(self, operation: Operation, seconds: float = 60.0) -> tuple[BatchTaskInfo, list[RecordInfo]]:
        """The task and its records, once it is final."""
        end = time.monotonic() + seconds
        while not operation.done:
            assert time.monotonic() < end, f"not done after {seconds} s: {operation}"
            request = WaitOperationRequest(name=operation.name, timeout=Duration(seconds=1))
            operation = self._operations.WaitOperation(request, timeout=20)
        name = task_of(operation)
        info = self._tasks.GetBatchTask(GetBatchTaskRequest(name=name), timeout=20)
        pages = self._tasks.StreamRecords(StreamRecordsRequest(parent=name), timeout=60)
        return info, [record for page in pages for record in page.records]

    def cancel(self, operation: Operation) -> None:
        """Cancels the task; it must be CANCELLED within the grace and two seconds."""
        began = time.monotonic()
        self._tasks.CancelBatchTask(CancelBatchTaskRequest(name=task_of(operation)), timeout=20)
        info, records = self.finish(operation)
        took = time.monotonic() - began
        assert info.state == BatchTaskInfo.CANCELLED, info
        assert took <= GRACE_SECONDS + 2, f"CANCELLED {took:.2f} s after the cancel"
        bad = records[NEIGHBOURS]
        assert bad.state == RecordInfo.CANCELLED, bad
        for record in records:
            assert record.state in (RecordInfo.SUCCEEDED, RecordInfo.CANCELLED), record

    def started_by_handlers(self) -> list[processes.Seen]:
        """Every process of this data directory's servers but supervisors and their workers."""
        return [seen for seen in processes.marked(self.server_id) if not seen.is_supervisor and not seen.is_worker]

    def check_clean(self) -> None:
        """In time nothing lives but warm workers, one a slot."""

        def is_clean() -> bool:
            left = self.started_by_handlers()
            assert left == [], f"left behind: {left}"
            workers = [seen for seen in processes.marked(self.server_id) if seen.is_worker]
            assert len(workers) <= WORKERS, workers
            return True

        eventually(is_clean, REAPED_SECONDS)

    def check_healthy(self) -> None:
        """It says so, and runs a task."""
        answer = self._health.Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        info, records = self.finish(self.submit("cage", {}))
        assert info.state == BatchTaskInfo.SUCCEEDED
        check_neighbours(records)


@contextlib.contextmanager
def keeping(folder: pathlib.Path, level: str) -> Iterator[Keeper]:
    """A server at this level on `folder`, stopped at the end; then nothing of it may live."""
    folder.mkdir(parents=True, exist_ok=True)
    handlers = folder / "handlers.toml"
    handlers.write_text(_TOML)
    arguments = ("--handlers", str(handlers), "--workers", str(WORKERS), "--isolation", level)
    with process(folder, *arguments) as server:
        keeper = Keeper(server, folder / "data")
        try:
            yield keeper
        finally:
            keeper.close()
    left = processes.marked(keeper.server_id)
    for seen in left:
        processes.send(seen)
    assert left == []


def task_of(operation: Operation) -> str:
    """Name of the operation's task."""
    metadata = BatchTaskMetadata()
    assert operation.metadata.Unpack(metadata)
    return metadata.batch_task


def error_info(record: RecordInfo) -> ErrorInfo:
    """Why a record failed."""
    info = ErrorInfo()
    [detail] = [each for each in record.error.details if each.Is(ErrorInfo.DESCRIPTOR)]
    detail.Unpack(info)
    return info


def check_neighbours(records: Sequence[RecordInfo], crashes: int = 0) -> None:
    """All but the one in the middle succeeded and ran once, or once more for each crash that came before the disk."""
    for record in records:
        if record.index != NEIGHBOURS:
            assert record.state == RecordInfo.SUCCEEDED, record
            assert 1 <= record.attempt <= 1 + crashes, record
