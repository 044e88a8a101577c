"""What do callers see while the server shuts down?"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2 as lro
from google.rpc.error_details_pb2 import RetryInfo
from grpc_health.v1 import health_pb2

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard_server.model.errors import Code, Reason
from batchyard_server.rpc.health import Health
from batchyard_server.rpc.interceptors.errors import Context
from tests.rpc import world
from tests.rpc.test_append import message
from tests.rpc.test_errors import drained, fail
from tests.rpc.test_wait import start_wait, wait
from tests.rpc.world import PROJECT, create, name
from tests.support.errors import answer, provokes
from tests.support.server import SECONDS, Served

DRAINING = provokes(Reason.DRAINING)
Status = health_pb2.HealthCheckResponse


@DRAINING
async def test_changes_and_streams_are_asked_to_come_back(server: Served) -> None:
    operations = await world.populate(server)
    server.rpc.drain()
    for method, request in (
        ("CreateBatchTask", create("new")),
        ("StartBatchTask", service.StartBatchTaskRequest(name=name("draft"))),
        ("CancelBatchTask", service.CancelBatchTaskRequest(name=name("draft"))),
        ("DeleteBatchTask", service.DeleteBatchTaskRequest(name=name("draft"))),
        ("AppendRecords", service.AppendRecordsRequest(name=name("draft"))),
        ("StreamBatchTasks", service.StreamBatchTasksRequest(parent=PROJECT)),
        ("StreamRecords", service.StreamRecordsRequest(parent=name("draft"))),
        ("WatchBatchTask", service.WatchBatchTaskRequest(name=name("draft"))),
        ("WatchBatchTasks", service.WatchBatchTasksRequest(parent=PROJECT)),
        ("CancelOperation", lro.CancelOperationRequest(name=operations["draft"].name)),
        ("DeleteOperation", lro.DeleteOperationRequest(name=operations["succeeded"].name)),
    ):
        found = await fail(server, method, request)
        assert (found.code, found.reason) == (Code.UNAVAILABLE, Reason.DRAINING)
        assert found.detail(RetryInfo).retry_delay.seconds > 0


async def test_reads_go_on(server: Served) -> None:
    operations = await world.populate(server)
    server.rpc.drain()
    await server.tasks.GetBatchTask(service.GetBatchTaskRequest(name=name("draft")))
    await server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT))
    await server.tasks.ListRecords(service.ListRecordsRequest(parent=name("draft")))
    await server.tasks.GetRecord(service.GetRecordRequest(name=f"{name('draft')}/records/0"))
    await server.tasks.ListHandlers(service.ListHandlersRequest(parent=PROJECT))
    await server.operations.GetOperation(lro.GetOperationRequest(name=operations["draft"].name))
    await server.operations.ListOperations(lro.ListOperationsRequest(name=PROJECT))


async def test_waits_are_answered_with_the_current_state(server: Served) -> None:
    operation = await server.tasks.CreateBatchTask(create("t"))
    call = await start_wait(server, operation.name)
    server.rpc.drain()
    assert not (await asyncio.wait_for(call, SECONDS)).done
    assert not (await asyncio.wait_for(server.operations.WaitOperation(wait(operation.name)), SECONDS)).done


@DRAINING
async def test_an_open_append_is_ended_after_what_it_sent(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("t", records=0, start=False))
    stream = server.tasks.AppendRecords()
    await stream.write(message(0, 10))
    assert (await stream.read()).next_index == 10
    server.rpc.drain()
    with pytest.raises(grpc.RpcError) as caught:
        await stream.read()
    assert answer(caught.value).code is Code.UNAVAILABLE


@DRAINING
async def test_an_open_stream_ends_with_a_token_that_resumes_it(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("t", records=2000, start=False))
    request = service.StreamRecordsRequest(parent=name("t"), page_size=1)
    pages: list[service.StreamRecordsResponse] = []
    with pytest.raises(grpc.RpcError) as caught:
        await _read_and_drain(server, server.tasks.StreamRecords(request), pages)
    assert answer(caught.value).code is Code.UNAVAILABLE
    token, count = pages[-1].resume_token, sum(len(each.records) for each in pages)
    assert 0 < count < 2000
    listed = await server.tasks.ListRecords(service.ListRecordsRequest(parent=name("t"), page_token=token))
    assert listed.records[0].index == count


async def _read_and_drain(server: Served, stream: Any, pages: list[service.StreamRecordsResponse]) -> None:
    async for page in stream:
        pages.append(page)
        server.rpc.drain()


async def test_health_says_so_to_those_who_ask_and_those_who_watch(server: Served) -> None:
    watches = [server.health.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)]
    for watch in watches:
        assert (await watch.read()).status == Status.SERVING
    watches.pop().cancel()
    server.rpc.drain()
    for watch in watches:
        assert (await asyncio.wait_for(watch.read(), SECONDS)).status == Status.NOT_SERVING
    for each in ("", "batchyard.v1.BatchTaskService", "google.longrunning.Operations"):
        found = await server.health.Check(health_pb2.HealthCheckRequest(service=each))
        assert found.status == Status.NOT_SERVING


async def test_watches_do_not_hold_up_the_end(server: Served) -> None:
    watch = server.health.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == Status.SERVING
    server.rpc.drain()
    await asyncio.wait_for(server.rpc.stop(10 * SECONDS), SECONDS)
    assert [each.status for each in await drained(watch)] == [Status.NOT_SERVING]


async def test_a_health_watch_that_is_slow_hears_the_last_word() -> None:
    """It is still being sent one status when the next one comes and all watches are closed."""
    health = Health(("a.service",))
    watch = health.watch(health_pb2.HealthCheckRequest().SerializeToString(), cast("Context", None))
    told = [await anext(watch)]
    health.set_serving(False)
    health.close()
    told += [each async for each in watch]
    assert [Status.FromString(each).status for each in told] == [Status.SERVING, Status.NOT_SERVING]


async def test_health_of_each_service(server: Served) -> None:
    for each in ("", "batchyard.v1.BatchTaskService", "google.longrunning.Operations"):
        found = await server.health.Check(health_pb2.HealthCheckRequest(service=each))
        assert found.status == Status.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.health.Check(health_pb2.HealthCheckRequest(service="nothing"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watch = server.health.Watch(health_pb2.HealthCheckRequest(service="nothing"))
    assert (await watch.read()).status == Status.SERVICE_UNKNOWN
    watch.cancel()
