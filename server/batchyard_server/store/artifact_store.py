"""What must a store do for artifacts? The part of `store.protocols.Store` that is about files of records.

A store keeps what is known of a file and where it is, never its bytes. A row appears with the outcome of its record,
see Flush.artifacts, and goes when an outcome of a later generation takes the place of that one, when it is deleted, or
when its task is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from batchyard_server.model.artifact import Artifact, ArtifactPage, ArtifactQuery, Stage
from batchyard_server.model.names import ArtifactName
from batchyard_server.model.task import RequestKey, Task


@dataclass(frozen=True, slots=True)
class Unnamed:
    """Rows of these indexes went: what of their files in that stage no row names is not needed any more."""

    stage: Stage
    indexes: frozenset[int]


class ArtifactStore(Protocol):
    """Artifacts."""

    async def artifact_page(self, query: ArtifactQuery) -> ArtifactPage:
        """Read one page. Keyset: the cost does not depend on how far in. Raises NotFound if the task was deleted."""
        ...

    async def artifact(self, task_key: int, index: int, path: str) -> Artifact | None:
        """Read one; None if there is none."""
        ...

    async def delete_artifact(self, name: ArtifactName, request: RequestKey | None, *, allow_missing: bool) -> None:
        """Remove one; under LOG_PATH also what else is kept of what the record wrote. Its outcome stays as it is.

        A known `request` with the same digest returns at once, also one that found nothing to remove, which is no error
        with `allow_missing`. Raises: NotFound (the task; the artifact), AlreadyExists (REQUEST_ID_REUSED).
        """
        ...

    async def artifacts_in(self, stage: Stage, indexes: Sequence[int]) -> Mapping[int, frozenset[str]]:
        """Which paths rows name in this stage, by index; indexes without any are left out."""
        ...

    async def task_of(self, key: int) -> Task | None:
        """The task with that key; None if there is none (any more)."""
        ...

    def watch_unnamed(self, watcher: Callable[[Sequence[Unnamed]], None]) -> Callable[[], None]:
        """Have `watcher` called on the loop after each commit in which rows went; returns the un-watcher.

        Not for those of a deleted task, of which its event tells. What is not told, since the server ended, is found by
        comparing what files there are with what rows name.
        """
        ...
