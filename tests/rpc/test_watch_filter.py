"""Does a watch with a filter tell of all that matches, of nothing else, and judge once for all who ask the same?"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.engine import watch_hub
from batchyard_server.engine.live import NullLive
from batchyard_server.model import limits
from batchyard_server.model.errors import Reason
from tests.rpc.stages import STATES, put
from tests.rpc.test_errors import fail
from tests.rpc.watching import Watcher, is_event, only_token, watching
from tests.rpc.world import PROJECT, create, name
from tests.support.clock import FakeClock
from tests.support.errors import provokes
from tests.support.server import Served, serving

LAST = {"labels": {"team": "red"}, "display_name": "last"}


async def update(server: Served, task_id: str, **fields: object) -> None:
    """Change what a task's creator chose."""
    task = BatchTaskInfo(name=name(task_id), **fields)  # type: ignore[arg-type]
    await server.tasks.UpdateBatchTask(service.UpdateBatchTaskRequest(batch_task=task, update_mask={"paths": fields}))


async def delete(server: Served, task_id: str) -> None:
    """Delete a task."""
    await server.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=name(task_id), force=True))


async def hear_all(server: Served, *watchers: Watcher) -> None:
    """Read what there is, up to a last task, which each of them is told of."""
    await put(server, "DRAFT", "last", **LAST)
    for watcher in watchers:
        await watcher.until(lambda message: message.batch_task == name("last"))
        await watcher.close()


def told(watcher: Watcher) -> list[str]:
    """Of which task it was told what, without the last one and without repetitions."""
    found: list[str] = []
    for each in watcher.messages:
        task_id = each.batch_task.rpartition("/")[2]
        if is_event(each) and task_id != "last":
            event = f"{task_id} {'DELETED' if each.deleted else BatchTaskInfo.State.Name(each.state)}"
            if event not in found[-1:]:
                found.append(event)
    return found


async def _live(server: Served) -> None:
    """Some tasks and what happens to them."""
    await put(server, "SUCCEEDED", "a", labels={"team": "red"})
    await put(server, "RUNNING", "b", labels={"team": "blue"}, priority=5)
    await update(server, "b", labels={"team": "red"})
    await update(server, "b", labels={"team": "blue"})
    await put(server, "CANCELLED", "c", display_name="nightly", labels={"team": "red", "kind": "x"})
    await delete(server, "a")
    await delete(server, "b")
    await update(server, "c", labels={})
    await delete(server, "c")


EVENTS = {
    'labels.team=red OR id="last"': [
        *("a QUEUED", "a RUNNING", "a SUCCEEDED", "b RUNNING", "c QUEUED", "c CANCELLED", "a DELETED"),
    ],
    'state=RUNNING OR id="last"': ["a RUNNING", "b RUNNING", "b DELETED"],
    'id="c" OR display_name="last"': ["c QUEUED", "c CANCELLED", "c DELETED"],
    'display_name:night OR id="last"': ["c QUEUED", "c CANCELLED", "c DELETED"],
    '(NOT labels:* AND id="c") OR id="last"': ["c CANCELLED", "c DELETED"],
    'priority>0 OR id="last"': ["b QUEUED", "b RUNNING", "b DELETED"],
    'end_time:* OR id="last"': ["a SUCCEEDED", "c CANCELLED", "a DELETED", "c CANCELLED", "c DELETED"],
    'counts.succeeded>0 OR id="last"': ["a SUCCEEDED", "a DELETED"],
}


async def test_what_happens_now(server: Served) -> None:
    watchers = {wanted: Watcher(server, filter=wanted) for wanted in EVENTS}
    for watcher in watchers.values():
        assert only_token(await watcher.until(lambda _: True))
    await watching(server, len(watchers))
    await _live(server)
    await hear_all(server, *watchers.values())
    assert {wanted: told(watcher) for wanted, watcher in watchers.items()} == EVENTS
    assert server.rpc.hub.facts.reads == 0, "what happens now is at hand"


async def test_what_happened_is_judged_by_what_is_still_known(server: Served) -> None:
    """All three tasks are gone: a filter that needs more than the log has is told of their ends alone."""
    watchers = {wanted: Watcher(server, filter=wanted) for wanted in EVENTS}
    for watcher in watchers.values():
        await watcher.until(only_token)
        await watcher.close()
    await _live(server)
    again = {wanted: Watcher(server, filter=wanted, token=watchers[wanted].token) for wanted in EVENTS}
    await hear_all(server, *again.values())
    ends = ["a DELETED", "b DELETED", "c DELETED"]
    for wanted, watcher in again.items():
        in_the_log = wanted.startswith(("state", "id", "counts"))
        assert told(watcher) == (EVENTS[wanted] if in_the_log and "display" not in wanted else ends), wanted


async def test_what_happened_to_tasks_that_are_there(server: Served) -> None:
    first = Watcher(server, filter="labels.team=red")
    await first.until(only_token)
    await first.close()
    await put(server, "SUCCEEDED", "a", labels={"team": "red"})
    await put(server, "FAILED", "b", labels={"team": "blue"})
    await put(server, "PAUSED", "c", labels={"team": "red"})
    again = Watcher(server, filter="labels.team=red", token=first.token)
    await hear_all(server, again)
    assert told(again) == ["a QUEUED", "a RUNNING", "a SUCCEEDED", "c QUEUED", "c PAUSED"]


