"""A worker that dies under a record: who is charged, who runs again, and what becomes of everything it had started."""

from __future__ import annotations

import asyncio
import json
import pathlib
import signal
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from google.longrunning.operations_pb2 import Operation, WaitOperationRequest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo

from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata
from batchyard.v1.batch_task_service_pb2 import CreateBatchTaskRequest, StreamRecordsRequest
from batchyard.v1.payload_pb2 import Payload
from batchyard.v1.record_pb2 import RecordInfo, RecordInput
from tests.crash.served import KILLED, Server, Stubs
from tests.crash.workload import PARENT, record
from tests.support import processes
from tests.support.eventually import eventually_in_loop
from tests.support.processes import Seen
from tests.support.sidelog import SideLog

MAX_WORKER_LOST = 2  # the server's default
LEVELS = ("cgroup", "pid_namespace", "subreaper")


@pytest.fixture
async def server(tmp_path: pathlib.Path) -> AsyncIterator[Server]:
    server = Server(tmp_path)
    try:
        yield server
    finally:
        await server.end()


class Client:
    """One task at a time, on one life of a server."""

    def __init__(self, server: Server) -> None:
        self._stubs = Stubs(server.target)
        self.channel = self._stubs.channel

    async def submit(self, job: str, records: Sequence[RecordInput]) -> Operation:
        """Create and start a task of the handler `noted`."""
        task = BatchTaskInfo(handler="noted", parameters=Payload(text=json.dumps({"job": job})))
        request = CreateBatchTaskRequest(parent=PARENT, batch_task=task, records=records)
        return await self._stubs.tasks.CreateBatchTask(request, timeout=20)

    async def finish(self, operation: Operation) -> list[RecordInfo]:
        """Its records in index order, once it is done."""
        async with asyncio.timeout(60):
            while not operation.done:
                request = WaitOperationRequest(name=operation.name, timeout=Duration(seconds=30))
                operation = await self._stubs.operations.WaitOperation(request)
        metadata = BatchTaskMetadata()
        assert operation.metadata.Unpack(metadata)
        request = StreamRecordsRequest(parent=metadata.batch_task)
        pages = [page.records async for page in self._stubs.tasks.StreamRecords(request, timeout=30)]
        return [record for page in pages for record in page]


def check_lost(found: RecordInfo, exit_: str, attempt: int) -> None:
    """The record failed because of its worker."""
    assert found.state == RecordInfo.FAILED, found
    assert found.attempt == attempt
    [detail] = [each for each in found.error.details if each.Is(ErrorInfo.DESCRIPTOR)]
    info = ErrorInfo()
    detail.Unpack(info)
    assert (info.reason, info.metadata["exit"]) == ("WORKER_LOST", exit_), found


def check_neighbours(side: SideLog, job: str, records: Sequence[RecordInfo], guilty: int) -> None:
    """The others succeeded; who ran once has attempt 1."""
    for found in records:
        if found.index != guilty:
            assert found.state == RecordInfo.SUCCEEDED, found
            assert found.attempt == len(side.runs(job, found.index)), found


async def test_who_kills_its_worker_every_time_fails_alone(server: Server) -> None:
    assert await server.start()
    client = Client(server)
    records = [record(nap=0.002) for _ in range(80)]
    records[50] = record(die=signal.SIGSEGV)
    found = await client.finish(await client.submit("segfault", records))
    side = SideLog(server.side_log)
    side.read()
    check_lost(found[50], "signal 11 (SIGSEGV)", MAX_WORKER_LOST + 1)
    assert len(side.runs("segfault", 50)) == MAX_WORKER_LOST + 1
    check_neighbours(side, "segfault", found, 50)
    side.settle("segfault", found)
    side.check(worker_kills=0, processes=MAX_WORKER_LOST + 1)
    await client.channel.close()
    await server.stop()


async def test_a_kill_of_the_server_counts_as_neither(server: Server) -> None:
    sign = server.folder / "third"
    records = [record(nap=0.002) for _ in range(20)]
    records[10] = record(wait=3, sign=str(sign), die=signal.SIGKILL)
    assert await server.start()
    client = Client(server)
    operation = await client.submit("killed", records)
    await eventually_in_loop(sign.exists)
    server.signal(signal.SIGKILL)
    assert await server.ended() == KILLED
    await client.channel.close()
    assert await server.start()
    client = Client(server)
    found = await client.finish(operation)
    side = SideLog(server.side_log)
    side.read()
    assert [each.attempt for each in side.runs("killed", 10)] == [1, 2, 3, 3]
    check_lost(found[10], "signal 9 (SIGKILL)", MAX_WORKER_LOST + 1)
    side.settle("killed", found)
    side.check(worker_kills=0, processes=4)
    await client.channel.close()
    await server.stop()


@pytest.mark.parametrize(("nap", "most"), [(0.001, 51), (0.02, 3), (0.08, 1)])
async def test_a_worker_stops_when_nothing_becomes_durable(server: Server, nap: float, most: int) -> None:
    assert await server.start(failpoints="dispatch.before_outcomes=error", arguments=("--workers", "1"))
    client = Client(server)
    operation = await client.submit("ahead", [record(nap=nap) for _ in range(20 + most)])
    side = SideLog(server.side_log)
    await eventually_in_loop(lambda: _is_still(side))
    ahead = side.executions
    assert 1 <= ahead <= most
    server.signal(signal.SIGKILL)
    assert await server.ended() == KILLED
    await client.channel.close()
    assert await server.start()
    client = Client(server)
    found = await client.finish(operation)
    assert {each.attempt for each in found} == {1}
    side.settle("ahead", found)
    assert side.repeated == ahead
    side.check(worker_kills=0, processes=1)
    await client.channel.close()
    await server.stop()


def _is_still(side: SideLog, seconds: float = 0.5) -> bool:
    """Whether something was run, and nothing more for a while."""
    side.read()
    newest = max((each.start for each in side.all()), default=None)
    return newest is not None and time.monotonic_ns() - newest > seconds * 1e9


def _supervisors(server: Server) -> list[Seen]:
    return [seen for seen in server.marked() if seen.is_supervisor]


@pytest.mark.long
@pytest.mark.parametrize("which", [0, -1], ids=["outer", "inner"])
@pytest.mark.parametrize("level", LEVELS)
async def test_a_supervisor_that_is_killed_takes_everything_with_it(server: Server, level: str, which: int) -> None:
    sign = server.folder / "running"
    assert await server.start(level=level, arguments=("--workers", "1"))
    client = Client(server)
    records = [record(leave=True), record(wait=1, sign=str(sign)), record()]
    operation = await client.submit("orphaned", records)
    await eventually_in_loop(sign.exists)
    before = server.marked()
    assert any("sleep 3600" in seen.command for seen in before)
    assert processes.send(_supervisors(server)[which])
    found = await client.finish(operation)
    assert [each.state for each in found] == [RecordInfo.SUCCEEDED] * 3
    assert [each.attempt for each in found] == [1, 2, 1]

    def old_ones_are_gone() -> bool:
        left = [seen for seen in server.marked() if seen in before or "sleep 3600" in seen.command]
        assert left == []
        return True

    await eventually_in_loop(old_ones_are_gone, 5)
    await client.channel.close()
    await server.stop()
