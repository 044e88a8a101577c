"""UpdateBatchTask: what may be changed in which state, what a mask names, and what follows from a change."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import PreconditionFailure, ResourceInfo

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.codec.update import LEAVES
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.names import parse_task
from batchyard_server.model.settings import Settings
from tests.rpc.stages import FINAL, STATES, info, put
from tests.rpc.test_errors import fail
from tests.rpc.world import PROJECT, fresh_request_id, name
from tests.support.clock import FakeClock
from tests.support.errors import provokes
from tests.support.server import Served, serving

State = BatchTaskInfo
# One other value for everything that can be changed.
OTHER: dict[str, dict[str, Any]] = {
    "display_name": {"display_name": "other"},
    "labels": {"labels": {"team": "b"}},
    "archived": {"archived": True},
    "priority": {"priority": 7},
    "parallel_count": {"parallel_count": 2},
    "constraints.max_wall_clock_time": {"constraints": {"max_wall_clock_time": {"seconds": 100}}},
    "constraints.record_timeout": {"constraints": {"record_timeout": {"seconds": 2}}},
    "constraints.retention_time": {"constraints": {"retention_time": {"seconds": 60}}},
    "constraints.max_retry_count": {"constraints": {"max_retry_count": -1}},
    "retry_policy.initial_backoff": {"retry_policy": {"initial_backoff": {"seconds": 2}}},
    "retry_policy.max_backoff": {"retry_policy": {"max_backoff": {"seconds": 3}}},
    "retry_policy.multiplier": {"retry_policy": {"multiplier": 4.0}},
    "retry_policy.retryable_codes": {"retry_policy": {"retryable_codes": [14]}},
    "failure_policy.max_failed_records": {"failure_policy": {"max_failed_records": 5}},
    "failure_policy.max_failed_ratio": {"failure_policy": {"max_failed_ratio": 0.5}},
    "handler": {"handler": "python_audit"},
    "parameters": {"parameters": {"text": "2"}},
}
EVERYTHING = BatchTaskInfo()
for _fields in OTHER.values():
    EVERYTHING.MergeFrom(BatchTaskInfo(**_fields))
ALWAYS = {"display_name", "labels", "archived"}
DRAFT_ONLY = {"handler", "parameters"}


def request(*paths: str, etag: str = "", request_id: str = "", **fields: Any) -> service.UpdateBatchTaskRequest:
    """An update of the task `t`: these fields, and a mask if there are paths."""
    return service.UpdateBatchTaskRequest(
        batch_task=BatchTaskInfo(name=name("t"), etag=etag, **fields),
        update_mask=FieldMask(paths=paths) if paths else None,
        request_id=request_id,
    )


async def update(server: Served, *paths: str, **fields: Any) -> BatchTaskInfo:
    """What it answers, which is what is there."""
    answer = await server.tasks.UpdateBatchTask(request(*paths, **fields))
    assert answer == await info(server)
    return answer


async def settings(server: Served) -> Settings:
    """What the server acts on."""
    return (await server.store.get_task(parse_task(name("t")))).settings


def without(message: BatchTaskInfo, *fields: str) -> BatchTaskInfo:
    """The same without some fields."""
    kept = BatchTaskInfo()
    kept.CopyFrom(message)
    for field in fields:
        kept.ClearField(field)  # pyright: ignore[reportArgumentType] - a name of BatchTaskInfo
    return kept


def changes(path: str, state: str) -> bool:
    """Whether it may be changed in that state, by the contract."""
    if path in ALWAYS:
        return True
    if path in DRAFT_ONLY:
        return state == "DRAFT"
    return state not in FINAL or path == "constraints.retention_time"


def test_everything_that_can_be_changed_is_here() -> None:
    assert set(OTHER) == set(LEAVES)


@pytest.mark.parametrize("state", STATES)
async def test_what_may_be_changed_in_a_state(tmp_path: pathlib.Path, state: str) -> None:
    clock = FakeClock()
    async with serving(tmp_path, clock=clock) as server:
        before = await put(server, state)
        assert before.etag == f'"{before.uid[-12:]}-1"'
        for path in [path for path in OTHER if changes(path, state)]:
            clock.advance(1)
            after = await update(server, path, **OTHER[path])
            wanted = without(before, "update_time", "etag", "expire_time")
            wanted.MergeFrom(BatchTaskInfo(**OTHER[path]))
            assert without(after, "update_time", "etag", "expire_time") == wanted
            assert after.update_time.ToMicroseconds() == clock.now_us()
            assert after.etag == f'"{after.uid[-12:]}-{int(before.etag[14:-1]) + 1}"'
            before = after


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(state, marks=provokes(Reason.TASK_COMPLETED if state in FINAL else Reason.ILLEGAL_STATE))
        for state in STATES
        if state != "DRAFT"
    ],
)
async def test_what_may_not_be_changed_in_a_state(server: Served, state: str) -> None:
    before = await put(server, state)
    for path in [path for path in OTHER if not changes(path, state)]:
        found = await fail(server, "UpdateBatchTask", request(path, **OTHER[path]))
        wanted = Reason.TASK_COMPLETED if state in FINAL else Reason.ILLEGAL_STATE
        assert (found.code, found.reason) == (Code.FAILED_PRECONDITION, wanted)
        assert found.metadata == {"state": state, "verb": "update", "fields": path}
        (violation,) = found.detail(PreconditionFailure).violations
        assert (violation.type, violation.subject) == (wanted, "state")
    assert await info(server) == before


@pytest.mark.parametrize("state", STATES)
async def test_what_does_not_differ_is_never_refused_and_changes_nothing(tmp_path: pathlib.Path, state: str) -> None:
    clock = FakeClock()
    async with serving(tmp_path, clock=clock) as server:
        fields = {field.name: value for field, value in without(EVERYTHING, "handler").ListFields()}
        before = await put(server, state, **fields)
        clock.advance(1)
        for paths in ([], ["*"], sorted(OTHER), ["constraints", "retry_policy", "failure_policy", "handler", "state"]):
            sent = BatchTaskInfo()
            sent.CopyFrom(before)
            answer = await server.tasks.UpdateBatchTask(
                service.UpdateBatchTaskRequest(batch_task=sent, update_mask=FieldMask(paths=paths))
            )
            assert answer == before
            assert await info(server) == before


async def test_without_a_mask_what_is_set_is_changed_and_nothing_else(server: Served) -> None:
    before = await put(
        server,
        "QUEUED",
        display_name="A task",
        labels={"a": "1", "b": "2"},
        constraints={"record_timeout": {"seconds": 9}, "max_retry_count": 3},
        retry_policy={"retryable_codes": [4, 8]},
        priority=5,
    )
    after = await update(
        server,
        labels={"c": "3"},
        constraints={"retention_time": {}, "max_retry_count": 0},
        retry_policy={"retryable_codes": [14]},
        failure_policy={},
        state=State.FAILED,
        uid="nonsense",
    )
    assert after.labels == {"c": "3"}
    assert after.display_name == before.display_name
    assert after.priority == 5
    assert (
        after.constraints
        == BatchTaskInfo(
            constraints={"record_timeout": {"seconds": 9}, "retention_time": {}, "max_retry_count": 0}
        ).constraints
    )
    assert after.constraints.HasField("max_retry_count")
    assert after.retry_policy.retryable_codes == [14]
    assert not after.HasField("failure_policy")
    assert (after.state, after.uid) == (before.state, before.uid)
    found = await settings(server)
    assert (found.retention_us, found.record_timeout_us, found.max_retry_count) == (0, 9_000_000, 0)


async def test_an_empty_mask_is_no_mask(server: Served) -> None:
    await put(server, "QUEUED", display_name="A task", priority=5)
    empty = request(priority=6)
    empty.update_mask.SetInParent()
    after = await server.tasks.UpdateBatchTask(empty)
    assert (after.priority, after.display_name) == (6, "A task")


async def test_what_is_named_and_not_set_gets_its_default(server: Served) -> None:
    await put(server, "QUEUED", **{field.name: value for field, value in without(EVERYTHING, "handler").ListFields()})
    after = await update(server, "display_name", "labels", "archived", "priority", "parallel_count")
    assert (after.display_name, dict(after.labels), after.archived) == ("", {}, False)
    assert not after.HasField("priority")
    assert not after.HasField("parallel_count")
    assert after.constraints == EVERYTHING.constraints
    after = await update(server, "constraints.max_retry_count", "retry_policy.retryable_codes")
    assert not after.constraints.HasField("max_retry_count")
    assert after.constraints.record_timeout == EVERYTHING.constraints.record_timeout
    assert after.retry_policy.multiplier == EVERYTHING.retry_policy.multiplier
    assert (await settings(server)).retryable_codes == Settings().retryable_codes
    after = await update(server, "constraints", "retry_policy", "failure_policy", constraints={})
    for part in ("constraints", "retry_policy", "failure_policy"):
        assert not after.HasField(part)
    assert await settings(server) == Settings()


async def test_a_part_that_is_named_is_replaced_as_a_whole(server: Served) -> None:
    await put(server, "RUNNING", constraints=EVERYTHING.constraints)
    after = await update(server, "constraints", constraints={"max_retry_count": 4})
    assert after.constraints == BatchTaskInfo(constraints={"max_retry_count": 4}).constraints
    assert await settings(server) == Settings(max_retry_count=4)


async def test_the_parts_of_a_part_are_changed_one_by_one(server: Served) -> None:
    await put(server, "RUNNING", constraints=EVERYTHING.constraints)
    # What the message has beside the field that the mask names is passed over, whatever it is.
    after = await update(
        server,
        "constraints.retention_time",
        constraints={"retention_time": {"seconds": 5}, "max_retry_count": -7},
        display_name="x" * 1000,
    )
    wanted = BatchTaskInfo(constraints=EVERYTHING.constraints)
    wanted.constraints.retention_time.seconds = 5
    assert after.constraints == wanted.constraints
    assert after.display_name == ""


@pytest.mark.parametrize("state", STATES)
async def test_a_star_is_all_that_may_be_changed(server: Served, state: str) -> None:
    fields = {field.name: value for field, value in without(EVERYTHING, "handler").ListFields()}
    before = await put(server, state, **fields)
    after = await update(server, "*", handler="python_audit", display_name="starred")
    assert after.display_name == "starred"
    assert not after.labels
    assert not after.archived
    assert not after.constraints.HasField("retention_time")
    assert after.HasField("parameters") == (state != "DRAFT")
    assert after.handler == ("python_audit" if state == "DRAFT" else "echo")
    if state in FINAL:
        assert (after.priority, after.retry_policy) == (before.priority, before.retry_policy)
        assert after.constraints.max_retry_count == before.constraints.max_retry_count
    else:
        assert not after.HasField("priority")
        assert not after.HasField("constraints")
        assert not after.HasField("retry_policy")


@provokes(Reason.INVALID_FIELD)
async def test_a_draft_keeps_a_handler(server: Served) -> None:
    await put(server, "DRAFT")
    for asked in (request("*"), request("handler"), request("handler", handler="no id")):
        assert (await fail(server, "UpdateBatchTask", asked)).field == "batch_task.handler"
    assert (await update(server, display_name="A task")).handler == "echo"


@provokes(Reason.RESOURCE_NOT_FOUND)
async def test_a_new_handler_must_be_there(server: Served) -> None:
    await put(server, "DRAFT")
    found = await fail(server, "UpdateBatchTask", request(handler="nowhere"))
    assert (found.code, found.reason) == (Code.NOT_FOUND, Reason.RESOURCE_NOT_FOUND)
    assert found.detail(ResourceInfo).resource_name == f"{PROJECT}/handlers/nowhere"


@provokes(Reason.INVALID_FIELD)
@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "",
        "displayName",
        "labels.team",
        "parameters.text",
        "constraints.nothing",
        "constraints.retention_time.seconds",
        "counts.nothing",
        "error.details.value",
        "display_name.x",
        "x" * 100_000,
    ],
)
async def test_a_path_that_names_nothing(server: Served, path: str) -> None:
    await put(server, "QUEUED")
    found = await fail(server, "UpdateBatchTask", request("display_name", path, display_name="x"))
    assert (found.code, found.reason) == (Code.INVALID_ARGUMENT, Reason.INVALID_FIELD)
    assert found.field == "update_mask"
    assert found.metadata["path"] == path[:128]
    found = await fail(server, "UpdateBatchTask", request("*", "display_name"))
    assert found.field == "update_mask"


async def test_fields_that_only_the_server_sets_are_passed_over(server: Served) -> None:
    before = await put(server, "RUNNING")
    set_by_server = {field.name for field in BatchTaskInfo.DESCRIPTOR.fields} - {path.split(".")[0] for path in OTHER}
    assert {"name", "uid", "etag", "state", "counts", "expire_time"} <= set_by_server
    paths = [*set_by_server, "counts.total", "create_time.seconds", "error.code"]
    assert await update(server, *paths, uid="x", state=State.FAILED, counts={"total": 9}, generation=4) == before
    after = await update(server, *paths, "priority", priority=1, state=State.FAILED)
    assert (after.priority, after.state) == (1, State.RUNNING)


@provokes(Reason.ETAG_MISMATCH)
async def test_only_the_configuration_that_the_caller_saw_is_changed(server: Served) -> None:
    first = await put(server, "QUEUED")
    second = await update(server, priority=1, etag=first.etag)
    assert second.etag != first.etag
    await server.lease(name("t"), [0])
    assert (await info(server)).etag == second.etag, "a state is no configuration"
    for etag in (first.etag, "x", second.etag.strip('"')):
        for fields in ({"priority": 2}, {"priority": 1}, {}):
            found = await fail(server, "UpdateBatchTask", request("priority", etag=etag, **fields))
            assert (found.code, found.reason) == (Code.ABORTED, Reason.ETAG_MISMATCH)
            assert found.metadata == {"batch_task": name("t"), "etag": second.etag}
    assert (await update(server, priority=2, etag=second.etag)).priority == 2


@provokes(Reason.REQUEST_ID_REUSED)
async def test_a_repeated_update_answers_the_task_as_it_is_now(server: Served) -> None:
    first = await put(server, "QUEUED")
    asked = request(priority=1, etag=first.etag, request_id=fresh_request_id())
    done = await server.tasks.UpdateBatchTask(asked)
    assert await server.tasks.UpdateBatchTask(asked) == done
    await update(server, priority=2)
    await server.finish(name("t"))
    again = await server.tasks.UpdateBatchTask(asked)
    assert (again.priority, again.state) == (2, State.SUCCEEDED)
    asked.batch_task.priority = 3
    assert (await fail(server, "UpdateBatchTask", asked)).reason is Reason.REQUEST_ID_REUSED


@provokes(Reason.INVALID_FIELD, Reason.RESOURCE_NOT_FOUND)
async def test_the_name_is_looked_up(server: Served) -> None:
    await put(server, "QUEUED")
    asked = request(priority=1)
    asked.batch_task.name = "t"
    assert (await fail(server, "UpdateBatchTask", asked)).field == "batch_task.name"
    asked.batch_task.name = name("T")
    assert (await fail(server, "UpdateBatchTask", asked)).detail(ResourceInfo).resource_name == name("T")
    asked.batch_task.name, asked.request_id = name("t"), "1"
    assert (await fail(server, "UpdateBatchTask", asked)).field == "request_id"


async def test_a_configuration_that_grows_and_shrinks(tmp_path: pathlib.Path) -> None:
    """Above 4 KiB it is kept apart from the row: there and back, in every state, and read by the next server."""
    small, large = {"a": "b"}, {f"key{i}": "x" * 256 for i in range(40)}
    async with serving(tmp_path) as server:
        for state in STATES:
            await put(server, state, state.lower(), labels=large if state in ("FAILED", "PAUSED") else small)
    for labels in (large, small, large, large, small):
        async with serving(tmp_path) as server:
            for state in STATES:
                asked = request("labels", labels=labels)
                asked.batch_task.name = name(state.lower())
                answer = await server.tasks.UpdateBatchTask(asked)
                assert answer.labels == labels
                assert answer == await info(server, state.lower())
            page = await server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT))
            assert len(page.batch_tasks) == len(STATES)
            for each in page.batch_tasks:
                assert each.labels == labels
                assert each == await info(server, each.name.rpartition("/")[2])


async def test_parameters_of_a_draft_that_grow_and_shrink(tmp_path: pathlib.Path) -> None:
    async with serving(tmp_path) as server:
        await put(server, "DRAFT", parameters={"text": '"small"'})
    for text in ("1" * 100_000, '"small"', "", "2" * 5_000):
        async with serving(tmp_path) as server:
            after = await update(server, "parameters", **({"parameters": {"text": text}} if text else {}))
            assert after.parameters.text == text
            assert after.HasField("parameters") == bool(text)
        async with serving(tmp_path) as server:
            assert await info(server) == after
            task = await server.store.get_task(parse_task(name("t")))
            assert task.parameters == (after.parameters.SerializeToString() if text else b"")
    async with serving(tmp_path) as server:
        await server.tasks.StartBatchTask(service.StartBatchTaskRequest(name=name("t")))
        await server.finish(name("t"))
        assert (await info(server)).parameters.text == text
