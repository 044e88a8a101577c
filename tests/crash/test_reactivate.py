"""A reactivation: only what failed runs again, a few of a million records too, and nothing twice after a kill."""

from __future__ import annotations

import asyncio
import hashlib
import json
import pathlib
import uuid
from collections.abc import AsyncIterator

import grpc
import pytest
from google.longrunning.operations_pb2 import Operation, WaitOperationRequest
from google.protobuf.duration_pb2 import Duration

from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata
from batchyard.v1.batch_task_service_pb2 import (
    AppendRecordsRequest,
    CreateBatchTaskRequest,
    GetBatchTaskRequest,
    ReactivateBatchTaskRequest,
    StartBatchTaskRequest,
    StreamRecordsRequest,
)
from batchyard.v1.payload_pb2 import Payload
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.codec.v1.shadow_pb2 import RawRecordPage
from tests.crash.served import KILLED, Server, Stubs, is_broken
from tests.crash.workload import PARENT, record
from tests.support.sidelog import SideLog

JOB = "again"
UPLOAD = 4000  # records in a message
SECONDS = 120


@pytest.fixture
async def server(tmp_path: pathlib.Path) -> AsyncIterator[Server]:
    server = Server(tmp_path)
    try:
        yield server
    finally:
        await server.end()


class Client:
    """One task, on one life of a server."""

    def __init__(self, server: Server, name: str = "") -> None:
        self._stubs = Stubs(server.target)
        self.close = self._stubs.channel.close
        self.name = name

    async def upload(self, count: int, failing: set[int]) -> None:
        """Run `count` records, of which those fail in generation 1."""
        tasks = self._stubs.tasks
        task = BatchTaskInfo(handler="noted", parameters=Payload(text=json.dumps({"job": JOB})))
        made = await tasks.CreateBatchTask(CreateBatchTaskRequest(parent=PARENT, batch_task=task, start=False))
        self.name = metadata(made).batch_task
        plain, bad = record(), record(fail_first=True)

        async def messages() -> AsyncIterator[AppendRecordsRequest]:
            for first in range(0, count, UPLOAD):
                records = [bad if i in failing else plain for i in range(first, min(first + UPLOAD, count))]
                yield AppendRecordsRequest(name=self.name, first_index=first, records=records)

        next_index = 0
        async for answer in tasks.AppendRecords(messages()):
            next_index = answer.next_index
        assert next_index == count
        await tasks.StartBatchTask(StartBatchTaskRequest(name=self.name))

    async def info(self) -> BatchTaskInfo:
        return await self._stubs.tasks.GetBatchTask(GetBatchTaskRequest(name=self.name))

    async def reactivate(self, request_id: str) -> Operation:
        request = ReactivateBatchTaskRequest(name=self.name, request_id=request_id)
        return await self._stubs.tasks.ReactivateBatchTask(request, timeout=SECONDS)

    async def finish(self) -> Operation:
        """The operation of the current generation, once that has ended."""
        name = (await self.info()).operation
        async with asyncio.timeout(SECONDS):
            while True:
                request = WaitOperationRequest(name=name, timeout=Duration(seconds=30))
                operation = await self._stubs.operations.WaitOperation(request)
                if operation.done:
                    return operation

    async def records(self, generation: int = 0, order: RecordInfo.Order = RecordInfo.INDEX) -> list[RecordInfo]:
        request = StreamRecordsRequest(parent=self.name, generation=generation, order=order)
        pages = [page.records async for page in self._stubs.tasks.StreamRecords(request)]
        return [each for page in pages for each in page]

    async def bytes_of(self, apart: set[int], generation: int = 0) -> tuple[int, str, dict[int, bytes]]:
        """How many records there are by index, a digest of their bytes, and those `apart`, which are not in it."""
        stream = self._stubs.channel.unary_stream(
            "/batchyard.v1.BatchTaskService/StreamRecords",
            request_serializer=StreamRecordsRequest.SerializeToString,
            response_deserializer=RawRecordPage.FromString,
        )
        count, digest, found = 0, hashlib.blake2b(), dict[int, bytes]()
        async for page in stream(StreamRecordsRequest(parent=self.name, generation=generation)):
            for raw in page.records:
                if count in apart:
                    found[count] = raw
                else:
                    digest.update(raw)
                count += 1
        return count, digest.hexdigest(), found


