"""Lists of tasks by filter and order, on the wire: what they give, what they refuse, and where they go on."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard_server.engine.live import NullLive
from batchyard_server.model import limits
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.names import parse_task
from tests.rpc import world
from tests.rpc.test_errors import fail
from tests.rpc.world import PROJECT, create, name
from tests.support.clock import FakeClock
from tests.support.errors import provokes
from tests.support.server import Served, serving

METHODS = ("ListBatchTasks", "StreamBatchTasks")


async def _make(server: Served) -> None:
    """Beside one task in every state: some with names, labels and priorities."""
    await world.populate(server)
    for task_id, display_name, labels, priority in (
        ("Named", "ä first", {"team": "search", "env": "prod"}, 5),
        ("named-2", "b", {"team": "ads"}, -3),
        ("named-3", "ä", {}, 0),
    ):
        request = create(task_id, records=3, start=False)
        request.batch_task.display_name = display_name
        request.batch_task.labels.update(labels)
        request.batch_task.priority = priority
        await server.tasks.CreateBatchTask(request)


async def _listed(server: Served, filter: str = "", order_by: str = "", size: int = 0) -> list[str]:
    """The ids of a list, by page; a stream must give the same."""
    request = service.ListBatchTasksRequest(parent=PROJECT, filter=filter, order_by=order_by, page_size=size)
    found: list[str] = []
    while True:
        page = await server.tasks.ListBatchTasks(request)
        found += [parse_task(each.name).task for each in page.batch_tasks]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    asked = service.StreamBatchTasksRequest(parent=PROJECT, filter=filter, order_by=order_by, page_size=size)
    messages = [message async for message in server.tasks.StreamBatchTasks(asked)]
    assert found == [parse_task(each.name).task for message in messages for each in message.batch_tasks]
    delivered = 0
    for message in messages:
        delivered += len(message.batch_tasks)
        asked.resume_token = message.resume_token
        rest = [each.name async for one in server.tasks.StreamBatchTasks(asked) for each in one.batch_tasks]
        assert [parse_task(each).task for each in rest] == found[delivered:]
    return found


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("state = FAILED", ["failed"]),
        ("state=SUCCEEDED OR state=CANCELLED", ["cancelled", "succeeded"]),
        ('labels.team = "search"', ["Named"]),
        ("labels:team AND NOT labels.team = ads", ["Named"]),
        ("display_name:*", ["Named", "named-2", "named-3"]),
        ('display_name = "ä*"', ["Named", "named-3"]),
        ('id = "named*"', ["named-2", "named-3"]),
        (f'name = "{name("named-2")}"', ["named-2"]),
        ("priority > 0", ["Named"]),
        ("priority:* AND priority >= 0", ["Named", "named-3"]),
        ("counts.failed = 2", ["failed"]),
        ("counts.total = 0 AND state = DRAFT", ["empty"]),
        ("state > PAUSED AND end_time:*", ["cancelled", "failed", "succeeded"]),
        ('create_time > "2000-01-01T00:00:00Z" AND state = QUEUED', ["queued"]),
        ("archived = true", []),
    ],
)
async def test_what_a_filter_finds(server: Served, written: str, found: list[str]) -> None:
    await _make(server)
    for size in (0, 1):
        assert sorted(await _listed(server, written, size=size)) == sorted(found)


@pytest.mark.parametrize(
    ("order_by", "found"),
    [
        ("id", ["Named", "named-2", "named-3"]),
        ("name desc", ["named-3", "named-2", "Named"]),
        ("display_name", ["named-2", "named-3", "Named"]),
        ("display_name desc, name", ["Named", "named-3", "named-2"]),
        ("priority desc", ["Named", "named-3", "named-2"]),
        ("state, id", ["Named", "named-2", "named-3"]),
        ("state desc", ["Named", "named-2", "named-3"]),
        ("end_time desc", ["Named", "named-2", "named-3"]),
    ],
)
async def test_what_an_order_gives(server: Served, order_by: str, found: list[str]) -> None:
    await _make(server)
    for size in (0, 1, 2):
        assert await _listed(server, "display_name:*", order_by, size) == found
    everything = await _listed(server, "", order_by, 3)
    assert len(everything) == len(world.STATES) + len(found)
    assert [each for each in everything if each in found] == found


async def test_what_is_changed_is_found_as_it_is_now(server: Served) -> None:
    """Of tasks that were made at once too: what they have in common is stored once for all of them."""
    creates = [create(f"t{number}", start=False) for number in range(4)]
    for number, request in enumerate(creates):
        request.batch_task.labels["half"] = "ab"[number % 2]
        request.batch_task.priority = number % 2
    await server.tasks.BatchCreateBatchTasks(
        service.BatchCreateBatchTasksRequest(parent=PROJECT, requests=creates, atomic=True)
    )
    assert await _listed(server, "labels.half = b AND priority = 1", "id") == ["t1", "t3"]
    change = service.UpdateBatchTaskRequest()
    change.batch_task.name = name("t1")
    change.batch_task.display_name = "changed"
    change.batch_task.archived = True
    change.update_mask.paths[:] = ["display_name", "archived", "labels", "priority"]
    await server.tasks.UpdateBatchTask(change)
    assert await _listed(server, "labels.half = b") == ["t3"]
    assert await _listed(server, "NOT labels.half:* AND NOT priority:*") == ["t1"]
    assert await _listed(server, 'archived = true AND display_name : "hang"') == ["t1"]
    assert await _listed(server, "", "priority desc") == ["t3", "t0", "t1", "t2"]
    assert await _listed(server, "", "display_name desc", 1) == ["t1", "t0", "t2", "t3"]


async def test_times_order_tasks(tmp_path: pathlib.Path) -> None:
    clock = FakeClock()
    async with serving(tmp_path, clock=clock) as server:
        for task_id in ("b", "a", "c"):
            await server.tasks.CreateBatchTask(create(task_id))
            clock.advance(1)
        for task_id in ("c", "a"):
            await server.finish(name(task_id))
            clock.advance(1)
        assert await _listed(server, order_by="create_time", size=2) == ["b", "a", "c"]
        assert await _listed(server, order_by="end_time", size=2) == ["b", "c", "a"]
        assert await _listed(server, order_by="update_time desc", size=2) == ["a", "c", "b"]
        ended = (await server.tasks.GetBatchTask(service.GetBatchTaskRequest(name=name("c")))).end_time.ToJsonString()
        assert await _listed(server, f'end_time > "{ended}"', "end_time") == ["a"]
        assert await _listed(server, f'end_time <= "{ended}"', "end_time") == ["c"]


REFUSED = [
    ("filter", "sate = FAILED", 0),
    ("filter", "state = FAILED AND", 18),
    ("filter", "state = DONE", 8),
    ("filter", '(labels.team = "a"', 18),
    ("filter", 'create_time > "today"', 14),
    ("order_by", "handler", 0),
    ("order_by", "id, state", 3),
    ("order_by", "id down", 0),
]


@pytest.mark.parametrize(
    ("field", "written", "position"),
    [
        pytest.param(*each, marks=provokes(Reason.INVALID_FILTER if each[0] == "filter" else Reason.INVALID_ORDER_BY))
        for each in REFUSED
    ],
)
async def test_what_cannot_be_read_is_refused_with_its_place(
    server: Served, field: str, written: str, position: int
) -> None:
    for method in METHODS:
        found = await fail(server, method, getattr(service, f"{method}Request")(parent=PROJECT, **{field: written}))
        assert (found.code, found.field) == (Code.INVALID_ARGUMENT, field)
        assert found.metadata["position"] == str(position)


@provokes(Reason.INVALID_TOKEN)
async def test_a_token_is_good_for_its_filter_and_order_alone(server: Served) -> None:
    await _make(server)
    tokens: dict[tuple[str, str], str] = {}
    for filter in ("", "state > DRAFT", "state > QUEUED"):
        for order_by in ("", "id", "id desc", "display_name", "state"):
            request = service.ListBatchTasksRequest(parent=PROJECT, page_size=1, filter=filter, order_by=order_by)
            tokens[filter, order_by] = (await server.tasks.ListBatchTasks(request)).next_page_token
    for asked in tokens:
        for of, token in tokens.items():
            for method, field in zip(METHODS, ("page_token", "resume_token"), strict=True):
                request = getattr(service, f"{method}Request")(
                    parent=PROJECT, filter=asked[0], order_by=asked[1], **{field: token}
                )
                if asked != of:
                    refused = await fail(server, method, request)
                    assert (refused.reason, refused.field) == (Reason.INVALID_TOKEN, field)
                elif method == "ListBatchTasks":
                    assert (await server.tasks.ListBatchTasks(request)).batch_tasks


async def test_an_order_may_be_written_in_another_way_on_the_next_page(server: Served) -> None:
    await _make(server)
    request = service.ListBatchTasksRequest(parent=PROJECT, page_size=1)
    first = await server.tasks.ListBatchTasks(request)
    for order_by in ("create_time desc", " create_time   desc, name"):
        page = service.ListBatchTasksRequest(parent=PROJECT, page_token=first.next_page_token, order_by=order_by)
        assert len((await server.tasks.ListBatchTasks(page)).batch_tasks) == len(world.STATES) + 2


async def test_the_longest_name_orders_too(server: Served) -> None:
    for task_id in ("a", "b" * limits.ID.maximum, "c" * limits.ID.maximum):
        request = create(task_id, start=False)
        request.batch_task.display_name = "€" * (limits.DISPLAY_NAME.maximum // 3)
        await server.tasks.CreateBatchTask(request)
    for order_by in ("display_name", "display_name desc"):
        assert [each[0] for each in await _listed(server, order_by=order_by, size=1)] == ["a", "b", "c"]


async def test_a_search_that_finds_little_says_how_far_it_came(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EXAMINED_TASKS", 4)
    await _make(server)
    total = len(world.STATES) + 3
    request = service.ListBatchTasksRequest(parent=PROJECT, filter="uid = nobody")
    for _ in range(total // 4):
        page = await server.tasks.ListBatchTasks(request)
        assert not page.batch_tasks
        assert page.next_page_token
        request.page_token = page.next_page_token
    page = await server.tasks.ListBatchTasks(request)
    assert not page.batch_tasks
    assert not page.next_page_token
    asked = service.StreamBatchTasksRequest(parent=PROJECT, filter="uid = nobody")
    messages = [message async for message in server.tasks.StreamBatchTasks(asked)]
    assert len(messages) == total // 4
    assert not any(message.batch_tasks for message in messages)
    assert len({message.resume_token for message in messages}) == len(messages)
    for filter in ("", "counts.failed = 2 OR priority > 0"):
        for order_by in ("id", "display_name desc", "create_time", "state desc"):
            found = await _listed(server, filter, order_by)
            assert sorted(found) == sorted(set(found))
            assert len(found) == (2 if filter else total)


async def test_a_stream_that_found_nothing_goes_on_from_its_beginning(server: Served) -> None:
    for order_by in ("", "id desc", "display_name", "priority desc"):
        request = service.StreamBatchTasksRequest(parent=PROJECT, order_by=order_by, filter='id = "later*"')
        (message,) = [message async for message in server.tasks.StreamBatchTasks(request)]
        assert not message.batch_tasks
        later = f"later-{len(order_by)}"
        await server.tasks.CreateBatchTask(create(later, start=False))
        request.resume_token = message.resume_token
        found = [each.name async for one in server.tasks.StreamBatchTasks(request) for each in one.batch_tasks]
        assert found == [name(later)]
        await server.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=name(later)))


class _Running(NullLive):
    """Of every task record 0 runs, as far as the list knows keys."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}

    def is_live(self, task_key: int) -> bool:
        """See Live.is_live."""
        return task_key in self.counts

    def running(self, task_key: int) -> frozenset[int]:
        """See Live.running."""
        return frozenset(range(self.counts.get(task_key, 0)))

    def all_running(self) -> Mapping[int, int]:
        """See Live.all_running."""
        return self.counts


async def test_what_runs_now_is_found(tmp_path: pathlib.Path) -> None:
    live = _Running()
    async with serving(tmp_path, live=live) as server:
        for task_id, running in (("a", 1), ("b", 2), ("c", 0)):
            await server.tasks.CreateBatchTask(create(task_id, records=3))
            await server.lease(name(task_id), [0, 1])
            if running:
                live.counts[(await server.store.get_task(parse_task(name(task_id)))).key] = running
        assert await _listed(server, "counts.running > 0", "id") == ["a", "b"]
        assert await _listed(server, "counts.pending = 1") == ["b"]
        assert await _listed(server, "NOT counts.pending < 3") == ["c"]
        page = await server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT, order_by="id"))
        assert [each.counts.running for each in page.batch_tasks] == [1, 2, 0]
