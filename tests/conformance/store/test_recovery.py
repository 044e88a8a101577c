"""After a stop, and after a kill -9: what was acknowledged is there, and what is left to do is known."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from batchyard.v1.subtask_pb2 import Subtask
from batchyard_server.model.errors import NotFound, StaleLease
from batchyard_server.model.names import TaskName
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Attempts
from tests.conformance.store import crash
from tests.conformance.store.conftest import Driver
from tests.support import store as make
from tests.support.outcomes import flush
from tests.support.subtasks import listed


async def test_secrets_are_made_once(driver: Driver) -> None:
    store = await driver.open()
    secret, server_id = store.secret, store.server_id
    assert len(secret) == 32
    assert server_id
    store = await driver.reopen()
    assert (store.secret, store.server_id) == (secret, server_id)


async def test_recovery_ends_leases_and_tells_what_is_left(driver: Driver) -> None:
    store = await driver.open()
    task = await store.create_task(make.new_task("a", 100), None)
    first = await make.lease(store, task, (0, 10), (50, 60))
    second = await make.lease(store, task, (20, 40))
    await store.record_outcomes(first, flush(task.name, ok=[0, 1, 2, 3, 50, 52]))
    await store.record_outcomes(second, flush(task.name, ok=range(20, 30)))
    released = await make.lease(store, task, (60, 62))
    await store.release(released, {60: Attempts(begun=2, lost=1), 61: Attempts(begun=1, lost=0)})
    again = await make.lease(store, task, (60, 61))
    await store.record_outcomes(again, flush(task.name, failed=[60]))

    store = await driver.reopen()
    (live,) = await store.recover()
    assert live.task.state is TaskState.RUNNING
    assert (live.task.live_subtasks, live.task.subtasks) == (0, 4)
    assert live.pending == [(4, 20), (30, 50), (51, 52), (53, 60), (61, 100)]
    assert dict(live.attempts) == {61: Attempts(begun=1, lost=0)}
    for stale in (first, second):
        with pytest.raises(StaleLease):
            await store.record_outcomes(stale, flush(task.name, ok=[5]))
    lease = await make.lease(store, live.task, *live.pending)
    assert lease.epoch == 5
    left = [i for a, b in live.pending for i in range(a, b)]
    done = await store.record_outcomes(lease, flush(task.name, ok=left))
    assert (done.state, done.succeeded, done.failed) == (TaskState.SUCCEEDED, 99, 1)


async def test_recovery_finishes_what_was_being_cancelled(driver: Driver) -> None:
    store = await driver.open()
    task = await store.create_task(make.new_task("a", 10), None)
    lease = await make.lease(store, task, (0, 5))
    await store.record_outcomes(lease, flush(task.name, ok=[0]))
    await store.update_task(task.name, make.cancel, None)
    store = await driver.reopen()
    assert await store.recover() == []
    done = await store.get_task(task.name)
    assert (done.state, done.succeeded, done.cancelled) == (TaskState.CANCELLED, 1, 9)
    assert (await store.get_operation(task.operation_name))[0].done


async def test_recovery_returns_live_tasks_only_oldest_first(driver: Driver) -> None:
    store = await driver.open()
    for name, us in (("young", 9), ("old", 3), ("older", 1)):
        await store.create_task(make.new_task(name, 2, create_us=us), None)
    await store.create_task(make.new_task("draft", 2, draft=True), None)
    await make.finish(store, await store.create_task(make.new_task("done", 2), None))
    gone = await store.create_task(make.new_task("gone", 2), None)
    await make.finish(store, gone)
    await store.delete_task(gone.name, make.allow_delete, None)
    store = await driver.reopen()
    live = await store.recover()
    assert [each.task.task_id for each in live] == ["older", "old", "young"]
    assert all(each.pending == [(0, 2)] for each in live)


@pytest.mark.parametrize(
    "point",
    [
        "store.before_commit=kill@1",
        "store.before_commit=kill@7",
        "store.after_commit=kill@1",
        "store.after_commit=kill@7",
        "store.final_state=kill@1",
        "store.final_state=kill@3",
        "store.migrate=kill",
        "store.merge=kill@1",
        "store.merge=kill@3",
        "store.sweep=kill@1",
        "store.sweep=kill@4",
    ],
)
async def test_what_was_acknowledged_survives_a_kill(driver: Driver, tmp_path: pathlib.Path, point: str) -> None:
    log = tmp_path / "acknowledged"
    ended = subprocess.run(
        [sys.executable, crash.__file__, str(driver.directory), str(log)],
        env={**os.environ, "BATCHYARD_FAILPOINTS": point, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
        check=False,
    )
    assert ended.returncode == -9
    store = await driver.open()
    said = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    deleted = {each["task"] for each in said if "deleted" in each}
    complete = {each["task"] for each in said if each.get("succeeded") == crash.RECORDS}
    for expected in said:
        try:
            task = await store.get_task(TaskName("p", expected["task"]))
        except NotFound:  # deleted, though the kill may have come before anybody was told so
            assert expected["task"] in complete
            continue
        assert expected["task"] not in deleted
        assert task.succeeded >= expected["succeeded"]
        assert task.state >= TaskState[expected["state"]]
    # Whatever else there is, it is whole: counts are those of the records, final tasks have their snapshot.
    for task_id in await make.listed(store):
        task = await store.get_task(TaskName("p", task_id))
        done = make.indexes(await make.read_all(store, task, order=make.Order.COMPLETION))
        assert len(done) == len(set(done)) == task.succeeded
        assert (await store.get_operation(task.operation_name))[0].done == task.state.is_final
    for live in await store.recover():
        lease = await make.lease(store, live.task, *live.pending)
        left = [i for a, b in live.pending for i in range(a, b)]
        done = await store.record_outcomes(lease, flush(live.task.name, ok=left))
        assert (done.state, done.succeeded) == (TaskState.SUCCEEDED, live.task.total)
    for task_id in await make.listed(store):
        task = await store.get_task(TaskName("p", task_id))
        found = await listed(store, task.key)
        assert [each.epoch for each in reversed(found)] == list(range(1, task.next_epoch))
        assert not any(each.state == Subtask.RUNNING for each in found)
    while await store.merge() or await store.sweep():
        pass
