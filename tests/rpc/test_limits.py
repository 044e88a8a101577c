"""Does the server take every bound of model/limits.py, and refuse the next value, naming the field?"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import grpc.aio
import pytest
from google.protobuf.message import Message

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard_server.model import limits
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.limits import Limit
from tests.rpc import world
from tests.rpc.test_errors import fail
from tests.rpc.world import create, name
from tests.support.errors import provokes
from tests.support.server import Served

CREATE = "CreateBatchTask"
ALL = {key: value for key, value in vars(limits).items() if isinstance(value, Limit)}
# Bounds of what workers send: test_outcomes_*. Page sizes are lowered, not refused: below.
ELSEWHERE = {"OUTPUT", "ERROR", "PAGE_SIZE", "STREAM_PAGE_SIZE"}


@dataclasses.dataclass
class Walk:
    """How a bound is reached. `request(value)`; `field`: what is named beyond the maximum, if not the limit's own."""

    method: str
    request: Callable[[int], Message]
    field: str | None = None


def _record(size: int) -> service.CreateBatchTaskRequest:
    """A create with one record of exactly `size` bytes."""
    made = create(records=1)
    payload = made.records[0].payload
    payload.text = "x" * size
    payload.text = "x" * (size - (made.records[0].ByteSize() - size))
    assert made.records[0].ByteSize() == size
    return made