def metadata(operation: Operation) -> BatchTaskMetadata:
    found = BatchTaskMetadata()
    assert operation.metadata.Unpack(found)
    return found


def response(operation: Operation) -> BatchTaskInfo:
    found = BatchTaskInfo()
    assert operation.response.Unpack(found), operation
    return found


def executions(server: Server) -> dict[str, int]:
    """How many there were, by job: counted without being kept."""
    counts: dict[str, int] = {}
    with server.side_log.open() as lines:
        for line in lines:
            if line.rstrip().endswith("."):
                job = line.split(" ", 1)[0]
                counts[job] = counts.get(job, 0) + 1
    return counts


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.long)])
async def test_three_of_many_are_run_again(server: Server, count: int) -> None:
    failing = {3, 777, 90_210}
    assert await server.start()
    client = Client(server)
    await client.upload(count, failing)
    first = await client.finish()
    counts = response(first).counts
    assert (counts.total, counts.succeeded, counts.failed) == (count, count - 3, 3)
    assert set(metadata(first).failed_requests) == failing
    before = await client.bytes_of(failing)
    second = await client.reactivate(str(uuid.uuid4()))
    done = await client.finish()
    assert done.name == second.name
    counts = response(done).counts
    assert (counts.total, counts.succeeded, counts.failed) == (count, count, 0)
    total, digest, again = await client.bytes_of(failing)
    assert (total, digest) == before[:2]
    for index, raw in again.items():
        found = RecordInfo.FromString(raw)
        assert (found.index, found.state, found.generation, found.attempt) == (index, RecordInfo.SUCCEEDED, 2, 1)
    assert await client.bytes_of(failing, generation=1) == before
    assert executions(server) == {JOB: count, f"{JOB}#2": 3}
    await client.close()
    await server.stop()


@pytest.mark.parametrize(
    ("points", "exact"),
    [
        ("engine.reactivate.after_store=kill,dispatch.before_grant=error", True),
        ("dispatch.before_grant=kill", True),
        ("dispatch.after_grant=kill", False),
        ("dispatch.before_outcomes=kill", False),
        ("dispatch.after_outcomes=kill", False),
    ],
)
async def test_a_kill_after_the_commit_of_the_new_generation(server: Server, points: str, exact: bool) -> None:
    """`exact`: nothing of it has begun, so nothing is run twice."""
    count, failing, request_id = 3_000, set(range(5, 3_000, 97)), str(uuid.uuid4())
    assert await server.start()
    client = Client(server)
    await client.upload(count, failing)
    first = await client.finish()
    before = await client.records()
    name = client.name
    await client.close()
    await server.stop()
    assert await server.start(failpoints=points)
    client = Client(server, name)
    try:
        await client.reactivate(request_id)
    except grpc.aio.AioRpcError as error:
        if not is_broken(error):
            raise
    assert await server.ended() == KILLED
    await client.close()
    server.check_file()
    assert await server.start()
    client = Client(server, name)
    second = await client.reactivate(request_id)
    done = await client.finish()
    assert done.name == second.name != first.name
    final = response(done)
    assert (final.state, final.generation, final.counts.succeeded) == (BatchTaskInfo.SUCCEEDED, 2, count)
    after = await client.records()
    assert [each.generation for each in after] == [2 if index in failing else 1 for index in range(count)]
    assert [each for each in after if each.generation == 1] == [each for each in before if each.index not in failing]
    assert await client.records(1) == before
    every = await client.records(-1, RecordInfo.COMPLETION)
    assert len(every) == count + len(failing)
    assert {each.index for each in every[count:]} == failing
    side = SideLog(server.side_log)
    side.read()
    runs = [len(side.runs(f"{JOB}#2", index)) for index in range(count)]
    assert [min(each, 1) for each in runs] == [int(index in failing) for index in range(count)]
    if exact:
        assert sum(runs) == len(failing)
        assert {each.attempt for each in after} == {1}
    side.settle(f"{JOB}#2", [each for each in after if each.generation == 2])
    await client.close()
    await server.stop()
