"""Many tasks at once: found by a filter, changed in one commit with its answer; and operations found by a filter."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from batchyard_server.codec.values import OperationValues
from batchyard_server.model import limits
from batchyard_server.model.errors import AlreadyExists, Reason, ResourceExhausted
from batchyard_server.model.filter import NEWEST_FIRST, Compare, Field, Kind, Node, Op
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Operation, Task
from batchyard_server.model.task_query import TaskQuery
from batchyard_server.query import OPERATIONS, matches, parse_filter
from batchyard_server.store.operation_store import OperationQuery
from batchyard_server.store.protocols import Store, TaskEvent
from tests.conformance.store.conftest import Driver
from tests.conformance.store.test_filters import tree
from tests.support import searches
from tests.support import store as make

STATE = Field("state", Kind.NUMBER)


def names(stopped: Sequence[Task]) -> bytes:
    """An answer."""
    return ",".join(task.task_id for task in stopped).encode()


def cancel_open(task: Task) -> Task:
    """`decide` of a cancel of what can be."""
    return task if task.state.is_final else make.cancel(task)


@pytest.mark.parametrize("seed", range(3))
async def test_tasks_are_found_as_lists_find_them(driver: Driver, seed: int) -> None:
    store = await driver.open()
    chance = random.Random(seed)
    samples = await searches.stored(store, chance, 60)
    for _ in range(20):
        node, limit = tree(chance), chance.choice((1, 7, 100))
        query = TaskQuery(project="p", limit=limit, max_bytes=make.BIG, filter=node, running=searches.running(samples))
        expected = searches.expected(samples, node, NEWEST_FIRST)
        assert await _named(store, query) == expected
        assert await _watched(store, query) == expected
        assert await _watched(store, replace(query, max_bytes=1)) == expected
    assert {task.key for task in (await store.tasks_of([each.task.key for each in samples])).values()} == {
        each.task.key for each in samples
    }


async def _named(store: Store, query: TaskQuery) -> list[str]:
    """The ids, page by page."""
    ids: list[str] = []
    while True:
        page = await store.named_tasks(query)
        assert len(page.tasks) <= query.limit
        for each in page.tasks:
            task = await store.get_task(each.name)
            assert (each.key, each.position) == (task.key, (task.create_us, task.task_id))
            ids.append(task.task_id)
        if page.follows is None:
            return ids
        query = replace(query, after=page.follows)


async def _watched(store: Store, query: TaskQuery) -> list[str]:
    ids: list[str] = []
    while True:
        page = await store.watched_page(query)
        assert len(page.tasks) <= (1 if query.max_bytes == 1 else query.limit)
        assert page.seq == store.last_seq
        ids += [each.task.task_id for each in page.tasks]
        if page.follows is None:
            return ids
        query = replace(query, after=page.follows)


async def test_a_page_looks_at_so_many_tasks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        await store.create_task(make.new_task(f"t{number}", number), None)
    monkeypatch.setattr(limits, "EXAMINED_TASKS", 4)
    total = Compare(Field("counts.total", Kind.NUMBER), Op.EQ, 9)
    query = TaskQuery(project="p", limit=100, max_bytes=make.BIG, filter=total)
    first = await store.named_tasks(query)
    assert (first.tasks, first.follows) == ([], (1_000_000, "t3"))
    watched = await store.watched_page(query)
    assert (watched.tasks, watched.follows) == ([], first.follows)
    assert await _named(store, query) == await _watched(store, query) == ["t9"]


async def test_many_are_changed_in_one_commit(driver: Driver) -> None:
    store = await driver.open()
    tasks = [await store.create_task(make.new_task(f"t{number}", 2), None) for number in range(6)]
    await make.lease(store, tasks[1], (0, 1))
    await make.finish(store, tasks[2])
    await store.delete_task(tasks[3].name, lambda task: task, None)
    heard: list[list[TaskEvent]] = []
    store.subscribe(lambda events: heard.append(list(events)))
    keys = [task.key for task in tasks]
    stopped = await store.update_tasks(keys, cancel_open, make.request(), names)
    assert [(task.task_id, task.state) for task in stopped] == [
        ("t0", TaskState.CANCELLED),
        ("t1", TaskState.CANCELLING),
        ("t4", TaskState.CANCELLED),
        ("t5", TaskState.CANCELLED),
    ]
    assert [[event.task for event in events] for events in heard] == [list(stopped)]
    for task in stopped:
        assert await store.get_task(task.name) == task
        assert (await store.get_operation(task.operation_name))[0].done == task.state.is_final
    assert await store.answer_to(make.request()) == b"t0,t1,t4,t5"
    assert await store.update_tasks(keys, cancel_open, None, names) == []
    assert len(heard) == 1
    store = await driver.reopen()
    assert await store.answer_to(make.request()) == b"t0,t1,t4,t5"
    await store.recover()
    assert (await store.get_task(tasks[1].name)).state is TaskState.CANCELLED


async def test_an_answer_takes_the_place_of_the_one_before(driver: Driver) -> None:
    store = await driver.open()
    tasks = [await store.create_task(make.new_task(f"t{number}"), None) for number in range(3)]
    assert await store.answer_to(make.request()) is None
    for task in tasks:
        await store.update_tasks([task.key], cancel_open, make.request(), names)
    assert await store.answer_to(make.request()) == b"t2"
    await store.update_tasks([], cancel_open, make.request(2), names)
    assert await store.answer_to(make.request(2)) == b""
    driver.clock.advance(limits.REQUEST_ID_HOURS * 3600 + 1)
    while await store.sweep():
        pass
    assert await store.answer_to(make.request()) is None


async def test_a_request_that_was_another_one_changes_nothing(store: Store) -> None:
    task = await store.create_task(make.new_task("a"), make.request())
    other = await store.create_task(make.new_task("b"), None)
    await store.update_tasks([], cancel_open, make.request(2), names)
    for known in (make.request(digest=b"other"), make.request(2, digest=b"other")):
        with pytest.raises(AlreadyExists) as caught:
            await store.update_tasks([task.key, other.key], cancel_open, known, names)
        assert caught.value.reason is Reason.REQUEST_ID_REUSED
        with pytest.raises(AlreadyExists):
            await store.answer_to(known)
    with pytest.raises(AlreadyExists):
        await store.create_task(make.new_task("c"), make.request(2, digest=b"create"))
    assert [(await store.get_task(each.name)).state for each in (task, other)] == [TaskState.QUEUED] * 2


async def test_what_was_not_committed_was_not_answered(driver: Driver) -> None:
    store = await driver.open()
    task = await store.create_task(make.new_task("a"), None)
    driver.failpoints.armed["store.before_commit"] = "disk_full"
    results = await asyncio.gather(
        store.update_tasks([task.key], cancel_open, make.request(), names),
        store.update_task(task.name, make.cancel, make.request(2)),
        return_exceptions=True,
    )
    assert all(isinstance(result, ResourceExhausted) for result in results)
    driver.failpoints.armed.clear()
    assert await store.answer_to(make.request()) is None
    assert await store.get_task(task.name) == task
    assert await store.update_tasks([task.key], cancel_open, make.request(), names)


async def test_it_does_not_hinder_what_is_in_its_group(store: Store) -> None:
    """One that is refused between others, and the same id twice in one group."""
    tasks = [await store.create_task(make.new_task(f"t{number}"), None) for number in range(4)]
    keys = [task.key for task in tasks]
    results = await asyncio.gather(
        store.update_task(tasks[0].name, make.cancel, make.request(7)),
        store.update_tasks(keys[1:3], cancel_open, make.request(), names),
        store.update_tasks(keys, cancel_open, make.request(digest=b"other"), names),
        store.update_tasks(keys, cancel_open, make.request(7, digest=b"other"), names),
        store.answer_to(make.request()),
        store.create_task(make.new_task("late"), None),
        return_exceptions=True,
    )
    assert [isinstance(result, AlreadyExists) for result in results] == [False, False, True, True, False, False]
    assert results[4] == b"t1,t2"
    assert (await store.get_task(tasks[3].name)).state is TaskState.QUEUED


OPERATION_FILTERS = (
    "done=true",
    "NOT done=true",
    "metadata.generation>1",
    "metadata.generation=1 AND done=false",
    'id="op-*"',
    'id:"-1" OR metadata.state=QUEUED',
    "metadata.state=SUCCEEDED",
    "NOT metadata.state=SUCCEEDED AND NOT metadata.end_time:*",
    "error.code=CANCELLED OR error.code=ABORTED",
    'metadata.batch_task="projects/p/batchTasks/t1*" AND done=true',
    'metadata.create_time>"1970-01-01T00:00:01.000003Z"',
)


async def test_operations_are_found(store: Store) -> None:
    chance = random.Random(1)
    for number in range(30):
        task = await store.create_task(make.new_task(f"t{number}", 2, create_us=1_000_000 + number // 4), None)
        for _ in range(chance.randrange(3)):
            await make.finish(store, task, failed=chance.choice(((), (0,), (0, 1))))
            task = await store.update_task(task.name, make.reactivate_all, None)
        if number % 3 == 0:
            await store.update_task(task.name, make.cancel, None)
    await store.create_task(make.new_task("other", project="q"), None)
    await store.delete_task((await store.create_task(make.new_task("gone"), None)).name, lambda task: task, None)
    everything = await store.list_operations("p", None, 1000)
    for text in OPERATION_FILTERS:
        wanted = parse_filter(text, OPERATIONS, "p")
        expected = [each for each in everything if matches(wanted, OperationValues(*each))]
        assert 0 < len(expected) < len(everything), text
        for limit, most in ((1, make.BIG), (7, make.BIG), (1000, make.BIG), (1000, 1)):
            assert await _found(store, wanted, limit, most) == expected, text


async def _found(store: Store, wanted: Node, limit: int, max_bytes: int) -> list[tuple[Operation, Task]]:
    found: list[tuple[Operation, Task]] = []
    query = OperationQuery(
        project="p",
        limit=limit,
        max_bytes=max_bytes,
        after=None,
        filter=wanted,
        judge=lambda operation, task: matches(wanted, OperationValues(operation, task)),
    )
    while True:
        page = await store.find_operations(query)
        assert len(page.operations) <= (1 if max_bytes == 1 else limit)
        found += page.operations
        if page.follows is None:
            return found
        query = replace(query, after=page.follows)


async def test_a_page_looks_at_so_many_operations(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        await store.create_task(make.new_task(f"t{number}"), None)
    asked: list[str] = []

    def judge(operation: Operation, _task: Task) -> bool:
        asked.append(operation.operation_id)
        return False

    wanted = parse_filter("metadata.state=RUNNING AND done=false", OPERATIONS, "p")
    query = OperationQuery(project="p", limit=100, max_bytes=make.BIG, after=None, filter=wanted, judge=judge)
    for bound in ("EXAMINED_OPERATIONS", "JUDGED_OPERATIONS"):
        asked.clear()
        with monkeypatch.context() as patched:
            patched.setattr(limits, bound, 4)
            page = await store.find_operations(query)
        assert page.follows == (1_000_000, asked[-1])
        assert len(asked) == 4
    asked.clear()
    done = replace(query, filter=parse_filter("metadata.state=RUNNING AND done=true", OPERATIONS, "p"))
    assert (await store.find_operations(done)).follows is None
    assert asked == [], "what columns tell is not read"
