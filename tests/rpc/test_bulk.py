"""BatchCreateBatchTasks: is each request treated as a create of its own, and all of them as one with `atomic`?"""

from __future__ import annotations

import asyncio
import pathlib
from typing import Any

import pytest
from google.longrunning import operations_pb2 as lro

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata
from batchyard_server.model import limits
from batchyard_server.model.errors import Code, Reason
from tests.rpc.test_errors import fail
from tests.rpc.world import PROJECT, create, fresh_request_id, name, record
from tests.support.errors import Answer, provokes
from tests.support.server import Served, serving

METHOD = "BatchCreateBatchTasks"
Request = service.BatchCreateBatchTasksRequest


def batch(*requests: service.CreateBatchTaskRequest, **fields: Any) -> Request:
    """A batch that is right."""
    return Request(parent=PROJECT, requests=requests, **fields)


async def results(server: Served, request: Request) -> list[Any]:
    """What became of each: an Operation, or an Answer whose form was checked."""
    response = await server.tasks.BatchCreateBatchTasks(request)
    assert len(response.results) == len(request.requests)
    found: list[Any] = []
    for each in response.results:
        which = each.WhichOneof("result")
        found.append(each.operation if which == "operation" else Answer(each.status))
    return found


async def listed(server: Served) -> set[str]:
    """Ids of the tasks of the project."""
    page = await server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT, page_size=1000))
    return {task.name.rpartition("/")[2] for task in page.batch_tasks}


async def test_each_becomes_what_a_create_of_its_own_would_make(server: Served) -> None:
    asked = [create("one", records=2), create("two", records=0, start=False), create(), create("Four", records=3)]
    asked[1].parent = ""
    asked[3].batch_task.MergeFrom(
        BatchTaskInfo(labels={"a": "b"}, priority=3, parameters={"text": "{}"}, constraints={"max_retry_count": 2})
    )
    made = await results(server, batch(*asked))
    twins: list[lro.Operation] = []
    for each in asked:
        each.parent = "projects/twin"
        twins.append(await server.tasks.CreateBatchTask(each))
    for operation, twin in zip(made, twins, strict=True):
        assert operation == await server.operations.GetOperation(lro.GetOperationRequest(name=operation.name))
        infos: list[BatchTaskInfo] = []
        for each in (operation, twin):
            metadata = BatchTaskMetadata()
            assert each.metadata.Unpack(metadata)
            assert not each.done
            info = await server.tasks.GetBatchTask(service.GetBatchTaskRequest(name=metadata.batch_task))
            assert (info.operation, info.state) == (each.name, metadata.state)
            assert info.etag == f'"{info.uid[-12:]}-1"'
            assert info.name.endswith(f"/{info.uid}") or info.name.partition("/batchTasks/")[2] in (
                "one",
                "two",
                "Four",
            )
            infos.append(info)
        for field in ("name", "uid", "operation", "etag", "create_time", "update_time", "state_transition_time"):
            for info in infos:
                assert info.HasField(field) if field.endswith("time") else getattr(info, field)
                info.ClearField(field)
        for info in infos:
            info.ClearField("expire_time")
        assert infos[0] == infos[1]
    page = await server.tasks.ListRecords(service.ListRecordsRequest(parent=name("Four"), view="FULL"))
    assert [each.input.text for each in page.records] == ["0", "1", "2"]
    done = await server.finish(name("one"))
    assert (done.succeeded, done.total) == (2, 2)


async def test_what_is_refused_has_the_status_of_a_create_and_stops_no_other(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("Taken"))
    nameless = create("c")
    nameless.batch_task.handler = ""
    elsewhere = create("d")
    elsewhere.batch_task.handler = "nowhere"
    asked = [
        create("a"),
        create("taken"),
        nameless,
        elsewhere,
        create("b b"),
        create("e", records=0),
        create("f", records=[record("1", "x"), record("2", "x")]),
        create("A"),
        create("g"),
    ]
    asked[8].request_id = "no-uuid"
    made = await results(server, batch(*asked, create("z")))
    assert await listed(server) == {"Taken", "a", "z"}
    assert isinstance(made[0], lro.Operation)
    assert isinstance(made[9], lro.Operation)
    expected = [
        (Code.ALREADY_EXISTS, Reason.RESOURCE_EXISTS),
        (Code.INVALID_ARGUMENT, Reason.INVALID_FIELD),
        (Code.NOT_FOUND, Reason.RESOURCE_NOT_FOUND),
        (Code.INVALID_ARGUMENT, Reason.INVALID_FIELD),
        (Code.INVALID_ARGUMENT, Reason.NO_RECORDS),
        (Code.INVALID_ARGUMENT, Reason.DUPLICATE_RECORD_ID),
        (Code.ALREADY_EXISTS, Reason.RESOURCE_EXISTS),
        (Code.INVALID_ARGUMENT, Reason.INVALID_FIELD),
    ]
    assert [(each.code, each.reason) for each in made[1:9]] == expected
    asked[7] = create("TAKEN")
    for each, answer in zip(asked[1:9], made[1:9], strict=True):
        alone = await fail(server, "CreateBatchTask", each)
        if alone.metadata.get("resource") != name("TAKEN"):
            assert alone.status == answer.status


