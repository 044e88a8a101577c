"""What tests need of artifacts: files as handlers leave them, and a place for tests in which there are none."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import cast

from batchyard_server.artifacts import ArtifactFiles
from batchyard_server.codec.artifacts import with_artifacts
from batchyard_server.model.artifact import Content, NewArtifact, Stage
from batchyard_server.model.task import Flush, Task

NO_FILES = cast(ArtifactFiles, object())  # whoever asks it for something fails


def content(path: str, size: int = 3) -> Content:
    """What is known of a file that does not exist."""
    return Content(path=path, size=size, crc32c=size, sha256=bytes(32), content_type="text/plain")


def new(stage: str, index: int, *paths: str) -> list[NewArtifact]:
    """Artifacts of a record, without files."""
    return [NewArtifact(index=index, stage=stage, content=content(path)) for path in paths]


def leave(files: ArtifactFiles, stage: Stage, index: int, left: Mapping[str, bytes]) -> pathlib.Path:
    """What a handler does: write these files, by their paths. Returns the record's folder."""
    folder = pathlib.Path(os.fsdecode(files.location(stage)), str(index))
    folder.mkdir(parents=True, exist_ok=True)
    for path, data in left.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


async def collected(files: ArtifactFiles, task: Task, flush: Flush, left: Mapping[int, Mapping[str, bytes]]) -> Flush:
    """The flush of records that left these files, by index and path, in a stage of their own."""
    stage = files.stage(task.folder, task.generation)
    for index, each in left.items():
        leave(files, stage, index, each)
    found = await files.collect(stage, list(left))
    assert not found.warnings
    return with_artifacts(flush, found.artifacts)


def tree(root: pathlib.Path) -> Sequence[str]:
    """Everything below a folder, files and folders, by path; also while something is removed."""
    found = [pathlib.Path(above, each) for above, dirs, names in os.walk(root) for each in (*dirs, *names)]
    return sorted(str(each.relative_to(root)) for each in found)
