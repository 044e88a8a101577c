"""What was read is remembered until a commit touches its task, and in a bounded number of bytes."""

from __future__ import annotations

import asyncio
import pathlib
from dataclasses import replace

import pytest

from batchyard_server.model.clock import SystemClock, SystemRandomness
from batchyard_server.model.errors import NotFound, Unavailable
from batchyard_server.model.failpoints import OFF
from batchyard_server.model.states import TaskState
from batchyard_server.store.protocols import Change, TaskEvent
from batchyard_server.store.sqlite import open_sqlite
from batchyard_server.store.sqlite.recall import ANY_TASK, Recall
from batchyard_server.store.sqlite.store import SqliteStore
from tests.support import store as make


class Source:
    """Counts how often it is read."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self) -> int:
        self.reads += 1
        return self.reads


def ask(recall: Recall, question: str, source: Source, task: int = 1, size: int = 10) -> int:
    return recall.get(question, source, lambda _: (task, size))


def event(key: int) -> TaskEvent:
    return TaskEvent(replace(make.new_task("t").task, key=key), Change.COUNTS)


def test_it_is_read_once_and_again_after_a_commit_of_its_task() -> None:
    recall, one, other, both = Recall(), Source(), Source(), Source()
    for _ in range(2):
        assert [ask(recall, "one", one), ask(recall, "other", other, 2), ask(recall, "both", both, ANY_TASK)] == [1] * 3
    recall.on_events([event(1)])
    assert [ask(recall, "one", one), ask(recall, "other", other, 2), ask(recall, "both", both, ANY_TASK)] == [2, 1, 2]
    recall.forget("other")
    assert ask(recall, "other", other, 2) == 2
    recall.clear()
    assert ask(recall, "one", one) == 3


def test_an_error_is_not_remembered() -> None:
    recall = Recall()

    def fail() -> int:
        raise NotFound("x", "y")

    for _ in range(2):
        with pytest.raises(NotFound):
            recall.get("one", fail, lambda _: (1, 1))
    assert ask(recall, "one", Source()) == 1


def test_the_longest_unused_is_forgotten_first() -> None:
    recall, sources = Recall(most_bytes=3 * 2024), [Source() for _ in range(4)]
    for number in (0, 1, 2, 0, 3):
        ask(recall, str(number), sources[number], number + 1, 1000)
    for number in (0, 2, 3):
        assert ask(recall, str(number), sources[number], number + 1, 1000) == 1
    assert ask(recall, "1", sources[1], 2, 1000) == 2


async def opened(folder: pathlib.Path) -> SqliteStore:
    return await open_sqlite(folder, clock=SystemClock(), randomness=SystemRandomness(), failpoints=OFF)


async def test_whoever_was_told_of_a_change_reads_it(tmp_path: pathlib.Path) -> None:
    store = await opened(tmp_path)
    task = await store.create_task(make.new_task("t", 1, draft=True), None)
    for _ in range(2):
        assert not (await store.get_info(task.name)).live
        assert not (await store.get_operation(task.operation_name))[0].done
        assert (await make.list_page(store)).count == 1
    started = await store.update_task(task.name, lambda it: it.enter(TaskState.QUEUED, 5), None)
    assert (await store.get_info(task.name)).live
    assert (await store.get_operation(task.operation_name))[1] == started
    assert (await make.list_page(store)).live == [(0, task.key)]
    await make.finish(store, started)
    assert (await store.get_operation(task.operation_name))[0].done
    await store.delete_operation(task.operation_name)
    with pytest.raises(NotFound):
        await store.get_operation(task.operation_name)
    await store.delete_task(task.name, make.allow_delete, None)
    with pytest.raises(NotFound):
        await store.get_info(task.name)
    assert (await make.list_page(store)).count == 0
    await store.close()


async def test_what_is_known_of_a_commit_is_what_would_be_read(tmp_path: pathlib.Path) -> None:
    store = await opened(tmp_path)

    async def known_and_read() -> bool:
        return [await store.get_operation(task.operation_name)] == await store.list_operations("p", None, 2)

    task = await store.create_task(make.new_task("t", 2, draft=True), None)
    assert await known_and_read()
    task = await store.update_task(task.name, lambda it: it.enter(TaskState.QUEUED, 5), None)
    assert await known_and_read()
    await make.finish(store, task)
    assert await known_and_read()
    task = await store.update_task(task.name, lambda it: it, None)
    assert await known_and_read()
    await store.close()


async def test_what_changed_twice_in_a_commit_is_known_as_it_was_left(tmp_path: pathlib.Path) -> None:
    store = await opened(tmp_path)
    task = await store.create_task(make.new_task("t", 4), None)
    await asyncio.gather(
        make.lease(store, task, (0, 1)), make.lease(store, task, (1, 2)), make.lease(store, task, (2, 4))
    )
    [(operation, leased)] = await store.list_operations("p", None, 2)
    assert leased.live_subtasks == 3
    assert await store.get_operation(task.operation_name) == (operation, leased)
    made = store.create_task(make.new_task("gone"), None)
    gone = make.new_task("gone").task
    await asyncio.gather(made, store.delete_task(gone.name, lambda it: it, None))
    with pytest.raises(NotFound):
        await store.get_operation(gone.operation_name)
    await store.close()


async def test_the_operation_of_a_new_task_is_not_read(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await opened(tmp_path)
    task = await store.create_task(make.new_task("t", 1), None)
    monkeypatch.setattr(store, "_readers", None)
    assert (await store.get_operation(task.operation_name))[1] == task
    monkeypatch.undo()
    await store.close()


async def test_a_task_may_have_the_id_of_an_operation(tmp_path: pathlib.Path) -> None:
    store = await opened(tmp_path)
    first = await store.create_task(make.new_task("t", 1, draft=True), None)
    second = await store.create_task(make.new_task(first.operation, 1, draft=True), None)
    for _ in range(2):
        assert (await store.get_info(second.name)).key == second.key
        assert (await store.get_operation(first.operation_name))[1] == first
    await store.close()


async def test_readers_beside_a_writer_see_no_step_back(tmp_path: pathlib.Path) -> None:
    store = await opened(tmp_path)
    task = await store.create_task(make.new_task("t", 1, draft=True), None)
    seen: list[int] = []

    async def read() -> None:
        while len(seen) < 3000 and (not seen or seen[-1] < 50):
            seen.append((await store.get_operation(task.operation_name))[1].update_us)
            await asyncio.sleep(0)

    reading = asyncio.create_task(read())
    for number in range(1, 51):
        await store.update_task(task.name, lambda it, at=number: replace(it, update_us=at), None)
        assert (await store.get_operation(task.operation_name))[1].update_us == number
    await reading
    assert seen[1:] == sorted(seen[1:])
    await store.close()


async def test_a_closed_store_remembers_nothing(tmp_path: pathlib.Path) -> None:
    store = await opened(tmp_path)
    task = await store.create_task(make.new_task("t", 1, draft=True), None)
    await store.get_info(task.name)
    await store.close()
    with pytest.raises(Unavailable):
        await store.get_info(task.name)
