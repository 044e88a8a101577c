"""What does a watcher cost? A thousand of them one read, a slow one no memory."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc.aio
import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_service_pb2_grpc import BatchTaskServiceStub
from batchyard.v1.operation_status_pb2 import OperationStatus
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.codec import segments
from batchyard_server.engine import watch_hub
from tests.rpc.test_wait import until
from tests.rpc.watching import Watcher, only_token, watching
from tests.rpc.world import PROJECT, create, name
from tests.support import outcomes
from tests.support.server import SECONDS, Served

WATCHERS = 1000
OUTPUT = 64 * 1024


def counted(server: Served, monkeypatch: pytest.MonkeyPatch) -> collections.Counter[str]:
    """How often the store is read from now on."""
    reads: collections.Counter[str] = collections.Counter()
    readers: Any = vars(server.store)["_readers"]

    def counting(method: str) -> Callable[..., Any]:
        read = getattr(readers, method)

        def call(*arguments: Any) -> Any:
            reads[method] += 1
            return read(*arguments)

        return call

    for method in ("now", "page"):
        monkeypatch.setattr(readers, method, counting(method))
    return reads


async def test_a_change_reaches_a_thousand_watchers_with_one_read(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.tasks.CreateBatchTask(create("t", records=3))
    lease = await server.lease(name("t"), [0, 1, 2])
    task = service.WatchBatchTaskRequest(name=name("t"), include_records=True)
    requests = [
        *[("WatchBatchTask", task), ("WatchBatchTask", service.WatchBatchTaskRequest(name=name("t")))],
        *[("WatchBatchTasks", service.WatchBatchTasksRequest(parent=PROJECT, include_records=True))],
        *[("WatchBatchTasks", service.WatchBatchTasksRequest(parent=PROJECT))],
    ]
    # A connection has at most a thousand calls.
    channels = [
        grpc.aio.insecure_channel(server.target, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(4)
    ]
    stubs = [BatchTaskServiceStub(channel) for channel in channels]
    calls: list[Any] = []
    for number in range(WATCHERS):
        method, request = requests[number % len(requests)]
        calls.append(getattr(stubs[number // 4 % 4], method)(request))
    async with asyncio.timeout(SECONDS):
        for number, call in enumerate(calls):
            await call.read()
            if number % 4 > 1:
                assert only_token(await call.read())
        await watching(server, WATCHERS)
        reads = counted(server, monkeypatch)
        await server.end(name("t"), lease, ok=[0])
        told: list[OperationStatus] = await asyncio.gather(*(_counts(call, 1) for call in calls))
        assert sum(reads.values()) <= 1, reads
        await watching(server, WATCHERS)
        await server.end(name("t"), lease, ok=[1, 2])
        told = await asyncio.gather(*(_counts(call, 3) for call in calls))
        assert sum(reads.values()) <= 2, reads
    assert all(each.done and each.response.name == name("t") for each in told)
    for call in calls:
        call.cancel()
    for channel in channels:
        await channel.close()
    await until(lambda: server.rpc.hub.count == 0)


async def _counts(call: Any, succeeded: int) -> OperationStatus:
    """Read up to these counts."""
    while True:
        message = await call.read()
        if message.counts.succeeded == succeeded:
            return message


async def test_a_watcher_that_does_not_read_costs_nothing(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is caught up from the store once it reads again."""
    monkeypatch.setattr(watch_hub, "REMEMBERED_BYTES", 20_000)
    monkeypatch.setattr(watch_hub, "PACE_SECONDS", 0.0)
    records = 400
    await server.tasks.CreateBatchTask(create("t", records=records))
    lease = await server.lease(name("t"), range(records))
    slow = [Watcher(server, "t", include_records=True), Watcher(server, include_records=True)]
    await slow[0].next()
    await slow[1].until(only_token)
    await watching(server, 2)
    for index in range(records):
        flush = outcomes.flush(lease_name(), ok=[index])
        record = RecordInfo.FromString(segments.split_page(flush.page)[0])
        record.output.data = bytes([index % 256]) * OUTPUT
        await server.store.record_outcomes(lease, replace(flush, page=segments.join_page([record.SerializeToString()])))
    read = server.rpc.hub.outcomes.reads
    assert read < records, "what is not taken is not read"
    for watcher in slow:
        await watcher.until(lambda each: each.done)
        assert watcher.indexes == list(range(records))
        assert all(len(record.output.data) == OUTPUT for record in watcher.records)
        assert watcher.messages[-1].counts.succeeded == records
    assert server.rpc.hub.outcomes.reads > read


def lease_name() -> outcomes.TaskName:
    """The task of this test."""
    return outcomes.TaskName("default", "t")
