"""Names, signatures and words of `batchyard.app_batches` beyond the document of seed 003; without a server."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
import pytest

import batchyard
from batchyard import app_batches as surface
from batchyard._app_batch import item_place
from batchyard._app_errors import api_error
from batchyard._app_requests import sort_order
from batchyard._error_map import BY_CODE
from batchyard.app_batches import (
    AppBatch,
    AppBatchCreateRequest,
    AppBatches,
    AppBatchPatch,
    AppItemsCreateRequest,
    AsyncAppBatches,
    PriorityOrder,
)
from tests.seeds.app import parameters

BATCH = ["app_project_id", "batch_id"]
SIGNATURES = {
    "find_app_batches": ["app_project_id", "request", "sort=None", "limit=None"],
    "get_app_batch": BATCH,
    "create_app_batch": ["app_project_id", "request"],
    "patch_app_batch": [*BATCH, "patch"],
    **{f"{verb}_app_batch": BATCH for verb in ("start", "stop", "resume", "archive", "unarchive")},
    "create_app_items": ["app_project_id", "request"],
    "get_app_item": ["app_project_id", "app_item_id"],
    "wait_operation": ["op", f"timeout={timedelta(minutes=10)!r}", "disable_progress=False"],
    "get_operation": ["operation_id"],
}
SHORT = {
    "create": "create_app_batch",
    "items": "create_app_items",
    **{verb: f"{verb}_app_batch" for verb in ("start", "stop", "resume", "archive", "unarchive", "patch")},
}


@pytest.mark.parametrize("kind", [AppBatches, AsyncAppBatches])
@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(kind: Any, name: str) -> None:
    found = parameters(getattr(kind, name))
    # A request may be left out, since its fields can be given instead.
    without = [each for each in found if not each.startswith("**")]
    assert [each.replace("request=None", "request").replace("patch=None", "patch") for each in without] == SIGNATURES[
        name
    ]
    assert (len(found) > len(without)) is bool({"request", "patch"} & set(SIGNATURES[name]))


@pytest.mark.parametrize("kind", [AppBatches, AsyncAppBatches])
def test_short_names(kind: Any) -> None:
    assert {name: getattr(kind, name) for name in SHORT} == {name: getattr(kind, long) for name, long in SHORT.items()}


def test_words() -> None:
    assert [*AppBatch.Status] == [
        *("NEW", "QUEUED", "PROCESSING", "COMPLETED", "ERROR", "CANCELLED"),
        *("NO_MONEY", "ARCHIVE", "LOADING", "STOPPING", "STOPPED"),
    ]
    assert [*PriorityOrder] == ["ONE", "TWO", "THREE", "FOUR", "FIVE"]
    later = AppBatch.Status("LATER")  # a word of a newer server
    assert (later.name, later.value, later) == ("LATER", "LATER", AppBatch.Status("LATER"))
    assert isinstance(later, AppBatch.Status)


def test_fields_of_requests() -> None:
    kinds = (AppBatchCreateRequest, AppItemsCreateRequest, AppBatchPatch)
    more = ["force_new_original=None", "ignore_errors=None"]
    assert [parameters(kind.__init__)[1:] for kind in kinds] == [
        ["name=None", "items=None", "priority_order=None", *more],
        ["batch_id", "items", *more],
        ["name=None", "priority_order=None"],
    ]


def test_ids_of_items() -> None:
    assert item_place("a-b:17") == ("a-b", 17)
    for wrong in ("", "a", ":1", "a:", "a:-1", "a:x", "a:²"):
        with pytest.raises(ValueError, match="not the id of an item"):
            item_place(wrong)


@pytest.mark.parametrize("sort", ["price", "--id", "", ["name", "created"], ["name", "-id"], ["id", "id", "id"]])
def test_orders_that_there_are_not(sort: Any) -> None:
    with pytest.raises(ValueError, match="sort"):
        sort_order(sort)


@pytest.mark.parametrize("code", BY_CODE)
def test_every_error_has_a_name_that_is_known(code: grpc.StatusCode) -> None:
    own = BY_CODE[code](code, "text", batchyard.ErrorDetail("REASON", {"a": "b"}))
    error = api_error(own)
    assert isinstance(error, type(own))
    assert isinstance(error, surface.ApiError)
    assert type(error).__name__ in surface.__all__
    assert (error.code, error.message, error.reason, error.metadata) == (code, "text", "REASON", {"a": "b"})
    assert type(api_error(own)) is type(error)
