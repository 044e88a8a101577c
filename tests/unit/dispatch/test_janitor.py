"""Does the janitor remove what no row names, all of it, nothing else, and go on when something is in its way?"""

from __future__ import annotations

import asyncio
import logging
import pathlib
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest
import pytest_asyncio

from batchyard_server.artifacts import LocalArtifacts
from batchyard_server.dispatch import janitor as module
from batchyard_server.dispatch.janitor import Janitor
from batchyard_server.model.artifact import Folder, Stage
from batchyard_server.model.clock import SystemRandomness
from batchyard_server.model.errors import Reason, Unavailable
from batchyard_server.model.failpoints import OFF
from batchyard_server.model.names import ArtifactName
from batchyard_server.model.task import Task
from batchyard_server.store.sqlite import SqliteStore, open_sqlite
from tests.support import store as make
from tests.support.artifacts import collected, leave, tree
from tests.support.clock import FakeClock, SeededRandomness
from tests.support.eventually import eventually_in_loop
from tests.support.outcomes import flush

SECONDS = 20


class World:
    """A store, files of artifacts, and a janitor that is started by the test."""

    def __init__(self, store: SqliteStore, files: LocalArtifacts, root: pathlib.Path) -> None:
        self.store = store
        self.files = files
        self.root = root
        self.janitor = Janitor(store, files, slice_seconds=0)

    async def task(self, left: Mapping[int, Mapping[str, bytes]], task_id: str = "a", records: int = 3) -> Task:
        """A task that has ended; its records left these files."""
        task = await self.store.create_task(make.new_task(task_id, records), None)
        lease = await make.lease(self.store, task)
        sent = flush(task.name, ok=range(1, records), failed=[0])
        return await self.store.record_outcomes(lease, await collected(self.files, task, sent, left))

    def there(self) -> list[str]:
        """INDEX/PATH of all files."""
        found = [path.split("/", 2) for path in tree(self.root) if (self.root / path).is_file()]
        return sorted(path[2] for path in found if len(path) == 3)

    async def until(self, *wanted: str) -> None:
        """Wait until just these files are there."""
        await eventually_in_loop(lambda: self.there() == sorted(wanted), SECONDS, f"there is only {wanted}")

    async def until_nothing(self) -> None:
        await eventually_in_loop(lambda: tree(self.root) == [], SECONDS, "nothing is there")


@pytest_asyncio.fixture
async def world(tmp_path: pathlib.Path) -> AsyncIterator[World]:
    clock = FakeClock()
    store = await open_sqlite(tmp_path / "data", clock=clock, randomness=SeededRandomness(), failpoints=OFF)
    root = tmp_path / "data" / "artifacts"
    made = World(store, LocalArtifacts(root, clock=clock, randomness=SystemRandomness()), root)
    yield made
    await made.janitor.stop()
    await made.files.close()
    await store.close()


async def test_a_subtask_that_is_over_keeps_what_rows_name(world: World) -> None:
    task = await world.task({0: {"a": b"", "b/c": b""}, 1: {"a": b""}})
    [folder] = (world.root / str(task.folder)).iterdir()
    stage = Stage(task.folder, folder.name)
    leave(world.files, stage, 0, {"b/more": b"", "more": b""})
    leave(world.files, stage, 2, {"lost": b""})
    world.janitor.start()
    world.janitor.tidy(stage)
    await world.until("0/a", "0/b/c", "1/a")


async def test_a_stage_of_this_server_is_left_alone_until_it_is_over(world: World) -> None:
    task = await world.task({})
    stage = world.files.stage(task.folder, 1)
    leave(world.files, stage, 0, {"running": b""})
    leave(world.files, Stage(task.folder, "1-before-1"), 0, {"left": b""})
    world.janitor.start()
    await world.until("0/running")
    world.janitor.tidy(stage)
    await world.until_nothing()


async def test_what_was_replaced_goes(world: World) -> None:
    task = await world.task({0: {"old": b""}, 1: {"kept": b""}})
    world.janitor.start()
    task = await world.store.update_task(task.name, make.reactivate, None)
    lease = await make.lease(world.store, task, (0, 1))
    sent = flush(task.name, ok=[0], generation=2)
    await world.store.record_outcomes(lease, await collected(world.files, task, sent, {0: {"new": b""}}))
    await world.until("0/new", "1/kept")


async def test_what_was_deleted_by_name_goes(world: World) -> None:
    task = await world.task({0: {"a": b"", "b": b""}, 1: {"a": b""}})
    world.janitor.start()
    for index, path in ((0, "a"), (1, "a")):
        name = ArtifactName(task.project, task.task_id, index, path)
        await world.store.delete_artifact(name, None, allow_missing=False)
    await world.until("0/b")


async def test_the_folder_of_a_deleted_task_goes(world: World) -> None:
    gone, _ = await world.task({0: {"a": b""}}), await world.task({1: {"b": b""}}, "b")
    world.janitor.start()
    leave(world.files, world.files.stage(gone.folder, 1), 0, {"running": b""})
    await world.store.delete_task(gone.name, make.allow_delete, None)
    await world.until("1/b")


async def test_a_start_finds_all_that_no_row_names(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 3)
    task = await world.task({0: {"a": b""}})
    [folder] = (world.root / str(task.folder)).iterdir()
    before = folder.rename(folder.with_name("1-before-1"))
    world.store.writer.connection.execute("UPDATE artifact SET stage = '1-before-1'")
    for index in range(1, 20):
        leave(world.files, Stage(task.folder, before.name), index, {"lost": b""})
        leave(world.files, Stage(task.folder, f"1-before-{index + 1}"), index, {"lost": b""})
    for other in (Folder(task.key, "another"), Folder(99, "gone")):
        leave(world.files, Stage(other, "1-before-1"), 0, {"lost": b""})
    (world.root / str(task.folder) / "1-before-99").mkdir()
    world.janitor.start()
    await world.until("0/a")
    await eventually_in_loop(lambda: len(tree(world.root)) == 4, SECONDS, "no folder is left without a file")


class Broken:
    """Fails once, then does what the other one does."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error

    def check(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [Unavailable(Reason.STORE_UNAVAILABLE, "not now"), OSError("a disk that fails")])
async def test_it_goes_on_after_an_error(
    world: World, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    task = await world.task({})
    broken, artifacts_in = Broken(error), world.store.artifacts_in

    async def failing(stage: Stage, indexes: Sequence[int]) -> Mapping[int, frozenset[str]]:
        broken.check()
        return await artifacts_in(stage, indexes)

    monkeypatch.setattr(world.store, "artifacts_in", failing)
    stages = [world.files.stage(task.folder, 1) for _ in range(2)]
    for index, stage in enumerate(stages):
        leave(world.files, stage, index, {"lost": b""})
    with caplog.at_level(logging.WARNING):
        world.janitor.start()
        for stage in stages:
            world.janitor.tidy(stage)
        await world.until("0/lost")
    assert "files that are not needed stay until the next start" in caplog.text


async def test_it_ends_in_the_middle(world: World) -> None:
    task = await world.task({})
    stage = world.files.stage(task.folder, 1)
    for index in range(50):
        leave(world.files, stage, index, {f"{i}": b"" for i in range(20)})
    world.janitor.start()
    world.janitor.tidy(stage)
    await asyncio.wait_for(world.janitor.stop(), SECONDS)
