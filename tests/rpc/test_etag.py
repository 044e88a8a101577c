"""Does every verb that takes an etag act only on the configuration that its caller saw (AIP-154)?"""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.model.errors import Code, Reason
from tests.rpc.stages import info, put
from tests.rpc.test_errors import fail
from tests.rpc.world import name
from tests.support.errors import provokes
from tests.support.server import Served

# Each verb, its request, and a state in which it changes something.
VERBS: dict[str, tuple[Any, str]] = {
    "StartBatchTask": (service.StartBatchTaskRequest(), "DRAFT"),
    "PauseBatchTask": (service.PauseBatchTaskRequest(), "QUEUED"),
    "ResumeBatchTask": (service.ResumeBatchTaskRequest(), "PAUSED"),
    "CancelBatchTask": (service.CancelBatchTaskRequest(), "RUNNING"),
    "ReactivateBatchTask": (service.ReactivateBatchTaskRequest(), "FAILED"),
    "UpdateBatchTask": (service.UpdateBatchTaskRequest(batch_task={"priority": 9}), "QUEUED"),
    "DeleteBatchTask": (service.DeleteBatchTaskRequest(allow_missing=True), "SUCCEEDED"),
}


def request(verb: str, etag: str) -> Any:
    kind, _ = VERBS[verb]
    made = type(kind)()
    made.CopyFrom(kind)
    owner = made.batch_task if verb == "UpdateBatchTask" else made
    owner.name, owner.etag = name("t"), etag
    return made


def test_every_verb_with_an_etag_is_here() -> None:
    methods = service.DESCRIPTOR.services_by_name["BatchTaskService"].methods
    with_etag = {method.name for method in methods if "etag" in method.input_type.fields_by_name}
    assert set(VERBS) == {*with_etag, "UpdateBatchTask"}


@pytest.mark.parametrize("verb", VERBS)
@provokes(Reason.ETAG_MISMATCH)
async def test_another_etag_is_refused_and_changes_nothing(server: Served, verb: str) -> None:
    seen = await put(server, VERBS[verb][1])
    change = service.UpdateBatchTaskRequest(batch_task=BatchTaskInfo(name=name("t"), display_name="changed since"))
    before = await server.tasks.UpdateBatchTask(change)
    for etag in (seen.etag, "*", '"', f"W/{before.etag}", before.etag.upper() + " ", "x" * 100_000):
        found = await fail(server, verb, request(verb, etag))
        assert (found.code, found.reason) == (Code.ABORTED, Reason.ETAG_MISMATCH)
        assert found.metadata == {"batch_task": name("t"), "etag": before.etag}
    assert await info(server) == before


@pytest.mark.parametrize("verb", VERBS)
async def test_the_present_etag_is_no_hindrance(server: Served, verb: str) -> None:
    before = await put(server, VERBS[verb][1])
    await getattr(server.tasks, verb)(request(verb, before.etag))
    if verb != "DeleteBatchTask":
        after = await info(server)
        assert after != before
        assert (after.etag == before.etag) == (verb != "UpdateBatchTask")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("UpdateBatchTask", "DeleteBatchTask")])
@provokes(Reason.ETAG_MISMATCH)
async def test_an_etag_is_checked_before_the_state(server: Served, verb: str) -> None:
    await put(server, "CANCELLING")
    found = await fail(server, verb, request(verb, '"another"'))
    assert found.reason is Reason.ETAG_MISMATCH


async def test_an_etag_is_never_that_of_another_task_or_of_one_that_was_deleted(server: Served) -> None:
    first = await put(server, "DRAFT")
    other = await put(server, "DRAFT", "other")
    await server.tasks.DeleteBatchTask(request("DeleteBatchTask", first.etag))
    anew = await put(server, "DRAFT")
    assert len({first.etag, other.etag, anew.etag}) == 3
