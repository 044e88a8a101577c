"""A thousand waits at once: none is turned away, none is forgotten, and while they wait they cost next to nothing."""

from __future__ import annotations

import asyncio
import pathlib
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2 as lro
from google.longrunning import operations_pb2_grpc
from google.protobuf.duration_pb2 import Duration

from batchyard import AsyncClient
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata
from tests.soak.readers import ALONE
from tests.support import footprint
from tests.support.server import SECONDS, Process, process

WAITS = 1000
WINDOW = 10.0
WOKEN = 5.0


class Share:
    """Processor time of the server while this is open, in percent of one core."""

    def __init__(self, server: Process) -> None:
        self._pid = server.popen.pid
        self._began, self._before = time.monotonic(), footprint.cpu_seconds(self._pid)

    def percent(self) -> float:
        return (footprint.cpu_seconds(self._pid) - self._before) / (time.monotonic() - self._began) * 100


@pytest.fixture
async def server(tmp_path: pathlib.Path) -> AsyncIterator[Process]:
    with process(tmp_path) as server:
        yield server


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("connections", [1, 100])
async def test_a_thousand_waits(server: Process, connections: int) -> None:
    channels = [grpc.aio.insecure_channel(server.target, options=ALONE) for _ in range(connections)]
    try:
        async with AsyncClient(server.target) as client:
            task = await client.batch.run("echo", range(100), start=False)
            request = lro.WaitOperationRequest(name=task.name, timeout=Duration(seconds=60))
            calls = [asyncio.ensure_future(_wait(channels[number % connections], request)) for number in range(WAITS)]
            await asyncio.wait(calls, timeout=2)  # all are under way
            share = Share(server)
            ended, _ = await asyncio.wait(calls, timeout=WINDOW, return_when=asyncio.FIRST_COMPLETED)
            idle = share.percent()
            assert not ended
            await task.start()
            await task.wait()
            began = time.monotonic()
            ended, waiting = await asyncio.wait(calls, timeout=WOKEN)
            woken = time.monotonic() - began
            print(f"{WAITS} waits on {connections} connections: {idle:.2f} % of a core, woken within {woken:.3f} s")
            assert not waiting
            answers = Counter(call.result() for call in ended)
            assert answers == {"SUCCEEDED": WAITS}
            assert idle <= 3
    finally:
        for channel in channels:
            await channel.close()


async def _wait(channel: grpc.aio.Channel, request: lro.WaitOperationRequest) -> str:
    """The state that the operation was answered in, or the code of the error."""
    try:
        operation = await operations_pb2_grpc.OperationsStub(channel).WaitOperation(request, timeout=SECONDS + 5)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    metadata = BatchTaskMetadata()
    operation.metadata.Unpack(metadata)
    return BatchTaskInfo.State.Name(metadata.state) if operation.done else "NOT DONE"


@pytest.mark.long
def test_an_idle_server(tmp_path: pathlib.Path) -> None:
    with process(tmp_path) as server:
        share = Share(server)
        with pytest.raises(subprocess.TimeoutExpired):
            server.popen.wait(WINDOW)
        idle = share.percent()
        print(f"idle: {idle:.2f} % of a core, {footprint.resident(server.popen.pid) / footprint.MB:.0f} MB")
        assert idle <= 1
        assert footprint.resident(server.popen.pid) <= 120 * footprint.MB