ATOMIC = [
    ("a", {}, Code.ALREADY_EXISTS, Reason.RESOURCE_EXISTS, ""),
    ("b b", {}, Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, "requests[2].batch_task_id"),
    ("b", {"records": 0}, Code.INVALID_ARGUMENT, Reason.NO_RECORDS, "requests[2].records"),
    (
        "b",
        {"records": [record("1", "x"), record("2", "x")]},
        Code.INVALID_ARGUMENT,
        Reason.DUPLICATE_RECORD_ID,
        "requests[2].records[1].record_id",
    ),
    ("B", {}, Code.ALREADY_EXISTS, Reason.RESOURCE_EXISTS, ""),
]


@pytest.mark.parametrize(("task_id", "fields", "code", "reason", "field"), ATOMIC)
async def test_an_atomic_batch_is_refused_as_a_whole(
    server: Served, task_id: str, fields: Any, code: Code, reason: Reason, field: str
) -> None:
    await server.tasks.CreateBatchTask(create("A"))
    request = batch(create("c"), create("B1"), create(task_id, **fields), create("b"), atomic=True)
    if task_id == "B":
        request.requests[3].batch_task_id = "d"
        request.requests[1].batch_task_id = "b"
    request.request_id = fresh_request_id()
    for _ in range(2):  # a refused call uses up no request_id
        found = await fail(server, METHOD, request)
        assert (found.code, found.reason, found.metadata["index"]) == (code, reason, "2")
        assert found.status.message.startswith("requests[2]")
        if field:
            assert (found.field, found.metadata["field"]) == (field, field)
        assert await listed(server) == {"A"}
    request.requests[2].CopyFrom(create("fine"))
    assert all(isinstance(each, lro.Operation) for each in await results(server, request))
    assert await listed(server) == {"A", *(each.batch_task_id for each in request.requests)}


@provokes(Reason.RESOURCE_NOT_FOUND)
async def test_an_atomic_batch_says_which_handler_is_missing_and_where(server: Served) -> None:
    request = batch(create("a"), create("b"), atomic=True)
    request.requests[1].batch_task.handler = "nowhere"
    found = await fail(server, METHOD, request)
    assert (found.code, found.metadata["index"]) == (Code.NOT_FOUND, "1")
    assert found.metadata["resource"] == f"{PROJECT}/handlers/nowhere"
    assert await listed(server) == set()


async def test_an_atomic_batch_makes_all_of_them(server: Served) -> None:
    made = await results(server, batch(*(create(f"t{n}") for n in range(40)), atomic=True))
    assert all(isinstance(each, lro.Operation) for each in made)
    assert await listed(server) == {f"t{n}" for n in range(40)}


def _whole(**fields: Any) -> Request:
    request = batch(create("a"), create("b"))
    for key, value in fields.items():
        setattr(request, key, value)
    return request


def _second(**fields: Any) -> Request:
    request = batch(create("a"), create("b"))
    for key, value in fields.items():
        setattr(request.requests[1], key, value)
    return request


WRONG = [
    (_whole(parent=""), "parent"),
    (_whole(parent="projects/a/b"), "parent"),
    (_whole(request_id="1"), "request_id"),
    (batch(), "requests"),
    (batch(*[create()] * (limits.BATCH_CREATE.maximum + 1)), "requests"),
    (_second(parent="projects/other"), "requests[1].parent"),
    (_second(validate_only=True), "requests[1].validate_only"),
]


@pytest.mark.parametrize(("request_", "field"), WRONG, ids=[field for _, field in WRONG])
@provokes(Reason.INVALID_FIELD)
async def test_what_is_wrong_with_the_whole_refuses_it(server: Served, request_: Request, field: str) -> None:
    found = await fail(server, METHOD, request_)
    assert (found.code, found.field) == (Code.INVALID_ARGUMENT, field)
    assert await listed(server) == set()


