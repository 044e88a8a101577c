"""Many creates in one commit: each stands or falls alone, unless they are all or none."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from batchyard_server.codec import task_bytes
from batchyard_server.model import limits
from batchyard_server.model.errors import AlreadyExists, InvalidArgument, NotFound, Reason, Refused, ResourceExhausted
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import NewTask, RequestKey, Task
from batchyard_server.store.protocols import Store, TaskEvent
from tests.conformance.store.conftest import Driver
from tests.support import store as make

Creates = list[tuple[NewTask, RequestKey | None]]


async def keyed(store: Store, *new: NewTask, requests: int = 0) -> Creates:
    """With their keys; and with requests from this number on, if it is given."""
    keys = await store.new_keys(len(new))
    return [
        (replace(each, task=replace(each.task, key=key)), make.request(number) if requests else None)
        for number, (key, each) in enumerate(zip(keys, new, strict=True), start=requests)
    ]


def alike(like: NewTask, *ids: str) -> list[NewTask]:
    """Tasks like that one but for their names and ids."""
    made: list[NewTask] = []
    for task_id in ids:
        other = make.new_task(task_id, like.task.total)
        made.append(replace(other, like=like.task, mutable=task_bytes.mutable_info(other.task)))
    return made


async def test_tasks_are_read_as_they_were_made(driver: Driver) -> None:
    store = await driver.open()
    heard: list[TaskEvent] = []
    store.subscribe(heard.extend)
    big = make.new_task("big", 2, parameters=b"\x12\x80\x20" + b"x" * 4096)
    first = make.new_task("first", 3)
    new = [first, make.new_task("ids", 2, ids=True), *alike(first, "x", "Y"), big]
    creates = await keyed(store, *new)
    made = await store.create_tasks(creates, None, atomic=False)
    assert made == [create.task for create, _ in creates]
    assert [event.task for event in heard] == made
    store = await driver.reopen()
    for create, _ in creates:
        task = create.task
        assert await store.get_task(task.name) == task
        assert (await store.get_operation(task.operation_name))[1] == task
        info = await store.get_info(task.name)
        assert (info.info, info.live) == (task_bytes.info(task), True)
        records = make.parse(await make.read_all(store, task, view=make.View.FULL))
        assert [record.input.text for record in records] == [str(index) for index in range(task.total)]
    (live,) = [each for each in await store.recover() if each.task.task_id == "Y"]
    done = await make.finish(store, live.task)
    assert done.state is TaskState.SUCCEEDED


async def test_one_that_is_refused_leaves_nothing_and_stops_no_other(store: Store) -> None:
    taken = await store.create_task(make.new_task("Taken"), None)
    twice = replace(make.new_task("twice", 2, ids=True), record_ids=[("same", 0), ("same", 1)])
    new = [
        make.new_task("a", 1),
        make.new_task("taken", uid="again"),
        twice,
        make.new_task("A", uid="other"),
        make.new_task("b"),
    ]
    for round_ in range(2):
        creates = await keyed(store, *new, requests=10)
        made = await store.create_tasks(creates, None, atomic=False)
        errors = [each for each in made if not isinstance(each, Task)]
        assert [type(each) for each in errors] == [AlreadyExists, InvalidArgument, AlreadyExists], round_
        assert [each.reason for each in errors] == [
            Reason.RESOURCE_EXISTS,
            Reason.DUPLICATE_RECORD_ID,
            Reason.RESOURCE_EXISTS,
        ]
    assert set(await make.listed(store)) == {"Taken", "a", "b"}
    # The refused ones left no trace of their request ids.
    assert (await store.create_task(make.new_task("c"), make.request(11))).task_id == "c"
    assert await store.get_task(taken.name) == taken


async def test_all_or_none(store: Store) -> None:
    await store.create_task(make.new_task("taken"), None)
    heard: list[TaskEvent] = []
    store.subscribe(heard.extend)
    new = [make.new_task("a"), make.new_task("Taken", uid="again"), make.new_task("b")]
    creates = await keyed(store, *new, requests=10)
    neighbour, refused = await asyncio.gather(
        store.create_task(make.new_task("neighbour"), None),
        store.create_tasks(creates, make.request(1), atomic=True),
        return_exceptions=True,
    )
    assert isinstance(neighbour, Task)
    assert isinstance(refused, Refused)
    assert (refused.position, refused.error.reason) == (1, Reason.RESOURCE_EXISTS)
    assert [event.task.task_id for event in heard] == ["neighbour"]
    assert set(await make.listed(store)) == {"neighbour", "taken"}
    # It left no trace of any id, so that both can be used at once.
    creates = await keyed(store, make.new_task("a"), make.new_task("b"), requests=10)
    made = await store.create_tasks(creates, make.request(1, digest=b"other"), atomic=True)
    assert made == [create.task for create, _ in creates]


async def test_a_name_that_this_commit_took_is_taken_for_its_neighbours_too(store: Store) -> None:
    first, second = await keyed(store, make.new_task("a")), await keyed(store, make.new_task("A", uid="other"))
    made, refused, single = await asyncio.gather(
        store.create_tasks(first, None, atomic=True),
        store.create_tasks(second, None, atomic=True),
        store.create_task(make.new_task("a", uid="third"), None),
        return_exceptions=True,
    )
    assert made == [first[0][0].task]
    assert isinstance(refused, Refused)
    assert isinstance(single, AlreadyExists)


async def test_a_repeated_call_answers_with_the_tasks_as_they_are_now(driver: Driver) -> None:
    store = await driver.open()
    new = [make.new_task("a", 1), make.new_task("b", 1), make.new_task("c", 1)]
    first, again = await asyncio.gather(
        store.create_tasks(await keyed(store, *new, requests=10), make.request(1), atomic=True),
        store.create_tasks(await keyed(store, *new, requests=10), make.request(1), atomic=True),
    )
    assert first == again
    for create in new[:2]:
        await make.finish(store, await store.get_task(create.task.name))
    await store.delete_task(new[1].task.name, make.allow_delete, None)
    store = await driver.reopen()
    now = await store.create_tasks(await keyed(store, *new, requests=10), make.request(1), atomic=False)
    assert now[0] == await store.get_task(new[0].task.name) != first[0]
    assert isinstance(now[1], NotFound)
    assert now[2] == first[2]


async def test_the_request_id_of_the_whole_belongs_to_its_content(driver: Driver) -> None:
    store = await driver.open()
    await store.create_tasks(await keyed(store, make.new_task("a")), make.request(1), atomic=False)
    for atomic in (False, True):
        other = await keyed(store, make.new_task("b"))
        with pytest.raises(AlreadyExists) as caught:
            await store.create_tasks(other, make.request(1, digest=b"other"), atomic=atomic)
        assert caught.value.reason is Reason.REQUEST_ID_REUSED
    with pytest.raises(AlreadyExists):
        await store.create_task(make.new_task("b"), make.request(1, digest=b"other"))
    while await store.sweep():
        pass
    driver.clock.advance(limits.REQUEST_ID_HOURS * 3600 + 1)
    assert await store.sweep() is False
    await store.create_tasks(await keyed(store, make.new_task("b")), make.request(1, digest=b"other"), atomic=False)
    assert await make.listed(store) == ["a", "b"]


async def test_a_full_disk_leaves_nothing_of_them(driver: Driver) -> None:
    store = await driver.open()
    driver.failpoints.armed["store.before_commit"] = "disk_full"
    creates = await keyed(store, make.new_task("a"), make.new_task("b"), requests=10)
    with pytest.raises(ResourceExhausted):
        await store.create_tasks(creates, make.request(1), atomic=False)
    assert await make.listed(store) == []
    driver.failpoints.armed.clear()
    assert await store.create_tasks(creates, make.request(1), atomic=False) == [each.task for each, _ in creates]


async def test_a_thousand_of_them(store: Store) -> None:
    first = make.new_task("t0", 1)
    new = [first, *alike(first, *(f"t{n}" for n in range(1, 1000)))]
    creates = await keyed(store, *new, requests=1)
    made = await store.create_tasks(creates, None, atomic=True)
    assert len({task.key for task in made if isinstance(task, Task)}) == 1000
    assert sorted(await make.listed(store, size=500)) == sorted(f"t{n}" for n in range(1000))
    # One that is there already makes all of them be looked at one by one.
    creates = await keyed(store, *new, make.new_task("t1000"), requests=1)
    assert (await store.create_tasks(creates, None, atomic=True))[:-1] == made
    assert await store.task_counts("p") == {TaskState.QUEUED: 1001}
