"""GetHandler, ListHandlers: the server's own, the same under every project."""

from __future__ import annotations

from batchyard_server.codec import pages
from batchyard_server.codec.queries import ListPage
from batchyard_server.engine.deps import Deps
from batchyard_server.model.errors import NotFound
from batchyard_server.model.names import HANDLER_TYPE, HandlerName


def get_handler(deps: Deps, name: HandlerName) -> bytes:
    """Serialized Handler. Raises NotFound."""
    status = deps.handlers.get(name.handler)
    if status is None:
        raise NotFound(HANDLER_TYPE, str(name))
    return pages.handler(name.project, status)


def list_handlers(deps: Deps, asked: ListPage) -> bytes:
    """Serialized ListHandlersResponse, by id. Raises InvalidArgument (INVALID_TOKEN)."""
    after = deps.tokens.read("handlers", asked.project, asked.token, asked.token_field)
    rest = sorted(
        (status for status in deps.handlers.list() if after is None or status.spec.handler_id > after[1]),
        key=lambda status: status.spec.handler_id,
    )
    page = rest[: asked.size]
    last = (0, page[-1].spec.handler_id) if len(rest) > len(page) else None
    token = deps.tokens.make("handlers", asked.project, last) if last else ""
    return pages.handler_page(asked.project, page, token)
