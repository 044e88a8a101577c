"""How does a reader see a task or an operation now? What is stored, and over it what only the living server knows."""

from __future__ import annotations

from batchyard_server.codec import task_bytes
from batchyard_server.engine.deps import Deps
from batchyard_server.model.errors import NotFound
from batchyard_server.model.names import OPERATION_TYPE
from batchyard_server.model.task import Operation, Task


def task_info(deps: Deps, task: Task) -> bytes:
    """Serialized BatchTaskInfo."""
    info = task_bytes.info(task)
    live = deps.live
    if not live.is_live(task.key):
        return info
    return info + task_bytes.live_overlay(task, len(live.running(task.key)), live.waiting(task.key))


async def operation(deps: Deps, op: Operation, task: Task) -> bytes:
    """Serialized Operation with `failed_requests`."""
    failed = task.failed if op.generation == task.generation else 1
    failures = await deps.store.failures(task.key, op.generation) if failed else ()
    running = 0 if op.done else len(deps.live.running(task.key))
    return task_bytes.operation(op, task, failures=failures, running=running)


async def current_operation(deps: Deps, task: Task) -> bytes:
    """Serialized Operation of the task's generation. Raises NotFound if that operation was deleted."""
    if not task.operation:
        raise NotFound(OPERATION_TYPE, f"the operation of {task.name}")
    return await operation(deps, *await deps.store.get_operation(task.operation_name))
