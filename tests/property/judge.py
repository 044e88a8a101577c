"""Is what the server shows what the model says? Every field that callers see, by message."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from google.longrunning import operations_pb2 as lro
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, ResourceInfo
from google.rpc.status_pb2 import Status

from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata, RecordCounts
from batchyard.v1.payload_pb2 import Payload
from batchyard.v1.record_pb2 import RecordAttempt, RecordInfo
from batchyard.v1.subtask_pb2 import Subtask
from tests.property.life import Task
from tests.property.masks import PARTS
from tests.property.parts import Attempt, Generation, Lease, Record, Violation
from tests.property.refusals import Refusal

_STANDARD: dict[str, type[Message]] = {
    "INVALID_ARGUMENT": BadRequest,
    "NOT_FOUND": ResourceInfo,
    "ALREADY_EXISTS": ResourceInfo,
    "FAILED_PRECONDITION": PreconditionFailure,
}
_DURATIONS = {"max_wall_clock_time", "record_timeout", "retention_time", "initial_backoff", "max_backoff"}


def same(what: str, shown: Message | Sequence[Any], expected: Message | Sequence[Any]) -> None:
    """Raise Violation unless they are equal."""
    if shown != expected:
        lines = difflib.unified_diff(
            str(expected).splitlines(), str(shown).splitlines(), "model", "server", lineterm=""
        )
        raise Violation(f"{what}:\n" + "\n".join(lines))


def refused(status: Status | None, refusal: Refusal | None) -> None:
    """Raise Violation unless the call failed exactly so."""
    if status is None or refusal is None:
        if status is not None or refusal is not None:
            raise Violation(f"the server answers {status or 'OK'}, the model {refusal or 'OK'}")
        return
    info = detail(status, ErrorInfo)
    shown = (Code.Name(status.code), info.reason, info.domain)
    same("refusal", shown, (refusal.code, refusal.reason, "batchyard.dev"))
    metadata = dict(info.metadata)
    if not refusal.metadata.items() <= metadata.items():
        raise Violation(f"{refusal.reason}: metadata {metadata} are not {refusal.metadata}")
    if refusal.code in _STANDARD:
        detail(status, _STANDARD[refusal.code])


def detail(status: Status, kind: type[Any]) -> Any:
    """The one detail of this kind."""
    message = kind()
    if sum(each.Unpack(message) for each in status.details) != 1:
        raise Violation(f"no {kind.__name__}, or more than one, in {status}")
    return message


# -- batch tasks ------------------------------------------------------------------------------------------------------


def configured(config: Mapping[str, Any]) -> BatchTaskInfo:
    """A BatchTaskInfo with this configuration. Times in it are microseconds, `parameters` a text."""
    info = BatchTaskInfo()
    for name, value in config.items():
        if name in PARTS:
            part = getattr(info, name)
            part.SetInParent()
            for key, each in value.items():
                if key in _DURATIONS:
                    getattr(part, key).CopyFrom(duration(each))
                elif key == "retryable_codes":
                    part.retryable_codes.extend(each)
                else:
                    setattr(part, key, each)
        elif name == "labels":
            info.labels.update(value)
        elif name == "parameters":
            info.parameters.CopyFrom(Payload(text=value))
        else:
            setattr(info, name, value)
    return info


def info_of(task: Task) -> BatchTaskInfo:
    """What GetBatchTask should show, without error and waiting_reason."""
    info = configured(task.config)
    info.name, info.uid, info.etag = task.name, task.uid, task.etag
    info.state = BatchTaskInfo.State.Value(task.state)
    info.stop_reason = BatchTaskInfo.StopReason.Value(task.stop_reason or "STOP_REASON_UNSPECIFIED")
    info.generation = task.generation.number
    info.operation = "" if task.generation.forgotten else task.generation.operation
    info.counts.CopyFrom(RecordCounts(**task.counts()))
    for name, us in (
        ("create_time", task.create),
        ("start_time", task.start),
        ("end_time", task.end),
        ("update_time", task.update),
        ("state_transition_time", task.transition),
        ("expire_time", task.expire),
    ):
        if us:
            getattr(info, name).CopyFrom(timestamp(us))
    return info


def check_info(shown: BatchTaskInfo, task: Task, expected: BatchTaskInfo) -> None:
    """Compare; `expected` is info_of the task when it was shown."""
    seen = BatchTaskInfo()
    seen.CopyFrom(shown)
    if seen.waiting_reason and not (
        seen.state in (BatchTaskInfo.QUEUED, BatchTaskInfo.RUNNING) and seen.counts.pending
    ):
        raise Violation(f"{task.name} is {task.state} and waits: {shown}")
    check_error(seen.error if seen.HasField("error") else None, task.error if task.is_final else None)
    seen.ClearField("error")
    seen.ClearField("waiting_reason")
    for name in PARTS:
        if seen.HasField(name) and not getattr(seen, name).ByteSize():
            seen.ClearField(name)
    same(task.name, seen, expected)


def check_error(shown: Status | None, expected: tuple[int, str] | None) -> None:
    """Compare code and reason."""
    same("error", None if shown is None else (shown.code, detail(shown, ErrorInfo).reason), expected)


# -- operations -------------------------------------------------------------------------------------------------------


def check_operation(operation: lro.Operation, task: Task, generation: Generation) -> None:
    """An operation of the task's current generation."""
    metadata = BatchTaskMetadata()
    operation.metadata.Unpack(metadata)
    failed = {record.index: outcome.code for record in task.records if (outcome := own_failure(task, record))}
    same("failed_requests", {index: each.code for index, each in metadata.failed_requests.items()}, failed)
    metadata.ClearField("failed_requests")
    same(operation.name, metadata, metadata_of(task, generation))
    same("done", operation.done, task.is_final)
    check_error(operation.error if operation.HasField("error") else None, task.error if task.is_final else None)
    if task.state == "SUCCEEDED":
        response = BatchTaskInfo()
        operation.response.Unpack(response)
        check_info(response, task, info_of(task))
    elif operation.HasField("response"):
        raise Violation(f"{task.state} with a response: {operation}")


