"""What is to be changed in a task's configuration? A patch and the paths of its mask (AIP-134, AIP-161).

mask ‖ patch ─▶ leaves: the fields that callers choose, those of constraints and policies one by one
Task.fixed ‖ patch ─▶ the new configuration, and the leaves in which it really differs
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.message import Message

from batchyard.v1.batch_task_pb2 import BatchTaskInfo, Constraints, FailurePolicy, RetryPolicy
from batchyard.v1.batch_task_service_pb2 import UpdateBatchTaskRequest
from batchyard_server.codec import configuration
from batchyard_server.codec.configuration import Configuration
from batchyard_server.model.errors import InvalidArgument
from batchyard_server.model.task import Task

_FIELD = "update_mask"
_EVERYTHING = "*"
_SHOWN_PATH = 128  # characters of a path in an error
_DESCRIPTOR = BatchTaskInfo.DESCRIPTOR
_FIELDS = (*configuration.SHOWN, "parameters")
_PARTS = {
    name: tuple(kind.DESCRIPTOR.fields_by_name)
    for name, kind in (
        ("constraints", Constraints),
        ("retry_policy", RetryPolicy),
        ("failure_policy", FailurePolicy),
    )
}
LEAVES = frozenset(
    {field for field in _FIELDS if field not in _PARTS}
    | {f"{part}.{name}" for part, names in _PARTS.items() for name in names}
)
"""What can be changed: paths in BatchTaskInfo. Each is changed as a whole, `labels` too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """New values.

    Attributes:
        message: serialized BatchTaskInfo with them; a leaf that is not set there gets its default.
        leaves: the LEAVES that they are for; None = all that may be changed.
        handler: the handler in it, "" = none.
    """

    message: bytes
    leaves: frozenset[str] | None
    handler: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Patched:
    """What comes out: the configuration, its bytes as Task.fixed, and the LEAVES in which it differs from before."""

    configuration: Configuration
    fixed: bytes
    differs: frozenset[str]


def read(request: UpdateBatchTaskRequest) -> Patch:
    """The patch in a request; what its mask does not name is passed over. Raises InvalidArgument."""
    paths = request.update_mask.paths
    leaves = None if _EVERYTHING in paths else _named(paths) if paths else _set_in(request.batch_task)
    if leaves is None and len(paths) > 1:
        raise InvalidArgument(_FIELD, "* stands alone, for all that may be changed")
    info = BatchTaskInfo()
    _copy(request.batch_task, info, LEAVES if leaves is None else leaves)
    if leaves is not None and "handler" in leaves:
        configuration.check_id(info.handler, "batch_task.handler")
    configuration.check(info)
    return Patch(message=info.SerializeToString(), leaves=leaves, handler=info.handler)


def apply(patch: Patch, leaves: Collection[str], task: Task) -> Patched:
    """The task's configuration with these leaves as they are in the patch. Raises InvalidArgument (no handler)."""
    before = BatchTaskInfo.FromString(task.fixed)
    after = BatchTaskInfo.FromString(task.fixed)
    _copy(BatchTaskInfo.FromString(patch.message), after, leaves)
    differs = frozenset(leaf for leaf in leaves if _value(before, leaf) != _value(after, leaf))
    read = configuration.read(after)
    if "parameters" not in differs:
        read = replace(read, parameters=task.parameters)
    fixed = configuration.fixed_info(name=str(task.name), uid=task.uid, create_us=task.create_us, configuration=read)
    return Patched(configuration=read, fixed=fixed, differs=differs)


def _named(paths: Iterable[str]) -> frozenset[str]:
    """The leaves that the paths of a mask stand for; those that only the server sets stand for none."""
    found: set[str] = set()
    for path in paths:
        if path in LEAVES:
            found.add(path)
        elif path in _PARTS:
            found.update(f"{path}.{name}" for name in _PARTS[path])
        else:
            _check_set_by_server(path)
    return frozenset(found)


def _check_set_by_server(path: str) -> None:
    """Raise InvalidArgument unless it is the path of a field that callers do not choose."""
    first, *_ = names = path.split(".")
    message = _DESCRIPTOR
    known = first not in _FIELDS
    for name in names:
        field = message.fields_by_name.get(name) if message is not None else None
        known = known and field is not None
        message = None if field is None or field.is_repeated else field.message_type
    if not known:
        shown = path[:_SHOWN_PATH]
        whole = [leaf for leaf in LEAVES if path.startswith(f"{leaf}.")]
        why = f"{whole[0]} is changed as a whole" if whole else "there is no such field"
        raise InvalidArgument(_FIELD, f"{shown!r}: {why}", metadata={"path": shown})


def _set_in(info: BatchTaskInfo) -> frozenset[str]:
    """The leaves that are set in a message: what a missing mask stands for."""
    return frozenset(leaf for leaf in LEAVES if _value(info, leaf) is not None)


def _value(info: BatchTaskInfo, leaf: str) -> Any:
    """The value of a leaf; None if it is not set."""
    part, _, name = leaf.rpartition(".")
    owner: Message = getattr(info, part) if part else info
    return next((value for field, value in owner.ListFields() if field.name == name), None)


def _copy(source: BatchTaskInfo, to: BatchTaskInfo, leaves: Collection[str]) -> None:
    """Give `to` these leaves of `source`. A part in which nothing is set then is not set."""
    configuration.copy(source, to, [leaf for leaf in leaves if leaf not in _PARTS and "." not in leaf])
    for part, names in _PARTS.items():
        wanted = [name for name in names if f"{part}.{name}" in leaves]
        if wanted:
            configuration.copy(getattr(source, part), getattr(to, part), wanted)
            if not getattr(to, part).ListFields():
                to.ClearField(part)  # pyright: ignore[reportArgumentType] - a name of BatchTaskInfo
