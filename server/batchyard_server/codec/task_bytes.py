"""How is a task written for the wire? BatchTaskInfo in two parts, metadata, operations and task errors, as bytes.

Task.fixed ‖ mutable part = info      (what a store keeps and lists send: protobuf merges what is concatenated)
info ‖ live_overlay                   (what a reader of a live task sees)
"""

from __future__ import annotations

from collections.abc import Sequence

from google.longrunning import operations_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import ErrorInfo

from batchyard.v1 import batch_task_pb2
from batchyard_server.codec import parts
from batchyard_server.model import limits, names
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.names import TaskName
from batchyard_server.model.states import WaitingReason
from batchyard_server.model.task import Operation, Task

Failures = Sequence[tuple[int, bytes]]

TYPE_URL = "type.googleapis.com/"
ERROR_FAILURES = 10  # failures in the details of a task's error; BatchTaskMetadata.failed_requests has more

_INFO = batch_task_pb2.BatchTaskInfo
_METADATA = batch_task_pb2.BatchTaskMetadata
_COUNTS_TAG = b"\x8a\x01"  # BatchTaskInfo.counts = 17, length-delimited
_WAITING_TAG = b"\x40"  # BatchTaskInfo.waiting_reason = 8, varint
_OPERATION_DONE = b"\x18\x01"  # Operation.done = 3, true


def info(task: Task) -> bytes:
    """Serialized BatchTaskInfo of the task, without what only the living server knows (see `live_overlay`)."""
    return task.fixed + mutable_info(task)


def mutable_info(task: Task) -> bytes:
    """Serialized BatchTaskInfo with the fields that change. `error` shows in a final state only."""
    return mutable_message(task).SerializeToString()


def mutable_message(task: Task) -> batch_task_pb2.BatchTaskInfo:
    """The same, not serialized yet."""
    message = _INFO(
        state=task.state,  # pyright: ignore[reportArgumentType] - the enums have the same numbers
        stop_reason=task.stop_reason,  # pyright: ignore[reportArgumentType]
        generation=task.generation,
        operation=str(task.operation_name) if task.operation else "",
        counts=counts(task, 0),
        start_time=_time(task.start_us),
        end_time=_time(task.end_us),
        update_time=_time(task.update_us),
        state_transition_time=_time(task.transition_us),
        expire_time=_time(task.expire_us),
        etag=task.etag,
    )
    if task.error and task.state.is_final:
        message.error.ParseFromString(task.error)
    return message


def name_of(info: bytes) -> TaskName:
    """The name in a serialized BatchTaskInfo."""
    return names.parse_task(_INFO.FromString(info).name)


def position_of(info: bytes) -> tuple[int, str]:
    """(create_us, task id) of a serialized BatchTaskInfo: where a list that ends with it goes on."""
    message = _INFO.FromString(info)
    return parts.microseconds(message.create_time), names.parse_task(message.name).task


def live_overlay(task: Task, running: int, waiting: WaitingReason) -> bytes:
    """What is appended to `info` while a task lives: its counts with `running`, and why it waits.

    Every count is written, zeros too, since only what is on the wire overrides what came before; so the sum is right
    even if `info` is a commit older or newer than `task`. b"" if there is nothing to add.
    """
    out = b""
    if running:
        counts = _explicit_counts(task, running)
        out = _COUNTS_TAG + parts.varint(len(counts)) + counts
    return out + _WAITING_TAG + parts.varint(waiting) if waiting else out


def metadata(task: Task, *, create_us: int | None = None, failures: Failures = (), running: int = 0) -> bytes:
    """Serialized BatchTaskMetadata of the task's current generation.

    `create_us` is the operation's (None = the task's), `failures` are (index, serialized google.rpc.Status):
    `failed_requests_truncated` is set if more records failed. `running`: how many records' handlers run now.
    """
    message = _METADATA(
        batch_task=str(task.name),
        generation=task.generation,
        state=task.state,  # pyright: ignore[reportArgumentType]
        stop_reason=task.stop_reason,  # pyright: ignore[reportArgumentType]
        counts=counts(task, running),
        create_time=_time(task.create_us if create_us is None else create_us),
        start_time=_time(task.start_us),
        end_time=_time(task.end_us),
        subtask_count=task.subtasks,
        live_subtask_count=task.live_subtasks,
    )
    return message.SerializeToString() + _failed_requests(failures, task.failed)


def final_result(task: Task) -> bytes:
    """Serialized Operation of a final task with only `response` (the BatchTaskInfo) or only `error`."""
    assert task.state.is_final, task.state
    if task.error:
        return operations_pb2.Operation(error=status_pb2.Status.FromString(task.error)).SerializeToString()
    response = Any(type_url=TYPE_URL + _INFO.DESCRIPTOR.full_name, value=info(task))
    return operations_pb2.Operation(response=response).SerializeToString()


def operation(op: Operation, task: Task, *, failures: Failures = (), running: int = 0) -> bytes:
    """Serialized google.longrunning.Operation as callers see it.

    `task` and `running` count only while the operation is not done. `failures` become `failed_requests`; lists leave
    them out.
    """
    head = operation_head(op, task, failures=failures, running=running)
    return head + _OPERATION_DONE + op.result if op.done else head


def operation_head(op: Operation, task: Task, *, failures: Failures = (), running: int = 0) -> bytes:
    """The same without what its end brought: `name` and `metadata` alone."""
    if op.done:
        failed = _METADATA.FromString(op.metadata).counts.failed if failures else 0
        body = op.metadata + _failed_requests(failures, failed)
    else:
        body = metadata(task, create_us=op.create_us, failures=failures, running=running)
    return operations_pb2.Operation(
        name=f"projects/{op.project}/operations/{op.operation_id}",
        metadata=Any(type_url=TYPE_URL + _METADATA.DESCRIPTOR.full_name, value=body),
    ).SerializeToString()


