"""What does the caller want done? Bytes of a request that changes something → checked plain values.

Every function raises InvalidArgument: MALFORMED_REQUEST for bytes that are no such message, else naming the field.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from google.longrunning import operations_pb2 as lro
from google.protobuf.message import Message

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.codec import configuration, inputs, update
from batchyard_server.codec.configuration import Configuration, at_most, check_id
from batchyard_server.codec.parts import parse
from batchyard_server.codec.v1 import shadow_pb2
from batchyard_server.model import limits, names
from batchyard_server.model.errors import InvalidArgument, Reason
from batchyard_server.model.names import ArtifactName, OperationName, TaskName
from batchyard_server.model.task import RequestKey

_UUID4 = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}")
_DIGEST_VERSION = b"\x01"


class CreateTask(NamedTuple):
    """CreateBatchTask. `task_id` is empty if the server is to choose."""

    project: str
    task_id: str
    configuration: Configuration
    inputs: inputs.Inputs
    start: bool
    validate_only: bool
    request: RequestKey | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeTask:
    """A verb on one task. `etag`: "" = whatever it is; `reason` is for Cancel."""

    name: TaskName
    request: RequestKey | None
    etag: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTasks:
    """CancelBatchTasks. `filter` and `token` are not read yet."""

    project: str
    filter: str
    token: str
    reason: str
    validate_only: bool
    request: RequestKey | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTask:
    """DeleteBatchTask."""

    name: TaskName
    request: RequestKey | None
    etag: str
    allow_missing: bool
    force: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteArtifact:
    """DeleteArtifact."""

    name: ArtifactName
    request: RequestKey | None
    allow_missing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateTask:
    """UpdateBatchTask."""

    name: TaskName
    request: RequestKey | None
    etag: str
    patch: update.Patch


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactivateTask:
    """ReactivateBatchTask. `everything`: scope ALL."""

    name: TaskName
    request: RequestKey | None
    etag: str
    everything: bool


def create_task(raw: bytes) -> CreateTask:
    """Read CreateBatchTask."""
    request = parse(service.CreateBatchTaskRequest, raw)
    project = names.parse_project(request.parent)
    return checked_create(project, request, shadow_pb2.RawCreate.FromString(raw), configuration.read)


def checked_create(
    project: str,
    request: service.CreateBatchTaskRequest,
    raw: shadow_pb2.RawCreate,
    read: Callable[[BatchTaskInfo], Configuration],
) -> CreateTask:
    """A create in a project, `raw` being made of the same bytes; `read` does what configuration.read does."""
    if request.batch_task_id:
        check_id(request.batch_task_id, limits.ID.field)
    asked = read(request.batch_task)
    records = request.records
    at_most(limits.RECORDS, len(records))
    start = request.start or not request.HasField("start")
    if start and not records:
        raise InvalidArgument("records", "a task cannot start without records", reason=Reason.NO_RECORDS)
    return CreateTask(
        project=project,
        task_id=request.batch_task_id,
        configuration=asked,
        inputs=inputs.created_inputs(raw.records, records),
        start=start,
        validate_only=request.validate_only,
        request=request_key("create", project, request) if request.request_id else None,
    )


def append_records(raw: bytes) -> inputs.Append:
    """Read one message of AppendRecords."""
    return inputs.append(raw, parse(service.AppendRecordsRequest, raw))


def start_task(raw: bytes) -> ChangeTask:
    """Read StartBatchTask."""
    return _change("start", parse(service.StartBatchTaskRequest, raw))


def pause_task(raw: bytes) -> ChangeTask:
    """Read PauseBatchTask."""
    return _change("pause", parse(service.PauseBatchTaskRequest, raw))


def resume_task(raw: bytes) -> ChangeTask:
    """Read ResumeBatchTask."""
    return _change("resume", parse(service.ResumeBatchTaskRequest, raw))


def update_task(raw: bytes) -> UpdateTask:
    """Read UpdateBatchTask."""
    request = parse(service.UpdateBatchTaskRequest, raw)
    name = names.parse_task(request.batch_task.name, "batch_task.name")
    return UpdateTask(
        name=name,
        etag=request.batch_task.etag,
        patch=update.read(request),
        request=request_key("update", name.project, request),
    )


def reactivate_task(raw: bytes) -> ReactivateTask:
    """Read ReactivateBatchTask."""
    request = parse(service.ReactivateBatchTaskRequest, raw)
    scopes = service.ReactivateBatchTaskRequest.Scope
    name = names.parse_task(request.name)
    if request.scope not in scopes.values():
        raise InvalidArgument("scope", "is not a value of ReactivateBatchTaskRequest.Scope")
    return ReactivateTask(
        name=name,
        etag=request.etag,
        everything=request.scope == scopes.ALL,
        request=request_key("reactivate", name.project, request),
    )


def cancel_task(raw: bytes) -> ChangeTask:
    """Read CancelBatchTask."""
    request = parse(service.CancelBatchTaskRequest, raw)
    name = names.parse_task(request.name)
    at_most(limits.REASON, len(request.reason.encode()))
    key = request_key("cancel", name.project, request)
    return ChangeTask(name=name, etag=request.etag, request=key, reason=request.reason)


def cancel_tasks(raw: bytes) -> CancelTasks:
    """Read CancelBatchTasks."""
    request = parse(service.CancelBatchTasksRequest, raw)
    project = names.parse_project(request.parent)
    if not request.filter.strip():
        raise InvalidArgument(limits.FILTER.field, "is required; * is every task")
    at_most(limits.REASON, len(request.reason.encode()))
    return CancelTasks(
        project=project,
        filter=request.filter,
        token=request.page_token,
        reason=request.reason,
        validate_only=request.validate_only,
        request=request_key("cancel many", project, request),
    )


def delete_task(raw: bytes) -> DeleteTask:
    """Read DeleteBatchTask."""
    request = parse(service.DeleteBatchTaskRequest, raw)
    name = names.parse_task(request.name)
    return DeleteTask(
        name=name,
        etag=request.etag,
        allow_missing=request.allow_missing,
        force=request.force,
        request=request_key("delete", name.project, request),
    )


def delete_artifact(raw: bytes) -> DeleteArtifact:
    """Read DeleteArtifact."""
    request = parse(service.DeleteArtifactRequest, raw)
    name = names.parse_artifact(request.name)
    key = request_key("delete_artifact", name.project, request)
    return DeleteArtifact(name=name, request=key, allow_missing=request.allow_missing)


def cancel_operation(raw: bytes) -> OperationName:
    """Read CancelOperation."""
    return names.parse_operation(parse(lro.CancelOperationRequest, raw).name)


def delete_operation(raw: bytes) -> OperationName:
    """Read DeleteOperation."""
    return names.parse_operation(parse(lro.DeleteOperationRequest, raw).name)


def _change(
    verb: str, request: service.StartBatchTaskRequest | service.PauseBatchTaskRequest | service.ResumeBatchTaskRequest
) -> ChangeTask:
    """A verb that needs nothing but the task."""
    name = names.parse_task(request.name)
    return ChangeTask(name=name, etag=request.etag, request=request_key(verb, name.project, request))


def request_key(verb: str, project: str, request: Message) -> RequestKey | None:
    """Identity of the call (AIP-155): what it asks for, whatever the order in which its maps were filled."""
    request_id: str = getattr(request, "request_id")  # noqa: B009 - Message does not declare it
    if not request_id:
        return None
    if _UUID4.fullmatch(request_id) is None:
        raise InvalidArgument("request_id", "must be a UUID4")
    request.ClearField("request_id")
    content = request.SerializeToString(deterministic=True)
    digest = hashlib.sha256(b"%b%b\0%b" % (_DIGEST_VERSION, verb.encode(), content)).digest()
    return RequestKey(project=project, request_id=request_id.lower(), digest=digest)
