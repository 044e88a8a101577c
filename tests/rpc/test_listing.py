"""Do lists and streams deliver everything once, in order, within their bounds, and go on where they stopped?"""

from __future__ import annotations

import asyncio
import pathlib
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2 as lro

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.record_pb2 import RecordInfo
from batchyard.v1.subtask_pb2 import Subtask
from batchyard_server.model import limits
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.names import parse_task
from batchyard_server.model.ranges import from_indexes
from batchyard_server.model.task import Lease
from tests.rpc.test_errors import drained
from tests.rpc.world import PROJECT, create, name, record
from tests.support.clock import FakeClock
from tests.support.errors import answer, provokes
from tests.support.server import Served, serving

COUNT = 57


async def _make(server: Served, clock: FakeClock) -> list[str]:
    """Tasks, of which every three share a create_time; returns their names in the order of lists."""
    made: list[tuple[int, str]] = []
    for number in range(COUNT):
        await server.tasks.CreateBatchTask(create(f"t{number * 37 % COUNT:03}"))
        made.append((-clock.now_us(), name(f"t{number * 37 % COUNT:03}")))
        if number % 3 == 0:
            clock.advance(1)
    return [each for _, each in sorted(made)]


@pytest.mark.parametrize("size", [1, 10, 56, 57, 58, 0])
async def test_tasks_by_page(tmp_path: pathlib.Path, size: int) -> None:
    clock = FakeClock()
    async with serving(tmp_path, clock=clock) as server:
        wanted = await _make(server, clock)
        found: list[str] = []
        request = service.ListBatchTasksRequest(parent=PROJECT, page_size=size)
        pages = 0
        while True:
            page = await server.tasks.ListBatchTasks(request)
            pages += 1
            found += [each.name for each in page.batch_tasks]
            assert len(page.batch_tasks) <= (size or limits.DEFAULT_PAGE_SIZE)
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        assert found == wanted
        assert pages == -(-COUNT // (size or limits.DEFAULT_PAGE_SIZE))


async def test_a_list_equals_what_get_answers(tmp_path: pathlib.Path) -> None:
    clock = FakeClock()
    async with serving(tmp_path, clock=clock) as server:
        await _make(server, clock)
        await server.finish(name("t001"), failed=[0])
        page = await server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT))
        for each in page.batch_tasks:
            assert each == await server.tasks.GetBatchTask(service.GetBatchTaskRequest(name=each.name))


