"""Records by generation over the wire: which are shown, in which order, and how far a token holds."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.model.errors import Code, Reason
from tests.rpc import world
from tests.rpc.test_errors import drained, fail
from tests.rpc.test_reactivate import failed_task, reactivate, records, states
from tests.rpc.world import create, name
from tests.support.errors import provokes
from tests.support.server import Served

S, F, P = RecordInfo.SUCCEEDED, RecordInfo.FAILED, RecordInfo.PENDING
COMPLETION = RecordInfo.COMPLETION
ORDERS = (RecordInfo.INDEX, COMPLETION)
EVERY = -1


async def record(server: Served, index: int, generation: int = 0) -> RecordInfo:
    request = service.GetRecordRequest(name=f"{name('t')}/records/{index}", generation=generation)
    return await server.tasks.GetRecord(request)


async def page(server: Served, **fields: Any) -> service.ListRecordsResponse:
    return await server.tasks.ListRecords(service.ListRecordsRequest(parent=name("t"), **fields))


async def listed(server: Served, **fields: Any) -> list[RecordInfo]:
    """By ListRecords, two at a time."""
    found: list[RecordInfo] = []
    token = ""
    while True:
        got = await page(server, page_size=2, page_token=token, **fields)
        found += got.records
        token = got.next_page_token
        if not token:
            return found
        assert got.records


async def twice(server: Served) -> None:
    """The task `t` of 4 records: 1 and 3 fail in generation 1, 3 fails in generation 2."""
    await failed_task(server, 4, (1, 3))
    await reactivate(server)
    await server.finish(name("t"), failed=[3])


@provokes(Reason.INVALID_FIELD, Reason.RESOURCE_NOT_FOUND)
async def test_a_generation_that_does_not_exist(server: Served) -> None:
    await twice(server)
    for generation in (3, 2**62, -2, -(2**62)):
        for method, request in (
            ("ListRecords", service.ListRecordsRequest),
            ("StreamRecords", service.StreamRecordsRequest),
        ):
            for order in ORDERS:
                found = await fail(server, method, request(parent=name("t"), generation=generation, order=order))
                assert (found.code, found.field) == (Code.INVALID_ARGUMENT, "generation")
        get = service.GetRecordRequest(name=f"{name('t')}/records/0", generation=generation)
        found = await fail(server, "GetRecord", get)
        assert found.code is (Code.NOT_FOUND if generation > 0 else Code.INVALID_ARGUMENT)
        if generation < 0:
            assert found.field == "generation"


@provokes(Reason.INVALID_FIELD)
async def test_every_generation_is_listed_by_completion_only(server: Served) -> None:
    await twice(server)
    for method, request in (
        ("ListRecords", service.ListRecordsRequest(parent=name("t"), generation=EVERY)),
        ("ListRecords", service.ListRecordsRequest(parent=name("t"), generation=EVERY, order=RecordInfo.INDEX)),
        ("StreamRecords", service.StreamRecordsRequest(parent=name("t"), generation=EVERY)),
        ("GetRecord", service.GetRecordRequest(name=f"{name('t')}/records/0", generation=EVERY)),
    ):
        found = await fail(server, method, request)
        assert (found.code, found.field) == (Code.INVALID_ARGUMENT, "generation")
    for found in (
        await listed(server, generation=EVERY, order=COMPLETION),
        await records(server, generation=EVERY, order=COMPLETION),
    ):
        assert [(each.index, each.generation, each.state) for each in found] == [
            (0, 1, S), (1, 1, F), (2, 1, S), (3, 1, F), (1, 2, S), (3, 2, F),
        ]  # fmt: skip


async def test_a_draft_is_in_its_first_generation(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("t", records=2, start=False))
    for generation in (0, 1):
        assert await states(server, generation=generation) == [P, P]
        assert (await record(server, 1, generation)).state == P
    assert await records(server, generation=EVERY, order=COMPLETION) == []


async def test_each_generation_is_shown_as_it_ended(server: Served) -> None:
    await twice(server)
    await reactivate(server)
    lease = await server.lease(name("t"), [3])
    wanted = {
        1: [(0, 1, S), (1, 1, F), (2, 1, S), (3, 1, F)],
        2: [(0, 1, S), (2, 1, S), (1, 2, S), (3, 2, F)],
        3: [(0, 1, S), (2, 1, S), (1, 2, S)],
        0: [(0, 1, S), (2, 1, S), (1, 2, S)],
    }
    for generation, order in wanted.items():
        for read in (listed, records):
            found = await read(server, generation=generation, order=COMPLETION)
            assert [(each.index, each.generation, each.state) for each in found] == order
            found = await read(server, generation=generation, view=RecordInfo.FULL)
            missing = [] if generation in (1, 2) else [(3, 3, P)]
            assert [(each.index, each.generation, each.state) for each in found] == sorted([*order, *missing])
            assert [each.input.text for each in found] == ["0", "1", "2", "3"]
            assert [await record(server, index, generation) for index in range(4)] == found
    await server.end(name("t"), lease, ok=[3])
    assert await states(server) == [S] * 4
    assert await states(server, generation=2) == [S, S, S, F]


@provokes(Reason.INVALID_TOKEN)
@pytest.mark.parametrize("order", ORDERS)
async def test_a_token_holds_for_its_generation(server: Served, order: int) -> None:
    await failed_task(server, 4, (1, 3))
    first = await page(server, page_size=1, order=order)
    token = first.next_page_token
    assert token == (await page(server, page_size=1, order=order, generation=1)).next_page_token
    await reactivate(server)
    for method, request, field in (
        ("ListRecords", service.ListRecordsRequest(parent=name("t"), order=order, page_token=token), "page_token"),
        (
            "StreamRecords",
            service.StreamRecordsRequest(parent=name("t"), order=order, resume_token=token),
            "resume_token",
        ),
    ):
        for generation in (0, 2):
            request.generation = generation
            found = await fail(server, method, request)
            assert (found.code, found.reason, found.field) == (Code.INVALID_ARGUMENT, Reason.INVALID_TOKEN, field)
    rest = await page(server, order=order, page_token=token, generation=1)
    assert [(each.index, each.state) for each in rest.records] == [(1, F), (2, S), (3, F)]
    streamed = await records(server, order=order, resume_token=token, generation=1)
    assert streamed == list(rest.records)
    newer = (await page(server, page_size=1, order=order)).resume_token
    assert newer == (await page(server, page_size=1, order=order, generation=2)).resume_token
    request = service.ListRecordsRequest(parent=name("t"), order=order, page_token=newer, generation=1)
    assert (await fail(server, "ListRecords", request)).reason is Reason.INVALID_TOKEN


async def test_a_token_of_the_running_generation_goes_on(server: Served) -> None:
    await failed_task(server, 5, (1, 2, 4))
    await reactivate(server)
    seen = await page(server, order=COMPLETION)
    assert [each.index for each in seen.records] == [0, 3]
    assert not seen.next_page_token
    lease = await server.lease(name("t"), [1, 2, 4])
    for indexes, failed in (([4], []), ([], [1])):
        await server.end(name("t"), lease, ok=indexes, failed=failed)
        more = await page(server, order=COMPLETION, page_token=seen.resume_token)
        assert [each.index for each in more.records] == [*indexes, *failed]
        seen = more
    await server.end(name("t"), lease, ok=[2])
    assert [each.index for each in await records(server, order=COMPLETION, resume_token=seen.resume_token)] == [2]


async def test_a_token_of_every_generation_goes_on_in_the_next(server: Served) -> None:
    await failed_task(server, 4, (1, 3))
    token = (await page(server, generation=EVERY, order=COMPLETION)).resume_token
    assert [each.index for each in await records(server, generation=EVERY, order=COMPLETION, resume_token=token)] == []
    await reactivate(server)
    await server.finish(name("t"))
    found = await records(server, generation=EVERY, order=COMPLETION, resume_token=token)
    assert [(each.index, each.generation) for each in found] == [(1, 2), (3, 2)]


@pytest.mark.parametrize("order", ORDERS)
async def test_a_stream_stays_in_the_generation_in_which_it_began(server: Served, order: int) -> None:
    large = [world.record("x" * 100_000) for _ in range(30)]  # more than is sent ahead of a client that does not read
    await server.tasks.CreateBatchTask(create("t", records=large))
    await server.finish(name("t"), failed=[2, 27])
    request = service.StreamRecordsRequest(parent=name("t"), order=order, page_size=1, view=RecordInfo.FULL)
    stream = server.tasks.StreamRecords(request)
    found = list((await stream.read()).records)
    await reactivate(server)
    await server.finish(name("t"))
    found += [each for message in await drained(stream) for each in message.records]
    assert [(each.index, each.generation) for each in found] == [(index, 1) for index in range(30)]
    assert [each.index for each in found if each.state == F] == [2, 27]


async def test_record_ids_are_shown_in_every_generation(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("t", records=[world.record("1", "a"), world.record("2", "b")]))
    lease = await server.lease(name("t"), [0])
    await server.tasks.CancelBatchTask(service.CancelBatchTaskRequest(name=name("t")))
    await server.store.release(lease, {})
    await reactivate(server)
    for generation in (1, 2):
        assert [each.record_id for each in await records(server, generation=generation)] == ["a", "b"]
