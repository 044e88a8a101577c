"""What the document of seed 003 says of `get_app_batches`, by both kinds of client on the real server."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from batchyard._app_requests import search_filter
from batchyard.app_batches import (
    AppBatch,
    AppBatches,
    AppBatchSearchRequest,
    AsyncAppBatches,
    RemoteServiceUnavailableApiError,
    ValidationApiError,
)
from tests.seeds.app import app_batches, listed, parameters, until, until_held

pytestmark = pytest.mark.xdist_group("seed 003")
# Name, type and default of every parameter, in their order.
PARAMETERS = [
    ("app_project_id", "str", inspect.Parameter.empty),
    ("after_id", "str", None),
    ("status", "AppBatch.Status", None),
    *[(f"id_{bound}", "str", None) for bound in ("lt", "lte", "gt", "gte")],
    *[(f"name_{bound}", "str", None) for bound in ("lt", "lte", "gt", "gte")],
    *[(f"created_{bound}", "datetime", None) for bound in ("lt", "lte", "gt", "gte")],
    ("batch_size", "int", None),
]
COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "lt": lambda one, other: one < other,
    "lte": lambda one, other: one <= other,
    "gt": lambda one, other: one > other,
    "gte": lambda one, other: one >= other,
}
NAMES = ["a", "B", "ab", "é", 'q"\\*', "", "a*"]


@pytest.fixture
def batches(client: Any) -> Any:
    return app_batches(client)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """What an item waits for; at the end nothing waits any more, whatever a test has come to."""
    path = tmp_path / "gate"
    yield path
    path.touch()


@pytest.fixture
def made(batches: Any, project: str) -> list[AppBatch]:
    """One NEW batch for each of NAMES, in the order of their ids."""
    return [batches.create_app_batch(project, name=name, items=[{"value": name}]) for name in NAMES]


# ------------------------------------------------------------------------------------------------------- the method


@pytest.mark.parametrize("kind", [AppBatches, AsyncAppBatches])
def test_parameters(kind: Any) -> None:
    found = list(inspect.signature(kind.get_app_batches).parameters.values())[1:]
    assert [(each.name, each.default) for each in found] == [(name, default) for name, _, default in PARAMETERS]
    assert {each.kind for each in found} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    for each, (_, wanted, default) in zip(found, PARAMETERS, strict=True):
        types = str(each.annotation).split(" | ")
        assert wanted in types
        assert ("None" in types) is (default is None)


@pytest.mark.parametrize("kind", [AppBatches, AsyncAppBatches])
def test_the_fields_of_a_request_are_its_parameters(kind: Any) -> None:
    fields = parameters(AppBatchSearchRequest.__init__)
    assert fields == ["*", *parameters(kind.get_app_batches)[1:-1]]


async def test_the_asynchronous_one_is_no_coroutine() -> None:
    async with AsyncAppBatches("127.0.0.1:1") as batches:
        assert not inspect.iscoroutinefunction(batches.get_app_batches)
        assert inspect.isasyncgen(batches.get_app_batches("p"))


async def test_an_asynchronous_generator(client: Any, made: list[AppBatch], real: Any, project: str) -> None:
    async with AsyncAppBatches(real.target) as batches:
        assert [batch async for batch in batches.get_app_batches(project, batch_size=3)] == made


def test_nothing_is_sent_before_it_is_iterated() -> None:
    with AppBatches("127.0.0.1:1", timeout=0.2) as batches:
        generator = batches.get_app_batches("p")
        assert inspect.isgenerator(generator)
        with pytest.raises(RemoteServiceUnavailableApiError):
            next(generator)


def test_what_can_never_be_right_is_told_at_once() -> None:
    batches = AppBatches("127.0.0.1:1")
    for wrong in (
        {"status": "DONE"},
        {"batch_size": 0},
        {"batch_size": 1001},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            batches.get_app_batches("p", **wrong)
    for wrong in (
        {"id_lt": 1},
        {"after_id": 1},
        {"name_gt": b"a"},
        {"created_gte": "2026-01-01"},
    ):
        with pytest.raises(TypeError):
            batches.get_app_batches("p", **wrong)
    with pytest.raises(TypeError):
        batches.get_app_batches("p", AppBatchSearchRequest(), status="NEW")


# ------------------------------------------------------------------------------------------------------- conditions


def test_all_batches_of_one_project_by_id(batches: Any, made: list[AppBatch], project: str) -> None:
    batches.create_app_batch(f"{project}-other", name="elsewhere")
    assert list(batches.get_app_batches(project)) == made
    assert [batch.id for batch in made] == sorted(batch.id for batch in made)
    assert {batch.app_project_id for batch in made} == {project}
    assert list(batches.get_app_batches(f"{project}-unused")) == []


def test_the_example(batches: Any, made: list[AppBatch], project: str) -> None:
    batches.start_app_batch(project, made[0].id)
    until(batches, project, made[0].id, "COMPLETED")
    found = batches.get_app_batches(app_project_id=project, status="NEW")
    assert [(batch.id, batch.status, batch.items_count) for batch in found] == [
        (batch.id, "NEW", 1) for batch in made[1:]
    ]


def test_after_an_id(batches: Any, made: list[AppBatch], project: str) -> None:
    requests = listed(batches)
    assert list(batches.get_app_batches(project, after_id=made[1].id, batch_size=2)) == made[2:]
    assert list(batches.get_app_batches(project, made[-1].id)) == []
    assert list(batches.get_app_batches(project, "")) == made
    assert len(requests) == 5


@pytest.mark.parametrize("bound", COMPARED)
def test_bounds(batches: Any, made: list[AppBatch], project: str, bound: str) -> None:
    meets = COMPARED[bound]
    for pivot in (made[0], made[3], made[4], made[6]):
        for name, of in (
            ("id", lambda batch: batch.id),
            ("name", lambda batch: batch.name.encode()),
            ("created", lambda batch: batch.created_at),
        ):
            value = pivot.created_at if name == "created" else getattr(pivot, name)
            found = list(batches.get_app_batches(project, **{f"{name}_{bound}": value}))
            assert found == [batch for batch in made if meets(of(batch), of(pivot))], (name, pivot.name)


def test_times_with_and_without_a_zone(batches: Any, made: list[AppBatch], project: str) -> None:
    at = made[2].created_at
    assert at is not None
    assert at.tzinfo is UTC
    for same in (at, at.replace(tzinfo=None), at.astimezone(timezone(timedelta(hours=5, minutes=30)))):
        assert list(batches.get_app_batches(project, created_gt=same)) == made[3:]
        assert list(batches.get_app_batches(project, created_lte=same)) == made[:3]


def test_all_conditions_hold_together(batches: Any, made: list[AppBatch], project: str) -> None:
    found = batches.get_app_batches(
        project, made[0].id, "NEW", made[-1].id, None, made[1].id, name_gte="a", created_lte=made[-1].created_at
    )
    assert [batch.name for batch in found] == ["ab", "é", 'q"\\*']
    request = AppBatchSearchRequest(after_id=made[2].id, id_lt=made[5].id)
    assert list(batches.get_app_batches(project, request, batch_size=1)) == made[3:5]
    first, last = made[0], made[-1]
    bounds = {"id": (first.id, last.id), "name": ("z", "ê"), "created": (first.created_at, last.created_at)}
    every = {"after_id": first.id, "status": "NEW"} | {
        f"{name}_{bound}": high if bound in {"lt", "lte"} else low
        for name, (low, high) in bounds.items()
        for bound in COMPARED
    }
    assert list(every) == [name for name, _, _ in PARAMETERS[1:-1]]
    assert list(batches.get_app_batches(project, **every)) == [made[3]]


def test_every_status(client: Any, batches: Any, project: str, gate: Path) -> None:
    def found(status: str) -> list[str]:
        return [batch.name for batch in batches.get_app_batches(project, status=AppBatch.Status(status))]

    items = {
        "completed": [{"value": 1}],
        "error": [{"fail": "no"}],
        "archive": [{"value": 1}],
        "cancelled": [{"value": 1}],
        "new": [{"value": 1}],
        "held": [{"hold": str(gate)}, {"value": 1}],
    }
    ids = {name: batches.create_app_batch(project, name=name, items=given).id for name, given in items.items()}
    client.batch.get(ids["cancelled"]).cancel()
    for name, status in (("completed", "COMPLETED"), ("error", "ERROR"), ("archive", "COMPLETED")):
        batches.start_app_batch(project, ids[name])
        until(batches, project, ids[name], status)
    batches.archive_app_batch(project, ids["archive"])
    batches.start_app_batch(project, ids["held"])
    until_held(batches, project, ids["held"], gate)
    # The only worker is busy now; of another handler, nothing is sent to it ahead of time.
    ids["queued"] = app_batches(client, "echo").create_app_batch(project, name="queued", items=[1]).id
    batches.start_app_batch(project, ids["queued"])
    statuses = ("NEW", "QUEUED", "PROCESSING", "COMPLETED", "ERROR", "CANCELLED", "ARCHIVE")
    names = ("new", "queued", "held", "completed", "error", "cancelled", "archive")
    assert {status: found(status) for status in statuses} == {
        status: [name] for status, name in zip(statuses, names, strict=True)
    }
    batches.stop_app_batch(project, ids["held"])
    assert found("STOPPING") == ["held"]
    gate.touch()
    until(batches, project, ids["held"], "STOPPED")
    assert found("STOPPED") == ["held"]
    assert found("LOADING") == found("NO_MONEY") == []
    assert [batch.name for batch in batches.get_app_batches(project)] == list(ids)


# ------------------------------------------------------------------------------------------------------------ pages


def test_several_requests_while_it_is_iterated(batches: Any, made: list[AppBatch], project: str) -> None:
    requests = listed(batches)
    found = batches.get_app_batches(project, batch_size=3)
    assert len(requests) == 0
    assert next(found) == made[0]
    assert len(requests) == 1
    late = batches.create_app_batch(project, name="late")
    assert list(found) == [*made[1:], late]
    assert [request.page_size for request in requests] == [3, 3, 3]
    assert [request.filter for request in requests] == [""] * 3


def test_most_batches_of_a_request(batches: Any, made: list[AppBatch], project: str) -> None:
    requests = listed(batches)
    assert list(batches.get_app_batches(project, batch_size=1000)) == made
    assert list(batches.get_app_batches(project)) == made
    assert [request.page_size for request in requests] == [1000, 1000]


# ----------------------------------------------------------------------------------------------------- what is sent


@pytest.mark.parametrize(
    ("conditions", "wanted"),
    [
        ({}, ""),
        ({"after_id": "a"}, 'id > "a"'),
        ({"after_id": "a", "id_gt": "b"}, 'id > "a" AND id > "b"'),
        ({"id_lt": "a", "id_lte": "b", "id_gte": "c"}, 'id < "a" AND id <= "b" AND id >= "c"'),
        ({"name_lt": 'a"b'}, r'display_name < "a\"b"'),
        ({"name_gte": "a\\*"}, r'display_name >= "a\\\*"'),
        ({"created_gt": datetime(2026, 1, 2, 3, 4, 5, 6)}, 'create_time > "2026-01-02T03:04:05.000006Z"'),  # noqa: DTZ001
        ({"created_lte": datetime(2026, 1, 2, tzinfo=UTC)}, 'create_time <= "2026-01-02T00:00:00.000000Z"'),
        ({"status": "NEW"}, "state = DRAFT AND archived = false"),
        ({"status": "STOPPING"}, "(state = PAUSING OR state = CANCELLING) AND archived = false"),
        ({"status": AppBatch.Status.ARCHIVE, "id_lt": "a"}, 'id < "a" AND archived = true'),
        ({"status": "NO_MONEY"}, None),
    ],
)
def test_filters(conditions: dict[str, Any], wanted: str | None) -> None:
    assert search_filter(AppBatchSearchRequest(**conditions)) == wanted


def test_a_filter_that_is_too_long_is_refused(batches: Any, project: str) -> None:
    with pytest.raises(ValidationApiError) as caught:
        list(batches.get_app_batches(project, name_lt="x" * 5000))
    assert caught.value.invalid_fields == ["filter"]
