"""GetBatchTaskCounts: is every task of a project counted once, where it is?"""

from __future__ import annotations

import pathlib
from collections import Counter

import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskCounts, BatchTaskInfo
from batchyard_server.model.errors import Code, Reason
from tests.rpc import world
from tests.rpc.test_errors import fail
from tests.rpc.world import PROJECT, create, name
from tests.support.errors import provokes
from tests.support.server import Served, serving

COUNTS = f"{PROJECT}/batchTaskCounts"


async def counts(server: Served, project: str = PROJECT) -> BatchTaskCounts:
    """What the server says."""
    asked = service.GetBatchTaskCountsRequest(name=f"{project}/batchTaskCounts")
    return await server.tasks.GetBatchTaskCounts(asked)


async def counted(server: Served) -> BatchTaskCounts:
    """What a list of the project says."""
    page = await server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT, page_size=1000))
    states = Counter(BatchTaskInfo.State.Name(task.state).lower() for task in page.batch_tasks)
    return BatchTaskCounts(name=COUNTS, **states)


async def test_a_project_that_nobody_used_has_none(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("a"))
    assert await counts(server, "projects/unused") == BatchTaskCounts(name="projects/unused/batchTaskCounts")


async def test_each_task_is_counted_in_its_state(tmp_path: pathlib.Path) -> None:
    async with serving(tmp_path) as server:
        await world.populate(server)
        for state in ("pausing", "paused"):
            await server.tasks.CreateBatchTask(create(state, records=2))
        await server.lease(name("pausing"), [0])
        for state in ("pausing", "paused"):
            await server.tasks.PauseBatchTask(service.PauseBatchTaskRequest(name=name(state)))
        now = await counts(server)
        assert now == await counted(server)
        fields = {field.name: value for field, value in now.ListFields() if field.name != "name"}
        assert fields == {"draft": 2, **dict.fromkeys(world.STATES[2:], 1), "pausing": 1, "paused": 1}
    async with serving(tmp_path) as server:  # what was cancelling is cancelled now, what was pausing is paused
        after = await counts(server)
        assert after == await counted(server)
        assert (after.cancelling, after.cancelled, after.pausing, after.paused) == (0, 2, 0, 2)


async def test_what_is_deleted_or_runs_again_is_counted_where_it_is_now(server: Served) -> None:
    await world.populate(server)
    await server.tasks.ReactivateBatchTask(service.ReactivateBatchTaskRequest(name=name("failed")))
    for state in ("draft", "running", "succeeded"):
        await server.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=name(state), force=True))
    now = await counts(server)
    assert now == await counted(server)
    assert (now.draft, now.queued, now.running, now.succeeded, now.failed) == (1, 2, 0, 0, 0)


async def test_a_batch_is_counted(server: Served) -> None:
    requests = [create(f"t{n}", start=n % 3 > 0) for n in range(30)]
    requests += [create("t1"), create("t 1")]
    await server.tasks.BatchCreateBatchTasks(service.BatchCreateBatchTasksRequest(parent=PROJECT, requests=requests))
    assert await counts(server) == await counted(server) == BatchTaskCounts(name=COUNTS, draft=10, queued=20)


@pytest.mark.parametrize("wrong", ["", PROJECT, f"{PROJECT}/batchTaskCounts/a", "projects/a b/batchTaskCounts"])
@provokes(Reason.INVALID_FIELD)
async def test_a_name_that_is_none_is_refused(server: Served, wrong: str) -> None:
    found = await fail(server, "GetBatchTaskCounts", service.GetBatchTaskCountsRequest(name=wrong))
    assert (found.code, found.field) == (Code.INVALID_ARGUMENT, "name")
