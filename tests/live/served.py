"""A server whose handlers write down what they do, and what its tests ask it."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apsw
from google.longrunning import operations_pb2 as lro
from google.longrunning import operations_pb2_grpc
from google.protobuf.duration_pb2 import Duration

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1 import batch_task_service_pb2_grpc
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata, RecordCounts
from batchyard.v1.payload_pb2 import Payload
from batchyard.v1.record_pb2 import RecordInfo, RecordInput
from tests.support.server import SECONDS, Process, process

HANDLERS = pathlib.Path(__file__).parent / "handlers"
PARENT = "projects/default"
FINAL = (BatchTaskInfo.SUCCEEDED, BatchTaskInfo.FAILED, BatchTaskInfo.CANCELLED)
NOTED = f"""\
[handlers.noted]
kind = "python"
callable = "noted:noted"
path = ["{HANDLERS}"]
env = ["LIVE_FOLDER"]
"""


class Live:
    """One life of a server, and its handlers' notes in `folder`."""

    def __init__(self, server: Process, folder: pathlib.Path) -> None:
        self.server = server
        self.folder = folder
        self.channel = server.channel()
        self.tasks = batch_task_service_pb2_grpc.BatchTaskServiceStub(self.channel)
        self.operations = operations_pb2_grpc.OperationsStub(self.channel)

    @property
    def pid(self) -> int:
        return self.server.popen.pid

    def submit(self, records: Sequence[Mapping[str, Any]], handler: str = "noted") -> str:
        """Run a batch; returns the name of its task."""
        request = service.CreateBatchTaskRequest(
            parent=PARENT,
            batch_task=BatchTaskInfo(handler=handler),
            records=[RecordInput(payload=Payload(text=json.dumps(each))) for each in records],
        )
        metadata = BatchTaskMetadata()
        self.tasks.CreateBatchTask(request, timeout=SECONDS).metadata.Unpack(metadata)
        return metadata.batch_task

    def info(self, name: str) -> BatchTaskInfo:
        return self.tasks.GetBatchTask(service.GetBatchTaskRequest(name=name), timeout=SECONDS)

    def listed(self, filter: str) -> list[str]:
        """The names of the tasks that match."""
        request = service.ListBatchTasksRequest(parent=PARENT, filter=filter)
        return [info.name for info in self.tasks.ListBatchTasks(request, timeout=SECONDS).batch_tasks]

    def counts(self, name: str) -> RecordCounts:
        return self.info(name).counts

    def metadata(self, name: str) -> BatchTaskMetadata:
        """Of its operation."""
        operation = self.operations.GetOperation(
            lro.GetOperationRequest(name=self.info(name).operation), timeout=SECONDS
        )
        metadata = BatchTaskMetadata()
        operation.metadata.Unpack(metadata)
        return metadata

    def cancel(self, name: str) -> None:
        """And wait until it is CANCELLED."""
        self.tasks.CancelBatchTask(service.CancelBatchTaskRequest(name=name), timeout=SECONDS)
        assert self.finish(name).state == BatchTaskInfo.CANCELLED

    def finish(self, name: str) -> BatchTaskInfo:
        """The task, once it has ended; at most SECONDS from now."""
        request = lro.WaitOperationRequest(name=self.info(name).operation, timeout=Duration(seconds=SECONDS))
        operation = self.operations.WaitOperation(request, timeout=SECONDS + 1)
        assert operation.done, operation
        return self.info(name)

    def records(self, name: str, order: RecordInfo.Order = RecordInfo.INDEX) -> list[RecordInfo]:
        """All of them, view BASIC."""
        pages = self.tasks.StreamRecords(service.StreamRecordsRequest(parent=name, order=order), timeout=SECONDS)
        return [record for page in pages for record in page.records]

    # -- the handlers' notes --------------------------------------------------------------------------------------

    def running(self) -> set[int]:
        """Indexes whose handler runs now."""
        return {int(each.name) for each in (self.folder / "running").iterdir()}

    def forget_running(self) -> None:
        """The workers were killed; what they noted as running is over."""
        for each in (self.folder / "running").iterdir():
            each.unlink()

    def ended(self) -> list[tuple[int, int, int]]:
        """(index, attempt, monotonic nanoseconds) of every execution that ended, in that order about."""
        log = self.folder / "ended.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [(int(index), int(attempt), int(end)) for index, attempt, end in map(str.split, lines)]

    def open(self, gate: str) -> None:
        """Let the records that wait at this gate go on."""
        (self.folder / "open" / gate).touch()


def segments(data: pathlib.Path) -> int:
    """How many outcome segments the store has."""
    connection = apsw.Connection(str(data / "store.sqlite3"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute("SELECT count(*) FROM outcome_segment").fetchall()[0][0]
    finally:
        connection.close()


@contextlib.contextmanager
def living(
    folder: pathlib.Path,
    *arguments: str,
    workers: int = 2,
    toml: str = "",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Live]:
    """A server on `folder`, which may have had others before; `toml`: handlers beside `noted`."""
    notes = folder / "notes"
    for each in ("running", "open"):
        (notes / each).mkdir(parents=True, exist_ok=True)
    (folder / "handlers.toml").write_text(NOTED + toml)
    arguments = ("--handlers", str(folder / "handlers.toml"), "--workers", str(workers), *arguments)
    with process(folder, *arguments, environment={"LIVE_FOLDER": str(notes), **(environment or {})}) as server:
        live = Live(server, notes)
        try:
            yield live
        finally:
            live.channel.close()
