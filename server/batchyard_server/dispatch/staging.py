"""Where do the records of a subtask leave files, and which of them are kept? What dispatch knows of artifacts.

cut ─▶ stage ─▶ worker writes into it ─▶ flush: collect ─▶ rows with its outcomes
                                           lease ends: what no row names is removed, if anything may be there
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from batchyard_server.artifacts import ArtifactFiles, Collection
from batchyard_server.dispatch.janitor import Janitor
from batchyard_server.dispatch.protocols import Subtask
from batchyard_server.model.artifact import NewArtifact, Stage
from batchyard_server.model.task import Task

log = logging.getLogger(__name__)


class Staging(Protocol):
    """What the dispatcher asks."""

    def begin(self, task: Task) -> tuple[Stage | None, bytes]:
        """A new stage for a subtask and its path; (None, b"") if records can leave no files here."""
        ...

    async def keep_logs(self, subtask: Subtask, texts: Sequence[tuple[int, bytes]]) -> Sequence[NewArtifact]:
        """(index, log) of ended records as files, durable; none if they cannot be written: they stay where they are."""
        ...

    def refused(self, subtask: Subtask, artifacts: Sequence[NewArtifact]) -> None:
        """The outcomes that came with these were not stored."""
        ...

    async def collect(self, subtask: Subtask, indexes: Sequence[int]) -> Collection:
        """What ended records of the subtask left, durable. Raises ResourceExhausted, Unavailable: try again."""
        ...

    def ended(self, subtask: Subtask) -> None:
        """Nothing of the subtask runs any more and all its outcomes were written: what else it left is not needed."""
        ...


class NoStaging:
    """Implements Staging for a server whose records leave no files."""

    def begin(self, task: Task) -> tuple[Stage | None, bytes]:
        """See Staging.begin."""
        return None, b""

    async def keep_logs(self, subtask: Subtask, texts: Sequence[tuple[int, bytes]]) -> Sequence[NewArtifact]:
        """See Staging.keep_logs."""
        return ()

    def refused(self, subtask: Subtask, artifacts: Sequence[NewArtifact]) -> None:
        """See Staging.refused."""

    async def collect(self, subtask: Subtask, indexes: Sequence[int]) -> Collection:
        """See Staging.collect."""
        return Collection()

    def ended(self, subtask: Subtask) -> None:
        """See Staging.ended."""


class FileStaging:
    """Implements Staging."""

    def __init__(self, files: ArtifactFiles, janitor: Janitor) -> None:
        self._files = files
        self._janitor = janitor

    def begin(self, task: Task) -> tuple[Stage | None, bytes]:
        """See Staging.begin."""
        stage = self._files.stage(task.folder, task.generation)
        return stage, self._files.location(stage)

    async def keep_logs(self, subtask: Subtask, texts: Sequence[tuple[int, bytes]]) -> Sequence[NewArtifact]:
        """See Staging.keep_logs."""
        stage = self._files.stage(subtask.task.folder, subtask.lease.generation)
        try:
            return await self._files.keep_logs(stage, texts)
        except OSError as error:
            log.warning("long logs of %s are kept in the store: %s", subtask.task.name, error)
            self._janitor.tidy(stage)
            return ()

    def refused(self, subtask: Subtask, artifacts: Sequence[NewArtifact]) -> None:
        """See Staging.refused."""
        subtask.left_files = True
        for name in {each.stage for each in artifacts}:
            stage = Stage(subtask.task.folder, name)
            if stage != subtask.stage:  # that one goes when the subtask has ended
                self._janitor.tidy(stage)

    async def collect(self, subtask: Subtask, indexes: Sequence[int]) -> Collection:
        """See Staging.collect."""
        assert subtask.stage is not None, "its records could leave something"
        found = await self._files.collect(subtask.stage, indexes)
        for index, warning in found.warnings:
            log.warning("%s/records/%d: of what it left %s", subtask.task.name, index, warning)
        if found.rest:
            subtask.left_files = True
        return found

    def ended(self, subtask: Subtask) -> None:
        """See Staging.ended."""
        if subtask.left_files and subtask.stage is not None:
            self._janitor.tidy(subtask.stage)
