"""How do many creates come in and go out at once? BatchCreateBatchTasks → checked creates; new tasks → their bytes.

Many tasks of one call have the same configuration and differ in their names and ids alone. What they share is checked
and made once; then a message that has it is filled in anew for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.longrunning import operations_pb2
from google.protobuf.any_pb2 import Any

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata
from batchyard_server.codec import configuration, parts, task_bytes
from batchyard_server.codec.configuration import Configuration
from batchyard_server.codec.requests import CreateTask, checked_create, request_key
from batchyard_server.codec.v1 import shadow_pb2
from batchyard_server.model import limits, names
from batchyard_server.model.errors import InvalidArgument
from batchyard_server.model.task import RequestKey, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTasks:
    """BatchCreateBatchTasks.

    Attributes:
        creates: in their order; of one that CreateBatchTask would refuse as it is, why.
        request: of the call as a whole.
    """

    project: str
    creates: Sequence[CreateTask | InvalidArgument]
    atomic: bool
    request: RequestKey | None


def create_tasks(raw: bytes) -> CreateTasks:
    """Read BatchCreateBatchTasks. Creates of equal configurations have the same one.

    Raises InvalidArgument for what is wrong with the whole: MALFORMED_REQUEST, how many they are, their parents, a
    validate_only, the request_id.
    """
    request = parts.parse(service.BatchCreateBatchTasksRequest, raw)
    project = names.parse_project(request.parent)
    count = len(request.requests)
    if not limits.BATCH_CREATE.minimum <= count <= limits.BATCH_CREATE.maximum:
        bounds = f"{limits.BATCH_CREATE.minimum} to {limits.BATCH_CREATE.maximum}"
        raise InvalidArgument(limits.BATCH_CREATE.field, f"has {count} requests, must have {bounds}")
    key = request_key("batch create", project, request)
    read = _remembering(configuration.read)
    creates: list[CreateTask | InvalidArgument] = []
    raws = shadow_pb2.RawBatchCreate.FromString(raw).requests
    for index, (each, raw_create) in enumerate(zip(request.requests, raws, strict=True)):
        if each.parent and each.parent != request.parent:
            raise InvalidArgument(f"requests[{index}].parent", f"must be empty or {request.parent}")
        if each.validate_only:
            raise InvalidArgument(f"requests[{index}].validate_only", "is not possible among others")
        if each.request_id:
            each.parent = request.parent  # so it is the same as that of a CreateBatchTask
        try:
            create = checked_create(project, each, raw_create, read)
        except InvalidArgument as error:
            creates.append(error)
        else:
            creates.append(create)
    return CreateTasks(project=project, creates=creates, atomic=request.atomic, request=key)


def derived_key(request: RequestKey, index: int) -> RequestKey:
    """What one create of a call, which has no request_id itself, is known by. No caller's id has a slash in it."""
    return RequestKey(request.project, f"{request.request_id}/{index}", request.digest)


def _remembering(read: Callable[[BatchTaskInfo], Configuration]) -> Callable[[BatchTaskInfo], Configuration]:
    """`read`, which for equal bytes returns the same again."""
    known: dict[bytes, Configuration] = {}

    def remembered(info: BatchTaskInfo) -> Configuration:
        raw = info.SerializeToString()
        found = known.get(raw)
        if found is None:
            found = known[raw] = read(info)
        return found

    return remembered


class Stamp:
    """Makes the bytes of new tasks that are like one of them but for their names and ids."""

    def __init__(self, like: Task, asked: Configuration) -> None:
        self._head = BatchTaskInfo(create_time=parts.timestamp(like.create_us))
        self._chosen = configuration.chosen(asked)
        self._mutable = task_bytes.mutable_message(like)
        self._metadata = BatchTaskMetadata.FromString(task_bytes.metadata(like))
        type_url = task_bytes.TYPE_URL + BatchTaskMetadata.DESCRIPTOR.full_name
        self._operation = operations_pb2.Operation(metadata=Any(type_url=type_url))

    def fixed(self, name: str, uid: str) -> bytes:
        """`Task.fixed`."""
        head = self._head
        head.name = name
        head.uid = uid
        return head.SerializeToString() + self._chosen

    def mutable(self, operation: str, etag: str) -> bytes:
        """What task_bytes.mutable_info makes; `operation` is a resource name."""
        mutable = self._mutable
        mutable.operation = operation
        mutable.etag = etag
        return mutable.SerializeToString()

    def operation(self, operation: str, task: str) -> bytes:
        """Serialized Operation, not done; both are resource names."""
        metadata, made = self._metadata, self._operation
        metadata.batch_task = task
        made.name = operation
        made.metadata.value = metadata.SerializeToString()
        return made.SerializeToString()


class Results:
    """BatchCreateBatchTasksResponse, put together in any order."""

    def __init__(self, count: int) -> None:
        self._message = shadow_pb2.RawBatchCreated(results=[shadow_pb2.RawBatchCreated.Result()] * count)
        self.size = 0

    def operation(self, index: int, operation: bytes) -> None:
        """A serialized Operation."""
        self._message.results[index].operation = operation
        self.size += len(operation)

    def status(self, index: int, status: bytes) -> None:
        """A serialized Status."""
        self._message.results[index].status = status
        self.size += len(status)

    def serialized(self) -> bytes:
        """All of them."""
        return self._message.SerializeToString()
