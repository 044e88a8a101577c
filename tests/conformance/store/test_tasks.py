"""Tasks: created once, found exactly, changed by decisions, removed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.codec import pages, task_bytes
from batchyard_server.model.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    Reason,
)
from batchyard_server.model.names import TaskName
from batchyard_server.model.states import StopReason, TaskState
from batchyard_server.model.task import Task
from batchyard_server.store.protocols import Store, TaskInfo
from tests.conformance.store.conftest import Driver
from tests.support import store as make


async def test_a_created_task_is_read_as_it_was_made(store: Store) -> None:
    new = make.new_task("Task-1", 3, parameters=b"\x12\x02{}", ids=True)
    task = await store.create_task(new, None)
    assert task.key > 0
    assert task == replace(new.task, key=task.key)
    assert await store.get_task(task.name) == task
    page = await make.list_page(store)
    assert page.live == [(0, task.key)]
    info = BatchTaskInfo.FromString(pages.infos(page.entries)[0])
    assert (info.name, info.uid, info.parameters.text) == ("projects/p/batchTasks/Task-1", task.uid, "{}")
    assert (info.state, info.counts.total, info.counts.pending) == (BatchTaskInfo.QUEUED, 3, 3)


async def test_large_parameters_are_kept_and_listed(driver: Driver) -> None:
    store = await driver.open()
    parameters = b"\x12\x80\x80\x10" + b"x" * (256 * 1024)
    task = await store.create_task(make.new_task("big", 1, parameters=parameters), None)
    done = await make.finish(store, task)
    store = await driver.reopen()
    assert await store.get_task(task.name) == done
    assert (await store.get_task(task.name)).parameters == parameters
    page = await make.list_page(store)
    assert (list(page.live), list(pages.infos(page.entries))) == ([], [task_bytes.info(done)])
    assert await store.get_info(done.name) == TaskInfo(key=done.key, info=task_bytes.info(done), live=False)


async def test_ids_are_unique_without_regard_to_case_but_found_exactly(store: Store) -> None:
    await store.create_task(make.new_task("Night"), None)
    with pytest.raises(AlreadyExists) as caught:
        await store.create_task(make.new_task("nIGHT", uid="other"), None)
    assert caught.value.reason is Reason.RESOURCE_EXISTS
    with pytest.raises(NotFound):
        await store.get_task(TaskName("p", "night"))
    await store.create_task(make.new_task("Night", project="q"), None)


async def test_a_repeated_create_answers_with_the_task_as_it_is_now(store: Store) -> None:
    first = await store.create_task(make.new_task("a", 2), make.request())
    await store.update_task(first.name, make.cancel, None)
    again = await store.create_task(make.new_task("b", 5, uid="other"), make.request())
    assert (again.uid, again.state) == (first.uid, TaskState.CANCELLED)
    with pytest.raises(NotFound):
        await store.get_task(TaskName("p", "b"))


async def test_a_request_id_belongs_to_its_content_and_project(store: Store) -> None:
    await store.create_task(make.new_task("a"), make.request())
    with pytest.raises(AlreadyExists) as caught:
        await store.create_task(make.new_task("b"), make.request(digest=b"other"))
    assert caught.value.reason is Reason.REQUEST_ID_REUSED
    await store.create_task(make.new_task("b", project="q"), make.request(project="q", digest=b"other"))


async def test_a_repeated_create_of_a_deleted_task_finds_nothing(store: Store) -> None:
    task = await store.create_task(make.new_task("a", draft=True), make.request())
    await store.delete_task(task.name, make.allow_delete, None)
    with pytest.raises(NotFound) as caught:
        await store.create_task(make.new_task("a", draft=True), make.request())
    assert caught.value.resource_name == str(task.name)


async def test_a_repeated_create_whose_operation_was_deleted_finds_nothing(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 1), make.request())
    await make.finish(store, task)
    await store.delete_operation(task.operation_name)
    with pytest.raises(NotFound) as caught:
        await store.create_task(make.new_task("a", 1), make.request())
    assert caught.value.resource_name == str(task.operation_name)


async def test_a_failed_create_does_not_use_up_its_request_id(store: Store) -> None:
    await store.create_task(make.new_task("a"), None)
    with pytest.raises(AlreadyExists):
        await store.create_task(make.new_task("A", uid="other"), make.request())
    assert (await store.create_task(make.new_task("b"), make.request())).task_id == "b"


async def test_concurrent_creates_of_one_request_make_one_task(store: Store) -> None:
    made = await asyncio.gather(*(store.create_task(make.new_task("a", 1), make.request()) for _ in range(20)))
    assert {task.key for task in made} == {made[0].key}
    assert len(await make.listed(store)) == 1


async def test_duplicate_record_ids_are_refused_and_leave_nothing(store: Store) -> None:
    new = make.new_task("a", 2, ids=True)
    with pytest.raises(InvalidArgument) as caught:
        await store.create_task(replace(new, record_ids=[("same", 0), ("same", 1)]), None)
    assert (caught.value.reason, caught.value.field) == (Reason.DUPLICATE_RECORD_ID, "records")
    with pytest.raises(NotFound):
        await store.get_task(new.task.name)
    await store.create_task(new, None)


async def test_records_are_appended_at_the_next_index_only(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 2, draft=True, ids=True), None)
    more = make.new_task("more", 3).segments
    assert await store.append_records(task.name, task.uid, 2, [replace(more[0], first=2)], [("x", 3)]) == 5
    # Sent again after a cut connection: acknowledged, not stored.
    assert await store.append_records(task.name, task.uid, 2, [replace(more[0], first=2)], [("x", 3)]) == 5
    for first in (1, 3, 6):
        with pytest.raises(OutOfRange) as caught:
            await store.append_records(task.name, task.uid, first, [replace(more[0], first=first, count=9)], [])
        assert caught.value.metadata["next_index"] == "5"
    with pytest.raises(InvalidArgument):
        await store.append_records(task.name, task.uid, 5, [replace(more[0], first=5)], [("r1", 6)])
    assert (await store.get_task(task.name)).total == 5
    records = make.parse(await make.read_all(store, await store.get_task(task.name)))
    assert [record.record_id for record in records[:2]] == ["r0", "r1"]


async def test_an_append_needs_the_same_task_and_a_draft(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 1, draft=True), None)
    segments = [replace(make.new_task("x", 1).segments[0], first=1)]
    with pytest.raises(NotFound):
        await store.append_records(task.name, "another-uid", 1, segments, [])
    with pytest.raises(NotFound):
        await store.append_records(TaskName("p", "none"), task.uid, 1, segments, [])
    with pytest.raises(InvalidArgument) as caught:
        await store.append_records(task.name, task.uid, 1, [replace(segments[0], count=100_000_000)], [])
    assert caught.value.field == "records"
    await store.update_task(task.name, make.start, None)
    with pytest.raises(FailedPrecondition) as refused:
        await store.append_records(task.name, task.uid, 1, segments, [])
    assert refused.value.reason is Reason.ILLEGAL_STATE


async def test_an_update_is_what_was_decided_and_once_per_request(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 1, draft=True), None)
    started = await store.update_task(task.name, make.start, make.request())
    assert started.state is TaskState.QUEUED
    assert await store.get_task(task.name) == started

    def never(_: Task) -> Task:
        raise AssertionError("a known request decides nothing")

    assert await store.update_task(task.name, never, make.request()) == started
    with pytest.raises(AlreadyExists):
        await store.update_task(task.name, never, make.request(digest=b"other"))


async def test_what_decide_raises_reaches_the_caller_and_undoes_the_update(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 1), None)

    def refuse(_: Task) -> Task:
        raise FailedPrecondition(Reason.ILLEGAL_STATE, "no", subject="state")

    with pytest.raises(FailedPrecondition):
        await store.update_task(task.name, refuse, make.request())
    assert (await store.update_task(task.name, make.cancel, make.request())).state is TaskState.CANCELLED
    with pytest.raises(NotFound):
        await store.update_task(TaskName("p", "none"), make.cancel, None)


async def test_a_cancel_of_what_does_not_run_is_final_at_once(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 4), None)
    done = await store.update_task(task.name, make.cancel, None)
    assert (done.state, done.cancelled, done.stop_reason) == (TaskState.CANCELLED, 4, StopReason.CANCEL)
    assert done.end_us
    assert done.error
    operation, _ = await store.get_operation(task.operation_name)
    assert operation.done
    assert operation.result == task_bytes.final_result(done)


async def test_a_deleted_task_is_gone_at_once_and_its_id_is_free(driver: Driver) -> None:
    store = await driver.open()
    task = await store.create_task(make.new_task("a", 3), None)
    done = await make.finish(store, task)
    await store.delete_task(task.name, make.allow_delete, make.request())
    for call in (
        lambda: store.get_task(task.name),
        lambda: store.get_operation(task.operation_name),
        lambda: store.update_task(task.name, make.cancel, None),
        lambda: store.delete_operation(task.operation_name),
        lambda: make.page(store, done),
    ):
        with pytest.raises(NotFound):
            await call()
    assert await make.listed(store) == []
    assert await store.list_operations("p", None, 10) == []
    await store.delete_task(task.name, make.allow_delete, make.request())  # the same call again
    with pytest.raises(NotFound):
        await store.delete_task(task.name, make.allow_delete, None)
    anew = await store.create_task(make.new_task("A", 1, uid="anew"), None)
    assert anew.key != task.key
    store = await driver.reopen()
    assert await store.get_task(anew.name) == anew


async def test_a_key_is_never_given_out_again(driver: Driver) -> None:
    store = await driver.open()
    keys: list[int] = []
    for number in range(3):
        task = await store.create_task(make.new_task("a", 1, draft=True, uid=f"uid-{number}"), None)
        keys.append(task.key)
        await store.delete_task(task.name, make.allow_delete, None)
        while await store.sweep():
            pass
        store = await driver.reopen()
    assert len(set(keys)) == 3


async def test_tasks_are_listed_newest_first_page_by_page(store: Store) -> None:
    times = [5, 3, 9, 5, 5, 1, 9, 5]
    for number, us in enumerate(times):
        await store.create_task(make.new_task(f"t{number}", create_us=us), None)
    await store.create_task(make.new_task("elsewhere", project="q"), None)
    expected = sorted(((-us, f"t{number}") for number, us in enumerate(times)))
    for size in (1, 2, 3, 8, 9):
        assert await make.listed(store, size=size) == [name for _, name in expected]
    empty = await make.list_page(store, project="unused")
    assert (empty.entries, empty.count, empty.last, empty.more) == (b"", 0, None, False)


async def test_a_page_of_tasks_stops_by_bytes_but_not_before_one(store: Store) -> None:
    for number in range(5):
        await store.create_task(make.new_task(f"t{number}", create_us=10 - number), None)
    one = len((await make.list_page(store, limit=1)).entries)
    for max_bytes, fitting in ((3 * one + one // 2, 3), (3 * one, 3), (1, 1), (5 * one, 5), (make.BIG, 5)):
        page = await make.list_page(store, max_bytes=max_bytes)
        count = len(pages.infos(page.entries))
        assert 1 <= count == page.count <= fitting
        assert page.more == (count < 5)
        assert page.last == (10 - count + 1, f"t{count - 1}")


async def test_operations_are_listed_newest_first_and_forgotten_when_done(store: Store) -> None:
    tasks = [await store.create_task(make.new_task(f"t{n}", 1, create_us=us), None) for n, us in enumerate((5, 9, 5))]
    expected = [tasks[1], tasks[2], tasks[0]]  # by create_us, then by id, both falling
    listed = await store.list_operations("p", None, 10)
    assert [task for _, task in listed] == expected
    assert [operation.operation_id for operation, _ in listed] == [task.operation for task in expected]
    after = (listed[0][0].create_us, listed[0][0].operation_id)
    assert [task for _, task in await store.list_operations("p", after, 1)] == [tasks[2]]
    with pytest.raises(FailedPrecondition) as caught:
        await store.delete_operation(tasks[0].operation_name)
    assert caught.value.reason is Reason.OPERATION_NOT_DONE
    await make.finish(store, tasks[0])
    await store.delete_operation(tasks[0].operation_name)
    with pytest.raises(NotFound):
        await store.get_operation(tasks[0].operation_name)
    assert (await store.get_task(tasks[0].name)).operation == ""
    assert len(await store.list_operations("p", None, 10)) == 2
    other_project = replace(tasks[1], project="q").operation_name
    with pytest.raises(NotFound):
        await store.get_operation(other_project)
