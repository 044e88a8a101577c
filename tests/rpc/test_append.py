"""Are records appended once, in order, however the stream breaks?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio
import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.record_pb2 import RecordInfo, RecordInput
from batchyard_server.model.errors import Code, Reason
from tests.rpc.world import create, name, record
from tests.support.errors import answer, provokes
from tests.support.server import SECONDS, Served

TASK = name("t")
Request = service.AppendRecordsRequest


@pytest.fixture(autouse=True)
async def _draft(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("t", records=0, start=False))


def records(first: int, count: int) -> list[RecordInput]:
    return [record(str(first + i), f"id-{first + i}") for i in range(count)]


def message(first: int, count: int) -> Request:
    return Request(name=TASK, first_index=first, records=records(first, count))


async def each(messages: Sequence[Request]) -> AsyncIterator[Request]:
    for one in messages:
        yield one


async def append(server: Served, *messages: Request) -> list[int]:
    return [answered.next_index async for answered in server.tasks.AppendRecords(each(messages))]


async def _send_and_read(stream: Any, one: Request) -> None:
    await stream.write(one)
    await stream.read()


async def stored(server: Served) -> list[RecordInfo]:
    request = service.StreamRecordsRequest(parent=TASK, view=RecordInfo.FULL)
    return [found async for page in server.tasks.StreamRecords(request) for found in page.records]


async def check(server: Served, count: int) -> None:
    found = await stored(server)
    assert [each.index for each in found] == list(range(count))
    assert [each.input.text for each in found] == [str(i) for i in range(count)]
    assert [each.record_id for each in found] == [f"id-{i}" for i in range(count)]
    info = await server.tasks.GetBatchTask(service.GetBatchTaskRequest(name=TASK))
    assert info.counts.total == count


async def test_each_message_is_answered_in_order(server: Served) -> None:
    sizes = [1, 3, 1000, 2, 700, 5, 1, 1, 1, 1, 40, 1]
    firsts = [sum(sizes[:i]) for i in range(len(sizes))]
    answers = await append(server, *(message(first, size) for first, size in zip(firsts, sizes, strict=True)))
    assert answers == [first + size for first, size in zip(firsts, sizes, strict=True)]
    await check(server, sum(sizes))


async def test_a_question_is_answered_after_what_came_before(server: Served) -> None:
    ask = Request()
    assert await append(server, Request(name=TASK), message(0, 5), ask, message(5, 5), ask) == [0, 5, 5, 10, 10]
    assert await append(server, Request(name=TASK)) == [10]


async def test_a_stream_without_messages_ends(server: Served) -> None:
    assert await append(server) == []


async def test_what_was_acknowledged_is_ignored(server: Served) -> None:
    await append(server, message(0, 10))
    assert await append(server, message(0, 10), message(4, 3), message(10, 5), message(0, 15)) == [10, 10, 15, 15]
    await check(server, 15)


@provokes(Reason.INDEX_MISMATCH)
async def test_answers_come_before_the_error_of_a_later_message(server: Served) -> None:
    stream = server.tasks.AppendRecords(each([message(0, 5), message(5, 5), message(11, 1)]))
    answers = [(await stream.read()).next_index for _ in range(2)]
    with pytest.raises(grpc.RpcError) as caught:
        await stream.read()
    found = answer(caught.value)
    assert found.code is Code.OUT_OF_RANGE
    assert found.metadata["next_index"] == "10"
    assert answers == [5, 10]
    await check(server, 10)


@provokes(Reason.DUPLICATE_RECORD_ID)
async def test_a_record_id_that_an_earlier_message_had(server: Served) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        await append(server, message(0, 5), Request(first_index=5, records=[record("x", "id-3")]))
    found = answer(caught.value)
    assert (found.code, found.reason, found.field) == (
        Code.INVALID_ARGUMENT,
        Reason.DUPLICATE_RECORD_ID,
        "records",
    )
    await check(server, 5)


@provokes(Reason.INVALID_FIELD)
async def test_the_name_may_be_left_out_but_not_changed(server: Served) -> None:
    assert await append(server, message(0, 1), Request(first_index=1, records=records(1, 1))) == [1, 2]
    other = Request(name=name("other"), first_index=2, records=records(2, 1))
    with pytest.raises(grpc.RpcError) as caught:
        await append(server, Request(name=TASK), other)
    assert answer(caught.value).field == "name"


@provokes(Reason.APPEND_IN_PROGRESS)
async def test_one_stream_at_a_time(server: Served) -> None:
    first = server.tasks.AppendRecords()
    await first.write(message(0, 1))
    assert (await first.read()).next_index == 1
    with pytest.raises(grpc.RpcError) as caught:
        await append(server, message(1, 1))
    found = answer(caught.value)
    assert (found.code, found.reason) == (Code.ABORTED, Reason.APPEND_IN_PROGRESS)
    await first.done_writing()
    assert await first.read() is grpc.aio.EOF
    await first.code()
    assert await append(server, message(1, 1)) == [2]


async def test_a_stream_that_was_cut_makes_room_for_the_next(server: Served) -> None:
    first = server.tasks.AppendRecords()
    await first.write(message(0, 1))
    await first.read()
    await first.write(message(1, 1000))
    first.cancel()
    while True:
        try:
            (next_index,) = await asyncio.wait_for(append(server, Request(name=TASK)), SECONDS)
            break
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.ABORTED  # noqa: PT017 - the server has not noticed yet
    assert next_index in (1, 1001)
    assert await append(server, message(next_index, 10)) == [next_index + 10]
    await check(server, next_index + 10)


async def test_the_server_reads_no_further_than_it_may_hold(server: Served) -> None:
    payload = "x" * 900_000
    big = [Request(name=TASK, first_index=4 * i, records=[record(payload) for _ in range(4)]) for i in range(24)]
    assert await append(server, *big) == [4 * (i + 1) for i in range(24)]
    info = await server.tasks.GetBatchTask(service.GetBatchTaskRequest(name=TASK))
    assert (info.counts.total, info.state) == (96, BatchTaskInfo.DRAFT)


@provokes(Reason.TASK_COMPLETED)
async def test_a_task_that_is_cancelled_meanwhile(server: Served) -> None:
    stream = server.tasks.AppendRecords()
    await stream.write(message(0, 1))
    await stream.read()
    await server.tasks.CancelBatchTask(service.CancelBatchTaskRequest(name=TASK))
    with pytest.raises(grpc.RpcError) as caught:
        await _send_and_read(stream, message(1, 1))
    assert answer(caught.value).code is Code.FAILED_PRECONDITION


@provokes(Reason.RESOURCE_NOT_FOUND)
async def test_a_task_that_is_deleted_and_made_anew_meanwhile(server: Served) -> None:
    stream = server.tasks.AppendRecords()
    await stream.write(message(0, 1))
    await stream.read()
    await server.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=TASK))
    await server.tasks.CreateBatchTask(create("t", records=records(0, 1), start=False))
    with pytest.raises(grpc.RpcError) as caught:
        await _send_and_read(stream, message(1, 1))
    assert answer(caught.value).code is Code.NOT_FOUND
    await check(server, 1)
