"""Does any message, however spoiled, get an answer in the words of the API, and leave the server whole?"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2 as lro

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.model.errors import Code
from tests.rpc import world
from tests.rpc.world import PROJECT, create, name
from tests.support.errors import answer
from tests.support.server import Served

SERVICE, OPERATIONS = "/batchyard.v1.BatchTaskService/", "/google.longrunning.Operations/"
ALLOWED = {
    Code.INVALID_ARGUMENT,
    Code.NOT_FOUND,
    Code.ALREADY_EXISTS,
    Code.FAILED_PRECONDITION,
    Code.OUT_OF_RANGE,
    Code.ABORTED,
}
ROUNDS = 400


def _messages(operation: str) -> dict[str, bytes]:
    """One right message for every method."""
    draft = name("draft")
    big = create("new", records=[world.record('{"a": [1, 2]}', "id-1"), world.record("2")], start=False)
    big.batch_task.labels.update({"team": "a"})
    big.batch_task.parameters.json.struct_value.fields["a"].number_value = 1
    big.batch_task.constraints.record_timeout.FromSeconds(1)
    big.request_id = world.fresh_request_id()
    update = service.UpdateBatchTaskRequest(batch_task=big.batch_task, request_id=world.fresh_request_id())
    update.batch_task.MergeFrom(
        BatchTaskInfo(
            name=draft,
            priority=3,
            constraints={"retention_time": {"seconds": 86_400}, "max_retry_count": 2},
            retry_policy={"multiplier": 3.0, "retryable_codes": [4, 14], "max_backoff": {"nanos": 5}},
            failure_policy={"max_failed_ratio": 0.5},
        )
    )
    update.update_mask.paths[:] = ["labels", "constraints.retention_time", "retry_policy", "handler", "parameters"]
    wait = lro.WaitOperationRequest(name=operation)
    wait.timeout.nanos = 1
    return {
        SERVICE + "CreateBatchTask": big.SerializeToString(),
        SERVICE + "BatchCreateBatchTasks": service.BatchCreateBatchTasksRequest(
            parent=PROJECT, requests=[big, create("one more")], atomic=True, request_id=world.fresh_request_id()
        ).SerializeToString(),
        SERVICE + "AppendRecords": service.AppendRecordsRequest(
            name=draft, first_index=2, records=[world.record("1", "x"), world.record("2", "y")]
        ).SerializeToString(),
        SERVICE + "StartBatchTask": service.StartBatchTaskRequest(name=draft).SerializeToString(),
        SERVICE + "GetBatchTask": service.GetBatchTaskRequest(name=draft).SerializeToString(),
        SERVICE + "ListBatchTasks": service.ListBatchTasksRequest(parent=PROJECT, page_size=3).SerializeToString(),
        SERVICE + "StreamBatchTasks": service.StreamBatchTasksRequest(parent=PROJECT).SerializeToString(),
        SERVICE + "GetBatchTaskCounts": service.GetBatchTaskCountsRequest(
            name=f"{PROJECT}/batchTaskCounts"
        ).SerializeToString(),
        **_by_filter(draft),
        SERVICE + "PauseBatchTask": service.PauseBatchTaskRequest(name=name("queued")).SerializeToString(),
        SERVICE + "ResumeBatchTask": service.ResumeBatchTaskRequest(name=name("queued")).SerializeToString(),
        SERVICE + "UpdateBatchTask": update.SerializeToString(),
        SERVICE + "ReactivateBatchTask": service.ReactivateBatchTaskRequest(
            name=name("failed"), scope=service.ReactivateBatchTaskRequest.ALL
        ).SerializeToString(),
        SERVICE + "CancelBatchTask": service.CancelBatchTaskRequest(name=draft, reason="x").SerializeToString(),
        SERVICE + "DeleteBatchTask": service.DeleteBatchTaskRequest(name=draft).SerializeToString(),
        SERVICE + "ListSubtasks": service.ListSubtasksRequest(parent=draft, page_size=2).SerializeToString(),
        SERVICE + "ListRecordAttempts": service.ListRecordAttemptsRequest(
            parent=f"{draft}/records/1", page_size=1
        ).SerializeToString(),
        **_of_records(draft),
        OPERATIONS + "GetOperation": lro.GetOperationRequest(name=operation).SerializeToString(),
        OPERATIONS + "ListOperations": lro.ListOperationsRequest(
            name=PROJECT, page_size=2, filter="NOT done=true"
        ).SerializeToString(),
        OPERATIONS + "WaitOperation": wait.SerializeToString(),
        OPERATIONS + "CancelOperation": lro.CancelOperationRequest(name=operation).SerializeToString(),
        OPERATIONS + "DeleteOperation": lro.DeleteOperationRequest(name=operation).SerializeToString(),
    }


def _by_filter(draft: str) -> dict[str, bytes]:
    """Those that watch, and a verb on all that match."""
    return {
        SERVICE + "WatchBatchTask": service.WatchBatchTaskRequest(
            name=draft, include_records=True, view=2
        ).SerializeToString(),
        SERVICE + "WatchBatchTasks": service.WatchBatchTasksRequest(
            parent=PROJECT, filter="counts.total>=0"
        ).SerializeToString(),
        SERVICE + "CancelBatchTasks": service.CancelBatchTasksRequest(
            parent=PROJECT, filter="labels.a=b OR NOT (id:x AND state=DRAFT)", validate_only=True
        ).SerializeToString(),
    }


def _of_records(task: str) -> dict[str, bytes]:
    """Those about records, what they left, and handlers."""
    artifact = f"{task}/records/1/artifacts/a/b"
    return {
        SERVICE + "GetRecord": service.GetRecordRequest(name=f"{task}/records/1", view=1).SerializeToString(),
        SERVICE + "ListRecords": service.ListRecordsRequest(parent=task, page_size=1, order=2).SerializeToString(),
        SERVICE + "StreamRecords": service.StreamRecordsRequest(parent=task, view=2).SerializeToString(),
        SERVICE + "ListArtifacts": service.ListArtifactsRequest(
            parent=f"{task}/records/-", page_size=1, prefix="a"
        ).SerializeToString(),
        SERVICE + "GetArtifact": service.GetArtifactRequest(name=artifact).SerializeToString(),
        SERVICE + "ReadArtifact": service.ReadArtifactRequest(name=artifact, offset=1, limit=2).SerializeToString(),
        SERVICE + "DeleteArtifact": service.DeleteArtifactRequest(name=artifact).SerializeToString(),
        SERVICE + "GetHandler": service.GetHandlerRequest(name=f"{PROJECT}/handlers/echo").SerializeToString(),
        SERVICE + "ListHandlers": service.ListHandlersRequest(parent=PROJECT, page_size=1).SerializeToString(),
    }


def test_every_method_is_here() -> None:
    services = (
        service.DESCRIPTOR.services_by_name["BatchTaskService"],
        lro.DESCRIPTOR.services_by_name["Operations"],
    )
    assert set(_messages("x")) == {f"/{each.full_name}/{method.name}" for each in services for method in each.methods}


def _spoiled(chance: random.Random, raw: bytes, others: list[bytes]) -> bytes:
    """`raw` with some bytes changed, dropped, doubled or taken from another message."""
    spoiled = bytearray(raw)
    for _ in range(chance.randrange(1, 4)):
        start = chance.randrange(len(spoiled) + 1)
        end = min(len(spoiled), start + chance.randrange(1, 9))
        match chance.randrange(5):
            case 0 if spoiled:
                spoiled[chance.randrange(len(spoiled))] ^= 1 << chance.randrange(8)
            case 1:
                del spoiled[start:end]
            case 2:
                spoiled[start:start] = spoiled[start:end]
            case 3:
                spoiled[start:end] = chance.randbytes(chance.randrange(9))
            case _:
                spoiled += chance.choice(others)
    return bytes(spoiled)


async def _once(raw: bytes) -> AsyncIterator[bytes]:
    yield raw


async def _call(channel: grpc.aio.Channel, method: str, raw: bytes) -> None:
    if method.endswith("AppendRecords"):
        stream = channel.stream_stream(method)(_once(raw))
    elif "Stream" in method or "Watch" in method:
        stream = channel.unary_stream(method)(raw)
    else:
        await channel.unary_unary(method)(raw, timeout=30)
        return
    async for _ in stream:
        if "Watch" in method:  # that one never ends
            stream.cancel()
            break


def _spoils(seed: int, messages: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    chance = random.Random(seed)
    for _ in range(ROUNDS):
        method = chance.choice(list(messages))
        yield method, _spoiled(chance, messages[method], list(messages.values()))


@pytest.mark.parametrize("seed", range(4))
async def test_spoiled_messages(server: Served, seed: int) -> None:
    operations = await world.populate(server)
    refused = 0
    for method, raw in _spoils(seed, _messages(operations["queued"].name)):
        try:
            await _call(server.channel, method, raw)
        except grpc.RpcError as error:
            found = answer(error)
            assert found.code in ALLOWED, (method, raw, found.status)
            refused += 1
    assert refused > ROUNDS / 4
    assert (await server.tasks.GetBatchTask(service.GetBatchTaskRequest(name=name("running")))).counts.total == 2
