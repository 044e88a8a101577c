"""Are files read as they were stored, found again, and removed without a trace and without following anything?"""

from __future__ import annotations

import asyncio
import os
import pathlib
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from batchyard_server.artifacts import Damaged, LocalArtifacts, folders
from batchyard_server.model.artifact import Artifact, Folder, Stage
from batchyard_server.model.clock import SystemClock, SystemRandomness
from tests.support.artifacts import leave, tree
from tests.support.clock import FakeClock
from tests.support.footprint import descriptors

TASK = Folder(7, "uid")
NOBODY = 65534


class Hurried(SystemClock):
    """Each look at it takes as long as a slice: one thing is removed at a time."""

    def __init__(self) -> None:
        self.ns = 0

    def monotonic_ns(self) -> int:
        """See Clock.monotonic_ns."""
        self.ns += 10**9
        return self.ns


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "artifacts"


@pytest_asyncio.fixture(params=["patient", "hurried"])
async def files(request: pytest.FixtureRequest, root: pathlib.Path) -> AsyncIterator[LocalArtifacts]:
    clock = Hurried() if request.param == "hurried" else FakeClock()
    made = LocalArtifacts(root, clock=clock, randomness=SystemRandomness())
    yield made
    await made.close()


async def kept(files: LocalArtifacts, data: bytes = b"data") -> tuple[Stage, Artifact]:
    """One artifact of record 3."""
    stage = files.stage(TASK, 1)
    leave(files, stage, 3, {"a/file": data})
    [found] = (await files.collect(stage, [3])).artifacts
    return stage, Artifact(index=3, stage=stage.name, content=found.content, create_us=0)


async def removed(files: LocalArtifacts, *tasks: Folder) -> int:
    """Remove all files of tasks; in how many slices."""
    left, slices = list(tasks), 0
    while left:
        left, slices = list(await files.remove(left)), slices + 1
    return slices


async def tidied(files: LocalArtifacts, stage: Stage, kept: dict[int, set[str]]) -> int:
    """Tidy a stage; in how many slices."""
    left, slices = dict(kept), 0
    while left:
        left, slices = {index: set(paths) for index, paths in (await files.tidy(stage, left)).items()}, slices + 1
    return slices


async def test_a_stage_is_like_no_other(files: LocalArtifacts, root: pathlib.Path) -> None:
    others = LocalArtifacts(root, clock=FakeClock(), randomness=SystemRandomness())
    stages = {each.stage(TASK, 1) for each in (files, files, others)}
    assert len(stages) == 3
    assert files.location(Stage(TASK, "s")) == os.fsencode(root / "7-uid" / "s")
    assert tree(root) == []
    await others.close()


async def test_bytes_are_read_from_anywhere(files: LocalArtifacts) -> None:
    data = os.urandom(200_000)
    _, artifact = await kept(files, data)
    reading = await files.open(TASK, artifact)
    assert await reading.read(0, len(data)) == data
    assert await reading.read(150_000, 10) == data[150_000:150_010]
    assert await reading.read(len(data), 0) == b""
    reading.close()
    reading.close()


async def test_a_reader_does_not_notice_that_it_is_removed(files: LocalArtifacts, root: pathlib.Path) -> None:
    stage, artifact = await kept(files)
    reading = await files.open(TASK, artifact)
    await tidied(files, stage, {3: set()})
    assert tree(root) == []
    assert await reading.read(0, 4) == b"data"
    reading.close()
    with pytest.raises(Damaged, match="No such file"):
        await files.open(TASK, artifact)


def _cut(file: pathlib.Path) -> None:
    file.write_bytes(b"dat")


def _grow(file: pathlib.Path) -> None:
    file.write_bytes(b"data!")


def _link(file: pathlib.Path) -> None:
    file.rename(file.with_name("other"))
    file.symlink_to("other")


def _folder(file: pathlib.Path) -> None:
    file.unlink()
    file.mkdir()


