"""DeleteBatchTask: from its answer on the task is nowhere, its id is free, and nothing of it is left behind."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2 as lro
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ResourceInfo

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, RecordCounts
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.model.errors import Code, Reason, StaleLease
from tests.rpc import world
from tests.rpc.stages import RECORDS, STATES, info, put
from tests.rpc.test_errors import drained, fail
from tests.rpc.world import PROJECT, create, fresh_request_id, name
from tests.support.errors import answer, provokes
from tests.support.eventually import eventually_in_loop
from tests.support.server import Served, serving

State = BatchTaskInfo
WITHOUT_FORCE = ["DRAFT", "SUCCEEDED", "FAILED", "CANCELLED"]
WITH_FORCE = [state for state in STATES if state not in WITHOUT_FORCE]


async def delete(server: Served, task_id: str = "t", **fields: Any) -> None:
    await server.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=name(task_id), **fields))


def about(task: str, operation: str) -> list[tuple[str, Message]]:
    """A call of every method that names a task, a record of it or its operation."""
    update = service.UpdateBatchTaskRequest(batch_task=BatchTaskInfo(name=task, display_name="x"))
    return [
        ("GetBatchTask", service.GetBatchTaskRequest(name=task)),
        ("AppendRecords", service.AppendRecordsRequest(name=task)),
        ("StartBatchTask", service.StartBatchTaskRequest(name=task)),
        ("PauseBatchTask", service.PauseBatchTaskRequest(name=task)),
        ("ResumeBatchTask", service.ResumeBatchTaskRequest(name=task)),
        ("CancelBatchTask", service.CancelBatchTaskRequest(name=task)),
        ("UpdateBatchTask", update),
        ("ReactivateBatchTask", service.ReactivateBatchTaskRequest(name=task)),
        ("DeleteBatchTask", service.DeleteBatchTaskRequest(name=task, force=True)),
        ("ListRecords", service.ListRecordsRequest(parent=task)),
        ("StreamRecords", service.StreamRecordsRequest(parent=task)),
        ("ListSubtasks", service.ListSubtasksRequest(parent=task)),
        ("WatchBatchTask", service.WatchBatchTaskRequest(name=task)),
        ("GetRecord", service.GetRecordRequest(name=f"{task}/records/0")),
        ("ListRecordAttempts", service.ListRecordAttemptsRequest(parent=f"{task}/records/0")),
        ("ListArtifacts", service.ListArtifactsRequest(parent=f"{task}/records/-")),
        ("GetArtifact", service.GetArtifactRequest(name=f"{task}/records/0/artifacts/a")),
        ("ReadArtifact", service.ReadArtifactRequest(name=f"{task}/records/0/artifacts/a")),
        ("DeleteArtifact", service.DeleteArtifactRequest(name=f"{task}/records/0/artifacts/a")),
        ("GetOperation", lro.GetOperationRequest(name=operation)),
        ("WaitOperation", lro.WaitOperationRequest(name=operation)),
        ("CancelOperation", lro.CancelOperationRequest(name=operation)),
        ("DeleteOperation", lro.DeleteOperationRequest(name=operation)),
    ]


def test_every_method_about_a_task_is_here() -> None:
    of_projects = {"CreateBatchTask", "ListBatchTasks", "StreamBatchTasks", "WatchBatchTasks"}
    of_projects |= {"GetHandler", "ListHandlers"}
    of_projects |= {"BatchCreateBatchTasks", "CancelBatchTasks", "GetBatchTaskCounts"}
    methods = {method.name for method in service.DESCRIPTOR.services_by_name["BatchTaskService"].methods}
    methods |= {method.name for method in lro.DESCRIPTOR.services_by_name["Operations"].methods} - {"ListOperations"}
    assert {method for method, _ in about("t", "o")} == methods - of_projects


async def is_nowhere(server: Served, task: BatchTaskInfo) -> None:
    """Whatever names it is NOT_FOUND, and no list has it."""
    for method, request in about(task.name, task.operation):
        found = await fail(server, method, request)
        assert (found.code, found.reason) == (Code.NOT_FOUND, Reason.RESOURCE_NOT_FOUND), method
        assert found.detail(ResourceInfo).resource_name in (task.name, task.operation)
    page = await server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT))
    pages = server.tasks.StreamBatchTasks(service.StreamBatchTasksRequest(parent=PROJECT))
    streamed = [each async for message in pages for each in message.batch_tasks]
    assert task.uid not in {each.uid for each in [*page.batch_tasks, *streamed]}
    operations = await server.operations.ListOperations(lro.ListOperationsRequest(name=PROJECT))
    assert task.operation not in {each.name for each in operations.operations}


@pytest.mark.parametrize("state", STATES)
@provokes(Reason.RESOURCE_NOT_FOUND)
async def test_it_is_nowhere_and_its_id_is_free(tmp_path: pathlib.Path, state: str) -> None:
    async with serving(tmp_path) as server:
        other = await put(server, "RUNNING", "other")
        task = await put(server, state, labels={"old": "yes"})
        await delete(server, force=state in WITH_FORCE)
        await is_nowhere(server, task)
        anew = create("T", records=[world.record(str(i), f"id-{i}") for i in range(2)], start=False)
        await server.tasks.CreateBatchTask(anew)
        await is_nowhere(server, task)
    async with serving(tmp_path) as server:
        await is_nowhere(server, task)
        found = await info(server, "T")
        assert (found.state, found.generation, dict(found.labels)) == (State.DRAFT, 1, {})
        assert found.uid != task.uid
        assert found.operation != task.operation
        assert found.counts == RecordCounts(total=2, pending=2)
        records = await server.tasks.ListRecords(service.ListRecordsRequest(parent=name("T")))
        assert [(each.index, each.record_id, each.state) for each in records.records] == [
            (0, "id-0", RecordInfo.PENDING),
            (1, "id-1", RecordInfo.PENDING),
        ]
        await delete(server, "T")
        await put(server, "SUCCEEDED", "T")
        assert (await info(server, "other")).uid == other.uid


@pytest.mark.parametrize("state", WITH_FORCE)
@provokes(Reason.ILLEGAL_STATE)
async def test_what_may_run_is_deleted_by_force_only(server: Served, state: str) -> None:
    task = await put(server, state)
    for request in (
        service.DeleteBatchTaskRequest(name=name("t")),
        service.DeleteBatchTaskRequest(name=name("t"), allow_missing=True),
    ):
        found = await fail(server, "DeleteBatchTask", request)
        assert (found.code, found.reason) == (Code.FAILED_PRECONDITION, Reason.ILLEGAL_STATE)
        assert found.metadata == {"state": state, "verb": "delete"}
    assert await info(server) == task
    await delete(server, force=True)


@provokes(Reason.RESOURCE_NOT_FOUND)
async def test_one_that_is_not_there(server: Served) -> None:
    task = await put(server, "DRAFT")
    for force in (False, True):
        missing = service.DeleteBatchTaskRequest(name=name("nowhere"), force=force)
        assert (await fail(server, "DeleteBatchTask", missing)).code is Code.NOT_FOUND
        await delete(server, "nowhere", force=force, allow_missing=True, etag='"x"')
    await delete(server, "T", allow_missing=True)  # looked up exactly
    assert await info(server) == task


@provokes(Reason.RESOURCE_NOT_FOUND, Reason.REQUEST_ID_REUSED)
async def test_a_repeated_delete_does_nothing_again(tmp_path: pathlib.Path) -> None:
    async with serving(tmp_path) as server:
        await put(server, "RUNNING")
        first = service.DeleteBatchTaskRequest(name=name("t"), force=True, request_id=fresh_request_id())
        missing = service.DeleteBatchTaskRequest(name=name("later"), allow_missing=True, request_id=fresh_request_id())
        for request in (first, first, missing, missing):
            await server.tasks.DeleteBatchTask(request)
        anew = await put(server, "SUCCEEDED")
        later = await put(server, "DRAFT", "later")
    async with serving(tmp_path) as server:
        for request in (first, missing):
            await server.tasks.DeleteBatchTask(request)
        assert await info(server) == anew
        assert await info(server, "later") == later
        first.force = False
        assert (await fail(server, "DeleteBatchTask", first)).reason is Reason.REQUEST_ID_REUSED
        await delete(server, request_id=fresh_request_id())
        other = service.DeleteBatchTaskRequest(name=name("t"), request_id=fresh_request_id())
        assert (await fail(server, "DeleteBatchTask", other)).code is Code.NOT_FOUND


async def test_all_generations_go(server: Served) -> None:
    first = await put(server, "FAILED")
    names = [first.operation]
    for _ in range(70):  # more than are hidden with the delete itself
        await server.tasks.ReactivateBatchTask(service.ReactivateBatchTaskRequest(name=name("t")))
        names.append((await info(server)).operation)
        await server.tasks.CancelBatchTask(service.CancelBatchTaskRequest(name=name("t")))
    assert len(set(names)) == 71
    await put(server, "DRAFT", "kept")
    await delete(server)
    for operation in names:
        assert (await fail(server, "GetOperation", lro.GetOperationRequest(name=operation))).code is Code.NOT_FOUND
    listed = await server.operations.ListOperations(lro.ListOperationsRequest(name=PROJECT))
    assert [each.name for each in listed.operations] == [(await info(server, "kept")).operation]
    while await server.store.sweep():
        pass
    for operation in names:
        assert (await fail(server, "GetOperation", lro.GetOperationRequest(name=operation))).code is Code.NOT_FOUND


@pytest.mark.parametrize("state", [state for state in STATES if not State.State.Value(state) >= State.SUCCEEDED])
async def test_whoever_waits_is_told(server: Served, state: str) -> None:
    task = await put(server, state)
    waits = [
        asyncio.ensure_future(server.operations.WaitOperation(lro.WaitOperationRequest(name=task.operation)))
        for _ in range(10)
    ]
    await eventually_in_loop(lambda: server.rpc.waiting == len(waits))
    await delete(server, force=True)
    for wait in waits:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await wait
        found = answer(caught.value)
        assert found.code is Code.NOT_FOUND
        assert found.detail(ResourceInfo).resource_name == task.operation


async def _large(server: Served) -> None:
    """A DRAFT `t` of 16 MB, which no flow control lets through at once."""
    await server.tasks.CreateBatchTask(create("t", records=0, start=False))
    record = world.record('"' + "x" * 4_000 + '"')
    appends = (
        service.AppendRecordsRequest(name=name("t"), first_index=at, records=[record] * 800)
        for at in range(0, 4_000, 800)
    )
    assert [each.next_index async for each in server.tasks.AppendRecords(appends)][-1] == 4_000


@pytest.mark.parametrize("anew", [False, True])
async def test_an_open_stream_of_records_ends(server: Served, anew: bool) -> None:
    await _large(server)
    stream = server.tasks.StreamRecords(service.StreamRecordsRequest(parent=name("t"), view=RecordInfo.FULL))
    first = await stream.read()
    assert isinstance(first, service.StreamRecordsResponse)
    await delete(server)
    if anew:
        await put(server, "SUCCEEDED")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await drained(stream)
    found = answer(caught.value)
    assert found.code is Code.NOT_FOUND
    assert found.detail(ResourceInfo).resource_name == name("t")


async def _two(
    first: service.AppendRecordsRequest, go_on: asyncio.Event, last: service.AppendRecordsRequest
) -> AsyncIterator[service.AppendRecordsRequest]:
    yield first
    await go_on.wait()
    yield last


async def test_an_open_append_ends_and_is_not_in_the_way(server: Served) -> None:
    await put(server, "DRAFT")
    for last in (
        service.AppendRecordsRequest(),
        service.AppendRecordsRequest(first_index=RECORDS, records=[world.record()]),
    ):
        go_on = asyncio.Event()
        old = server.tasks.AppendRecords(_two(service.AppendRecordsRequest(name=name("t")), go_on, last))
        assert (await old.read()).next_index == RECORDS
        await delete(server)
        await put(server, "DRAFT")
        mine = service.AppendRecordsRequest(name=name("t"), first_index=RECORDS, records=[world.record()] * 2)
        assert [each.next_index async for each in server.tasks.AppendRecords(iter([mine]))] == [RECORDS + 2]
        go_on.set()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await drained(old)
        assert answer(caught.value).code is Code.NOT_FOUND
        assert (await info(server)).counts.total == RECORDS + 2
        await delete(server)
        await put(server, "DRAFT")


async def test_outcomes_of_a_deleted_task_are_refused(server: Served) -> None:
    await put(server, "QUEUED")
    lease = await server.lease(name("t"), [0, 1])
    await delete(server, force=True)
    assert await server.store.release(lease, {}) is None
    await put(server, "QUEUED")
    with pytest.raises(StaleLease):
        await server.end(name("t"), lease, ok=[0])
    assert (await info(server)).counts.pending == RECORDS
