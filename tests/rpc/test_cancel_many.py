"""Does CancelBatchTasks stop what matches, nothing else, and each once, however often and by whom it is called?"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from typing import Any

import grpc
import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.engine import cancel_many
from batchyard_server.model import limits
from batchyard_server.model.errors import Code, Reason
from tests.rpc.stages import FINAL, STATES, info, put
from tests.rpc.test_errors import fail
from tests.rpc.world import PROJECT, create, fresh_request_id, name
from tests.support.errors import provokes
from tests.support.server import SECONDS, Served, serving

CANCEL = "CancelBatchTasks"
State = BatchTaskInfo.State
Response = service.CancelBatchTasksResponse


def asked(
    wanted: str, *, token: str = "", validate_only: bool = False, request_id: str = "", reason: str = ""
) -> service.CancelBatchTasksRequest:
    """A call."""
    return service.CancelBatchTasksRequest(
        parent=PROJECT,
        filter=wanted,
        page_token=token,
        validate_only=validate_only,
        request_id=request_id,
        reason=reason,
    )


async def make(server: Served, *ids: str) -> None:
    """QUEUED tasks, the first one the oldest."""
    for task_id in ids:
        await server.tasks.CreateBatchTask(create(task_id))


async def states(server: Served) -> dict[str, str]:
    """The state of each task, by id."""
    found = await server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT, page_size=1000))
    return {each.name.rpartition("/")[2]: State.Name(each.state) for each in found.batch_tasks}


async def test_all_that_is_not_over(server: Served) -> None:
    for state in STATES:
        await put(server, state, state.lower())
    other = create("other")
    other.parent = "projects/other"
    await server.tasks.CreateBatchTask(other)
    before = {state: await info(server, state.lower()) for state in STATES}
    wanted = [name(state.lower()) for state in ("PAUSED", "PAUSING", "RUNNING", "QUEUED", "DRAFT")]
    counted = await server.tasks.CancelBatchTasks(asked("*", validate_only=True))
    assert (counted.cancelled_count, list(counted.batch_tasks), counted.next_page_token) == (5, wanted, "")
    assert before == {state: await info(server, state.lower()) for state in STATES}
    done = await server.tasks.CancelBatchTasks(asked(" * ", reason="too much"))
    assert done == counted
    for state in STATES:
        now = await info(server, state.lower())
        if state in FINAL or state == "CANCELLING":
            assert now == before[state]
        elif state in ("RUNNING", "PAUSING"):
            assert (now.state, now.stop_reason) == (State.CANCELLING, BatchTaskInfo.CANCEL)
        else:
            assert (now.state, now.stop_reason) == (State.CANCELLED, BatchTaskInfo.CANCEL)
            assert now.error.message == "the batch task was cancelled: too much"
    assert await server.tasks.CancelBatchTasks(asked("*")) == Response()
    found = await server.tasks.GetBatchTask(service.GetBatchTaskRequest(name="projects/other/batchTasks/other"))
    assert found.state == State.QUEUED


@pytest.mark.parametrize(
    ("wanted", "stopped"),
    [
        ("state=QUEUED", {"a", "b", "c"}),
        ('id="a"', {"a"}),
        (f'name="{name("b")}" OR state=RUNNING', {"b", "r"}),
        ("labels.team=red", {"c"}),
        ("labels.team=red AND state=RUNNING", set[str]()),
        ("NOT labels:team AND priority<0", {"b"}),
        ("display_name:nightly", {"r"}),
        ('handler=echo AND create_time>"2020-01-01T00:00:00Z" AND archived=false AND counts.total=3', {"r"}),
        ('name="projects/other/batchTasks/*"', set[str]()),
    ],
)
async def test_only_what_matches(server: Served, wanted: str, stopped: set[str]) -> None:
    await make(server, "a")
    for task_id, fields in (("b", {"priority": -1}), ("c", {"labels": {"team": "red"}})):
        request = create(task_id)
        request.batch_task.MergeFrom(BatchTaskInfo(**fields))  # type: ignore[arg-type]
        await server.tasks.CreateBatchTask(request)
    await put(server, "RUNNING", "r", display_name="the nightly one")
    done = await server.tasks.CancelBatchTasks(asked(wanted))
    assert {each.rpartition("/")[2] for each in done.batch_tasks} == stopped
    assert done.cancelled_count == len(stopped)
    assert {task for task, state in (await states(server)).items() if state.startswith("CANCEL")} == stopped


async def test_page_by_page(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"t{number:02}" for number in range(23)]
    await make(server, *ids)
    monkeypatch.setattr(limits, "CANCELLED_TASKS", 7)
    monkeypatch.setattr(limits, "CANCELLED_NAMES", 3)
    monkeypatch.setattr(cancel_many, "SLICE", 2)
    for validate_only in (True, False):
        counts: list[int] = []
        token = ""
        while True:
            answer = await server.tasks.CancelBatchTasks(asked("*", token=token, validate_only=validate_only))
            left = ids[: len(ids) - sum(counts)]
            assert list(answer.batch_tasks) == [name(each) for each in left[::-1][: min(3, answer.cancelled_count)]]
            counts.append(answer.cancelled_count)
            token = answer.next_page_token
            if not token:
                break
        assert counts == [7, 7, 7, 2]
    assert set((await states(server)).values()) == {"CANCELLED"}


async def test_a_page_looks_at_so_many(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    await make(server, "wanted", *(f"other{number}" for number in range(9)))
    monkeypatch.setattr(limits, "EXAMINED_TASKS", 4)
    counts: list[int] = []
    token = ""
    while not counts or token:
        answer = await server.tasks.CancelBatchTasks(asked('display_name="" AND uid:* AND id:wanted', token=token))
        counts.append(answer.cancelled_count)
        token = answer.next_page_token
    assert sum(counts) == 1
    assert len(counts) == 3


@provokes(Reason.INVALID_TOKEN)
async def test_a_token_belongs_to_its_filter_and_mode(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CANCELLED_TASKS", 1)
    await make(server, "a", "b", "c")
    token = (await server.tasks.CancelBatchTasks(asked("state=QUEUED"))).next_page_token
    for request in (asked("*", token=token), asked("state=QUEUED", token=token, validate_only=True)):
        found = await fail(server, CANCEL, request)
        assert (found.reason, found.field) == (Reason.INVALID_TOKEN, "page_token")
    assert (await server.tasks.CancelBatchTasks(asked("state=QUEUED", token=token))).cancelled_count == 1


@pytest.mark.parametrize("wanted", ["", "  "])
@provokes(Reason.INVALID_FIELD)
async def test_nothing_is_not_everything(server: Served, wanted: str) -> None:
    await make(server, "a")
    found = await fail(server, CANCEL, asked(wanted))
    assert (found.code, found.field) == (Code.INVALID_ARGUMENT, "filter")
    assert await states(server) == {"a": "QUEUED"}


@pytest.mark.parametrize("field", ["parent", "request_id", "reason"])
@provokes(Reason.INVALID_FIELD)
async def test_what_else_is_refused(server: Served, field: str) -> None:
    await make(server, "a")
    request = asked("*", reason="x" * limits.REASON.maximum)
    assert (await server.tasks.CancelBatchTasks(asked("id=nobody", reason=request.reason))).cancelled_count == 0
    setattr(request, field, {"parent": "projects", "request_id": "1", "reason": request.reason + "x"}[field])
    found = await fail(server, CANCEL, request)
    assert (found.code, found.field) == (Code.INVALID_ARGUMENT, field)
    assert await states(server) == {"a": "QUEUED"}


@provokes(Reason.INVALID_FILTER)
async def test_what_cannot_be_read(server: Served) -> None:
    await make(server, "a")
    found = await fail(server, CANCEL, asked("state=QUEUED AND"))
    assert (found.field, found.metadata["position"]) == ("filter", "16")
    assert await states(server) == {"a": "QUEUED"}


@provokes(Reason.REQUEST_ID_REUSED)
async def test_a_repeated_call_gets_the_answer_of_the_first(tmp_path: pathlib.Path) -> None:
    request = asked("state=QUEUED", request_id=fresh_request_id())
    nothing = asked("labels:nobody", request_id=fresh_request_id())
    async with serving(tmp_path) as server:
        await make(server, "a", "b")
        assert await server.tasks.CancelBatchTasks(nothing) == Response()
        first = await server.tasks.CancelBatchTasks(request)
        assert first.cancelled_count == 2
        await make(server, "c")
        assert await server.tasks.CancelBatchTasks(request) == first
    async with serving(tmp_path) as server:
        assert await server.tasks.CancelBatchTasks(request) == first
        assert await states(server) == {"a": "CANCELLED", "b": "CANCELLED", "c": "QUEUED"}
        taken = create("d")
        taken.batch_task.labels["nobody"] = "x"
        await server.tasks.CreateBatchTask(taken)
        assert await server.tasks.CancelBatchTasks(nothing) == Response()
        for other in (
            asked("*", request_id=request.request_id),
            asked("state=QUEUED", request_id=request.request_id, reason="why"),
        ):
            assert (await fail(server, CANCEL, other)).reason is Reason.REQUEST_ID_REUSED
        create_with_it = create("e", request_id=request.request_id)
        assert (await fail(server, "CreateBatchTask", create_with_it)).reason is Reason.REQUEST_ID_REUSED
        used = fresh_request_id()
        await server.tasks.CreateBatchTask(create("f", request_id=used))
        assert (await fail(server, CANCEL, asked("*", request_id=used))).reason is Reason.REQUEST_ID_REUSED
        assert (await states(server))["f"] == "QUEUED"


async def test_the_same_call_many_times_at_once(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel_many, "SLICE", 3)
    await make(server, *(f"t{number}" for number in range(20)))
    request = asked("*", request_id=fresh_request_id())
    answers = await asyncio.gather(*(server.tasks.CancelBatchTasks(request) for _ in range(10)))
    assert {each.cancelled_count for each in answers} == {20}
    assert all(each == answers[0] for each in answers)


async def test_other_calls_at_once_stop_each_task_once(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel_many, "SLICE", 3)
    await make(server, *(f"t{number}" for number in range(30)))
    answers = await asyncio.gather(
        *(server.tasks.CancelBatchTasks(asked("*", request_id=fresh_request_id())) for _ in range(5))
    )
    assert sum(each.cancelled_count for each in answers) == 30


async def test_what_a_dying_server_did_is_told_by_the_next_one(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second slice is stored, and its answer is lost: the answer kept so far says where to go on."""
    monkeypatch.setattr(cancel_many, "SLICE", 2)
    request = asked("*", request_id=fresh_request_id())
    async with serving(tmp_path, failpoints="engine.cancel.after_store=error@2") as server:
        await make(server, *(f"t{number}" for number in range(7)))
        with pytest.raises(grpc.RpcError):
            await server.tasks.CancelBatchTasks(request)
    async with serving(tmp_path) as server:
        kept = await server.tasks.CancelBatchTasks(request)
        assert (kept.cancelled_count, list(kept.batch_tasks)) == (4, [name(f"t{number}") for number in (6, 5, 4, 3)])
        assert list((await states(server)).values()).count("QUEUED") == 3
        rest = await server.tasks.CancelBatchTasks(asked("*", token=kept.next_page_token))
        assert (rest.cancelled_count, rest.next_page_token) == (3, "")


