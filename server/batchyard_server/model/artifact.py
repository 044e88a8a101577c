"""What is an artifact? A file that a handler left for a record, and the rules of its path."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from batchyard_server.model import limits

RESERVED = ".batchyard"  # first segment of paths that only the server makes
LOG_PATH = f"{RESERVED}/log.txt"  # what a record wrote is shown under this path


@dataclass(frozen=True, slots=True, order=True)
class Folder:
    """Where the files of a task are, by what never changes and is never used again."""

    task_key: int
    uid: str

    def __str__(self) -> str:
        return f"{self.task_key}-{self.uid}"


@dataclass(frozen=True, slots=True, order=True)
class Stage:
    """Where the records of one subtask leave their files: a folder of the task's, in it one for each index.

    Nothing in it moves: an artifact stays where its handler wrote it, and its row names the stage.
    """

    folder: Folder
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is known of a file without looking into it again. `sha256`: 32 bytes; `crc32c`: Castagnoli, 32 bits."""

    path: str
    size: int
    crc32c: int
    sha256: bytes
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewArtifact:
    """One that a flush brings: durable in its stage already, stored with the outcome of its record."""

    index: int
    stage: str
    content: Content


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One that is stored. `create_us`: when its record's outcome was."""

    index: int
    stage: str
    content: Content
    create_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactQuery:
    """One page of the artifacts of a task, by index, then path (by code point).

    Attributes:
        index: of one record; None = of all.
        prefix: what their paths begin with.
        after: (index, path) of the last one before the page; None = from the beginning.
        limit: most artifacts in it.
    """

    task_key: int
    index: int | None
    prefix: str
    after: tuple[int, str] | None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactPage:
    """Some artifacts. `next`: where the next page begins, which may find nothing more; None = this is the last one."""

    artifacts: list[Artifact]
    next: tuple[int, str] | None


def path_problem(path: str) -> str:
    """Why this is no path of an artifact, for people; "" if it is one.

    A path is segments with `/` between them, UTF-8, at most limits.ARTIFACT_PATH, each at most ARTIFACT_SEGMENT.
    """
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "is not UTF-8"
    if not 0 < size <= limits.ARTIFACT_PATH.maximum:
        return f"must have 1 to {limits.ARTIFACT_PATH.maximum} bytes"
    for segment in path.split("/"):
        if segment in ("", ".", ".."):
            return f"has the segment {segment!r}"
        if len(segment.encode()) > limits.ARTIFACT_SEGMENT_BYTES:
            return f"has a segment of more than {limits.ARTIFACT_SEGMENT_BYTES} bytes"
    if any(unicodedata.category(character) == "Cc" for character in path):
        return "has a control character"
    return ""
