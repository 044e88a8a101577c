"""The log of a record, by both clients and by the command line."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2

import batchyard
from batchyard.v1 import batch_task_service_pb2 as service_pb
from tests.client.fake_operations import refuse
from tests.client.fake_server import FakeServer

TEXT = "== attempt 1 of generation 1, SUCCEEDED ==\nhello\nwörld\n"


class LogServer(FakeServer):
    """Has logs.

    Attributes:
        logs: by name of the record.
        log_cuts: after how many messages each next ReadArtifact is cut.
    """

    def __init__(self) -> None:
        super().__init__()
        self.logs: dict[str, bytes] = {}
        self.log_cuts: deque[int] = deque()

    def ReadArtifact(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._enter("ReadArtifact", context)
        record, _, path = request.name.partition("/artifacts/")
        assert path == ".batchyard/log.txt"
        task, _, index = record.rpartition("/records/")
        if int(index) >= len(self._task(task, context).records):
            self._missing("batchyard.dev/Record", record, context)
        if record not in self.logs:
            self._missing("batchyard.dev/Artifact", request.name, context)
        cut = self.log_cuts.popleft() if self.log_cuts else -1
        data = self.logs[record]
        for number, start in enumerate(range(0, len(data), 20)):
            if number == cut:
                refuse(context, code_pb2.UNAVAILABLE, "cut")
            yield service_pb.ReadArtifactResponse(data=data[start : start + 20])

    def _missing(self, kind: str, name: str, context: grpc.ServicerContext) -> None:
        resource = error_details_pb2.ResourceInfo(resource_type=kind, resource_name=name)
        refuse(context, code_pb2.NOT_FOUND, f"{name} not found", "RESOURCE_NOT_FOUND", resource)


@pytest.fixture
def server() -> Any:
    with LogServer() as running:
        yield running


@pytest.fixture
def operation(client: Any, server: LogServer) -> Any:
    """A task of two records, of which the second has a log."""
    made = client.batch.run("echo", [1, 2], task_id="t")
    server.logs[f"{made.task_name}/records/1"] = TEXT.encode()
    return made


def test_a_log(operation: Any, server: LogServer) -> None:
    assert operation.log(1) == TEXT
    assert operation.log(0) == ""
    server.echo(operation.task_name)
    assert operation.wait().log(1) == TEXT


def test_bytes_that_are_no_text(operation: Any, server: LogServer) -> None:
    server.logs[f"{operation.task_name}/records/1"] = b"a\xffb"
    assert operation.log(1) == "a\\xffb"


def test_no_such_record_and_no_such_task(operation: Any, client: Any) -> None:
    with pytest.raises(batchyard.NotFoundError, match="records/2 not found"):
        operation.log(2)
    operation.delete(force=True)
    with pytest.raises(batchyard.NotFoundError, match="batchTasks/t not found"):
        operation.log(1)


@pytest.mark.parametrize("cuts", [[0], [1], [2, 0, 1]])
def test_a_cut_stream_is_read_again(operation: Any, server: LogServer, cuts: list[int]) -> None:
    server.log_cuts.extend(cuts)
    assert operation.log(1) == TEXT
    assert not server.log_cuts


def test_not_for_ever(operation: Any, server: LogServer) -> None:
    server.log_cuts.extend([1] * 1000)
    with pytest.raises(batchyard.UnavailableError):
        operation.log(1, timeout=0.5)


def test_the_command(run: Callable[..., tuple[int, str, str]], operation: Any) -> None:
    assert run("log", "t", "1") == (0, TEXT, "")
    assert run("log", "t", "0") == (0, "", "")
    code, out, err = run("log", "t", "1", "--json")
    assert (code, json.loads(out), err) == (0, {"index": 1, "log": TEXT}, "")
    assert run("log", "t", "2")[0] == 1
