"""Does a watch of a project show every task, and every change of it, created and deleted ones too?"""

from __future__ import annotations

import asyncio
import random

import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.model import limits
from batchyard_server.model.errors import Code, Reason
from tests.rpc import world
from tests.rpc.stages import put
from tests.rpc.watching import Watcher, is_event, only_token, watching
from tests.rpc.world import PROJECT, create, name
from tests.support.errors import answer, provokes
from tests.support.server import Served

State = BatchTaskInfo.State


async def delete(server: Served, task_id: str, *, force: bool = False) -> None:
    """Delete a task."""
    await server.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=name(task_id), force=force))


async def test_a_snapshot_of_each_task_newest_first(server: Served) -> None:
    await world.populate(server)
    watcher = Watcher(server)
    await watcher.until(only_token)
    listed = await server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT))
    snapshots = watcher.messages[:-1]
    assert [each.batch_task for each in snapshots] == [each.name for each in listed.batch_tasks]
    for snapshot, task in zip(snapshots, listed.batch_tasks, strict=True):
        assert (snapshot.name, snapshot.state, snapshot.counts) == (task.operation, task.state, task.counts)
        assert snapshot.done == (task.state >= State.SUCCEEDED)
        assert snapshot.error == task.error
        assert snapshot.metadata.start_time == task.start_time
        assert snapshot.HasField("response") == (task.state == State.SUCCEEDED)


async def test_a_project_that_nobody_used(server: Served) -> None:
    await put(server, "RUNNING")
    stream = server.tasks.WatchBatchTasks(service.WatchBatchTasksRequest(parent="projects/other"))
    first = await stream.read()
    assert only_token(first)
    request = create("t")
    request.parent = "projects/other"
    await server.tasks.CreateBatchTask(request)
    told = await stream.read()
    assert told.batch_task == "projects/other/batchTasks/t"
    stream.cancel()


async def test_everything_that_happens_to_every_task(server: Served) -> None:
    await put(server, "RUNNING", "old")
    watcher = Watcher(server, include_records=True)
    await watcher.until(only_token)
    await watching(server, 1)
    await put(server, "SUCCEEDED", "new")
    await server.tasks.ReactivateBatchTask(service.ReactivateBatchTaskRequest(name=name("new")))
    await server.finish(name("new"))
    await delete(server, "new")
    await delete(server, "old", force=True)
    await watcher.until(lambda each: each.deleted and each.batch_task == name("old"))
    of_new = [each for each in watcher.messages if each.batch_task == name("new")]
    states = [each.state for each in of_new if not each.records]
    assert states == [
        State.QUEUED,
        State.RUNNING,
        State.SUCCEEDED,
        State.QUEUED,
        State.RUNNING,
        State.SUCCEEDED,
        State.STATE_UNSPECIFIED,
    ]
    assert [(record.index, record.generation) for each in of_new for record in each.records] == [
        (0, 1),
        (1, 1),
        (2, 1),
        (1, 2),
    ]
    ends = [each for each in of_new if each.done]
    assert [each.response.generation for each in ends] == [1, 2]
    assert ends[0].name != ends[1].name == of_new[-1].name
    assert of_new[-1].deleted
    await watcher.close()


async def test_outcomes_begin_after_the_snapshot(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("t", records=9))
    lease = await server.lease(name("t"), range(9))
    await server.end(name("t"), lease, ok=[0, 1, 2])
    watcher = Watcher(server, include_records=True)
    await watcher.until(only_token)
    await server.end(name("t"), lease, ok=[5])
    await server.end(name("t"), lease, ok=[4])
    await watcher.until(lambda _: watcher.indexes == [5, 4])
    await watcher.close()
    await server.end(name("t"), lease, ok=[3, 6])
    again = Watcher(server, include_records=True, token=watcher.token)
    await again.until(lambda _: again.indexes == [3, 6])
    await again.close()


async def test_outcomes_of_a_task_that_is_gone_are_left_out(server: Served) -> None:
    await put(server, "RUNNING")
    watcher = Watcher(server, include_records=True)
    await watcher.until(only_token)
    await watcher.close()
    await server.store.recover()
    await server.finish(name("t"))
    await delete(server, "t")
    again = Watcher(server, include_records=True, token=watcher.token)
    await again.until(lambda each: each.deleted)
    assert again.states[-2:] == ["SUCCEEDED", "DELETED"]
    assert again.records == []
    [end] = [each for each in again.messages if each.done]
    assert (end.counts.succeeded, end.HasField("response")) == (3, False)
    await again.close()


