"""How is an artifact written for the wire? Plain values → serialized messages; and how a record tells of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.artifact_pb2 import Artifact as Message
from batchyard_server.codec import parts, segments
from batchyard_server.model import ranges as rg
from batchyard_server.model.artifact import Artifact, NewArtifact
from batchyard_server.model.names import ArtifactName, TaskName
from batchyard_server.model.task import Flush

_COUNT_TAG = b"\x68"  # RecordInfo.artifact_count = 13


def info(task: TaskName, artifact: Artifact) -> bytes:
    """Serialized Artifact."""
    return _message(task, artifact).SerializeToString()


def page(task: TaskName, artifacts: Sequence[Artifact], token: str) -> bytes:
    """Serialized ListArtifactsResponse."""
    found = [_message(task, each) for each in artifacts]
    return service.ListArtifactsResponse(artifacts=found, next_page_token=token).SerializeToString()


def part(data: bytes, crc32c: int) -> bytes:
    """Serialized ReadArtifactResponse; `crc32c` 0: not in this one."""
    return service.ReadArtifactResponse(data=data, crc32c=crc32c).SerializeToString()


def with_artifacts(flush: Flush, found: Sequence[NewArtifact]) -> Flush:
    """The flush with those of these artifacts that are of its records, which say how many they have."""
    mine = {each.index for each in found}.intersection(rg.indexes(flush.ranges)) if found else set[int]()
    if not mine:
        return replace(flush, staged=())
    kept = [each for each in found if each.index in mine]
    counts = Counter(each.index for each in kept)
    records = [
        record + _COUNT_TAG + parts.varint(counts[index]) if index in counts else record
        for index, record in zip(rg.indexes(flush.ranges), segments.split_page(flush.page), strict=True)
    ]
    return replace(flush, page=segments.join_page(records), staged=(), artifacts=kept)


def _message(task: TaskName, artifact: Artifact) -> Message:
    content = artifact.content
    return Message(
        name=str(ArtifactName(task.project, task.task, artifact.index, content.path)),
        size=content.size,
        crc32c=content.crc32c,
        sha256=content.sha256,
        content_type=content.content_type,
        create_time=parts.timestamp(artifact.create_us),
    )
