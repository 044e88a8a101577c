"""Does every method have its deadline and retries, and does grpc act on them?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent import futures
from importlib import resources
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc

from batchyard.v1 import batch_task_service_pb2 as service_pb2
from batchyard.v1 import batch_task_service_pb2_grpc as service_grpc
from tests.meta.contract import descriptors as d

NAME = "batchyard_v1_grpc_service_config.json"
CONFIG = (d.ROOT / "proto" / NAME).read_text()
SERVICE = "batchyard.v1.BatchTaskService"
OPERATIONS = "google.longrunning.Operations"
ENTRIES: list[dict[str, Any]] = json.loads(CONFIG)["methodConfig"]
BY_METHOD: dict[str, dict[str, Any]] = {
    f"{name['service']}/{name['method']}": entry for entry in ENTRIES for name in entry["name"]
}
METHODS = [
    *(f"{method.service}/{method.name}" for method in d.methods()),
    *(f"{OPERATIONS}/{method.name}" for method in d.operations_methods()),
]
# The same with short waits, or the tests would take ten seconds each.
QUICK = CONFIG.replace('"0.25s"', '"0.01s"').replace('"10s"', '"0.02s"')


def test_every_method_is_listed_once() -> None:
    listed = Counter(f"{name['service']}/{name['method']}" for entry in ENTRIES for name in entry["name"])
    assert sorted(listed.elements()) == sorted(METHODS)


def test_the_copy_beside_the_stubs_is_found_and_the_same() -> None:
    assert resources.files("batchyard.v1").joinpath(NAME).read_text() == CONFIG


@pytest.mark.parametrize("method", METHODS)
def test_only_unavailable_is_retried(method: str) -> None:
    policy = BY_METHOD[method].get("retryPolicy")
    # A stream that sends cannot be repeated by grpc: the client asks for next_index and goes on.
    assert (policy is None) == method.endswith("/AppendRecords")
    if policy is not None:
        assert policy["retryableStatusCodes"] == ["UNAVAILABLE"]
        waits = [float(policy["initialBackoff"].rstrip("s"))]
        while len(waits) < policy["maxAttempts"] - 1:
            waits.append(min(waits[-1] * policy["backoffMultiplier"], float(policy["maxBackoff"].rstrip("s"))))
        assert policy["maxAttempts"] == 5, "more are cut to five by grpc"
        assert 7.5 <= sum(waits) <= 15, "long enough for a restart of the server"


@pytest.mark.parametrize("method", METHODS)
def test_unary_methods_and_no_others_have_a_deadline(method: str) -> None:
    streams = {f"{found.service}/{found.name}" for found in d.methods() if found.proto.server_streaming}
    timeout = BY_METHOD[method].get("timeout")
    # The server answers WaitOperation after 60 s at the latest.
    wanted = None if method in streams else "75s" if method.endswith("/WaitOperation") else "60s"
    assert timeout == wanted


class Flaky(service_grpc.BatchTaskServiceServicer, operations_pb2_grpc.OperationsServicer):
    """Answers each method with `refusals` times UNAVAILABLE first, and counts the attempts."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.attempts: Counter[str] = Counter()

    def _attempt(self, name: str, context: grpc.ServicerContext) -> None:
        self.attempts[name] += 1
        if self.attempts[name] <= self.refusals:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")

    def GetOperation(self, request: Any, context: grpc.ServicerContext) -> operations_pb2.Operation:
        self._attempt("GetOperation", context)
        return operations_pb2.Operation(name=request.name)

    def CreateBatchTask(self, request: Any, context: grpc.ServicerContext) -> operations_pb2.Operation:
        self._attempt("CreateBatchTask", context)
        return operations_pb2.Operation(name="o")

    def StreamRecords(self, request: Any, context: grpc.ServicerContext) -> Iterator[service_pb2.StreamRecordsResponse]:
        if request.page_size:  # the cut comes after the first message
            yield service_pb2.StreamRecordsResponse(resume_token="1")
        self._attempt("StreamRecords", context)
        yield service_pb2.StreamRecordsResponse(resume_token="2")

    def AppendRecords(
        self, request_iterator: Any, context: grpc.ServicerContext
    ) -> Iterator[service_pb2.AppendRecordsResponse]:
        self._attempt("AppendRecords", context)
        yield service_pb2.AppendRecordsResponse(next_index=1)


Connect = Callable[[int, str], tuple[Flaky, grpc.Channel]]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A server that refuses some attempts, and a channel to it with a service config."""
    opened: list[tuple[grpc.Server, grpc.Channel]] = []

    def _connect(refusals: int, config: str) -> tuple[Flaky, grpc.Channel]:
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
        flaky = Flaky(refusals)
        service_grpc.add_BatchTaskServiceServicer_to_server(flaky, server)
        operations_pb2_grpc.add_OperationsServicer_to_server(flaky, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.service_config", config)])
        opened.append((server, channel))
        return flaky, channel

    yield _connect
    for server, channel in opened:
        channel.close()
        server.stop(None).wait()


def test_grpc_retries_a_unary_call_as_often_as_told(connect: Connect) -> None:
    flaky, channel = connect(4, QUICK)
    assert operations_pb2_grpc.OperationsStub(channel).GetOperation(
        operations_pb2.GetOperationRequest(name="o")
    ) == operations_pb2.Operation(name="o")
    service_grpc.BatchTaskServiceStub(channel).CreateBatchTask(service_pb2.CreateBatchTaskRequest())
    assert flaky.attempts == {"GetOperation": 5, "CreateBatchTask": 5}


def test_grpc_gives_up_after_the_last_attempt(connect: Connect) -> None:
    flaky, channel = connect(5, QUICK)
    with pytest.raises(grpc.RpcError, match="not yet"):
        service_grpc.BatchTaskServiceStub(channel).CreateBatchTask(service_pb2.CreateBatchTaskRequest())
    assert flaky.attempts == {"CreateBatchTask": 5}


def test_grpc_retries_a_stream_until_its_first_message_and_not_after(connect: Connect) -> None:
    flaky, channel = connect(2, QUICK)
    stub = service_grpc.BatchTaskServiceStub(channel)
    tokens = [page.resume_token for page in stub.StreamRecords(service_pb2.StreamRecordsRequest())]
    assert (tokens, flaky.attempts["StreamRecords"]) == (["2"], 3)
    flaky.attempts.clear()
    pages = stub.StreamRecords(service_pb2.StreamRecordsRequest(page_size=1))
    assert next(pages).resume_token == "1"
    with pytest.raises(grpc.RpcError, match="not yet"):
        next(pages)
    assert flaky.attempts["StreamRecords"] == 1


def test_grpc_does_not_repeat_an_upload(connect: Connect) -> None:
    flaky, channel = connect(1, QUICK)
    stub = service_grpc.BatchTaskServiceStub(channel)
    with pytest.raises(grpc.RpcError, match="not yet"):
        list(stub.AppendRecords(iter([service_pb2.AppendRecordsRequest(name="t")])))
    assert flaky.attempts["AppendRecords"] == 1


def test_grpc_really_reads_it(connect: Connect) -> None:
    """The canary: with a config that grpc must refuse, no call works, so the tests above mean something."""
    _, channel = connect(0, QUICK.replace('"maxAttempts": 5', '"maxAttempts": 1'))
    with pytest.raises(grpc.RpcError, match="maxAttempts"):
        operations_pb2_grpc.OperationsStub(channel).GetOperation(operations_pb2.GetOperationRequest(name="o"))