async def test_whoever_leaves_is_told_what_was_done(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller hangs up while the second slice is on its way: that is stored, the third one is not begun."""
    monkeypatch.setattr(cancel_many, "SLICE", 2)
    await make(server, *(f"t{number}" for number in range(7)))
    write, slices = server.store.update_tasks, list[int]()
    reached, gate = asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any) -> Any:
        slices.append(len(arguments[0]))
        writing = asyncio.ensure_future(write(*arguments))
        if len(slices) == 2:
            reached.set()
            await gate.wait()
        return await writing

    monkeypatch.setattr(server.store, "update_tasks", slow)
    request = asked("*", request_id=fresh_request_id())
    left = server.tasks.CancelBatchTasks(request)
    await asyncio.wait_for(reached.wait(), SECONDS)
    left.cancel()
    again = await server.tasks.CancelBatchTasks(request)
    assert slices == [2, 2]
    assert (again.cancelled_count, list((await states(server)).values()).count("CANCELLED")) == (4, 4)
    rest = await server.tasks.CancelBatchTasks(asked("*", token=again.next_page_token))
    assert (rest.cancelled_count, rest.next_page_token) == (3, "")


async def test_a_task_that_matches_no_more_when_its_turn_comes(server: Served) -> None:
    """Between the read and the commit one task begins to run, one is deleted, one changes its label."""
    await make(server, "begins", "gone", "renamed", "stays")
    store = server.store
    read = store.named_tasks

    async def late(*arguments: object, **named: object) -> object:
        page = await read(*arguments, **named)  # type: ignore[arg-type]
        await server.lease(name("begins"), [0])
        await server.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=name("gone"), force=True))
        change = service.UpdateBatchTaskRequest(batch_task={"name": name("renamed"), "display_name": "other"})
        await server.tasks.UpdateBatchTask(change)
        return page

    with contextlib.ExitStack() as patched:
        patched.callback(setattr, store, "named_tasks", read)
        setattr(store, "named_tasks", late)  # noqa: B010
        done = await server.tasks.CancelBatchTasks(asked('state=QUEUED AND display_name=""'))
    assert list(done.batch_tasks) == [name("stays")]
    assert await states(server) == {"begins": "RUNNING", "renamed": "QUEUED", "stays": "CANCELLED"}
