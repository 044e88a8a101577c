"""What a caller can set of a batch task, and how it becomes the contract's message: of a create, of an update."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final, TypedDict

from google.protobuf.field_mask_pb2 import FieldMask

from batchyard import _payload
from batchyard._names import last_id
from batchyard._spans import set_span
from batchyard._undefined import UNDEFINED
from batchyard.v1 import batch_task_pb2, batch_task_service_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard._policies import FailurePolicy, RetryPolicy
    from batchyard._spans import Span
    from batchyard._undefined import Undefined

_SPANS: Final = {"max_wall_clock_time", "record_timeout", "retention_time"}
_CONSTRAINTS: Final = {*_SPANS, "max_retry_count"}


class TaskSettings(TypedDict, total=False):
    """How a batch is to be run: keyword arguments of `run`, and of `update` with those of `TaskChanges`.

    Not given, or UNDEFINED: the default in `run`; stays as it is in `update`. None: the default in both.

    Attributes:
        parameters: arguments for the whole batch, the handler's `context.parameters`; at most 256 KiB. Default: none.
            Can be updated in a draft.
        labels: at most 64, key `[a-z][a-z0-9_.-]{0,62}`; an update gives all of them. Default: none. Can be updated in
            any state.
        display_name: text for people, at most 256 bytes. Default: none. Can be updated in any state.
        priority: from −1000 to 1000; of the tasks that wait, those with a higher one get workers first. Default: 0.
            This and the following can be updated until the task has ended.
        parallel_count: at most so many records run at the same time; a smaller one kills nothing. Default: all slots.
        max_wall_clock_time: seconds (or a timedelta) that the whole may take from its start; when they are over it is
            stopped and FAILED. Default: no limit.
        record_timeout: seconds that the handler may run on one record. Default: no limit.
        retention_time: seconds that the task is kept after its end; can be updated then too. Default: 30 days.
        max_retry_count: how often a record is tried again after a retryable failure; −1: any number. Default: 0.
        retry_policy: when, and after which errors; the whole of it. Default: see `RetryPolicy`.
        failure_policy: how many records may fail; the whole of it. Default: any number short of all.
    """

    parameters: object
    labels: Mapping[str, str] | Undefined | None
    display_name: str | Undefined | None
    priority: int | Undefined | None
    parallel_count: int | Undefined | None
    max_wall_clock_time: Span | Undefined | None
    record_timeout: Span | Undefined | None
    retention_time: Span | Undefined | None
    max_retry_count: int | Undefined | None
    retry_policy: RetryPolicy | Undefined | None
    failure_policy: FailurePolicy | Undefined | None


class TaskChanges(TaskSettings, total=False):
    """Keyword arguments of `update`: `TaskSettings`, and what a task has only later.

    Attributes:
        archived: a mark for people who want to see it no more; lists still show it. Default: False. In any state.
        handler: id of another handler of the server. Has no default. In a draft.
    """

    archived: bool | Undefined | None
    handler: str | Undefined


def new_task(handler: str, settings: TaskSettings) -> batch_task_pb2.BatchTaskInfo:
    """Return the task that a create asks for.

    Raises:
        ValueError: a value that its field cannot hold.
        TypeError: the same, or no such setting.
    """
    task = batch_task_pb2.BatchTaskInfo(handler=last_id(handler))
    _fill(task, _given(settings, TaskSettings))
    return task


def update_request(
    name: str, changes: TaskChanges, etag: str | None, request_id: str | None
) -> batch_task_service_pb2.UpdateBatchTaskRequest:
    """Return the request that changes a task.

    Raises:
        ValueError: nothing to change, or a value that its field cannot hold.
        TypeError: the same, or nothing of that name can be changed.
    """
    given = _given(changes, TaskChanges)
    if not given:
        raise ValueError("nothing to change was given")
    task = batch_task_pb2.BatchTaskInfo(name=name, etag=etag or "")
    _fill(task, given)
    paths = [f"constraints.{field}" if field in _CONSTRAINTS else field for field in given]
    return batch_task_service_pb2.UpdateBatchTaskRequest(
        batch_task=task, update_mask=FieldMask(paths=paths), request_id=request_id or str(uuid.uuid4())
    )


def _given(settings: Mapping[str, Any], kind: type[TaskSettings]) -> dict[str, Any]:
    """Return what was given. A type checker has seen the names; callers may have none."""
    known = kind.__optional_keys__
    if unknown := sorted(set(settings) - known):
        raise TypeError(f"unexpected keyword arguments {', '.join(unknown)}; possible are {', '.join(sorted(known))}")
    return {field: value for field, value in settings.items() if value is not UNDEFINED}


def _fill(task: batch_task_pb2.BatchTaskInfo, given: Mapping[str, Any]) -> None:
    for field, value in given.items():
        if value is None:
            continue
        if field in _SPANS:
            set_span(task.constraints, field, value)
        elif field in _CONSTRAINTS:
            setattr(task.constraints, field, value)
        elif field == "handler":
            task.handler = last_id(value)
        elif field == "parameters":
            _payload.encode(value, task.parameters)
        elif field == "labels":
            task.labels.update(value)
        elif field in {"retry_policy", "failure_policy"}:
            getattr(task, field).CopyFrom(value.to_message())
        else:
            setattr(task, field, value)
