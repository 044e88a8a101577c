"""How is a resource called? Build and parse the resource names of the API (AIP-122)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from batchyard_server.model.artifact import path_problem
from batchyard_server.model.errors import InvalidArgument

ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
TASK_TYPE = "batchyard.dev/BatchTask"
RECORD_TYPE = "batchyard.dev/Record"
PROJECT_TYPE = "batchyard.dev/Project"
ARTIFACT_TYPE = "batchyard.dev/Artifact"
HANDLER_TYPE = "batchyard.dev/Handler"
OPERATION_TYPE = "longrunning.googleapis.com/Operation"

_PROJECT = re.compile(rf"projects/({ID.pattern})")
_COUNTS = re.compile(rf"projects/({ID.pattern})/batchTaskCounts")
_TASK = re.compile(rf"projects/({ID.pattern})/batchTasks/({ID.pattern})")
_RECORD = re.compile(rf"projects/({ID.pattern})/batchTasks/({ID.pattern})/records/(0|[1-9][0-9]{{0,17}})")
_RECORDS = re.compile(rf"projects/({ID.pattern})/batchTasks/({ID.pattern})/records/(-|0|[1-9][0-9]{{0,17}})")
_ARTIFACT = re.compile(rf"{_RECORD.pattern}/artifacts/(.*)", re.DOTALL)
_HANDLER = re.compile(rf"projects/({ID.pattern})/handlers/({ID.pattern})")
_OPERATION = re.compile(rf"projects/({ID.pattern})/operations/({ID.pattern})")


class TaskName(NamedTuple):
    """`projects/{project}/batchTasks/{task}`."""

    project: str
    task: str

    def __str__(self) -> str:
        return f"projects/{self.project}/batchTasks/{self.task}"


@dataclass(frozen=True, slots=True)
class RecordName:
    """`projects/{project}/batchTasks/{task}/records/{index}`."""

    project: str
    task: str
    index: int

    def __str__(self) -> str:
        return f"projects/{self.project}/batchTasks/{self.task}/records/{self.index}"


@dataclass(frozen=True, slots=True)
class ArtifactName:
    """`projects/{project}/batchTasks/{task}/records/{index}/artifacts/{path}`."""

    project: str
    task: str
    index: int
    path: str

    def __str__(self) -> str:
        return f"projects/{self.project}/batchTasks/{self.task}/records/{self.index}/artifacts/{self.path}"


class SubtaskName(NamedTuple):
    """`projects/{project}/batchTasks/{task}/subtasks/{epoch}`."""

    project: str
    task: str
    epoch: int

    def __str__(self) -> str:
        return f"projects/{self.project}/batchTasks/{self.task}/subtasks/{self.epoch}"


class HandlerName(NamedTuple):
    """`projects/{project}/handlers/{handler}`."""

    project: str
    handler: str

    def __str__(self) -> str:
        return f"projects/{self.project}/handlers/{self.handler}"


class OperationName(NamedTuple):
    """`projects/{project}/operations/{operation}`."""

    project: str
    operation: str

    def __str__(self) -> str:
        return f"projects/{self.project}/operations/{self.operation}"


def _match(pattern: re.Pattern[str], text: str, field: str, form: str) -> tuple[str, ...]:
    found = pattern.fullmatch(text)
    if found is None:
        raise InvalidArgument(field, f"must be of the form {form}, ids [a-zA-Z0-9_-]{{1,64}}")
    return found.groups()


def parse_project(text: str, field: str = "parent") -> str:
    """Return the id in `projects/{project}`. Raises InvalidArgument naming `field`."""
    return _match(_PROJECT, text, field, "projects/{project}")[0]


def parse_counts(text: str, field: str = "name") -> str:
    """Return the id in `projects/{project}/batchTaskCounts`. Raises InvalidArgument naming `field`."""
    return _match(_COUNTS, text, field, "projects/{project}/batchTaskCounts")[0]


def parse_task(text: str, field: str = "name") -> TaskName:
    """Parse `projects/{project}/batchTasks/{batch_task}`. Raises InvalidArgument naming `field`."""
    return TaskName(*_match(_TASK, text, field, "projects/{project}/batchTasks/{batch_task}"))


def parse_record(text: str, field: str = "name") -> RecordName:
    """Parse `projects/{project}/batchTasks/{batch_task}/records/{index}`. Raises InvalidArgument naming `field`."""
    project, task, index = _match(_RECORD, text, field, "projects/{project}/batchTasks/{batch_task}/records/{index}")
    return RecordName(project, task, int(index))


def parse_records(text: str, field: str = "parent") -> tuple[TaskName, int | None]:
    """Parse the name of a record, or `…/records/-` for all of a task: None. Raises InvalidArgument naming `field`."""
    form = "projects/{project}/batchTasks/{batch_task}/records/{index, or - for all}"
    project, task, index = _match(_RECORDS, text, field, form)
    return TaskName(project, task), None if index == "-" else int(index)


def parse_artifact(text: str, field: str = "name") -> ArtifactName:
    """Parse `…/records/{index}/artifacts/{path}`. Raises InvalidArgument naming `field`."""
    form = "projects/{project}/batchTasks/{batch_task}/records/{index}/artifacts/{path}"
    project, task, index, path = _match(_ARTIFACT, text, field, form)
    if problem := path_problem(path):
        raise InvalidArgument(field, f"the path of the artifact {problem}")
    return ArtifactName(project, task, int(index), path)


def parse_handler(text: str, field: str = "name") -> HandlerName:
    """Parse `projects/{project}/handlers/{handler}`. Raises InvalidArgument naming `field`."""
    return HandlerName(*_match(_HANDLER, text, field, "projects/{project}/handlers/{handler}"))


def parse_operation(text: str, field: str = "name") -> OperationName:
    """Parse `projects/{project}/operations/{operation}`. Raises InvalidArgument naming `field`."""
    return OperationName(*_match(_OPERATION, text, field, "projects/{project}/operations/{operation}"))
