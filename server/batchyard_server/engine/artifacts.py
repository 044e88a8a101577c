"""ListArtifacts, GetArtifact, ReadArtifact, DeleteArtifact.

What a record has is found in one place, `_page` and `_find`, and its bytes in another, `_open`: there the logs, which
are no files that a handler left but are shown as such, are added.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from batchyard_server.artifacts import Damaged, Reading
from batchyard_server.artifacts.checksum import Crc32c
from batchyard_server.codec import artifacts as codec
from batchyard_server.codec.queries import ListArtifacts, ReadArtifact
from batchyard_server.codec.requests import DeleteArtifact
from batchyard_server.engine import logs
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.logs import Log, LogReading
from batchyard_server.model import limits
from batchyard_server.model.artifact import LOG_PATH, Artifact, ArtifactPage, ArtifactQuery
from batchyard_server.model.errors import DataLoss, NotFound, OffsetBeyondEnd
from batchyard_server.model.names import ARTIFACT_TYPE, RECORD_TYPE, ArtifactName, RecordName, TaskName
from batchyard_server.model.task import Task


async def list_artifacts(deps: Deps, asked: ListArtifacts) -> bytes:
    """Serialized ListArtifactsResponse, by index, then path. Raises NotFound, InvalidArgument (INVALID_TOKEN)."""
    task = await deps.store.get_task(asked.name)
    if asked.index is not None and asked.index >= task.total:
        raise NotFound(RECORD_TYPE, str(RecordName(*asked.name, asked.index)))
    scope = f"{task.uid}/{'-' if asked.index is None else asked.index}/{asked.prefix}"
    query = ArtifactQuery(
        task_key=task.key,
        index=asked.index,
        prefix=asked.prefix,
        after=deps.tokens.read("artifacts", scope, asked.token, "page_token"),
        limit=asked.size,
    )
    page = await _page(deps, task, query)
    token = deps.tokens.make("artifacts", scope, page.next) if page.next else ""
    return codec.page(asked.name, page.artifacts, token)


async def get_artifact(deps: Deps, name: ArtifactName) -> bytes:
    """Serialized Artifact. Raises NotFound."""
    _, artifact, _ = await _find(deps, name)
    return codec.info(TaskName(name.project, name.task), artifact)


async def read_artifact(deps: Deps, asked: ReadArtifact) -> AsyncGenerator[bytes, None]:
    """Serialized ReadArtifactResponse messages, at least one. Raises NotFound, OffsetBeyondEnd, DataLoss.

    One message is read ahead of the client. That the bytes are those that were stored is checked when all are read.
    """
    task, artifact, log = await _find(deps, asked.name)
    content = artifact.content
    if asked.offset > content.size:
        raise OffsetBeyondEnd(asked.offset, content.size)
    end = min(asked.offset + asked.limit, content.size) if asked.limit else content.size
    checksum, expected = Crc32c(), content.crc32c
    try:
        reading = await _open(deps, task, artifact, log)
        try:
            async with aclosing(_parts(reading, asked.offset, end)) as read:
                async for data in read:
                    yield codec.part(data, expected)
                    checksum.update(data)
                    expected = 0
        finally:
            reading.close()
    except Damaged as error:
        raise DataLoss(str(asked.name), str(error)) from error
    if end - asked.offset == content.size and checksum.value != content.crc32c:
        raise DataLoss(str(asked.name), "its file has other bytes than were stored")


async def delete_artifact(deps: Deps, asked: DeleteArtifact) -> None:
    """Remove one; its bytes go in the background. Raises NotFound, AlreadyExists (REQUEST_ID_REUSED)."""
    await deps.store.delete_artifact(asked.name, asked.request, allow_missing=asked.allow_missing)


async def _parts(reading: Reading, offset: int, end: int) -> AsyncGenerator[bytes, None]:
    """The bytes from `offset` to `end`, at least one part; the next one is read while the consumer has this one."""
    ahead = _begin(reading, offset, end)
    try:
        while True:
            data = await ahead
            offset += len(data)
            if offset >= end:
                break
            ahead = _begin(reading, offset, end)
            yield data
        yield data
    finally:
        ahead.cancel()


def _begin(reading: Reading, offset: int, end: int) -> asyncio.Task[bytes]:
    """Read the next part. If nobody takes it, nobody need learn that it could not be read either."""
    size = min(limits.ARTIFACT_CHUNK_BYTES, end - offset)
    begun = asyncio.get_running_loop().create_task(reading.read(offset, size))
    begun.add_done_callback(lambda task: task.cancelled() or task.exception())
    return begun


async def _page(deps: Deps, task: Task, query: ArtifactQuery) -> ArtifactPage:
    """One page of what the records of a task have. Raises DataLoss."""
    files = await deps.store.artifact_page(query)
    try:
        return await logs.add(deps, task, query, files)
    except Damaged as error:
        raise DataLoss(str(task.name), f"a log: {error}") from error


async def _find(deps: Deps, name: ArtifactName) -> tuple[Task, Artifact, Log | None]:
    """An artifact and its task; of a log also what is in it. Raises NotFound, DataLoss."""
    task = await deps.store.get_task(TaskName(name.project, name.task))
    if name.path == LOG_PATH:
        try:
            log = await logs.find(deps, task, name)
        except Damaged as error:
            raise DataLoss(str(name), str(error)) from error
        return task, log.artifact, log
    artifact = await deps.store.artifact(task.key, name.index, name.path)
    if artifact is None:
        raise NotFound(ARTIFACT_TYPE, str(name))
    return task, artifact, None


async def _open(deps: Deps, task: Task, artifact: Artifact, log: Log | None) -> Reading:
    """Its bytes. Raises Damaged."""
    return await deps.files.open(task.folder, artifact) if log is None else LogReading(log.text)