@pytest.mark.parametrize("page", [3, 64])
async def test_the_snapshots(server: Served, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(limits, "WATCH_PAGE_TASKS", page)
    for state in STATES:
        await put(server, state, state.lower(), labels={"even": "yes"} if state in ("DRAFT", "FAILED") else {})
    for wanted, expected in {
        "state=FAILED OR state=PAUSED": {"failed", "paused"},
        "labels:even": {"draft", "failed"},
        "NOT start_time:* AND NOT labels:even": {"queued", "paused", "cancelled"},
        "id=nobody": set[str](),
        "*": {state.lower() for state in STATES},
    }.items():
        watcher = Watcher(server, filter=wanted)
        await watcher.until(only_token)
        await watcher.close()
        assert {each.split()[0] for each in told(watcher)} == expected, wanted
        assert all(each.HasField("metadata") for each in watcher.messages[:-1])


async def test_a_watch_that_is_cut_within_the_snapshots(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WATCH_PAGE_TASKS", 2)
    for number in range(9):
        await put(server, "DRAFT", f"t{number}", labels={"odd": str(number % 2)})
    token, found = "", list[str]()
    while True:
        watcher = Watcher(server, filter="labels.odd=1", token=token)
        message = await watcher.until(lambda _: True)
        await watcher.close()
        token = message.resume_token
        if only_token(message):
            break
        found.append(message.batch_task)
    assert found == [name(f"t{number}") for number in (7, 5, 3, 1)]


async def test_outcomes_of_what_matches_alone(server: Served) -> None:
    watcher = Watcher(server, filter="labels.team=red", include_records=True)
    await watcher.until(only_token)
    await watching(server, 1)
    await put(server, "SUCCEEDED", "blue", labels={"team": "blue"})
    await put(server, "SUCCEEDED", "red", labels={"team": "red"})
    await hear_all(server, watcher)
    assert watcher.indexes == [0, 1, 2]
    assert {each.name.split("/")[3] for each in watcher.records} == {"red"}
    assert {each.batch_task for each in watcher.messages if each.records} == {name("red")}


class _Live(NullLive):
    """Two records of every task run."""

    def is_live(self, task_key: int) -> bool:
        return True

    def running(self, task_key: int) -> frozenset[int]:
        return frozenset({0, 1})

    def all_running(self) -> Mapping[int, int]:
        return dict.fromkeys(range(10), 2)


async def test_how_many_records_run(tmp_path: pathlib.Path) -> None:
    async with serving(tmp_path, live=_Live()) as server:
        await put(server, "RUNNING", "before")
        watchers = [Watcher(server, filter=f'counts.running{wanted} OR id="last"') for wanted in ("=2", "!=2")]
        for watcher in watchers:
            await watcher.until(only_token)
        await hear_all(server, *watchers)
        assert [told(watcher) for watcher in watchers] == [["before RUNNING"], []]


@provokes(Reason.INVALID_TOKEN)
async def test_a_token_belongs_to_its_filter(server: Served) -> None:
    tokens: dict[str, str] = {}
    for wanted in ("", "state=DRAFT"):
        watcher = Watcher(server, filter=wanted)
        await watcher.until(only_token)
        await watcher.close()
        tokens[wanted] = watcher.token
    for wanted, token in (("", tokens["state=DRAFT"]), ("state=DRAFT", tokens[""]), ("id=a", tokens["state=DRAFT"])):
        request = service.WatchBatchTasksRequest(parent=PROJECT, filter=wanted, resume_token=token)
        assert (await fail(server, "WatchBatchTasks", request)).field == "resume_token"


async def test_many_with_one_filter_cost_one_read(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come back to a log with 30 changes of 10 tasks, whose labels it does not have."""
    first = Watcher(server, filter="labels.team=red")
    await first.until(only_token)
    await first.close()
    for number in range(10):
        await put(server, "RUNNING", f"t{number}", labels={"team": "red" if number % 2 else "blue"})
        await update(server, f"t{number}", display_name="x")
    many = [Watcher(server, filter="labels.team=red", token=first.token) for _ in range(100)]
    for watcher in many:
        await watcher.until(lambda message: message.batch_task == name("t9") and message.state == BatchTaskInfo.RUNNING)
    assert 1 <= server.rpc.hub.facts.reads <= 2
    await hear_all(server, *many)
    assert {len(told(watcher)) for watcher in many} == {10}


async def test_silence_is_told_though_other_tasks_are_busy(tmp_path: pathlib.Path) -> None:
    """What others are told of does not put off the message that says that nothing matched."""
    clock = FakeClock()
    async with serving(tmp_path, clock=clock) as server:
        watcher = Watcher(server, filter="id=quiet")
        await watcher.until(only_token)
        await watching(server, 1)
        for number in range(4):
            clock.advance(watch_hub.QUIET_SECONDS / 3)
            await server.tasks.CreateBatchTask(create(f"busy{number}"))
        await watcher.until(lambda _: len(watcher.messages) == 2)
        assert only_token(watcher.messages[-1])
        await watching(server, 1)
        clock.advance(watch_hub.QUIET_SECONDS / 2)
        await server.tasks.CreateBatchTask(create("busy"))
        await watching(server, 1)
        clock.advance(watch_hub.QUIET_SECONDS / 2)
        server.rpc.hub.look()
        await watcher.until(lambda _: len(watcher.messages) == 3)
        assert only_token(watcher.messages[-1])
        await watcher.close()