def _whole(size: int) -> service.CreateBatchTaskRequest:
    """A create of exactly `size` bytes."""
    made = create(records=8)
    for each in made.records:
        each.payload.text = "x" * (limits.MIB // 2 - 1024)
    filling = made.records[0].payload
    filling.text = filling.text[: len(filling.text) + size - made.ByteSize()] + "x" * max(0, size - made.ByteSize())
    assert made.ByteSize() == size
    return made


def _parameters(size: int) -> service.CreateBatchTaskRequest:
    made = create()
    parameters = made.batch_task.parameters
    parameters.text = "x" * size
    parameters.text = "x" * (size - (parameters.ByteSize() - size))
    assert parameters.ByteSize() == size
    return made


def _changed(**fields: Any) -> service.CreateBatchTaskRequest:
    made = create()
    for key, value in fields.items():
        setattr(made, key, value)
    return made


def _info(**fields: Any) -> service.CreateBatchTaskRequest:
    made = create()
    for key, value in fields.items():
        if isinstance(value, dict):
            getattr(made.batch_task, key).update(value)
        else:
            setattr(made.batch_task, key, value)
    return made


def _timeout(micros: int) -> service.CreateBatchTaskRequest:
    made = create()
    made.batch_task.constraints.record_timeout.FromMicroseconds(micros)
    return made


def _content_type(size: int) -> service.CreateBatchTaskRequest:
    made = create()
    made.records[0].payload.content_type = "x" * size
    return made


WALKS = {
    "REQUEST": Walk(CREATE, _whole),
    "ID": Walk(CREATE, lambda n: _changed(batch_task_id="x" * n)),
    "PROJECT_ID": Walk(CREATE, lambda n: _changed(parent="projects/" + "x" * n)),
    "DISPLAY_NAME": Walk(CREATE, lambda n: _info(display_name="x" * n)),
    "LABELS": Walk(CREATE, lambda n: _info(labels={f"k{i}": "" for i in range(n)})),
    "LABEL_KEY": Walk(CREATE, lambda n: _info(labels={"k" * n: ""})),
    "LABEL_VALUE": Walk(CREATE, lambda n: _info(labels={"k": "x" * n})),
    "PARAMETERS": Walk(CREATE, _parameters),
    "RECORD_TIMEOUT": Walk(CREATE, _timeout),
    "RECORD_ID": Walk(CREATE, lambda n: create(records=[world.record(record_id="x" * n)]), "records[0].record_id"),
    "CONTENT_TYPE": Walk(CREATE, _content_type, "records[0].payload.content_type"),
    "RECORD": Walk(CREATE, _record, "records[0]"),
    "RECORDS": Walk(CREATE, lambda n: create(records=n)),
    "REASON": Walk("CancelBatchTask", lambda n: service.CancelBatchTaskRequest(name=name("draft"), reason="x" * n)),
}


def test_every_bound_is_walked() -> None:
    assert set(WALKS) | ELSEWHERE == set(ALL)


@pytest.fixture
def limit(key: str, monkeypatch: pytest.MonkeyPatch) -> Limit:
    """The bound `key`; that of records is lowered, since 10^8 would take a while."""
    if key == "RECORDS":
        monkeypatch.setattr(limits, key, dataclasses.replace(limits.RECORDS, maximum=3))
    return getattr(limits, key)


@pytest.mark.parametrize("key", WALKS)
async def test_the_bound_passes(server: Served, key: str, limit: Limit) -> None:
    await world.populate(server)
    walk = WALKS[key]
    for value in {limit.maximum, limit.minimum or limit.maximum}:
        await getattr(server.tasks, walk.method)(walk.request(value))


@provokes(Reason.INVALID_FIELD)
@pytest.mark.parametrize("key", WALKS)
async def test_beyond_the_bound_is_refused(server: Served, key: str, limit: Limit) -> None:
    await world.populate(server)
    walk = WALKS[key]
    # An empty id is no id: the server makes one.
    below = [limit.minimum - 1] if limit.minimum and key != "ID" else []
    for value in [limit.maximum + 1, *below]:
        found = await fail(server, walk.method, walk.request(value))
        assert (found.code, found.reason) == (Code.INVALID_ARGUMENT, Reason.INVALID_FIELD)
        assert found.field == (limit.field if walk.field is None else walk.field)


async def test_bounds_of_appended_records(server: Served) -> None:
    await world.populate(server)
    for path, made in (
        ("records[1].record_id", world.record(record_id="ä" * 128 + "x")),
        ("records[1].payload.content_type", _content_type(256).records[0]),
        ("records[1]", _record(limits.RECORD.maximum + 1).records[0]),
    ):
        request = service.AppendRecordsRequest(name=name("draft"), first_index=2, records=[world.record(), made])
        found = await fail(server, "AppendRecords", request)
        assert (found.code, found.reason, found.field) == (Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, path)


async def test_a_page_size_beyond_the_bound_is_lowered(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("many", records=limits.PAGE_SIZE.maximum + 1, start=False))
    for size, count in ((limits.PAGE_SIZE.maximum + 1, limits.PAGE_SIZE.maximum), (0, limits.DEFAULT_PAGE_SIZE)):
        page = await server.tasks.ListRecords(service.ListRecordsRequest(parent=name("many"), page_size=size))
        assert len(page.records) == count
        assert page.next_page_token


async def test_a_page_size_of_subtasks_beyond_the_bound_is_lowered(server: Served) -> None:
    most = limits.PAGE_SIZE.maximum
    await server.tasks.CreateBatchTask(create("many", records=most + 1))
    await asyncio.gather(*(server.lease(name("many"), [index]) for index in range(most + 1)))
    for size, count in ((most + 1, most), (most, most), (0, limits.DEFAULT_PAGE_SIZE), (1, 1)):
        page = await server.tasks.ListSubtasks(service.ListSubtasksRequest(parent=name("many"), page_size=size))
        assert len(page.subtasks) == count
        assert page.next_page_token


async def test_a_page_size_of_a_stream_beyond_the_bound_is_lowered(server: Served) -> None:
    count = limits.STREAM_PAGE_SIZE.maximum
    await server.tasks.CreateBatchTask(create("more", records=1, start=False))
    append = service.AppendRecordsRequest(name=name("more"), first_index=1, records=[world.record()] * count)
    assert [answer.next_index async for answer in server.tasks.AppendRecords(iter([append]))] == [count + 1]
    for size in (count + 1, count, 0):
        request = service.StreamRecordsRequest(parent=name("more"), page_size=size)
        pages = [len(page.records) async for page in server.tasks.StreamRecords(request)]
        assert sum(pages) == count + 1
        assert max(pages) <= count
    request = service.StreamRecordsRequest(parent=name("more"), page_size=7)
    assert max([len(page.records) async for page in server.tasks.StreamRecords(request)]) == 7


async def test_a_message_far_beyond_the_bound_is_refused_by_grpc(server: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.tasks.CreateBatchTask(create(records=[world.record("x" * limits.MIB)] * 9))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
