"""What becomes of the files of ended records: which are collected, when again, and when is somebody told to look?"""

from __future__ import annotations

import asyncio
import logging
import pathlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
import pytest_asyncio

from batchyard_server.artifacts import Collection
from batchyard_server.dispatch.pause import Pause
from batchyard_server.dispatch.protocols import Subtask
from batchyard_server.dispatch.queue import TaskQueue
from batchyard_server.dispatch.retries import Retrier
from batchyard_server.dispatch.settle import Settler
from batchyard_server.dispatch.staging import FileStaging
from batchyard_server.model.artifact import ArtifactQuery, Stage
from batchyard_server.model.errors import Reason, ResourceExhausted
from batchyard_server.model.failpoints import OFF
from batchyard_server.model.settings import Settings
from batchyard_server.model.task import Flush, Task
from batchyard_server.store.protocols import Store
from batchyard_server.store.sqlite import open_sqlite
from tests.support import store as make
from tests.support.artifacts import new
from tests.support.clock import FakeClock, SeededRandomness
from tests.support.outcomes import flush
from tests.support.tickets import make_ticket

STAGE = "1-server-1"


class Files:
    """Finds one file for every record that is asked about.

    Attributes:
        asked: the indexes of each collection.
        full: so many next collections find the disk full.
        rest: whether there is anything else.
    """

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.full = 0
        self.rest = False
        self.tidied: list[Stage] = []

    async def collect(self, stage: Stage, indexes: Sequence[int]) -> Collection:
        self.asked.append(list(indexes))
        if self.full:
            self.full -= 1
            raise ResourceExhausted(Reason.DISK_FULL, "full", subject="disk")
        found = [each for index in indexes for each in new(stage.name, index, "file")]
        return Collection(artifacts=found, warnings=[(index, "'x' is a FIFO") for index in indexes], rest=self.rest)

    def tidy(self, stage: Stage) -> None:
        self.tidied.append(stage)


class World:
    """A settler on a real store, and one subtask with three records."""

    def __init__(self, store: Store, task: Task) -> None:
        self.store = store
        self.files = Files()
        self.staging = FileStaging(self.files, self.files)  # type: ignore[arg-type]
        self.queue = TaskQueue(task, [], {})
        clock = FakeClock()
        retrier = Retrier(clock=clock, randomness=SeededRandomness(), find=lambda _: self.queue, due=lambda _: None)
        self.settler = Settler(
            store,
            retrier=retrier,
            max_worker_lost=2,
            staging=self.staging,
            failpoints=OFF,
            pause=Pause(),
            retry_seconds=0,
        )
        self.task = task

    async def subtask(self) -> Subtask:
        lease = await make.lease(self.store, self.task)
        granted = asyncio.get_running_loop().create_future()
        granted.set_result(True)
        return Subtask(
            task=self.task,
            lease=lease,
            inputs=b"",
            attempts={},
            estimate_ns=None,
            ticket=make_ticket(1),
            open=list(lease.ranges),
            granted=granted,
            stage=Stage(self.task.folder, STAGE),
        )

    def flush(self, ok: Sequence[int], failed: Sequence[int] = (), staged: Sequence[int] = ()) -> Flush:
        return replace(flush(self.task.name, ok=ok, failed=failed), staged=list(staged))

    async def stored(self) -> list[int]:
        """Indexes that have the artifact."""
        query = ArtifactQuery(task_key=self.task.key, index=None, prefix="", after=None, limit=100)
        return [each.index for each in (await self.store.artifact_page(query)).artifacts]


@pytest_asyncio.fixture
async def world(tmp_path: pathlib.Path) -> AsyncIterator[World]:
    store = await open_sqlite(tmp_path, clock=FakeClock(), randomness=SeededRandomness(), failpoints=OFF)
    settings = Settings(max_retry_count=1, retryable_codes=(3,))
    task = await store.create_task(make.new_task("a", 3, settings=settings), None)
    yield World(store, task)
    await store.close()


async def test_only_those_that_may_have_left_files_are_looked_at(world: World) -> None:
    subtask = await world.subtask()
    assert await world.settler.store_outcomes(subtask, world.flush([0]))
    assert await world.settler.store_outcomes(subtask, world.flush([1, 2], staged=[2, 2]))
    assert world.files.asked == [[2]]
    assert await world.stored() == [2]


async def test_those_that_are_tried_again_keep_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    subtask = await world.subtask()
    with caplog.at_level(logging.WARNING):
        assert await world.settler.store_outcomes(subtask, world.flush([0, 2], [1], staged=[0, 1]))
    assert world.files.asked == [[0]]
    assert await world.stored() == [0]
    assert subtask.left_files
    world.staging.ended(subtask)
    assert world.files.tidied == [Stage(world.task.folder, STAGE)]
    assert caplog.messages == [f"{world.task.name}/records/0: of what it left 'x' is a FIFO"]


async def test_nobody_looks_when_all_was_kept(world: World) -> None:
    subtask = await world.subtask()
    assert await world.settler.store_outcomes(subtask, world.flush([0, 1, 2], staged=[0, 1, 2]))
    world.staging.ended(subtask)
    assert world.files.tidied == []


async def test_somebody_looks_when_something_else_is_there(world: World) -> None:
    subtask = await world.subtask()
    world.files.rest = True
    assert await world.settler.store_outcomes(subtask, world.flush([0, 1, 2], staged=[1]))
    world.staging.ended(subtask)
    assert len(world.files.tidied) == 1


async def test_of_what_is_refused_nothing_is_kept(world: World) -> None:
    subtask = await world.subtask()
    assert await world.settler.store_outcomes(subtask, world.flush([0]))
    assert not await world.settler.store_outcomes(subtask, world.flush([0], staged=[0]))
    assert await world.stored() == []
    assert subtask.left_files


async def test_a_full_disk_is_waited_for(world: World) -> None:
    subtask = await world.subtask()
    world.files.full = 3
    assert await world.settler.store_outcomes(subtask, world.flush([0, 1, 2], staged=[1]))
    assert world.files.asked == [[1]] * 4
    assert await world.stored() == [1]


async def test_what_others_left_in_its_name_is_nobody_s(world: World) -> None:
    """A worker says which records left files; what it says of records that are not its own does not count."""
    subtask = await world.subtask()
    assert await world.settler.store_outcomes(subtask, world.flush([0], staged=[1, 7]))
    assert await world.stored() == []
    [record] = make.parse(await make.read_all(world.store, world.task))[:1]
    assert record.artifact_count == 0
