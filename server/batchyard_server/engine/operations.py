"""GetOperation, ListOperations, DeleteOperation."""

from __future__ import annotations

from batchyard_server.codec import pages, task_bytes
from batchyard_server.codec.queries import ListOperations
from batchyard_server.codec.values import OperationValues
from batchyard_server.engine import show
from batchyard_server.engine.deps import Deps
from batchyard_server.model import limits
from batchyard_server.model.filter import EVERYTHING, Node
from batchyard_server.model.names import OperationName
from batchyard_server.model.task import Operation, Task
from batchyard_server.query import OPERATIONS, matcher, parse_filter
from batchyard_server.store.operation_store import OperationQuery, Position

# An operation carries its task's info, so rows are read in small numbers until their size is known.
_FIRST_READ = 32


async def get_operation(deps: Deps, name: OperationName) -> bytes:
    """Serialized Operation. Raises NotFound."""
    return await show.operation(deps, *await deps.store.get_operation(name))


async def list_operations(deps: Deps, asked: ListOperations) -> bytes:
    """Serialized ListOperationsResponse, newest first, without `failed_requests`.

    Raises InvalidArgument (INVALID_FILTER, INVALID_TOKEN).
    """
    wanted = parse_filter(asked.filter, OPERATIONS, asked.project)
    scope = asked.project if wanted == EVERYTHING else f"{asked.project} {asked.filter}"
    after = deps.tokens.read("operations", scope, asked.token, "page_token")
    if wanted == EVERYTHING:
        page, follows = await _all(deps, asked, after)
    else:
        page, follows = await _matching(deps, asked, after, wanted)
    return pages.operation_page(page, "" if follows is None else deps.tokens.make("operations", scope, follows))


async def _all(deps: Deps, asked: ListOperations, after: Position | None) -> tuple[list[bytes], Position | None]:
    """The next operations, serialized, and the position behind them if there are more."""
    page: list[bytes] = []
    size, wanted = 0, min(_FIRST_READ, asked.size)
    while True:
        rows = await deps.store.list_operations(asked.project, after, wanted)
        for operation, task in rows:
            each = _shown(deps, operation, task)
            if page and size + len(each) > limits.UNARY_PAGE_BYTES:
                return page, after
            page.append(each)
            size += len(each)
            after = (operation.create_us, operation.operation_id)
        if len(rows) < wanted:
            return page, None
        if len(page) >= asked.size:
            break
        room = (limits.UNARY_PAGE_BYTES - size) * len(page) // size + 1
        wanted = min(asked.size - len(page), room)
    more = await deps.store.list_operations(asked.project, after, 1)
    return page, after if more else None


async def _matching(
    deps: Deps, asked: ListOperations, after: Position | None, wanted: Node
) -> tuple[list[bytes], Position | None]:
    """The same of those that match."""
    fits = matcher(wanted)
    found = await deps.store.find_operations(
        OperationQuery(
            project=asked.project,
            limit=asked.size,
            max_bytes=limits.UNARY_PAGE_BYTES,
            after=after,
            filter=wanted,
            judge=lambda operation, task: fits(OperationValues(operation, task)),
        )
    )
    page: list[bytes] = []
    size = 0
    for operation, task in found.operations:
        each = _shown(deps, operation, task)
        if page and size + len(each) > limits.UNARY_PAGE_BYTES:
            return page, after
        page.append(each)
        size += len(each)
        after = (operation.create_us, operation.operation_id)
    return page, found.follows


def _shown(deps: Deps, operation: Operation, task: Task) -> bytes:
    running = 0 if operation.done else len(deps.live.running(task.key))
    return task_bytes.operation(operation, task, running=running)


async def delete_operation(deps: Deps, name: OperationName) -> None:
    """Forget a done operation; its task stays. Raises NotFound, FailedPrecondition (OPERATION_NOT_DONE)."""
    await deps.store.delete_operation(name)
