"""GetOperation, ListOperations, DeleteOperation."""

from __future__ import annotations

from batchyard_server.codec import pages, task_bytes
from batchyard_server.codec.queries import ListPage
from batchyard_server.engine import show
from batchyard_server.engine.deps import Deps
from batchyard_server.model import limits
from batchyard_server.model.names import OperationName

# An operation carries its task's info, so rows are read in small numbers until their size is known.
_FIRST_READ = 32


async def get_operation(deps: Deps, name: OperationName) -> bytes:
    """Serialized Operation. Raises NotFound."""
    return await show.operation(deps, *await deps.store.get_operation(name))


async def list_operations(deps: Deps, asked: ListPage) -> bytes:
    """Serialized ListOperationsResponse, newest first, without `failed_requests`. Raises InvalidArgument."""
    after = deps.tokens.read("operations", asked.project, asked.token, asked.token_field)
    page: list[bytes] = []
    size, wanted = 0, min(_FIRST_READ, asked.size)
    while True:
        rows = await deps.store.list_operations(asked.project, after, wanted)
        for operation, task in rows:
            running = 0 if operation.done else len(deps.live.running(task.key))
            each = task_bytes.operation(operation, task, running=running)
            if page and size + len(each) > limits.UNARY_PAGE_BYTES:
                return pages.operation_page(page, _token(deps, asked, after))
            page.append(each)
            size += len(each)
            after = (operation.create_us, operation.operation_id)
        if len(rows) < wanted:
            return pages.operation_page(page, "")
        if len(page) >= asked.size:
            break
        room = (limits.UNARY_PAGE_BYTES - size) * len(page) // size + 1
        wanted = min(asked.size - len(page), room)
    more = await deps.store.list_operations(asked.project, after, 1)
    return pages.operation_page(page, _token(deps, asked, after) if more else "")


def _token(deps: Deps, asked: ListPage, after: tuple[int, str] | None) -> str:
    assert after is not None, "a page has a last operation"
    return deps.tokens.make("operations", asked.project, after)


async def delete_operation(deps: Deps, name: OperationName) -> None:
    """Forget a done operation; its task stays. Raises NotFound, FailedPrecondition (OPERATION_NOT_DONE)."""
    await deps.store.delete_operation(name)