@pytest.mark.parametrize("atomic", [False, True])
async def test_a_repeated_batch_answers_each_as_it_is_now(tmp_path: pathlib.Path, atomic: bool) -> None:
    request = batch(*(create(f"t{n}") for n in range(5)), atomic=atomic, request_id=fresh_request_id())
    own = fresh_request_id()
    request.requests[3].request_id = own
    async with serving(tmp_path) as server:
        first, again = await asyncio.gather(results(server, request), results(server, request))
        assert first == again
        await server.finish(name("t1"))
        await server.finish(name("t2"), failed=[0])
    async with serving(tmp_path) as server:
        now = await results(server, request)
        assert [each.name for each in now] == [each.name for each in first]
        assert [each.done for each in now] == [False, True, True, False, False]
        for each in now:
            single = await server.operations.GetOperation(lro.GetOperationRequest(name=each.name))
            metadata = BatchTaskMetadata()
            assert single.metadata.Unpack(metadata)
            metadata.ClearField("failed_requests")
            single.metadata.Pack(metadata)
            seen = BatchTaskMetadata()
            assert each.metadata.Unpack(seen)
            assert (seen, each.error, each.response) == (metadata, single.error, single.response)
        # Its own request_id stands for it wherever it comes.
        alone = create("t3", request_id=own)
        assert (await server.tasks.CreateBatchTask(alone)).name == first[3].name
        other = batch(create("u"), alone)
        assert (await results(server, other))[1].name == first[3].name
        assert await listed(server) == {"t0", "t1", "t2", "t3", "t4", "u"}


async def test_one_request_that_comes_twice_in_a_call_is_one(server: Served) -> None:
    own = fresh_request_id()
    same, other = create("a", request_id=own), create("b", request_id=own)
    made = await results(server, batch(same, create("c"), same, other))
    assert made[0] == made[2] == await server.operations.GetOperation(lro.GetOperationRequest(name=made[0].name))
    assert (made[3].code, made[3].reason) == (Code.ALREADY_EXISTS, Reason.REQUEST_ID_REUSED)
    assert await listed(server) == {"a", "c"}


async def test_a_repeated_batch_creates_what_is_missing(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("t1", start=False))
    request = batch(create("t0"), create("t1"), create("t2"), request_id=fresh_request_id())
    first = await results(server, request)
    assert [isinstance(each, lro.Operation) for each in first] == [True, False, True]
    await server.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=name("t1")))
    again = await results(server, request)
    assert [again[0], again[2]] == [first[0], first[2]]
    assert isinstance(again[1], lro.Operation)
    await server.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=name("t2"), force=True))
    gone = (await results(server, request))[2]
    assert (gone.code, gone.reason) == (Code.NOT_FOUND, Reason.RESOURCE_NOT_FOUND)


@provokes(Reason.REQUEST_ID_REUSED)
async def test_other_content_under_the_same_request_id(server: Served) -> None:
    used = fresh_request_id()
    first = await results(server, batch(create("a"), create("b b"), request_id=used))
    for other in (batch(create("a")), batch(create("a"), create("b")), batch(create("a"), create("b"), atomic=True)):
        other.request_id = used
        found = await fail(server, METHOD, other)
        assert (found.code, found.reason) == (Code.ALREADY_EXISTS, Reason.REQUEST_ID_REUSED)
    assert (await fail(server, "CreateBatchTask", create("c", request_id=used))).reason is Reason.REQUEST_ID_REUSED
    assert await listed(server) == {"a"}
    single = fresh_request_id()
    await server.tasks.CreateBatchTask(create("d", request_id=single))
    reused = await fail(server, METHOD, batch(create("e"), request_id=single))
    assert reused.reason is Reason.REQUEST_ID_REUSED
    (item,) = await results(server, batch(create("e", request_id=single)))
    assert (item.code, item.reason) == (Code.ALREADY_EXISTS, Reason.REQUEST_ID_REUSED)
    assert isinstance(first[0], lro.Operation)


async def test_an_answer_about_much_that_is_done_stays_within_its_bound(server: Served) -> None:
    parameters = BatchTaskInfo(handler="echo", parameters={"text": "x" * 200_000})
    request = batch(*(create(f"t{n}") for n in range(25)), request_id=fresh_request_id())
    for each in request.requests[:19]:
        each.batch_task.CopyFrom(parameters)
    await results(server, request)
    for number in range(25):
        await server.finish(name(f"t{number}"))
    response = await server.tasks.BatchCreateBatchTasks(request)
    assert limits.UNARY_PAGE_BYTES * 0.9 < response.ByteSize() <= limits.UNARY_PAGE_BYTES
    done = [each.operation.done for each in response.results]
    assert done == [True] * 18 + [False] + [True] * 6
    cut = BatchTaskMetadata()
    assert response.results[18].operation.metadata.Unpack(cut)
    assert (cut.batch_task, cut.state) == (name("t18"), BatchTaskInfo.SUCCEEDED)
