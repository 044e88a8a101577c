"""BatchCreateBatchTasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from batchyard_server.codec import bulk, segments, statuses, task_bytes
from batchyard_server.codec.bulk import CreateTasks, Results, Stamp
from batchyard_server.codec.requests import CreateTask
from batchyard_server.engine import create
from batchyard_server.engine.deps import Deps
from batchyard_server.model import limits
from batchyard_server.model.clock import uuid7s
from batchyard_server.model.errors import BatchyardError, InvalidArgument, NotFound, Refused, placed
from batchyard_server.model.names import OperationName, TaskName
from batchyard_server.model.task import NewTask, RequestKey, Task, twins

SLICE = 100  # creates that are made, or answered, before others have their turn: about 2 ms
ROOM_BYTES = 1024  # of an operation without its end: kept free for each that is not in the answer yet


@dataclass(frozen=True, slots=True)
class _Kind:
    """Tasks that differ in names and ids alone: one of them, what makes the others and their bytes, how names begin."""

    like: Task
    twin: Callable[[int, str, str, str, bytes], Task]
    stamp: Stamp
    tasks: str
    operations: str


class _Made(NamedTuple):
    """A task that is to be stored: where it stands in the call, its kind, its request."""

    place: int
    kind: _Kind
    new: NewTask
    request: RequestKey | None


async def create_tasks(deps: Deps, asked: CreateTasks) -> bytes:
    """Make the tasks and their operations durable; return the serialized BatchCreateBatchTasksResponse.

    Raises: AlreadyExists (REQUEST_ID_REUSED: of the call); with `atomic` whatever one of them is refused with.
    """
    results = Results(len(asked.creates))
    made = await _make(deps, asked, results)
    deps.failpoints.hit("engine.create.before_store")
    try:
        stored = await deps.store.create_tasks(
            [(each.new, each.request) for each in made], asked.request, atomic=asked.atomic
        )
    except Refused as refused:
        raise placed(refused.error, made[refused.position].place) from None
    deps.failpoints.hit("engine.create.after_store")
    await _answer(deps, made, stored, results)
    return results.serialized()


async def _make(deps: Deps, asked: CreateTasks, results: Results) -> list[_Made]:
    """The tasks to be stored; what can be refused before is. Raises that with `atomic`."""
    made: list[_Made] = []
    kinds: dict[tuple[int, bool, int], _Kind | NotFound] = {}
    keys = iter(await deps.store.new_keys(len(asked.creates)))
    ids = iter(uuid7s(deps.clock, deps.randomness, 2 * len(asked.creates)))
    for index, each in enumerate(asked.creates):
        if index % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        if isinstance(each, InvalidArgument):
            _refuse(asked, results, index, each)
            continue
        kind = _kind(deps, each, kinds)
        if isinstance(kind, NotFound):
            _refuse(asked, results, index, kind)
            continue
        request = each.request
        if request is None and asked.request is not None:
            request = bulk.derived_key(asked.request, index)
        made.append(_Made(index, kind, _new(each, kind, next(keys), next(ids), next(ids)), request))
    return made


def _refuse(asked: CreateTasks, results: Results, index: int, error: BatchyardError) -> None:
    if asked.atomic:
        raise placed(error, index)
    results.status(index, statuses.to_status(error).SerializeToString())


def _kind(deps: Deps, asked: CreateTask, kinds: dict[tuple[int, bool, int], _Kind | NotFound]) -> _Kind | NotFound:
    """What a create makes one of; or why not, since there is no such handler."""
    key = (id(asked.configuration), asked.start, len(asked.inputs.records))
    kind = kinds.get(key)
    if kind is None:
        kind = create.missing_handler(deps, asked)
        if kind is None:
            like = create.new_task(deps, asked)
            tasks, operations = str(TaskName(asked.project, "")), str(OperationName(asked.project, ""))
            kind = _Kind(like, twins(like), Stamp(like, asked.configuration), tasks, operations)
        kinds[key] = kind
    return kind


def _new(asked: CreateTask, kind: _Kind, key: int, uid: str, operation: str) -> NewTask:
    """What is stored of one."""
    task_id = asked.task_id or uid
    task = kind.twin(key, task_id, uid, operation, kind.stamp.fixed(f"{kind.tasks}{task_id}", uid))
    return NewTask(
        task=task,
        segments=segments.cut_inputs(asked.inputs.records, 0),
        record_ids=list(asked.inputs.ids),
        like=kind.like,
        mutable=kind.stamp.mutable(f"{kind.operations}{operation}", task.etag),
    )


async def _answer(deps: Deps, made: Sequence[_Made], stored: Sequence[Task | BatchyardError], results: Results) -> None:
    """One result for each: those of earlier calls last, in the room that is left."""
    earlier: list[tuple[int, Task]] = []
    for number, (each, found) in enumerate(zip(made, stored, strict=True)):
        if number % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        if isinstance(found, BatchyardError):
            results.status(each.place, statuses.to_status(found).SerializeToString())
        elif found.uid == each.new.task.uid:
            kind = each.kind
            names = f"{kind.operations}{found.operation}", f"{kind.tasks}{found.task_id}"
            results.operation(each.place, kind.stamp.operation(*names))
        else:
            earlier.append((each.place, found))
    for number, (index, task) in enumerate(earlier):
        if number % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        room = limits.UNARY_PAGE_BYTES - results.size - ROOM_BYTES * (len(earlier) - number)
        try:
            results.operation(index, await _earlier(deps, task, room))
        except BatchyardError as error:
            results.status(index, statuses.to_status(error).SerializeToString())


async def _earlier(deps: Deps, task: Task, room: int) -> bytes:
    """The operation of a task that an earlier call made, as it is now, if it fits; else without its end."""
    operation, task = await deps.store.get_operation(task.operation_name)
    running = 0 if operation.done else len(deps.live.running(task.key))
    whole = task_bytes.operation(operation, task, running=running)
    return whole if len(whole) <= room else task_bytes.operation_head(operation, task, running=running)
