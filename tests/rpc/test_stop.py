"""SIGTERM while many calls are on their way: each is answered, or told to come back; none ends as a bare CANCELLED."""

from __future__ import annotations

import asyncio
import pathlib
import signal
from collections import Counter

import grpc
import grpc.aio

from batchyard.v1 import batch_task_service_pb2_grpc
from batchyard.v1.batch_task_service_pb2 import ListBatchTasksRequest
from tests.support.eventually import eventually_in_loop
from tests.support.server import process

CALLERS = 20


async def test_calls_on_their_way_are_asked_to_come_back(tmp_path: pathlib.Path) -> None:
    answers = 0
    ends: Counter[grpc.StatusCode] = Counter()
    with process(tmp_path) as server:
        async with grpc.aio.insecure_channel(server.target) as channel:
            stub = batch_task_service_pb2_grpc.BatchTaskServiceStub(channel)

            async def call_until_it_fails() -> None:
                nonlocal answers
                while True:
                    try:
                        await stub.ListBatchTasks(ListBatchTasksRequest(parent="projects/default"), timeout=20)
                    except grpc.aio.AioRpcError as error:
                        ends[error.code()] += 1
                        return
                    answers += 1

            callers = [asyncio.create_task(call_until_it_fails()) for _ in range(CALLERS)]
            await eventually_in_loop(lambda: answers >= 5 * CALLERS)
            server.signal(signal.SIGTERM)
            await asyncio.gather(*callers)
            assert await asyncio.to_thread(server.wait) == 0
    assert ends == {grpc.StatusCode.UNAVAILABLE: CALLERS}
