"""The scripted server's artifacts: bytes by name, and streams that are cut or lie."""

from __future__ import annotations

import hashlib
import zlib
from collections import deque
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf import empty_pb2
from google.rpc import code_pb2, error_details_pb2

from batchyard.v1 import artifact_pb2
from batchyard.v1 import batch_task_service_pb2 as service_pb
from tests.client.fake_operations import refuse


class FakeArtifacts:
    """The methods. A checksum is any number that differs with the bytes, as nobody here looks at it.

    Attributes:
        artifacts: bytes, by name.
        shown_names: what a name is listed as, if that is another one.
        wrong_sha256: names whose checksum is not that of the bytes.
        part: bytes in a message.
        read_cuts: after how many messages each next ReadArtifact is cut.
        on_cut: called then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.artifacts: dict[str, bytes] = {}
        self.shown_names: dict[str, str] = {}
        self.wrong_sha256: set[str] = set()
        self.part = 4
        self.read_cuts: deque[int] = deque()
        self.on_cut: Any = None
        self.read_offsets: list[int] = []

    _begin: Any
    _task: Any
    lock: Any

    def leave(self, task: str, index: int, path: str, data: bytes) -> str:
        """A record left this; its name."""
        name = f"{task}/records/{index}/artifacts/{path}"
        self.artifacts[name] = data
        return name

    def _message(self, name: str) -> artifact_pb2.Artifact:
        data = self.artifacts[name]
        digest = bytes(32) if name in self.wrong_sha256 else hashlib.sha256(data).digest()
        shown = self.shown_names.get(name, name)
        return artifact_pb2.Artifact(
            name=shown, size=len(data), sha256=digest, crc32c=zlib.crc32(data), content_type="text/plain"
        )

    def _found(self, name: str, context: grpc.ServicerContext) -> bytes:
        record, _, _ = name.partition("/artifacts/")
        task, _, index = record.rpartition("/records/")
        if int(index) >= len(self._task(task, context).records):
            _missing("Record", record, context)
        if name not in self.artifacts:
            _missing("Artifact", name, context)
        return self.artifacts[name]

    def ListArtifacts(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin("ListArtifacts", request, context)
        with self.lock:
            task, _, index = request.parent.rpartition("/records/")
            self._task(task, context)
            found = [name for name in sorted(self.artifacts) if self._listed(name, task, index, request.prefix)]
        begin = int(request.page_token or 0)
        end = begin + (request.page_size or 2)
        return service_pb.ListArtifactsResponse(
            artifacts=map(self._message, found[begin:end]), next_page_token=str(end) if end < len(found) else ""
        )

    def _listed(self, name: str, task: str, index: str, prefix: str) -> bool:
        record, _, path = name.partition("/artifacts/")
        wanted = record.startswith(f"{task}/records/") if index == "-" else record == f"{task}/records/{index}"
        return wanted and path.startswith(prefix)

    def GetArtifact(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin("GetArtifact", request, context)
        self._found(request.name, context)
        return self._message(request.name)

    def ReadArtifact(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self._begin("ReadArtifact", request, context)
        data = self._found(request.name, context)
        self.read_offsets.append(request.offset)
        if request.offset > len(data):
            refuse(context, code_pb2.OUT_OF_RANGE, "behind the end", "OFFSET_BEYOND_END")
        cut = self.read_cuts.popleft() if self.read_cuts else None
        end = min(len(data), request.offset + request.limit) if request.limit else len(data)
        checksum = zlib.crc32(data)
        sent = 0
        for at in range(request.offset, max(end, request.offset + 1), self.part):
            if sent == cut:
                self._cut(context)
            yield service_pb.ReadArtifactResponse(data=data[at : min(at + self.part, end)], crc32c=checksum)
            checksum = 0
            sent += 1
        if sent == cut:
            self._cut(context)

    def _cut(self, context: grpc.ServicerContext) -> None:
        if self.on_cut is not None:
            self.on_cut()
        refuse(context, code_pb2.UNAVAILABLE, "cut", "")

    def DeleteArtifact(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin("DeleteArtifact", request, context)
        if not request.allow_missing:
            self._found(request.name, context)
        self.artifacts.pop(request.name, None)
        return empty_pb2.Empty()


def _missing(kind: str, name: str, context: grpc.ServicerContext) -> None:
    resource = error_details_pb2.ResourceInfo(resource_type=f"batchyard.dev/{kind}", resource_name=name)
    refuse(context, code_pb2.NOT_FOUND, f"{name} not found", "RESOURCE_NOT_FOUND", resource)