def _fifo(file: pathlib.Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("spoil", [_cut, _grow, _link, _folder, _fifo])
async def test_what_is_not_the_file_any_more_is_told(
    files: LocalArtifacts, root: pathlib.Path, spoil: Callable[[pathlib.Path], None]
) -> None:
    stage, artifact = await kept(files)
    spoil(root / "7-uid" / stage.name / "3/a/file")
    with pytest.raises(Damaged):
        await files.open(TASK, artifact)


async def test_a_file_that_is_cut_while_it_is_read(files: LocalArtifacts, root: pathlib.Path) -> None:
    stage, artifact = await kept(files)
    reading = await files.open(TASK, artifact)
    (root / "7-uid" / stage.name / "3/a/file").write_bytes(b"d")
    with pytest.raises(Damaged, match="ends after 1 bytes"):
        await reading.read(0, 4)
    reading.close()


async def test_no_file_stays_open(files: LocalArtifacts) -> None:
    _, artifact = await kept(files)
    await (await files.open(TASK, artifact)).read(0, 1)
    before = descriptors(os.getpid())
    for _ in range(20):
        opening = asyncio.create_task(files.open(TASK, artifact))
        await asyncio.sleep(0)
        opening.cancel()
        reading = await files.open(TASK, artifact)
        begun = asyncio.create_task(reading.read(0, 4))
        await asyncio.sleep(0)
        begun.cancel()
        reading.close()
        await asyncio.gather(opening, begun, return_exceptions=True)
    await files.close()
    # What the garbage collector would close is not closed by us: so it must be gone already.
    assert descriptors(os.getpid()) <= before


# -- what is there ----------------------------------------------------------------------------------------------------


async def test_what_there_is_is_found(files: LocalArtifacts, root: pathlib.Path) -> None:
    own = files.stage(TASK, 1)
    for stage in (own, Stage(TASK, "1-before-1"), Stage(Folder(12, "u-2"), "1-before-2")):
        for index in (0, 10):
            leave(files, stage, index, {"f": b""})
    for name in ("lost+found", "x-y", "-1", "0-zero"):
        (root / name).mkdir()
    (root / "7-uid" / "1-before-1" / "x").mkdir()
    assert await files.folders() == [Folder(12, "u-2"), TASK]
    assert await files.stages(TASK) == [Stage(TASK, "1-before-1")]
    assert await files.stages(Folder(1, "no")) == []
    assert sorted(await files.indexes(own)) == [0, 10]
    assert sorted(await files.indexes(Stage(TASK, "1-before-1"))) == [0, 10]
    assert await files.indexes(Stage(TASK, "no")) == []


# -- removing ---------------------------------------------------------------------------------------------------------


async def test_what_is_not_kept_goes(files: LocalArtifacts, root: pathlib.Path) -> None:
    stage = files.stage(TASK, 1)
    folder = leave(files, stage, 3, {"a/kept": b"", "a/other": b"", "b/c/other": b"", "kept": b"", "a.txt": b""})
    (folder / "a" / "empty").mkdir()
    (folder / "link").symlink_to("kept")
    leave(files, stage, 4, {"x": b""})
    leave(files, stage, 5, {"x": b""})
    slices = await tidied(files, stage, {3: {"a/kept", "kept"}, 4: set(), 9: set()})
    assert tree(root / "7-uid" / stage.name) == ["3", "3/a", "3/a/kept", "3/kept", "5", "5/x"]
    assert await tidied(files, stage, {3: set(), 5: set()}) <= slices
    assert tree(root) == []


async def test_a_folder_that_other_records_need_stays(files: LocalArtifacts, root: pathlib.Path) -> None:
    one, other = files.stage(TASK, 1), files.stage(TASK, 1)
    for stage in (one, other):
        leave(files, stage, 3, {"f": b""})
    await tidied(files, one, {3: set()})
    assert tree(root) == ["7-uid", f"7-uid/{other.name}", f"7-uid/{other.name}/3", f"7-uid/{other.name}/3/f"]
    await tidied(files, other, {3: set()})
    assert tree(root) == []
    assert await files.tidy(one, {}) == {}


async def test_tasks_are_removed_with_all_they_have(files: LocalArtifacts, root: pathlib.Path) -> None:
    for key in (1, 2, 3):
        leave(files, files.stage(Folder(key, "u"), 1), 0, {f"{i}/{j}/f": b"" for i in range(5) for j in range(5)})
    await removed(files, Folder(1, "u"), Folder(3, "u"), Folder(4, "u"))
    assert [each.name for each in root.iterdir()] == ["2-u"]


async def test_links_are_removed_and_not_what_they_point_to(
    files: LocalArtifacts, root: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    folder = leave(files, files.stage(TASK, 1), 3, {"f": b""})
    (folder / "folder").symlink_to(tmp_path / "mine")
    (folder / "file").symlink_to(tmp_path / "mine" / "file")
    os.mkfifo(folder / "fifo")
    await removed(files, TASK)
    assert tree(root) == []
    assert (tmp_path / "mine" / "file").read_text() == "x"


async def test_any_depth_is_removed(files: LocalArtifacts, root: pathlib.Path) -> None:
    folder = leave(files, files.stage(TASK, 1), 3, {"f": b""})
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for depth in range(3000):
        os.mkdir("d" * 50, dir_fd=here)
        (below := os.open("d" * 50, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here))
        os.close(os.open(f"file{depth}", os.O_CREAT | os.O_WRONLY, dir_fd=below))
        os.close(here)
        here = below
    os.close(here)
    await removed(files, TASK)
    assert tree(root) == []


async def test_names_that_removing_would_give_are_no_trouble(files: LocalArtifacts, root: pathlib.Path) -> None:
    left = {
        f"{outer}/{inner}/{leaf}": b"" for outer in ("~0", "~1", "x") for inner in ("~0", "~2") for leaf in ("~0", "~1")
    }
    folder = leave(files, files.stage(TASK, 1), 3, left)
    (folder / "~3").write_text("")
    await removed(files, TASK)
    assert tree(root) == []


@pytest.mark.parametrize("mode", [0o000, 0o300, 0o500, 0o600])
def test_permissions_do_not_keep_anything(tmp_path: pathlib.Path, mode: int) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    for folder in (deep, deep.parent, tmp_path / "a"):
        (folder / "file").write_text("")
        os.chown(folder, NOBODY, NOBODY) if os.geteuid() == 0 else None
        folder.chmod(mode)
    tmp_path.chmod(0o777)
    with folders.opened(os.fsencode(tmp_path)) as base:
        child = os.fork()
        if child == 0:  # root may remove everything: this one may not
            code = 1
            try:
                os.setuid(NOBODY) if os.geteuid() == 0 else None
                code = 0 if folders.remove(base, "a", lambda: False) else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_step_up_or_through_a_link_is_none(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(OSError), folders.opened(os.fsencode(tmp_path), "link"):
        pass
