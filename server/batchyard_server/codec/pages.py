"""How are lists, records and handlers written? Serialized parts → serialized responses; nothing stored is parsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.longrunning import operations_pb2 as lro

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskCounts, BatchTaskInfo
from batchyard.v1.handler_pb2 import Handler
from batchyard_server.codec import parts
from batchyard_server.codec.v1 import shadow_pb2
from batchyard_server.model.handler import HandlerStatus
from batchyard_server.model.names import HandlerName
from batchyard_server.model.states import TaskState, WaitingReason

EMPTY = b""  # google.protobuf.Empty


def entry(info: bytes) -> bytes:
    """A task as a list's message has it: field 1 with its serialized BatchTaskInfo."""
    return b"\x0a" + parts.varint(len(info)) + info


def info_of(entry: bytes) -> bytes:
    """The BatchTaskInfo of an `entry`."""
    size = len(entry)
    return entry[2 if size < 2 + 128 else 3 if size < 3 + 16384 else 4 if size < 4 + 2097152 else 5 :]


def infos(entries: bytes) -> Sequence[bytes]:
    """The BatchTaskInfos of entries, one after the other."""
    return shadow_pb2.RawTaskPage.FromString(entries).batch_tasks


def task_page(entries: bytes, token: str) -> bytes:
    """ListBatchTasksResponse and StreamBatchTasksResponse: both have the token under the same number."""
    return entries + shadow_pb2.RawTaskPage(token=token).SerializeToString()


def record_page(records: bytes, *, next_page_token: str, resume_token: str) -> bytes:
    """ListRecordsResponse (StreamRecordsResponse without next_page_token). `records`: serialized RawRecordPage."""
    tail = shadow_pb2.RawRecordPage(next_page_token=next_page_token, resume_token=resume_token)
    return records + tail.SerializeToString()


def only_record(records: bytes) -> bytes | None:
    """The one record of a serialized RawRecordPage; None if it is empty."""
    found = shadow_pb2.RawRecordPage.FromString(records).records
    return found[0] if found else None


def subtask_page(entries: bytes, token: str) -> bytes:
    """ListSubtasksResponse. It has the shape of a task page: subtasks = 1, next_page_token = 2."""
    return task_page(entries, token)


def operation_page(operations: Sequence[bytes], token: str) -> bytes:
    """ListOperationsResponse. It has the shape of a task page: operations = 1, next_page_token = 2."""
    return shadow_pb2.RawTaskPage(batch_tasks=operations, token=token).SerializeToString()


def done_operation(*, metadata: bytes, info: bytes) -> bytes:
    """A done Operation without a name (AIP-163): what `validate_only` answers."""
    operation = lro.Operation(done=True)
    operation.metadata.type_url = "type.googleapis.com/batchyard.v1.BatchTaskMetadata"
    operation.metadata.value = metadata
    operation.response.type_url = "type.googleapis.com/batchyard.v1.BatchTaskInfo"
    operation.response.value = info
    return operation.SerializeToString()


def cancelled(count: int, names: Sequence[str], token: str) -> bytes:
    """CancelBatchTasksResponse; `names` are those of the first tasks."""
    return service.CancelBatchTasksResponse(
        cancelled_count=count, batch_tasks=names, next_page_token=token
    ).SerializeToString()


def task_counts(project: str, counts: Mapping[TaskState, int]) -> bytes:
    """Serialized BatchTaskCounts. Its fields are the states in lower case."""
    fields = {state.name.lower(): count for state, count in counts.items()}
    return BatchTaskCounts(name=f"projects/{project}/batchTaskCounts", **fields).SerializeToString()


def waiting(reason: WaitingReason) -> bytes:
    """What is appended to a BatchTaskInfo to show why the task waits."""
    return BatchTaskInfo(waiting_reason=reason).SerializeToString()  # pyright: ignore[reportArgumentType]


def handler(project: str, status: HandlerStatus) -> bytes:
    """Serialized Handler, as seen under `project`."""
    return _handler(project, status).SerializeToString()


def handler_page(project: str, statuses: Sequence[HandlerStatus], token: str) -> bytes:
    """ListHandlersResponse."""
    handlers = [_handler(project, status) for status in statuses]
    return service.ListHandlersResponse(handlers=handlers, next_page_token=token).SerializeToString()


def appended(next_index: int) -> bytes:
    """AppendRecordsResponse."""
    return service.AppendRecordsResponse(next_index=next_index).SerializeToString()


def _handler(project: str, status: HandlerStatus) -> Handler:
    spec = status.spec
    return Handler(
        name=str(HandlerName(project, spec.handler_id)),
        kind=spec.kind,  # pyright: ignore[reportArgumentType] - the enums have the same numbers
        description=spec.description,
        isolation=status.isolation,  # pyright: ignore[reportArgumentType]
        available=status.available,
    )