async def test_counts_of_one_task_do_not_hold_up_another_for_long(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("busy", records=60))
    lease = await server.lease(name("busy"), range(60))
    watcher = Watcher(server)
    await watcher.until(only_token)
    await watching(server, 1)
    for index in range(30):
        await server.end(name("busy"), lease, ok=[index])
        await server.tasks.CreateBatchTask(create(f"n{index}", start=False))
    await watcher.until(lambda each: each.batch_task == name("n29"))
    await watcher.until(lambda each: each.counts.succeeded == 30) if not _counted(watcher, 30) else None
    created = [each.batch_task for each in watcher.messages if each.state == State.DRAFT]
    assert created == [name(f"n{index}") for index in range(30)]
    counts = [each.counts.succeeded for each in watcher.messages if each.batch_task == name("busy")]
    assert counts == sorted(counts)
    await watcher.close()


def _counted(watcher: Watcher, succeeded: int) -> bool:
    return any(each.counts.succeeded == succeeded for each in watcher.messages)


@pytest.mark.parametrize("seed", range(3))
async def test_snapshots_while_tasks_come_and_go(server: Served, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut and resumed at every message: what is told adds up to what there is."""
    monkeypatch.setattr(limits, "WATCH_PAGE_TASKS", 3)
    chance = random.Random(seed)
    ids = [f"t{number}" for number in range(20)]
    for task_id in ids:
        await put(server, "DRAFT", task_id)
    known: dict[str, int] = {}
    token = ""
    seen = 0
    while True:
        watcher = Watcher(server, token=token)
        for _ in range(chance.randrange(1, 4)):
            message = await watcher.next()
            assert message is not None
            token = message.resume_token
            if message.deleted:
                assert known.pop(message.batch_task, None) is not None, "a task that was never shown"
            elif message.batch_task:
                if message.HasField("metadata") and not message.done:
                    assert message.batch_task not in known, "a second snapshot"
                known[message.batch_task] = message.state
            seen += 1
            if only_token(message):
                break
        await watcher.close()
        if only_token(watcher.messages[-1]):
            break
        await _meddle(server, chance, ids)
    await asyncio.sleep(0)
    rest = Watcher(server, token=token)
    await put(server, "DRAFT", "last")
    await rest.until(lambda each: each.batch_task == name("last"))
    for message in rest.messages:
        assert not message.HasField("metadata") or message.done, "a snapshot after the snapshots"
        if message.deleted:
            known.pop(message.batch_task)
        elif is_event(message):
            known[message.batch_task] = message.state
    await rest.close()
    listed = await server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT))
    assert known == {each.name: each.state for each in listed.batch_tasks}
    assert seen > 20


async def _meddle(server: Served, chance: random.Random, ids: list[str]) -> None:
    """Change, delete or create a task."""
    task_id = chance.choice(ids)
    match chance.randrange(4):
        case 0:
            ids.remove(task_id)
            await delete(server, task_id, force=True)
        case 1:
            ids.append(f"n{chance.randrange(1 << 60)}")
            await put(server, "DRAFT", ids[-1])
        case 2:
            ids.remove(task_id)
            await delete(server, task_id, force=True)
            ids.append(task_id)
            await put(server, "DRAFT", task_id)
        case _:
            await server.tasks.CancelBatchTask(service.CancelBatchTaskRequest(name=name(task_id)))
            ids.remove(task_id)


@provokes(Reason.DRAINING)
async def test_a_drain_ends_watches_with_a_token(server: Served) -> None:
    await put(server, "RUNNING")
    watchers = [Watcher(server, "t"), Watcher(server), Watcher(server, "t", include_records=True)]
    for watcher in watchers:
        await watcher.next()
    await watchers[1].next()
    await watching(server, 3)
    server.rpc.drain()
    for watcher in watchers:
        before = len(watcher.messages)
        found = answer(await watcher.fails())
        assert found.code is Code.UNAVAILABLE
        assert [only_token(each) for each in watcher.messages[before:]] == [True]
