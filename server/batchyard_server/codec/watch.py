"""How is a watch written? OperationStatus messages as bytes, in parts that are made once for all who watch.

event | snapshot | head ‖ outcomes     (the same for all)
‖ token                                (where each one goes on)
"""

from __future__ import annotations

from google.longrunning import operations_pb2

from batchyard.v1.batch_task_pb2 import RecordCounts
from batchyard.v1.operation_status_pb2 import OperationStatus
from batchyard_server.codec import parts, segments, task_bytes
from batchyard_server.codec.v1.shadow_pb2 import RawOperationStatus
from batchyard_server.model.task import Operation, Task
from batchyard_server.model.watch import Change, LogEntry


def event(entry: LogEntry, ended: Operation | None, running: int) -> bytes:
    """A change.

    Args:
        entry: what happened.
        ended: the generation's operation with its snapshot, if it ended in this change and was not deleted since.
        running: how many records' handlers run now.
    """
    if entry.change is Change.DELETED:
        return OperationStatus(
            name=entry.operation_name,
            batch_task=str(entry.name),
            deleted=True,
            event_time=parts.timestamp(entry.time_us),
        ).SerializeToString()
    done = entry.state.is_final
    left = entry.total - entry.succeeded - entry.failed - entry.cancelled
    running = min(running, left)
    message = OperationStatus(
        name=entry.operation_name,
        batch_task=str(entry.name),
        done=done,
        state=entry.state,  # pyright: ignore[reportArgumentType] - the enums have the same numbers
        counts=RecordCounts(
            total=entry.total,
            pending=left - running,
            running=running,
            succeeded=entry.succeeded,
            failed=entry.failed,
            cancelled=entry.cancelled,
        ),
        event_time=parts.timestamp(entry.time_us),
    ).SerializeToString()
    if entry.error:
        message += RawOperationStatus(error=entry.error).SerializeToString()
    return message + (_ended(ended) if ended is not None and ended.done else b"")


def snapshot(task: Task, operation: Operation, running: int, now_us: int) -> bytes:
    """A task as it is, with the operation of its generation, which may have been deleted."""
    forgotten = not task.operation
    live = not operation.done and not forgotten
    metadata = task_bytes.metadata(task, create_us=operation.create_us, running=running if live else 0)
    message = OperationStatus(
        name="" if forgotten else str(task.operation_name),
        batch_task=str(task.name),
        done=task.state.is_final,
        state=task.state,  # pyright: ignore[reportArgumentType]
        counts=task_bytes.counts(task, running if live else 0),
        event_time=parts.timestamp(now_us),
    ).SerializeToString()
    if task.state.is_final and task.error:
        message += RawOperationStatus(error=task.error).SerializeToString()
    if operation.done:
        return message + _ended(operation)
    return message if forgotten else message + RawOperationStatus(metadata=metadata).SerializeToString()


def _ended(operation: Operation) -> bytes:
    """What a done operation adds; its error is there already."""
    result = operations_pb2.Operation.FromString(operation.result)
    response = result.response.value if result.HasField("response") else None
    return RawOperationStatus(response=response, metadata=operation.metadata).SerializeToString()


def head(batch_task: str, operation: str, time_us: int) -> bytes:
    """What a message with outcomes begins with; `operation` is its resource name."""
    return OperationStatus(
        name=operation, batch_task=batch_task, event_time=parts.timestamp(time_us)
    ).SerializeToString()


def outcomes(page: bytes) -> bytes:
    """The outcomes of a serialized RawRecordPage."""
    return RawOperationStatus(records=segments.split_page(page)).SerializeToString()


def token(resume_token: str) -> bytes:
    """Where the watch goes on."""
    return RawOperationStatus(resume_token=resume_token).SerializeToString()


def quiet(now_us: int) -> bytes:
    """Nothing happened."""
    return OperationStatus(event_time=parts.timestamp(now_us)).SerializeToString()