def all_failed_error(task: Task, failures: Failures) -> bytes:
    """Serialized Status of a task of which every record failed: ABORTED / ALL_RECORDS_FAILED.

    A task of one record has that record's own status.
    """
    if task.total == 1 and failures:
        return failures[0][1]
    message = f"all {task.total} records failed"
    return _failed(Code.ABORTED, Reason.ALL_RECORDS_FAILED, message, {"failed": str(task.failed)})


def failure_policy_error(task: Task) -> bytes:
    """Serialized Status of a task of which more records failed than it allows: ABORTED / FAILURE_POLICY."""
    message = f"{task.failed} of {task.total} records failed, more than the failure policy allows"
    return _failed(Code.ABORTED, Reason.FAILURE_POLICY, message, {"failed": str(task.failed)})


def wall_clock_error(task: Task) -> bytes:
    """Serialized Status of a task that took too long: DEADLINE_EXCEEDED / WALL_CLOCK_EXCEEDED."""
    limit = f"{task.settings.max_wall_clock_us / 1e6:.15g}s"
    message = f"the batch task took longer than its max_wall_clock_time of {limit}"
    return _failed(Code.DEADLINE_EXCEEDED, Reason.WALL_CLOCK_EXCEEDED, message, {"max_wall_clock_time": limit})


def lifetime_error(lifetime_us: int) -> bytes:
    """Serialized Status of a task that grew too old: DEADLINE_EXCEEDED / TASK_LIFETIME_EXCEEDED."""
    limit = f"{lifetime_us / 1e6:.15g}s"
    message = f"the batch task was not finished within {limit} of its creation"
    return _failed(Code.DEADLINE_EXCEEDED, Reason.TASK_LIFETIME_EXCEEDED, message, {"max_task_lifetime": limit})


def _failed(code: Code, reason: Reason, message: str, metadata: dict[str, str]) -> bytes:
    return parts.status(code, reason, message, metadata).SerializeToString()


def with_failures(error: bytes, task: Task, failures: Failures) -> bytes:
    """The error of a FAILED task with the first failures of its records in the details, as far as there is room."""
    if not failures or (task.total == 1 and error == failures[0][1]):
        return error
    status = status_pb2.Status.FromString(error)
    first: list[tuple[int, bytes]] = []
    room = limits.ERROR.maximum - status.ByteSize() - 256
    for index, failure in failures[:ERROR_FAILURES]:
        room -= len(failure) + 16
        if room < 0:
            if not first:
                first.append((index, _without_details(failure, room + len(failure))))
            break
        first.append((index, failure))
    detail = _METADATA(batch_task=str(task.name), generation=task.generation).SerializeToString()
    status.details.add(
        type_url=TYPE_URL + _METADATA.DESCRIPTOR.full_name, value=detail + _failed_requests(first, task.failed)
    )
    return status.SerializeToString()


def _without_details(error: bytes, size: int) -> bytes:
    """Code and message of a serialized Status, the message cut to at most `size` bytes in all."""
    status = status_pb2.Status.FromString(error)
    message = status.message.encode()
    room = size - 16
    text = status.message if len(message) <= room else message[: room - 3].decode(errors="ignore") + "…"
    return status_pb2.Status(code=status.code, message=text).SerializeToString()


def cancelled_error(reason: str = "") -> bytes:
    """Serialized Status of a cancelled task: CANCELLED / TASK_CANCELLED; `reason` is the caller's own text."""
    message = f"the batch task was cancelled: {reason}" if reason else "the batch task was cancelled"
    return parts.status(Code.CANCELLED, Reason.TASK_CANCELLED, message, {}).SerializeToString()


def add_unreaped(error: bytes, process_ids: Sequence[int]) -> bytes:
    """`error` (serialized Status) with the reason PROCESS_NOT_REAPED, and these processes beside those it names.

    It takes the place of the reason that is there: a status has one ErrorInfo (AIP-193).
    """
    status = status_pb2.Status.FromString(error)
    before = ErrorInfo()
    kept = [detail for detail in status.details if not detail.Unpack(before)]
    named = before.metadata["process_ids"].split(",") if "process_ids" in before.metadata else []
    del status.details[:]
    parts.add_reason(status, Reason.PROCESS_NOT_REAPED, {"process_ids": ",".join([*named, *map(str, process_ids)])})
    status.details.extend(kept)
    return status.SerializeToString()


def _failed_requests(failures: Failures, failed: int) -> bytes:
    if not failures:
        return b""
    message = _METADATA(failed_requests_truncated=failed > len(failures))
    for index, status in failures:
        message.failed_requests[index].ParseFromString(status)
    return message.SerializeToString()


def counts(task: Task, running: int) -> batch_task_pb2.RecordCounts:
    """How many records are in which state; `running`: how many records' handlers run now."""
    running = min(running, task.total - task.ended)
    return batch_task_pb2.RecordCounts(
        total=task.total,
        pending=task.total - task.ended - running,
        running=running,
        succeeded=task.succeeded,
        failed=task.failed,
        cancelled=task.cancelled,
    )


def _explicit_counts(task: Task, running: int) -> bytes:
    running = min(running, task.total - task.ended)
    pending = task.total - task.ended - running
    values = (task.total, pending, running, task.succeeded, task.failed, task.cancelled)
    return b"".join(bytes((number << 3,)) + parts.varint(value) for number, value in enumerate(values, start=1))


def _time(us: int) -> Timestamp | None:
    return parts.timestamp(us) if us else None
