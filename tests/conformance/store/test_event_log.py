"""The log of committed changes: complete, in order, without what was undone; trimmed at its old end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from batchyard_server.model.errors import FailedPrecondition, NotFound, Reason
from batchyard_server.model.names import TaskName
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Task
from batchyard_server.model.task_query import TaskQuery
from batchyard_server.model.watch import Change, LogEntry
from batchyard_server.store.protocols import Store, TaskEvent
from tests.conformance.store.conftest import Driver
from tests.support import store as make
from tests.support.outcomes import flush

END = 1 << 60


async def log(store: Store, project: str = "p", task_key: int | None = None, after: int = 0) -> list[LogEntry]:
    """All that is in the log, page by page."""
    found: list[LogEntry] = []
    while True:
        page = await store.events(after, END, project, task_key)
        assert page.kept
        found += page.entries
        if page.last == after:
            return found
        assert not page.entries or page.entries[-1].seq <= page.last
        after = page.last


def told(events: Sequence[TaskEvent]) -> list[LogEntry]:
    """What subscribers were told, as it is in the log."""
    return [event.entry for event in events if event.entry is not None]


async def busy(store: Store) -> Task:
    """A task that was run, deleted and all else between."""
    task = await store.create_task(make.new_task("a", 6, draft=True), None)
    queued = await store.update_task(task.name, make.start, None)
    lease = await make.lease(store, queued)
    await store.record_outcomes(lease, flush(task.name, ok=range(3)))
    await store.update_task(task.name, make.pause, None)
    await store.update_task(task.name, make.resume, None)
    await store.record_outcomes(lease, flush(task.name, ok=[3], failed=[4, 5]))
    again = await store.update_task(task.name, make.reactivate, None)
    await make.finish(store, again)
    return again


async def test_every_change_is_a_row_in_the_order_of_the_commits(driver: Driver) -> None:
    store = await driver.open()
    events: list[TaskEvent] = []
    store.subscribe(events.extend)
    assert store.last_seq == 0
    task = await busy(store)
    await store.delete_task(task.name, make.allow_delete, None)
    found = await log(store)
    assert found == told(events)
    assert [entry.seq for entry in found] == list(range(1, len(found) + 1))
    assert store.last_seq == len(found)
    shown = [(e.change, e.state, e.generation, e.ends, e.first_sequence, e.next_sequence) for e in found]
    assert shown == [
        (Change.STATE, TaskState.DRAFT, 1, False, 0, 0),
        (Change.STATE, TaskState.QUEUED, 1, False, 0, 0),
        (Change.STATE, TaskState.RUNNING, 1, False, 0, 0),
        (Change.COUNTS, TaskState.RUNNING, 1, False, 0, 3),
        (Change.STATE, TaskState.PAUSING, 1, False, 3, 3),
        (Change.STATE, TaskState.RUNNING, 1, False, 3, 3),
        (Change.STATE, TaskState.SUCCEEDED, 1, True, 3, 6),
        (Change.STATE, TaskState.QUEUED, 2, False, 6, 6),
        (Change.STATE, TaskState.RUNNING, 2, False, 6, 6),
        (Change.STATE, TaskState.SUCCEEDED, 2, True, 6, 8),
        (Change.DELETED, TaskState.SUCCEEDED, 2, False, 8, 8),
    ]
    assert [entry.operation for entry in found] == [f"op-{task.uid}"] * 7 + [f"{task.uid}-2"] * 4
    assert {(entry.name, entry.create_us) for entry in found} == {(task.name, task.create_us)}
    store = await driver.reopen()
    assert await log(store) == found
    assert store.last_seq == len(found)
    await store.create_task(make.new_task("b"), None)
    assert (await log(store))[-1].seq == len(found) + 1


async def test_a_commit_joins_the_counts_of_a_task_and_nothing_else(store: Store) -> None:
    """Submitted at once, so that they share a commit."""
    task = await store.create_task(make.new_task("a", 10), None)
    other = await store.create_task(make.new_task("b", 10), None)
    lease, of_other = await make.lease(store, task), await make.lease(store, other)
    seen = store.last_seq
    events: list[TaskEvent] = []
    store.subscribe(events.extend)
    await asyncio.gather(
        *(store.record_outcomes(lease, flush(task.name, ok=[index])) for index in range(4)),
        store.record_outcomes(of_other, flush(other.name, ok=[7])),
        store.update_task(task.name, make.pause, None),
        store.record_outcomes(lease, flush(task.name, ok=[4])),
        store.record_outcomes(lease, flush(task.name, ok=[5])),
    )
    assert len(events) == 8
    found = await log(store, after=seen)
    assert found == told(events)
    of_task = [(e.change, e.first_sequence, e.next_sequence) for e in found if e.task_key == task.key]
    assert [(change, end) for change, _, end in of_task if change is Change.STATE] == [(Change.STATE, 4)]
    assert of_task[-1] == (Change.COUNTS, of_task[-1][1], 6)
    # Whatever commits they came in: the outcomes of the changes are all outcomes, each once.
    assert [first for _, first, _ in of_task] == [0, *(end for _, _, end in of_task[:-1])]
    assert [(e.first_sequence, e.next_sequence) for e in found if e.task_key == other.key] == [(0, 1)]


async def test_what_is_undone_or_changes_nothing_leaves_no_row(driver: Driver) -> None:
    store = await driver.open()
    task = await store.create_task(make.new_task("a", 2), None)

    def refuse(_: Task) -> Task:
        raise FailedPrecondition(Reason.ILLEGAL_STATE, "no", subject="state")

    results = await asyncio.gather(
        store.create_task(make.new_task("A", uid="taken"), None),
        store.create_task(make.new_task("b"), None),
        store.update_task(task.name, refuse, None),
        store.update_task(task.name, lambda found: found, None),
        return_exceptions=True,
    )
    assert [isinstance(each, BaseException) for each in results] == [True, False, True, False]
    driver.failpoints.armed["store.before_commit"] = "disk_full"
    with pytest.raises(Exception, match="disk"):
        await store.create_task(make.new_task("c"), None)
    driver.failpoints.armed.clear()
    await store.create_task(make.new_task("d"), None)
    assert [(entry.seq, entry.task_id) for entry in await log(store)] == [(1, "a"), (2, "b"), (3, "d")]


async def test_of_one_task_of_one_project_up_to_a_number(store: Store) -> None:
    one = await store.create_task(make.new_task("a"), None)
    for number in range(300):
        await store.create_task(make.new_task(f"n{number}", project="q"), None)
    await store.update_task(one.name, make.cancel, None)
    await store.create_task(make.new_task("b"), None)
    assert [entry.seq for entry in await log(store)] == [1, 302, 303]
    assert [entry.seq for entry in await log(store, task_key=one.key)] == [1, 302]
    assert await log(store, project="q", task_key=one.key) == []
    assert len(await log(store, project="q")) == 300
    page = await store.events(1, 302, "p", None)
    assert ([entry.seq for entry in page.entries], page.last) == ([302], 302)
    page = await store.events(302, 302, "p", None)
    assert (list(page.entries), page.last, page.kept) == ([], 302, True)


async def test_the_oldest_changes_go_and_the_newest_stay(driver: Driver) -> None:
    driver.kept_events = 20
    store = await driver.open()
    for number in range(19):
        await store.create_task(make.new_task(f"t{number}"), None)
    while await store.sweep():
        pass
    assert len(await log(store)) == 19
    for number in range(19, 90):
        await store.create_task(make.new_task(f"t{number}"), None)
    while await store.sweep():
        pass
    assert [entry.seq for entry in await log(store, after=70)] == list(range(71, 91))
    assert not (await store.events(69, END, "p", None)).kept
    assert not (await store.events(91, END, "p", None)).kept, "a place that was never reached"
    assert (await store.events(90, END, "p", None)).kept
    store = await driver.reopen()
    assert store.last_seq == 90
    assert not (await store.events(69, END, "p", None)).kept
    await store.create_task(make.new_task("more"), None)
    assert (await log(store, after=70))[-1].seq == 91


async def test_a_sweep_that_fails_forgets_nothing(driver: Driver) -> None:
    driver.kept_events = 5
    store = await driver.open()
    for number in range(30):
        await store.create_task(make.new_task(f"t{number}"), None)
    driver.failpoints.armed["store.before_commit"] = "disk_full"
    with pytest.raises(Exception, match="disk"):
        await store.sweep()
    driver.failpoints.armed.clear()
    assert len(await log(store)) == 30
    while await store.sweep():
        pass
    assert len(await log(store, after=25)) == 5


async def test_a_task_is_read_with_its_operation_and_its_place_in_the_log(store: Store) -> None:
    task = await busy(store)
    found, seq = await store.watched(task.name)
    assert (found.task, seq) == (await store.get_task(task.name), store.last_seq)
    assert (found.operation, found.first_sequence) == ((await store.get_operation(found.task.operation_name))[0], 6)
    first = await store.operation_of(task.key, 1)
    assert first is not None
    assert (first.operation_id, first.done) == (f"op-{task.uid}", True)
    with pytest.raises(NotFound):
        await store.watched(TaskName("p", "A"))
    await store.delete_task(task.name, make.allow_delete, None)
    with pytest.raises(NotFound):
        await store.watched(task.name)
    assert await store.operation_of(task.key, 1) is None
    assert await store.operation_of(task.key, 3) is None


async def test_tasks_are_read_in_the_order_of_the_list(store: Store) -> None:
    for number in range(25):
        await store.create_task(make.new_task(f"t{number:02}", 1, create_us=1_000_000 + number // 4), None)
    await store.create_task(make.new_task("other", project="q"), None)
    for size, most in ((4, make.BIG), (1000, make.BIG), (25, make.BIG), (10, 1)):
        ids: list[str] = []
        query: TaskQuery | None = TaskQuery(project="p", limit=size, max_bytes=most)
        while query is not None:
            page = await store.watched_page(query)
            assert page.seq == store.last_seq
            assert len(page.tasks) <= (1 if most == 1 else size)
            for each in page.tasks:
                assert each.operation == (await store.get_operation(each.task.operation_name))[0]
                ids.append(each.task.task_id)
            query = replace(query, after=page.follows) if page.follows else None
        assert ids == await make.listed(store)
