"""What is the value of a field that a filter names? Of tasks, of changes of them, and of operations, without a store.

Each of these is called with a field and returns a value of its kind, None if it is not set; see query/match.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Any

from google.longrunning import operations_pb2 as lro

from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata
from batchyard_server.codec import parts
from batchyard_server.model.filter import Field, Value
from batchyard_server.model.task import Operation, Task
from batchyard_server.model.watch import LogEntry

RUNNING_FIELDS = frozenset({"counts.running", "counts.pending"})
"""Of these the living server knows more than a store."""
_SOME_LABEL = "*"

# What is the same of a task and of a change of it.
_OF_BOTH: Mapping[str, Callable[[Any], Value]] = {
    "id": attrgetter("task_id"),
    "state": attrgetter("state"),
    "create_time": attrgetter("create_us"),
    "counts.total": attrgetter("total"),
    "counts.succeeded": attrgetter("succeeded"),
    "counts.failed": attrgetter("failed"),
    "counts.cancelled": attrgetter("cancelled"),
}
IN_CHANGES = frozenset({*_OF_BOTH, *RUNNING_FIELDS})
"""The fields that a change tells; all others are of its task."""

_OF_TASK: Mapping[str, Callable[[Task], Value | None]] = {
    "exit_code": attrgetter("exit_code"),
    "uid": attrgetter("uid"),
    "handler": attrgetter("handler"),
}
_TIMES: Mapping[str, Callable[[Task], int]] = {
    "start_time": attrgetter("start_us"),
    "end_time": attrgetter("end_us"),
    "update_time": attrgetter("update_us"),
    "expire_time": attrgetter("expire_us"),
    "state_transition_time": attrgetter("transition_us"),
}


class TaskValues:
    """Those of a task; `running`: how many records' handlers run now."""

    __slots__ = ("_info", "_running", "_task")

    def __init__(self, task: Task, running: int = 0) -> None:
        self._task = task
        self._running = running
        self._info: BatchTaskInfo | None = None

    def kept(self) -> TaskValues:
        """The same without what is large in a task and is no value: to be kept."""
        info = self._chosen_info()
        info.ClearField("parameters")
        self._task = replace(self._task, fixed=b"", parameters=b"", error=b"")
        return self

    def __call__(self, field: Field) -> Value | None:
        """The value of a field."""
        name, task = field.name, self._task
        if (get := _OF_BOTH.get(name) or _OF_TASK.get(name)) is not None:
            return get(task)
        if name in _TIMES:
            return _TIMES[name](task) or None
        if name in RUNNING_FIELDS:
            return _count(task, name, self._running)
        return self._chosen(field)

    def _chosen(self, field: Field) -> Value | None:
        """What the task's creator chose, and the server only keeps."""
        info = self._chosen_info()
        if field.name == "display_name":
            return info.display_name
        if field.name == "priority":
            return info.priority if info.HasField("priority") else None
        if field.name == "archived":
            return info.archived
        if field.name != "labels":
            return None
        if field.key:
            return info.labels.get(field.key)
        return _SOME_LABEL if info.labels else None

    def _chosen_info(self) -> BatchTaskInfo:
        info = self._info
        if info is None:
            info = self._info = BatchTaskInfo.FromString(self._task.fixed)
        return info


class ChangeValues:
    """Those of a change: what it tells, and of its task the rest, as far as that is known."""

    __slots__ = ("_entry", "_running", "_task")

    def __init__(self, entry: LogEntry, running: int, task: TaskValues | None) -> None:
        self._entry = entry
        self._running = running
        self._task = task

    def __call__(self, field: Field) -> Value | None:
        """The value of a field."""
        get = _OF_BOTH.get(field.name)
        if get is not None:
            return get(self._entry)
        if field.name in RUNNING_FIELDS:
            return _count(self._entry, field.name, self._running)
        return None if self._task is None else self._task(field)


class OperationValues:
    """Those of an operation; `task` counts only while it is not done."""

    __slots__ = ("_metadata", "_operation", "_task")

    def __init__(self, operation: Operation, task: Task) -> None:
        self._operation = operation
        self._task = task
        self._metadata: BatchTaskMetadata | None = None

    def __call__(self, field: Field) -> Value | None:
        """The value of a field."""
        operation = self._operation
        match field.name:
            case "id":
                return operation.operation_id
            case "done":
                return operation.done
            case "metadata.batch_task":
                return str(self._task.name)
            case "metadata.generation":
                return operation.generation
            case "metadata.create_time":
                return operation.create_us
            case "error.code":
                return self._code()
            case _:
                return self._of_end(field.name) if operation.done else self._of_task(field.name)

    def _code(self) -> int | None:
        if not self._operation.done:
            return None
        result = lro.Operation.FromString(self._operation.result)
        return result.error.code if result.HasField("error") else None

    def _of_task(self, name: str) -> int | None:
        task = self._task
        if name == "metadata.state":
            return task.state
        return (task.start_us if name == "metadata.start_time" else task.end_us) or None

    def _of_end(self, name: str) -> int | None:
        metadata = self._metadata
        if metadata is None:
            metadata = self._metadata = BatchTaskMetadata.FromString(self._operation.metadata)
        if name == "metadata.state":
            return metadata.state
        field = name.removeprefix("metadata.")
        return parts.microseconds(getattr(metadata, field)) if metadata.HasField(field) else None


def _count(of: Task | LogEntry, name: str, running: int) -> int:
    left = of.total - of.succeeded - of.failed - of.cancelled
    running = min(running, left)
    return running if name == "counts.running" else left - running