@pytest.mark.parametrize("size", [1, 10, 0])
async def test_a_stream_of_tasks_goes_on_from_any_message(tmp_path: pathlib.Path, size: int) -> None:
    clock = FakeClock()
    async with serving(tmp_path, clock=clock) as server:
        wanted = await _make(server, clock)
        request = service.StreamBatchTasksRequest(parent=PROJECT, page_size=size)
        messages = [each async for each in server.tasks.StreamBatchTasks(request)]
        assert [each.name for message in messages for each in message.batch_tasks] == wanted
        assert all(each.resume_token for each in messages)
        delivered = 0
        for message in messages[:: max(1, len(messages) // 6)]:
            delivered = wanted.index(message.batch_tasks[-1].name) + 1
            request.resume_token = message.resume_token
            rest = [each.name async for page in server.tasks.StreamBatchTasks(request) for each in page.batch_tasks]
            assert rest == wanted[delivered:]


async def test_operations_by_page_newest_first(tmp_path: pathlib.Path) -> None:
    clock = FakeClock()
    async with serving(tmp_path, clock=clock) as server:
        made: list[str] = []
        for _ in range(COUNT):
            made.append((await server.tasks.CreateBatchTask(create())).name)
            clock.advance(0.01)
        for size in (1, 10, 56, 57, 58, 0):
            found: list[str] = []
            request = lro.ListOperationsRequest(name=PROJECT, page_size=size)
            if "return_partial_success" in request.DESCRIPTOR.fields_by_name:  # from googleapis-common-protos 1.76 on
                request.return_partial_success = True
            while True:
                page = await server.operations.ListOperations(request)
                found += [each.name for each in page.operations]
                assert not getattr(page, "unreachable", ())
                if not page.next_page_token:
                    break
                request.page_token = page.next_page_token
            assert found == made[::-1]


async def test_pages_stay_below_what_default_clients_accept(server: Served) -> None:
    """20 tasks with 256 KiB of parameters each: a page of all would be 5 MiB."""
    for number in range(20):
        request = create(f"t{number:02}")
        request.batch_task.parameters.text = "x" * (limits.PARAMETERS.maximum - 16)
        await server.tasks.CreateBatchTask(request)
        await server.finish(name(f"t{number:02}"))
    for stub, request, field in (
        (server.tasks.ListBatchTasks, service.ListBatchTasksRequest(parent=PROJECT), "batch_tasks"),
        (server.operations.ListOperations, lro.ListOperationsRequest(name=PROJECT), "operations"),
    ):
        sizes: list[int] = []
        names: list[str] = []
        while True:
            page: Any = await stub(request)
            sizes.append(page.ByteSize())
            names += [each.name for each in getattr(page, field)]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        assert len(set(names)) == len(names) == 20
        assert len(sizes) == 2
        assert max(sizes) <= limits.UNARY_PAGE_BYTES + limits.KIB
    stream = server.tasks.StreamBatchTasks(service.StreamBatchTasksRequest(parent=PROJECT))
    assert [len(each.batch_tasks) async for each in stream if each.batch_tasks] == [1] * 20


@pytest.mark.parametrize("size", [1, 5, 11, 12, 13, 0])
async def test_subtasks_by_page_newest_first(server: Served, size: int) -> None:
    await server.tasks.CreateBatchTask(create("t", records=12))
    for index in range(12):
        lease = await server.lease(name("t"), [index])
        if index % 3:
            await server.end(name("t"), lease, ok=[index])
    pages = await _subtasks(server, page_size=size)
    found = [each for page in pages for each in page.subtasks]
    assert [each.epoch for each in found] == list(range(12, 0, -1))
    assert [(each.ranges[0].start, each.ranges[0].end) for each in found] == [(i, i + 1) for i in reversed(range(12))]
    assert [each.state for each in found] == [
        Subtask.COMPLETED if index % 3 else Subtask.RUNNING for index in reversed(range(12))
    ]
    assert {each.worker for each in found} == {"worker-of-a-test"}
    assert len(pages) == -(-12 // (size or limits.DEFAULT_PAGE_SIZE))


async def test_pages_of_scattered_subtasks_stay_below_what_default_clients_accept(server: Served) -> None:
    """Subtasks of 1024 single records each: what a reactivation of failed records makes."""
    count, leased = 500, limits.SEGMENT_RECORDS
    await server.tasks.CreateBatchTask(create("t", records=2 * leased))
    task = await server.store.get_task(parse_task(name("t")))
    for _ in range(count):
        lease = Lease(task_key=task.key, generation=1, ranges=from_indexes(range(0, 2 * leased, 2)), worker="w")
        await asyncio.gather(server.store.grant(lease), server.store.release(lease, {}))
    pages = await _subtasks(server, page_size=1000)
    assert [each.epoch for page in pages for each in page.subtasks] == list(range(count, 0, -1))
    assert {len(each.ranges) for page in pages for each in page.subtasks} == {leased}
    assert len(pages) == 2
    sizes = [page.ByteSize() for page in pages]
    assert limits.UNARY_PAGE_BYTES - 16 * limits.KIB < max(sizes) <= limits.UNARY_PAGE_BYTES


async def _subtasks(server: Served, **fields: Any) -> list[service.ListSubtasksResponse]:
    request = service.ListSubtasksRequest(parent=name("t"), **fields)
    pages = []
    while True:
        pages.append(await server.tasks.ListSubtasks(request))
        if not pages[-1].next_page_token:
            return pages
        request.page_token = pages[-1].next_page_token


async def _records(server: Served, **fields: Any) -> list[service.ListRecordsResponse]:
    request = service.ListRecordsRequest(parent=name("t"), **fields)
    pages = []
    while True:
        pages.append(await server.tasks.ListRecords(request))
        assert pages[-1].resume_token
        if not pages[-1].next_page_token:
            return pages
        assert pages[-1].next_page_token == pages[-1].resume_token
        request.page_token = pages[-1].next_page_token


async def _run_partly(server: Served) -> list[int]:
    """100 records, of which some have ended; returns those in the order of their ends."""
    await server.tasks.CreateBatchTask(create("t", records=100))
    ends: list[int] = []
    lease = await server.lease(name("t"), range(10, 60))
    for batch in _by_seven():
        await server.end(name("t"), lease, ok=[i for i in batch if i % 5], failed=[i for i in batch if not i % 5])
        ends += sorted(batch)
    return ends


def _by_seven() -> list[list[int]]:
    order = list(reversed(range(20, 50)))
    return [order[i : i + 7] for i in range(0, len(order), 7)]


@pytest.mark.parametrize("size", [1, 9, 100, 0])
async def test_records_by_index_are_dense(server: Served, size: int) -> None:
    ends = await _run_partly(server)
    pages = await _records(server, page_size=size)
    records = [each for page in pages for each in page.records]
    assert [each.index for each in records] == list(range(100))
    assert {each.index for each in records if each.state != RecordInfo.PENDING} == set(ends)
    assert {each.index for each in records if each.state == RecordInfo.FAILED} == {i for i in ends if not i % 5}
    assert not any(each.HasField("input") for each in records)


@pytest.mark.parametrize("size", [1, 9, 100, 0])
async def test_records_by_completion_are_those_that_ended(server: Served, size: int) -> None:
    ends = await _run_partly(server)
    pages = await _records(server, page_size=size, order=RecordInfo.COMPLETION, view=RecordInfo.FULL)
    records = [each for page in pages for each in page.records]
    assert [each.index for each in records] == ends
    assert all(each.input.text == str(each.index) for each in records)


async def test_completion_goes_on_with_what_ended_since(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("t", records=6))
    lease = await server.lease(name("t"), range(6))
    request = service.StreamRecordsRequest(parent=name("t"), order=RecordInfo.COMPLETION)
    found: list[int] = []
    for batch in ([3], [], [5, 1], [0, 2, 4]):
        if batch:
            await server.end(name("t"), lease, ok=batch)
        async for message in server.tasks.StreamRecords(request):
            found += [each.index for each in message.records]
            request.resume_token = message.resume_token
        listed = await server.tasks.ListRecords(
            service.ListRecordsRequest(parent=name("t"), order=RecordInfo.COMPLETION, page_token=request.resume_token)
        )
        assert not listed.records
        assert not listed.next_page_token
    assert found == [3, 1, 5, 0, 2, 4]


async def test_cancelled_records_come_last(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("t", records=5))
    lease = await server.lease(name("t"), [2, 3])
    await server.end(name("t"), lease, ok=[3])
    await server.tasks.CancelBatchTask(service.CancelBatchTaskRequest(name=name("t")))
    await server.store.release(lease, {})
    pages = await _records(server, page_size=2, order=RecordInfo.COMPLETION)
    records = [each for page in pages for each in page.records]
    assert [each.index for each in records] == [3, 0, 1, 2, 4]
    assert [each.state for each in records] == [RecordInfo.SUCCEEDED] + [RecordInfo.CANCELLED] * 4


async def test_pages_of_large_records(server: Served) -> None:
    payload = "x" * 1_000_000
    await server.tasks.CreateBatchTask(create("t", records=[record(payload) for _ in range(4)], start=False))
    appended = service.AppendRecordsRequest(name=name("t"), first_index=4, records=[record(payload)] * 4)

    async def once() -> Any:
        yield appended

    async for _ in server.tasks.AppendRecords(once()):
        pass
    pages = await _records(server, view=RecordInfo.FULL)
    assert [len(page.records) for page in pages] == [3, 3, 2]
    stream = server.tasks.StreamRecords(service.StreamRecordsRequest(parent=name("t"), view=RecordInfo.FULL))
    assert [len(message.records) async for message in stream] == [1] * 8


@provokes(Reason.RESOURCE_NOT_FOUND)
async def test_a_stream_of_a_task_that_is_deleted_meanwhile_does_not_look_complete(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("t", records=20_000, start=False))
    stream = server.tasks.StreamRecords(service.StreamRecordsRequest(parent=name("t"), page_size=1))
    await stream.read()
    await server.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=name("t")))
    with pytest.raises(grpc.RpcError) as caught:
        await drained(stream)
    assert answer(caught.value).code is Code.NOT_FOUND


async def test_a_stream_of_records_goes_on_from_any_message(server: Served) -> None:
    await _run_partly(server)
    request = service.StreamRecordsRequest(parent=name("t"), page_size=7)
    messages = [each async for each in server.tasks.StreamRecords(request)]
    assert [each.index for message in messages for each in message.records] == list(range(100))
    for message in messages[::4]:
        request.resume_token = message.resume_token
        rest = [each.index async for page in server.tasks.StreamRecords(request) for each in page.records]
        assert rest == list(range(message.records[-1].index + 1, 100))
