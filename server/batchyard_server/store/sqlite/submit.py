"""The mutations that verbs make: create, append, update, delete."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from batchyard_server.model import limits
from batchyard_server.model.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    Reason,
)
from batchyard_server.model.names import TASK_TYPE, OperationName, TaskName
from batchyard_server.model.settings import DRAFT_US
from batchyard_server.model.states import Event, after
from batchyard_server.model.task import NewTask, RequestKey, Task
from batchyard_server.store.protocols import Change, Decide
from batchyard_server.store.sqlite import changes, counts, inputs, operations, requests, tasks
from batchyard_server.store.sqlite.packing import Packed, pack
from batchyard_server.store.sqlite.transaction import Transaction


class Keys:
    """Gives out task keys, ascending, never twice: the newest deleted task stays until a newer one exists."""

    def __init__(self, tx: Transaction) -> None:
        self._numbers = itertools.count(tx.run("SELECT coalesce(max(key), 0) FROM task")[0][0] + 1)

    def next(self) -> int:
        """A key that was never used. One that is not committed is left out for good. May be called by any thread."""
        return next(self._numbers)


def create(tx: Transaction, *, keys: Keys, recent: inputs.Recent, new: NewTask, request: RequestKey | None) -> Task:
    """See Store.create_task."""
    known = requests.known_to_create(tx, request)
    if known is not None:
        return created_before(tx, *known)
    check_new(tx, new)
    total = sum(segment.count for segment in new.segments)
    task = replace(new.task, key=keys.next(), total=total)
    tasks.insert(tx, task, request.request_id if request else None)
    counts.come(tx, task)
    requests.remember(tx, request, task, made_task=True)
    operations.insert(tx, task, task.create_us)
    inputs.insert(tx, task.key, pack(tx.compressor, new.segments), new.record_ids)
    recent.add(task.key, new.segments)  # before its events go out; a key that is not committed is never used again
    return task


def created_before(tx: Transaction, key: int, name: TaskName) -> Task:
    """The task that an earlier call made, as it is now. Raises NotFound if it, or its operation, is gone."""
    held = tasks.entry(tx, key)
    if held is None:
        raise tasks.not_found(name)
    if not held.task.operation:
        raise operations.deleted(tx, held.task)
    return held.task


def check_new(tx: Transaction, new: NewTask) -> None:
    """Raise AlreadyExists if the id is taken, as far as that is looked for now."""
    name = new.task.name
    taken = tasks.key_of(tx, name) if tx.careful else tx.names.get((name.project, name.task.lower()))
    if taken is not None:
        raise AlreadyExists(
            Reason.RESOURCE_EXISTS,
            f"{name} exists already (ids are compared without regard to case)",
            resource_type=TASK_TYPE,
            resource_name=str(name),
        )


def append(
    tx: Transaction,
    name: TaskName,
    uid: str,
    first: int,
    segments: Sequence[Packed],
    record_ids: Sequence[tuple[str, int]],
) -> int:
    """See Store.append_records."""
    held = tasks.named_entry(tx, name)
    task = held.task
    if task.uid != uid:
        raise tasks.not_found(name)
    after(task.state, Event.APPEND)
    end = first + sum(segment.records for segment in segments)
    if end <= task.total:
        return task.total
    if first != task.total:
        raise OutOfRange(task.total, first)
    if end > limits.RECORDS.maximum:
        raise InvalidArgument(limits.RECORDS.field, f"a task has at most {limits.RECORDS.maximum} records")
    inputs.insert(tx, task.key, segments, record_ids)
    changes.write(tx, held, replace(task, total=end, due_us=tx.clock.now_us() + DRAFT_US))
    return end


def update(tx: Transaction, name: TaskName, decide: Decide, request: RequestKey | None) -> Task:
    """See Store.update_task."""
    known = requests.known(tx, request)
    if known is not None:
        before = tasks.entry(tx, known[0])
        if before is None:
            raise tasks.not_found(name)
        return before.task
    held = tasks.named_entry(tx, name)
    decided = decide(held.task)
    requests.remember(tx, request, held.task)
    return held.task if decided == held.task else changes.write(tx, held, decided)


def delete(tx: Transaction, name: TaskName, decide: Decide, request: RequestKey | None, allow_missing: bool) -> None:
    """See Store.delete_task."""
    if requests.known(tx, request) is not None:
        return
    try:
        held = tasks.named_entry(tx, name)
    except NotFound:
        if not allow_missing:
            raise
        requests.remember_missing(tx, request, name.task)
        return
    decide(held.task)
    key = held.task.key
    counts.gone(tx, held.task)
    tx.run("UPDATE task SET id_fold = NULL WHERE key = ?", (key,))
    tx.run("DELETE FROM lease WHERE task_key = ?", (key,))
    operations.hide_latest(tx, key)
    requests.remember(tx, request, held.task)
    tx.names.pop((name.project, name.task.lower()), None)
    tx.forget(key)
    tx.deleted = True
    tx.publish(held.task, Change.DELETED)


def delete_operation(tx: Transaction, name: OperationName) -> None:
    """See Store.delete_operation."""
    operation, task = operations.by_name(tx, name)
    if not operation.done:
        raise FailedPrecondition(
            Reason.OPERATION_NOT_DONE, f"{name} is not done", subject=str(name), metadata={"resource": str(name)}
        )
    operations.hide(tx, operation)
    held = tasks.entry(tx, task.key)
    if held is not None and held.task.operation == operation.operation_id:
        changes.write(tx, held, replace(held.task, operation=""))
