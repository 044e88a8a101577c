"""CreateBatchTask."""

from __future__ import annotations

from batchyard_server.codec import configuration, pages, segments, task_bytes
from batchyard_server.codec.requests import CreateTask
from batchyard_server.engine import show
from batchyard_server.engine.deps import Deps
from batchyard_server.model.clock import uuid7
from batchyard_server.model.errors import AlreadyExists, NotFound, Reason
from batchyard_server.model.names import HANDLER_TYPE, TASK_TYPE, HandlerName, TaskName
from batchyard_server.model.settings import DRAFT_US
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import NewTask, Operation, Task


async def create_task(deps: Deps, asked: CreateTask) -> bytes:
    """Make the task and its operation durable; return the serialized Operation.

    Raises: NotFound (handler; or what an earlier call with this request_id made is gone), AlreadyExists,
    InvalidArgument (DUPLICATE_RECORD_ID).
    """
    missing = missing_handler(deps, asked)
    if missing is not None:
        raise missing
    task = new_task(deps, asked)
    if asked.validate_only:
        return await _validated(deps, task)
    new = NewTask(task=task, segments=segments.cut_inputs(asked.inputs.records, 0), record_ids=list(asked.inputs.ids))
    deps.failpoints.hit("engine.create.before_store")
    stored = await deps.store.create_task(new, asked.request)
    deps.failpoints.hit("engine.create.after_store")
    if stored.uid != task.uid:  # made by an earlier call with the same request_id
        return await show.current_operation(deps, stored)
    return task_bytes.operation(
        Operation(
            operation_id=stored.operation,
            project=stored.project,
            task_key=stored.key,
            generation=stored.generation,
            create_us=stored.create_us,
        ),
        stored,
    )


def missing_handler(deps: Deps, asked: CreateTask) -> NotFound | None:
    """Why it cannot be made, if there is no such handler."""
    handler = asked.configuration.handler
    if deps.handlers.get(handler) is not None:
        return None
    return NotFound(HANDLER_TYPE, str(HandlerName(asked.project, handler)))


def new_task(deps: Deps, asked: CreateTask) -> Task:
    """The task that a create asks for, not stored yet."""
    now = deps.clock.now_us()
    uid = uuid7(deps.clock, deps.randomness)
    task_id = asked.task_id or uid
    asked_for = asked.configuration
    name = TaskName(asked.project, task_id)
    return Task(
        key=0,
        project=asked.project,
        task_id=task_id,
        uid=uid,
        operation=uuid7(deps.clock, deps.randomness),
        handler=asked_for.handler,
        state=TaskState.QUEUED if asked.start else TaskState.DRAFT,
        fixed=configuration.fixed_info(name=str(name), uid=uid, create_us=now, configuration=asked_for),
        create_us=now,
        update_us=now,
        transition_us=now,
        total=len(asked.inputs.records),
        parameters=asked_for.parameters,
        settings=asked_for.settings,
        due_us=0 if asked.start else now + DRAFT_US,
    )


async def _validated(deps: Deps, task: Task) -> bytes:
    """What `validate_only` answers: the task that would be made, in a done operation without a name (AIP-163)."""
    try:
        await deps.store.get_task(task.name)
    except NotFound:
        return pages.done_operation(metadata=task_bytes.metadata(task), info=task_bytes.info(task))
    raise AlreadyExists(
        Reason.RESOURCE_EXISTS, f"{task.name} exists", resource_type=TASK_TYPE, resource_name=str(task.name)
    )
