"""Are long logs written where nobody else writes, and is what was not stored removed again?"""

from __future__ import annotations

import asyncio
import logging
import pathlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import pytest
import pytest_asyncio

from batchyard_server.artifacts import LocalArtifacts
from batchyard_server.codec import logs
from batchyard_server.dispatch.janitor import Janitor
from batchyard_server.dispatch.protocols import Subtask
from batchyard_server.dispatch.staging import FileStaging
from batchyard_server.model import limits
from batchyard_server.model.artifact import LOG_PATH, Artifact, Folder, Stage
from batchyard_server.model.clock import SystemRandomness
from batchyard_server.model.names import TaskName
from batchyard_server.model.task import Lease
from tests.support import store as make
from tests.support.artifacts import tree
from tests.support.clock import FakeClock
from tests.support.outcomes import flush
from tests.support.tickets import make_ticket

TASK = Folder(7, "uid")
NAME = TaskName("p", "t")
LONG = b"x" * (limits.SEGMENT_LOG_BYTES + 1)


class Told:
    """Stands for a janitor: what it is told."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def tidy(self, stage: Stage) -> None:
        self.stages.append(stage)


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "artifacts"


@pytest_asyncio.fixture
async def files(root: pathlib.Path) -> AsyncIterator[LocalArtifacts]:
    made = LocalArtifacts(root, clock=FakeClock(), randomness=SystemRandomness())
    yield made
    await made.close()


def subtask(files: LocalArtifacts) -> Subtask:
    """One of that task."""
    task = replace(make.new_task("t", 5).task, key=TASK.task_key, uid=TASK.uid)
    return Subtask(
        task=task,
        lease=Lease(task_key=task.key, generation=1, ranges=[(0, 5)], worker="w"),
        inputs=b"",
        attempts={},
        estimate_ns=None,
        ticket=make_ticket(5),
        open=[(0, 5)],
        granted=asyncio.get_running_loop().create_future(),
        stage=files.stage(TASK, 1),
    )


async def test_each_has_a_file_of_its_own_in_a_new_stage(files: LocalArtifacts, root: pathlib.Path) -> None:
    first = await files.keep_logs(files.stage(TASK, 1), [(0, b"zero"), (12, b"\xfftwelve")])
    second = await files.keep_logs(files.stage(TASK, 1), [(0, b"again")])
    assert [(each.index, each.content.size) for each in first] == [(0, 4), (12, 7)]
    assert {each.content.path for each in first} == {LOG_PATH}
    for each, text in zip((*first, *second), (b"zero", b"\xfftwelve", b"again"), strict=True):
        artifact = Artifact(index=each.index, stage=each.stage, content=each.content, create_us=0)
        reading = await files.open(TASK, artifact)
        assert await reading.read(0, artifact.content.size) == text
        reading.close()
    assert len([each for each in root.rglob("*") if each.is_file()]) == 3


async def test_outcomes_that_were_refused_leave_none(files: LocalArtifacts, root: pathlib.Path) -> None:
    told, mine = Told(), subtask(files)
    staging = FileStaging(files, cast(Janitor, told))
    kept = await staging.keep_logs(mine, [(1, LONG), (3, LONG)])
    sent = logs.with_files(flush(NAME, ok=range(4), logs={1: LONG, 2: b"short", 3: LONG}), kept)
    assert sent.logs == [(1, b""), (2, b"short"), (3, b"")]
    staging.refused(mine, sent.artifacts)
    [stage] = told.stages
    assert stage != mine.stage
    left = dict.fromkeys(await files.indexes(stage), frozenset[str]())
    assert sorted(left) == [1, 3]
    while left:
        left = dict(await files.tidy(stage, left))
    assert tree(root) == []


async def test_where_no_file_can_be_written_they_stay_with_their_outcomes(
    files: LocalArtifacts, root: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / str(TASK)).write_text("in the way")
    told = Told()
    staging = FileStaging(files, cast(Janitor, told))
    with caplog.at_level(logging.WARNING):
        kept = await staging.keep_logs(subtask(files), [(1, LONG)])
    assert kept == ()
    assert "are kept in the store" in caplog.text
    assert len(told.stages) == 1  # where some may have been written
    sent = flush(NAME, ok=[1], logs={1: LONG})
    assert logs.with_files(sent, kept) == sent


def test_which_are_long() -> None:
    fits = b"x" * limits.SEGMENT_LOG_BYTES
    texts = [(0, b"a"), (1, fits), (2, LONG), (3, LONG)]
    assert not logs.any_long(texts[:2])
    assert logs.any_long(texts)
    assert logs.long_ones(texts, {3}) == [(2, LONG)]


def test_warnings_come_at_the_ends_of_logs() -> None:
    sent = flush(NAME, ok=[1, 2, 5], logs={1: b"open end", 5: b"line\n"})
    found = logs.with_warnings(sent, [(1, "one"), (1, "two"), (2, "three"), (3, "of another"), (5, "f\udcff")])
    assert found.logs == [
        (1, b"open end\nWARNING batchyard: one\nWARNING batchyard: two\n"),
        (2, b"WARNING batchyard: three\n"),
        (5, b"line\nWARNING batchyard: f\\udcff\n"),
    ]
    assert logs.with_warnings(sent, [(3, "of another")]) is sent
