"""The rest of `batchyard.app_batches`: what users of seed 003's SDK do with a batch, on the real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

import batchyard
from batchyard import Client
from batchyard import app_batches as surface
from batchyard.app_batches import (
    AppBatchCreateRequest,
    AppBatches,
    AppBatchPatch,
    AppBatchSearchRequest,
    AppItem,
    AppItemsCreateRequest,
    AsyncAppBatches,
    ConflictStateApiError,
    DoesNotExistApiError,
    PriorityOrder,
    ValidationApiError,
)
from tests.seeds.app import app_batches, bare, listed, until, until_held
from tests.support.server import Process

pytestmark = pytest.mark.xdist_group("seed 003 life")


@pytest.fixture
def batches(client: Any) -> Any:
    return app_batches(client)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """What an item waits for; at the end nothing waits any more, whatever a test has come to."""
    path = tmp_path / "gate"
    yield path
    path.touch()


# -------------------------------------------------------------------------------------------------------- a batch


def test_the_life_of_a_batch(batches: Any, project: str) -> None:
    batch = batches.create_app_batch(project, name="first", items=[{"value": 1}, {"fail": "no"}])
    assert (batch.name, batch.status, batch.items_count, batch.read_only) == ("first", "NEW", 2, False)
    assert (batch.app_project_id, batch.priority_order, batch.started_at) == (project, "FIVE", None)
    assert batch == batches.get_app_batch(project, batch.id)
    ids = batches.create_app_items(project, batch_id=batch.id, items=[{"value": {"n": 3}}])
    assert batches.start_app_batch(project, batch.id) is None
    until(batches, project, batch.id, "COMPLETED")
    ended = batches.get_app_batch(project, batch.id)
    assert (ended.items_count, ended.items_processed_count, ended.read_only) == (3, 3, True)
    assert ended.items_per_state == {"NEW": 0, "PROCESSING": 0, "COMPLETED": 2, "ERROR": 1, "CANCELLED": 0}
    assert batch.created_at == ended.created_at < ended.started_at <= ended.finished_at
    third = batches.get_app_item(project, ids[0])
    assert (third.batch_id, third.app_project_id, third.status) == (batch.id, project, "COMPLETED")
    assert (third.input_data, third.output_data, third.errors) == ({"value": {"n": 3}}, {"n": 3}, [])
    assert third.started_at <= third.finished_at
    items = list(batches.get_app_items(project, batch.id, batch_size=1))
    assert [item.status for item in items] == ["COMPLETED", "ERROR", "COMPLETED"]
    assert items[2] == third
    [failed] = batches.get_app_items(project, batch_id=batch.id, status=AppItem.Status.ERROR)
    assert [(error.code, error.message) for error in failed.errors] == [("RECORD_ERROR", "no")]


def test_stop_and_resume(batches: Any, project: str, gate: Path) -> None:
    batch = batches.create(project, items=[{"hold": str(gate)}, {"value": 1}])
    batches.start(project, batch.id)
    until_held(batches, project, batch.id, gate)
    with pytest.raises(ConflictStateApiError) as caught:
        batches.archive(project, batch.id)
    assert (caught.value.reason, caught.value.metadata["state"]) == ("ILLEGAL_STATE", "RUNNING")
    batches.stop(project, batch.id)
    assert batches.get_app_batch(project, batch.id).status == "STOPPING"
    gate.touch()
    until(batches, project, batch.id, "STOPPED")
    batches.archive(project, batch.id)
    batches.archive(project, batch.id)
    assert batches.get_app_batch(project, batch.id).status == "ARCHIVE"
    batches.unarchive(project, batch.id)
    assert batches.get_app_batch(project, batch.id).status == "STOPPED"
    batches.resume(project, batch.id)
    until(batches, project, batch.id, "COMPLETED")


def test_what_its_state_does_not_allow(batches: Any, project: str) -> None:
    batch = batches.create(project)
    for verb in (batches.stop, batches.resume, batches.start):  # it has no items
        with pytest.raises(ConflictStateApiError):
            verb(project, batch.id)
    batches.items(project, AppItemsCreateRequest(batch_id=batch.id, items=[{"value": 1}]))
    batches.start(project, batch.id)
    until(batches, project, batch.id, "COMPLETED")
    for verb in (batches.stop, batches.resume, batches.start):
        with pytest.raises(ConflictStateApiError) as caught:
            verb(project, batch.id)
        assert isinstance(caught.value, batchyard.TaskCompletedError)
    with pytest.raises(ConflictStateApiError):
        batches.items(project, batch_id=batch.id, items=[1])
    with pytest.raises(ConflictStateApiError):
        batches.patch(project, batch.id, priority_order="ONE")


def test_patch(batches: Any, project: str) -> None:
    batch = batches.create(project, AppBatchCreateRequest(name="old", priority_order=PriorityOrder.TWO))
    assert (batch.priority_order, batch.message.priority) == ("TWO", 3)
    assert batches.patch(project, batch.id, AppBatchPatch(name="new")).name == "new"
    changed = batches.patch(project, batch.id, priority_order="FIVE")
    assert (changed.name, changed.priority_order, changed.message.priority) == ("new", "FIVE", 0)
    assert changed == batches.get_app_batch(project, batch.id)
    with pytest.raises(ValueError, match="nothing to change"):
        batches.patch(project, batch.id)
    with pytest.raises(ValueError, match="priority_order must be one of ONE"):
        batches.patch(project, batch.id, priority_order="SIX")
    with pytest.raises(ValidationApiError) as caught:
        batches.patch(project, batch.id, name="x" * 257)
    assert caught.value.invalid_fields == ["name"]


def test_priorities_of_other_clients(client: Any, batches: Any, project: str) -> None:
    ids = [client.batch.run("lives", [], start=False, priority=priority).task_id for priority in (-7, 1, 9)]
    assert [batches.get_app_batch(project, each).priority_order for each in ids] == ["FIVE", "FOUR", "ONE"]


def test_settings_of_every_batch(client: Any, project: str) -> None:
    batches = app_batches(client, "echo", labels={"team": "blue"}, max_retry_count=2)
    info = client.batch.get_info(batches.create(project, name="n").id)
    assert (info.handler, info.labels, info.max_retry_count, info.display_name) == ("echo", {"team": "blue"}, 2, "n")
    for wrong in ("priority", "display_name", "colour"):
        with pytest.raises(TypeError, match=wrong):
            app_batches(client, "echo", **{wrong: "1"})
    with pytest.raises(ValueError, match="handler"):
        app_batches(client, None).create(project)


# ---------------------------------------------------------------------------------------------------------- items


def test_all_items_or_none(batches: Any, project: str) -> None:
    bad = [{"value": 1}, {"value": float("nan")}, "x" * (1 << 20), {"value": {1, 2}}]
    with pytest.raises(ValidationApiError) as caught:
        batches.create(project, items=bad)
    assert caught.value.invalid_fields == ["items[1]", "items[2]", "items[3]"]
    assert isinstance(caught.value, batchyard.InvalidArgumentError)
    assert list(batches.get_app_batches(project)) == []
    batch = batches.create(project)
    with pytest.raises(ValidationApiError):
        batches.items(project, batch_id=batch.id, items=bad, ignore_errors=False)
    assert batches.get_app_batch(project, batch.id).items_count == 0
    many = [float("nan")] * 9
    with pytest.raises(ValidationApiError, match="and 4 more"):
        batches.items(project, batch_id=batch.id, items=many)


def test_bad_items_are_skipped_if_asked_for(batches: Any, project: str) -> None:
    bad = [float("nan"), {"value": 1}, object()]
    batch = batches.create(project, items=bad, ignore_errors=True)
    done = batch.last_items_import
    assert (batch.items_count, done.records_count, done.records_processed, done.records_skipped) == (1, 3, 1, 2)
    assert sorted(done.errors) == [0, 2]
    ids = batches.items(project, batch_id=batch.id, items=(each for each in [*bad, {"value": 2}]), ignore_errors=True)
    assert ids == [f"{batch.id}:1", f"{batch.id}:2"]
    assert sorted(ids.last_items_import.errors) == [0, 2]
    assert [item.input_data for item in batches.get_app_items(project, batch.id)] == [
        {"value": 1},
        {"value": 1},
        {"value": 2},
    ]
    assert batches.items(project, batch_id=batch.id, items=[]) == []


def test_many_items(batches: Any, project: str) -> None:
    batch = batches.create(project, items=({"value": n} for n in range(5000)))
    ids = batches.items(project, batch_id=batch.id, items=[{"value": n} for n in range(5000, 12_000)])
    assert ids == [f"{batch.id}:{n}" for n in range(5000, 12_000)]
    assert batches.get_app_batch(project, batch.id).items_count == 12_000
    assert batches.get_app_item(project, ids[-1]).input_data == {"value": 11_999}


def test_items_are_never_recognized_as_copies(batches: Any, project: str) -> None:
    batch = batches.create(project, items=[{"value": 1}, {"value": 1}], force_new_original=True)
    assert batch.items_count == 2
    with pytest.raises(ValueError, match="force_new_original"):
        batches.create(project, items=[{"value": 1}], force_new_original=False)


# ----------------------------------------------------------------------------------------------------------- find


def test_find(batches: Any, project: str) -> None:
    names = ["c", "a", "b", "a"]
    made = [batches.create(project, name=name) for name in names]
    batches.archive(project, made[2].id)
    for sort, places in {
        None: [0, 1, 2, 3],
        "id": [0, 1, 2, 3],
        "-id": [3, 2, 1, 0],
        "name": [1, 3, 2, 0],
        "-name": [0, 2, 1, 3],
        "created": [0, 1, 2, 3],
        "-created": [3, 2, 1, 0],
        "status": [0, 1, 2, 3],
    }.items():
        found = batches.find_app_batches(project, sort=sort)
        assert [batch.id for batch in found.content] == [made[place].id for place in places], sort
        assert found.items == found.content
        assert not found.has_more
    assert batches.find_app_batches(project, sort=["-name", "id"]).content[0].name == "c"
    found = batches.find_app_batches(project, AppBatchSearchRequest(status="NEW"), ["name"], 2)
    assert ([batch.id for batch in found.content], found.has_more) == ([made[1].id, made[3].id], True)
    found = batches.find_app_batches(project, status="NEW", name_gt="a", limit=1)
    assert ([batch.id for batch in found.content], found.has_more) == ([made[0].id], False)
    assert batches.find_app_batches(project, status="NO_MONEY").content == []


def test_has_more_is_exact_and_a_page_never_empty_before_the_end(batches: Any, project: str) -> None:
    for _ in range(4):
        batches.create(project)
    requests = listed(batches)
    for limit in (1, 3, 4, 5, 1000):
        found = batches.find_app_batches(project, limit=limit)
        assert (len(found.content), found.has_more) == (min(limit, 4), limit < 4)
    assert [request.page_size for request in requests] == [2, 4, 5, 6, 1001]
    assert batches.find_app_batches(f"{project}-unused").has_more is False


def test_short_pages_are_read_on(batches: Any, project: str) -> None:
    made = [batches.create(project) for _ in range(4)]
    requests = listed(batches)
    service = bare(batches)._connection.service
    sent: Callable[..., Any] = service.ListBatchTasks

    def small(request: Any, **more: Any) -> Any:
        copy = type(request)()
        copy.CopyFrom(request)
        copy.page_size = 1
        return sent(copy, **more)

    service.ListBatchTasks = small
    found = batches.find_app_batches(project, limit=3)
    assert [batch.id for batch in found.content] == [batch.id for batch in made[:3]]
    assert found.has_more
    assert len(requests) == 4


def test_limits_that_there_are_not(batches: Any, project: str) -> None:
    for limit in (0, -1, 1001):
        with pytest.raises(ValueError, match="limit must be from 1 to 1000"):
            batches.find_app_batches(project, limit=limit)


# ------------------------------------------------------------------------------------------------------ operations


def test_waiting(batches: Any, project: str, gate: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch = batches.create(project, items=[{"hold": str(gate)}, {"value": 1}])
    operation = batches.get_operation(batch.operation_id)
    assert (operation.status, operation.batch_id, operation.progress) == ("PENDING", batch.id, 0)
    assert operation.submitted == batch.created_at
    batches.start(project, batch.id)
    until_held(batches, project, batch.id, gate)
    with pytest.raises(TimeoutError):
        batches.wait_operation(operation, timedelta(seconds=0.2), disable_progress=True)
    assert capsys.readouterr().err == ""
    assert batches.get_operation(batch.operation_id).status == "RUNNING"
    gate.touch()
    done = batches.wait_operation(operation)
    assert (done.status, done.progress, done.is_completed(), done.details) == ("SUCCESS", 100, True, "")
    assert done.submitted < done.started < done.finished
    assert done.raise_on_fail() is None
    assert "records" in capsys.readouterr().err
    assert batches.wait_operation(done) is done


def test_waiting_for_one_that_fails(client: Any, batches: Any, project: str) -> None:
    batch = batches.create(project, items=[{"fail": "no"}])
    batches.start(project, batch.id)
    done = batches.wait_operation(batches.get_operation(batch.operation_id), disable_progress=True)
    assert (done.status, done.details) == ("FAIL", "no")
    with pytest.raises(surface.FailedOperation) as caught:
        done.raise_on_fail()
    assert caught.value.operation is done
    client.batch.delete(batch.id)
    with pytest.raises(DoesNotExistApiError):
        batches.get_operation(batch.operation_id)


def test_waiting_without_rich(batches: Any, project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rich", None)
    batch = batches.create(project, items=[{"value": 1}])
    batches.start(project, batch.id)
    assert batches.wait_operation(batches.get_operation(batch.operation_id)).status == "SUCCESS"


# ---------------------------------------------------------------------------------------------------------- errors


def test_what_does_not_exist(batches: Any, client: Any, project: str) -> None:
    batch = batches.create(project)
    verbs = ["get_app_batch", *(f"{verb}_app_batch" for verb in ("start", "stop", "resume", "archive", "unarchive"))]
    for verb in verbs:
        with pytest.raises(DoesNotExistApiError) as caught:
            getattr(batches, verb)(project, "nothing")
        assert isinstance(caught.value, batchyard.ResourceNotFoundError)
    for missing in (f"{batch.id}:0", "nothing:0"):
        with pytest.raises(DoesNotExistApiError):
            batches.get_app_item(project, missing)
    with pytest.raises(DoesNotExistApiError):
        list(batches.get_app_items(project, "nothing"))
    with pytest.raises(DoesNotExistApiError):
        batches.get_operation("nothing")
    with pytest.raises(DoesNotExistApiError):
        app_batches(client, "nowhere").create(project)
    with pytest.raises(ValueError, match="status must be one of NEW"):
        batches.get_app_items(project, batch.id, status="DONE")


def test_requests_and_fields_do_not_mix(batches: Any, project: str) -> None:
    for method in (batches.find_app_batches, batches.create, batches.items):
        for given, fields in ((AppBatchPatch(), {}), (None, {"price": 1})):
            with pytest.raises(TypeError):
                method(project, given, **fields)
    with pytest.raises(TypeError, match="name"):
        batches.create(project, AppBatchCreateRequest(), name="n")
    with pytest.raises(TypeError, match="not one dict"):
        batches.create(project, items={"value": 1})
    with pytest.raises(TypeError, match="batch_id"):
        batches.items(project, items=[])


# ----------------------------------------------------------------------------------------------------------- owning


def test_whose_the_client_is(real: Process, project: str) -> None:
    with Client(real.target) as client:
        with AppBatches(client) as batches:
            assert list(batches.get_app_batches(project)) == []
        assert list(client.batch.list_info()) is not None
    with AppBatches(real.target) as batches:
        assert list(batches.get_app_batches(project)) == []
    with pytest.raises(ValueError, match="closed"):
        list(batches.get_app_batches(project))
    batches.close()


async def test_whose_the_asynchronous_client_is(real: Process, project: str) -> None:
    async with AsyncAppBatches(real.target, "echo") as batches:
        batch = await batches.create(project, items=[1])
        assert [each.id async for each in batches.get_app_batches(project)] == [batch.id]
    with pytest.raises(grpc.aio.UsageError, match="closed"):
        await batches.get_app_batch(project, batch.id)
