"""What a record wrote, shown as its artifact `.batchyard/log.txt` among those that are files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchyard_server.artifacts.logs import content_of
from batchyard_server.codec import logs as codec
from batchyard_server.engine.deps import Deps
from batchyard_server.model import limits
from batchyard_server.model.artifact import LOG_PATH, Artifact, ArtifactPage, ArtifactQuery
from batchyard_server.model.errors import NotFound
from batchyard_server.model.names import ARTIFACT_TYPE, RECORD_TYPE, ArtifactName, RecordName
from batchyard_server.model.record import PastAttempt
from batchyard_server.model.task import Task

Position = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Log:
    """The log of a record: how it is shown, and all of its text."""

    artifact: Artifact
    text: bytes


class LogReading:
    """Implements artifacts.Reading for a text in memory."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    async def read(self, offset: int, size: int) -> bytes:
        """See Reading.read."""
        return self._text[offset : offset + size]

    def close(self) -> None:
        """See Reading.close."""


async def find(deps: Deps, task: Task, name: ArtifactName) -> Log:
    """The log of a record of the task. Raises NotFound if there is no such record, or it has none; Damaged."""
    if name.index >= task.total:
        raise NotFound(RECORD_TYPE, str(RecordName(name.project, name.task, name.index)))
    attempts = await deps.store.record_log(task.key, name.index)
    log = await _made(deps, task, name.index, attempts) if attempts else None
    if log is None:
        raise NotFound(ARTIFACT_TYPE, str(name))
    return log


async def add(deps: Deps, task: Task, query: ArtifactQuery, files: ArtifactPage) -> ArtifactPage:
    """A page of artifacts of the task with the logs in it. `files`: the page without them."""
    if not LOG_PATH.startswith(query.prefix):
        return files
    logs, following = await _logs(deps, task, query)
    ends = [each for each in (files.next, following) if each is not None]
    end = min(ends) if ends else None
    others = [each for each in files.artifacts if each.content.path != LOG_PATH]
    found = sorted((*others, *logs), key=_position)
    if end is not None:
        found = [each for each in found if _position(each) <= end]
    if len(found) > query.limit:
        found = found[: query.limit]
        end = _position(found[-1])
    return ArtifactPage(artifacts=found, next=end)


async def _logs(deps: Deps, task: Task, query: ArtifactQuery) -> tuple[list[Artifact], Position | None]:
    """The logs of a page, and up to where they were looked for; None = there are no more."""
    after = query.after or (-1, "")
    if query.index is not None:
        attempts = [] if after[1] >= LOG_PATH else await deps.store.record_log(task.key, query.index)
        log = await _made(deps, task, query.index, attempts) if attempts else None
        return ([] if log is None else [log.artifact]), None
    start = after[0] if after[1] < LOG_PATH else after[0] + 1
    page = await deps.store.log_page(task.key, max(start, 0), query.limit, limits.LOG_PAGE_BYTES)
    made = [await _made(deps, task, index, attempts) for index, attempts in page.logs]
    return [each.artifact for each in made if each], (page.next - 1, LOG_PATH) if page.next is not None else None


async def _made(deps: Deps, task: Task, index: int, attempts: Sequence[PastAttempt]) -> Log | None:
    """The log of these executions; None if it is in a file that was deleted meanwhile. Raises Damaged."""
    in_file = b""
    if any(each.log is None for each in attempts):
        artifact = await deps.store.artifact(task.key, index, LOG_PATH)
        if artifact is None:
            return None
        reading = await deps.files.open(task.folder, artifact)
        try:
            in_file = await reading.read(0, artifact.content.size)
        finally:
            reading.close()
    text, ended_us = codec.sections(attempts, in_file)
    return Log(Artifact(index=index, stage="", content=content_of(text), create_us=ended_us or task.create_us), text)


def _position(artifact: Artifact) -> Position:
    return artifact.index, artifact.content.path