def metadata_of(task: Task, generation: Generation) -> BatchTaskMetadata:
    """The metadata of the operation of the current generation, without failed_requests."""
    times = {"create_time": generation.create, "start_time": task.start, "end_time": task.end}
    return BatchTaskMetadata(
        batch_task=task.name,
        generation=generation.number,
        state=task.state,  # type: ignore[arg-type]
        stop_reason=task.stop_reason or None,  # type: ignore[arg-type]
        counts=RecordCounts(**task.counts()),
        subtask_count=task.granted_count,
        live_subtask_count=task.live,
        **{name: timestamp(us) for name, us in times.items() if us},  # type: ignore[arg-type]
    )


def own_failure(task: Task, record: Record) -> Any:
    """Its outcome, if it failed."""
    outcome = task.outcome(record)
    return outcome if outcome is not None and outcome.state == "FAILED" else None


# -- records ----------------------------------------------------------------------------------------------------------


def check_record(shown: RecordInfo, task: Task, record: Record, generation: Generation) -> None:
    """One record as it is in a generation."""
    outcome = task.outcome(record, generation)
    is_current = generation is task.generation
    begun = record.begun + record.running if is_current else record.begun_before[generation.number]
    expected = (
        f"{task.name}/records/{record.index}",
        record.index,
        record.record_id,
        task.record_state(record, generation),
        outcome.attempt if outcome else begun,
        outcome.generation if outcome else generation.number,
        record.text if outcome and outcome.state == "SUCCEEDED" else "",
    )
    state = RecordInfo.State.Name(shown.state)
    seen = (shown.name, shown.index, shown.record_id, state, shown.attempt, shown.generation, shown.output.text)
    same("record", seen, expected)
    failed = (outcome.code, outcome.reason) if outcome and outcome.state == "FAILED" else None
    check_error(shown.error if shown.HasField("error") else None, failed)


def check_attempt(shown: RecordAttempt, expected: Attempt) -> None:
    """One execution of a record."""
    state = RecordInfo.State.Name(shown.state)
    seen = (shown.generation, shown.attempt, state)
    same("attempt", seen, (expected.generation, expected.number, expected.state))
    error = shown.error if shown.HasField("error") else None
    check_error(error, (expected.code, expected.reason) if expected.code else None)


def check_subtask(shown: Subtask, task: Task, lease: Lease, node: str) -> None:
    """One lease, live or ended."""
    expected = Subtask(
        name=f"{task.name}/subtasks/{lease.epoch}",
        state=lease.state,  # type: ignore[arg-type]
        epoch=lease.epoch,
        worker=lease.worker,
        node=node,
        start_time=timestamp(lease.start),
        end_time=timestamp(lease.end) if lease.end else None,
    )
    check_error(shown.error if shown.HasField("error") else None, lease.error)
    same("ranges", [at for each in shown.ranges for at in range(each.start, each.end)], lease.indexes)
    if shown.HasField("exit_code") and lease.state != "LOST":
        raise Violation(f"an exit code of a subtask that is {lease.state}")
    seen = Subtask()
    seen.CopyFrom(shown)
    for name in ("error", "ranges", "exit_code"):
        seen.ClearField(name)
    same("subtask", seen, expected)


def by_completion(task: Task, generation: Generation) -> list[Record]:
    """In the order of their outcomes; those that were cancelled come last, those without an end not at all."""
    ended = [(outcome.number, record) for record in task.records if (outcome := task.outcome(record, generation))]
    records = [record for _, record in sorted(ended, key=lambda each: each[0])]
    return records + [each for each in task.records if task.record_state(each, generation) == "CANCELLED"]


def timestamp(us: int) -> Timestamp:
    """Of microseconds since 1970."""
    return Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000)


def duration(us: int) -> Duration:
    """Of microseconds."""
    return Duration(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000)
