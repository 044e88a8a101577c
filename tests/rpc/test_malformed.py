"""Are bytes that are no message, and faults of the server itself, answered in the words of the API?"""

from __future__ import annotations

import logging
import pathlib
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard_server.model import failpoints
from batchyard_server.model.errors import Code, Reason
from tests.rpc import world
from tests.rpc.test_errors import fail
from tests.rpc.world import create, name
from tests.support.errors import answer, provokes
from tests.support.server import Served, serving

METHODS = [
    (f"/{each.full_name}/{method.name}", method.client_streaming, method.server_streaming)
    for each in (
        service.DESCRIPTOR.services_by_name["BatchTaskService"],
        operations_pb2.DESCRIPTOR.services_by_name["Operations"],
    )
    for method in each.methods
] + [
    ("/grpc.health.v1.Health/Check", False, False),
    ("/grpc.health.v1.Health/Watch", False, True),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", True, True),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", True, True),
]
GARBAGE = [b"\xff\xff\xff", b"\x0a\x7fshort", b"\x0a\x02\xff\xfe\x1a\x01\xff"]


async def _once(raw: bytes) -> AsyncIterator[bytes]:
    yield raw


async def _send(channel: grpc.aio.Channel, method: str, client: bool, streams: bool, raw: bytes) -> None:
    if client:
        call = channel.stream_stream(method)(_once(raw))
    elif streams:
        call = channel.unary_stream(method)(raw)
    else:
        await channel.unary_unary(method)(raw)
        return
    async for _ in call:
        pass


@provokes(Reason.MALFORMED_REQUEST)
@pytest.mark.parametrize(("method", "client", "streams"), METHODS, ids=[each[0] for each in METHODS])
async def test_bytes_that_are_no_message(server: Served, method: str, client: bool, streams: bool) -> None:
    for raw in GARBAGE:
        with pytest.raises(grpc.RpcError) as caught:
            await _send(server.channel, method, client, streams, raw)
        found = answer(caught.value)
        assert (found.code, found.reason, found.field) == (Code.INVALID_ARGUMENT, Reason.MALFORMED_REQUEST, "")
        assert "Decode" not in found.status.message


async def test_fields_of_the_future_are_ignored(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("t"))
    raw = service.GetBatchTaskRequest(name=name("t")).SerializeToString() + b"\xfa\x3f\x03new"
    await server.channel.unary_unary("/batchyard.v1.BatchTaskService/GetBatchTask")(raw)


async def test_an_unknown_method_is_unimplemented(server: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.channel.unary_unary("/batchyard.v1.BatchTaskService/Nothing")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@provokes(Reason.INTERNAL_ERROR)
async def test_a_fault_of_the_server_tells_an_id_and_logs_the_cause(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, failpoints="engine.create.before_store=error@1") as server:
        with caplog.at_level(logging.ERROR):
            found = await fail(server, "CreateBatchTask", create("t"))
        assert (found.code, found.reason) == (Code.INTERNAL, Reason.INTERNAL_ERROR)
        error_id = found.metadata["error_id"]
        assert found.status.message == f"internal error {error_id}"
        (logged,) = [each for each in caplog.records if error_id in each.getMessage()]
        assert logged.exc_info is not None
        assert "failpoint" in str(logged.exc_info[1])
        await server.tasks.CreateBatchTask(create("t"))


POINTS = {
    "engine.create.before_store": ("CreateBatchTask", create("new")),
    "engine.create.after_store": ("CreateBatchTask", create("new")),
    "engine.append.after_store": (
        "AppendRecords",
        service.AppendRecordsRequest(name=name("draft"), first_index=2, records=[world.record()]),
    ),
    "engine.start.after_store": ("StartBatchTask", service.StartBatchTaskRequest(name=name("draft"))),
    "engine.pause.after_store": ("PauseBatchTask", service.PauseBatchTaskRequest(name=name("queued"))),
    "engine.resume.after_store": ("ResumeBatchTask", service.ResumeBatchTaskRequest(name=name("queued"))),
    "engine.update.after_store": (
        "UpdateBatchTask",
        service.UpdateBatchTaskRequest(batch_task={"name": name("draft")}),
    ),
    "engine.reactivate.after_store": ("ReactivateBatchTask", service.ReactivateBatchTaskRequest(name=name("failed"))),
    "engine.cancel.after_store": ("CancelBatchTask", service.CancelBatchTaskRequest(name=name("draft"))),
    "engine.delete.after_store": ("DeleteBatchTask", service.DeleteBatchTaskRequest(name=name("draft"))),
}


def test_every_failpoint_of_the_engine_is_here() -> None:
    assert set(POINTS) == {each for each in failpoints.POINTS if each.startswith("engine.")}


@provokes(Reason.INTERNAL_ERROR)
@pytest.mark.parametrize("point", POINTS)
async def test_a_failpoint_of_the_engine(tmp_path: pathlib.Path, point: str) -> None:
    async with serving(tmp_path) as server:
        await world.populate(server)
    async with serving(tmp_path, failpoints=f"{point}=error") as server:
        found = await fail(server, *POINTS[point])
        assert found.reason is Reason.INTERNAL_ERROR


@provokes(Reason.DISK_FULL, Reason.STORE_UNAVAILABLE)
async def test_a_store_that_cannot_write_says_so(tmp_path: pathlib.Path) -> None:
    points = "store.before_commit=disk_full@3,store.before_commit=io_error@3"
    for point, code, reason in zip(
        points.split(","),
        (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE),
        (Reason.DISK_FULL, Reason.STORE_UNAVAILABLE),
        strict=True,
    ):
        async with serving(tmp_path / reason, failpoints=point) as server:
            seen = None
            for number in range(5):
                try:
                    await server.tasks.CreateBatchTask(create(f"t{number}"))
                except grpc.RpcError as error:
                    seen = answer(error)
            assert seen is not None
            assert (seen.code, seen.reason) == (code, reason)
