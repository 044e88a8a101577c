"""What must a place for the files of artifacts do? What of them is an artifact, the rows of the store alone say."""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from batchyard_server.model.artifact import Artifact, Folder, NewArtifact, Stage


class Damaged(Exception):
    """The file of an artifact is missing, or is not what was collected; the text says what it is, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """What records left.

    Attributes:
        artifacts: durable, by index.
        warnings: (index, what was left out and why); at most a few of a record.
        rest: whether there may be anything else in their folders, if only an empty one.
    """

    artifacts: Sequence[NewArtifact] = ()
    warnings: Sequence[tuple[int, str]] = ()
    rest: bool = False


class Reading(Protocol):
    """Bytes that are being read; they stay what they are if their artifact is deleted meanwhile."""

    async def read(self, offset: int, size: int) -> bytes:
        """So many bytes from `offset` on; all of them are within the artifact. Raises Damaged if they are not there."""
        ...

    def close(self) -> None:
        """Read no further; returns at once. Idempotent."""
        ...


class ArtifactFiles(Protocol):
    """Files of records. Coroutines are called on the event loop and do not block it."""

    def stage(self, folder: Folder, generation: int) -> Stage:
        """A new stage; nothing is made for it before a record leaves something."""
        ...

    def location(self, stage: Stage) -> bytes:
        """Absolute path of the stage, for a worker of this machine. In it a record has a folder called by its index."""
        ...

    async def collect(self, stage: Stage, indexes: Sequence[int]) -> Collection:
        """Look at what ended records left, and make it durable: files, and the folders they are in.

        Only regular files with one name and a right path, within limits.ARTIFACT*; links are not followed. Nothing is
        removed. Raises ResourceExhausted (DISK_FULL).
        """
        ...

    async def keep_logs(self, stage: Stage, texts: Sequence[tuple[int, bytes]]) -> list[NewArtifact]:
        """Write (index, log) of records into files of a stage that nobody else writes to, durable. Raises OSError."""
        ...

    async def open(self, folder: Folder, artifact: Artifact) -> Reading:
        """Begin to read an artifact. Raises Damaged."""
        ...

    async def folders(self) -> list[Folder]:
        """The tasks for which there is a folder."""
        ...

    async def stages(self, folder: Folder) -> list[Stage]:
        """The stages of a task that are there and were not made by this server: no record writes to them any more."""
        ...

    async def indexes(self, stage: Stage) -> list[int]:
        """The records for which there is a folder in the stage."""
        ...

    async def tidy(self, stage: Stage, kept: Mapping[int, Some[str]]) -> Mapping[int, Some[str]]:
        """Remove what these records left but for the files with these paths, for some milliseconds.

        With it go folders that become empty, the stage's and the task's too. Returns what is left to do.
        """
        ...

    async def remove(self, folders: Sequence[Folder]) -> Sequence[Folder]:
        """Remove all files of tasks, for some milliseconds. Returns what is left to do."""
        ...
