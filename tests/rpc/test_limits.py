"""Does the server take every bound of model/limits.py, and refuse the next value, naming the field?"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import grpc.aio
import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
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
MOST = 2**63 - 1  # the largest int64
ELSEWHERE = {"OUTPUT", "ERROR", "LOG", "PAGE_SIZE", "STREAM_PAGE_SIZE"}


@dataclasses.dataclass
class Walk:
    """How a bound is reached. `request(value)`; `field`: what is named beyond the maximum, if not the limit's own.

    `number`: it is of a value, not of a size, so that what is less than the minimum can be sent. `reason`: of what is
    beyond it.
    """

    method: str
    request: Callable[[int], Any]
    field: str | None = None
    number: bool = False
    reason: Reason = Reason.INVALID_FIELD

    def within(self, limit: Limit) -> set[int]:
        """The outermost values that pass."""
        return {limit.maximum, limit.minimum if self.number else limit.minimum or limit.maximum}

    def beyond(self, limit: Limit) -> set[int]:
        """Those next to them. An empty id is no id: the server makes one."""
        below = {limit.minimum - 1} if self.number or (limit.minimum and limit is not limits.ID) else set[int]()
        return below | ({limit.maximum + 1} if limit.maximum < MOST else set[int]())


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


def _part(part: str, field: str) -> Callable[[Any], service.CreateBatchTaskRequest]:
    """A create in which a field of a part of the task has this value."""

    def make(value: Any) -> service.CreateBatchTaskRequest:
        made = create()
        made.batch_task.MergeFrom(BatchTaskInfo(**{part: {field: value}}))
        return made

    return make


def _time(part: str, field: str) -> Walk:
    """A time, in microseconds."""
    made = _part(part, field)
    return Walk(CREATE, lambda n: made({"seconds": n // 1_000_000, "nanos": n % 1_000_000 * 1000}), number=True)


def _number(part: str, field: str) -> Walk:
    return Walk(CREATE, _part(part, field), number=True)


def _batch(count: int) -> service.BatchCreateBatchTasksRequest:
    """So many creates."""
    return service.BatchCreateBatchTasksRequest(parent=world.PROJECT, requests=[create(start=False)] * count)


def _content_type(size: int) -> service.CreateBatchTaskRequest:
    made = create()
    made.records[0].payload.content_type = "x" * size
    return made


def _path(size: int) -> service.DeleteArtifactRequest:
    """A path of so many bytes, whose segments are not too long."""
    path = "/".join(["x" * 200] * 6)[:size]
    return service.DeleteArtifactRequest(name=f"{name('draft')}/records/0/artifacts/{path}", allow_missing=True)


def _filter(written: Callable[[int], str]) -> Walk:
    """A filter of so many bytes, or comparisons."""
    return Walk(
        "ListBatchTasks",
        lambda n: service.ListBatchTasksRequest(parent=world.PROJECT, filter=written(n)),
        reason=Reason.INVALID_FILTER,
    )


WALKS = {
    "REQUEST": Walk(CREATE, _whole),
    "ID": Walk(CREATE, lambda n: _changed(batch_task_id="x" * n)),
    "PROJECT_ID": Walk(CREATE, lambda n: _changed(parent="projects/" + "x" * n)),
    "DISPLAY_NAME": Walk(CREATE, lambda n: _info(display_name="x" * n)),
    "LABELS": Walk(CREATE, lambda n: _info(labels={f"k{i}": "" for i in range(n)})),
    "LABEL_KEY": Walk(CREATE, lambda n: _info(labels={"k" * n: ""})),
    "LABEL_VALUE": Walk(CREATE, lambda n: _info(labels={"k": "x" * n})),
    "PARAMETERS": Walk(CREATE, _parameters),
    "PRIORITY": Walk(CREATE, lambda n: _info(priority=n), number=True),
    "PARALLEL_COUNT": Walk(CREATE, lambda n: _info(parallel_count=n), number=True),
    "RECORD_TIMEOUT": _time("constraints", "record_timeout"),
    "MAX_WALL_CLOCK_TIME": _time("constraints", "max_wall_clock_time"),
    "RETENTION_TIME": _time("constraints", "retention_time"),
    "MAX_RETRY_COUNT": _number("constraints", "max_retry_count"),
    "INITIAL_BACKOFF": _time("retry_policy", "initial_backoff"),
    "MAX_BACKOFF": _time("retry_policy", "max_backoff"),
    "MULTIPLIER": _number("retry_policy", "multiplier"),
    "RETRYABLE_CODES": Walk(CREATE, lambda n: _part("retry_policy", "retryable_codes")([14] * n)),
    "RETRYABLE_CODE": Walk(CREATE, lambda n: _part("retry_policy", "retryable_codes")([14, n]), number=True),
    "MAX_FAILED_RECORDS": _number("failure_policy", "max_failed_records"),
    "RECORD_ID": Walk(CREATE, lambda n: create(records=[world.record(record_id="x" * n)]), "records[0].record_id"),
    "CONTENT_TYPE": Walk(CREATE, _content_type, "records[0].payload.content_type"),
    "RECORD": Walk(CREATE, _record, "records[0]"),
    "RECORDS": Walk(CREATE, lambda n: create(records=n)),
    "BATCH_CREATE": Walk("BatchCreateBatchTasks", _batch),
    "ARTIFACT_PATH": Walk("DeleteArtifact", _path),
    "ARTIFACT_PREFIX": Walk(
        "ListArtifacts",
        lambda n: service.ListArtifactsRequest(parent=f"{name('draft')}/records/-", prefix="x" * n),
    ),
    "FILTER": _filter(lambda n: f'id = "{"x" * (n - 7)}"'),
    "FILTER_TERMS": _filter(lambda n: " AND ".join(["id = x"] * n)),
    "REASON": Walk("CancelBatchTask", lambda n: service.CancelBatchTaskRequest(name=name("draft"), reason="x" * n)),
}


# What is chosen for a task may be changed later, within the same bounds.
UPDATES = {key: walk for key, walk in WALKS.items() if ALL[key].field.startswith("batch_task.")}


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
    for value in walk.within(limit):
        await getattr(server.tasks, walk.method)(walk.request(value))


@pytest.mark.parametrize("key", [pytest.param(key, marks=provokes(walk.reason)) for key, walk in WALKS.items()])
async def test_beyond_the_bound_is_refused(server: Served, key: str, limit: Limit) -> None:
    await world.populate(server)
    walk = WALKS[key]
    for value in walk.beyond(limit):
        found = await fail(server, walk.method, walk.request(value))
        assert (found.code, found.reason) == (Code.INVALID_ARGUMENT, walk.reason)
        assert found.field == (limit.field if walk.field is None else walk.field)


def _update(created: service.CreateBatchTaskRequest) -> service.UpdateBatchTaskRequest:
    """A DRAFT is to have all that the create asks for."""
    made = service.UpdateBatchTaskRequest(batch_task=created.batch_task)
    made.batch_task.name = name("draft")
    return made


@pytest.mark.parametrize("key", UPDATES)
async def test_an_update_takes_the_bound(server: Served, key: str, limit: Limit) -> None:
    await world.populate(server)
    walk = UPDATES[key]
    for value in walk.within(limit):
        await server.tasks.UpdateBatchTask(_update(walk.request(value)))


@provokes(Reason.INVALID_FIELD)
@pytest.mark.parametrize("key", UPDATES)
async def test_an_update_beyond_the_bound_is_refused(server: Served, key: str, limit: Limit) -> None:
    await world.populate(server)
    walk = UPDATES[key]
    for value in walk.beyond(limit):
        found = await fail(server, "UpdateBatchTask", _update(walk.request(value)))
        assert (found.code, found.reason, found.field) == (Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, limit.field)


@provokes(Reason.INVALID_FIELD)
async def test_numbers_that_are_none_and_times_that_are_none(server: Served) -> None:
    await world.populate(server)
    odd, far = {"seconds": 1, "nanos": -1}, {"seconds": 315_576_000_001}
    for part, field, right, wrong in (
        ("failure_policy", "max_failed_ratio", [0.0, 1.0, 1e-9], [-1e-9, 1.0 + 1e-9, math.nan, math.inf, -math.inf]),
        ("retry_policy", "multiplier", [1.5], [math.nan, math.inf, 0.999, 100.001]),
        ("constraints", "max_wall_clock_time", [{"nanos": 999_001}], [odd, far, {"nanos": 999_000}]),
        ("constraints", "retention_time", [{"nanos": 1}], [odd, far, {"nanos": -1_000}]),
        ("retry_policy", "max_backoff", [{"nanos": 1}], [odd, far]),
    ):
        for value in right:
            await server.tasks.CreateBatchTask(_part(part, field)(value))
            await server.tasks.UpdateBatchTask(_update(_part(part, field)(value)))
        for value in wrong:
            created = _part(part, field)(value)
            for method, request in ((CREATE, created), ("UpdateBatchTask", _update(created))):
                assert (await fail(server, method, request)).field == f"batch_task.{part}.{field}"


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
