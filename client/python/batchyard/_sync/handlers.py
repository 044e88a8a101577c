# Generated from _aio/handlers.py by client/python/unasync.py; change that file and run `make gen`.
"""The handlers of the server (`client.handlers`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard._info import HandlerInfo
from batchyard._names import child_name, project_name
from batchyard._sync.call import call, pages
from batchyard.v1 import batch_task_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard._sync.connection import Connection


class Handlers:
    """The handlers that the operator has registered; the same under every project."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, handler: str, *, timeout: float = 60) -> HandlerInfo:
        """Read one handler by id or resource name.

        Raises:
            NotFoundError: there is no such handler.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        name = child_name(self._connection.project, "handlers", handler)
        request = batch_task_service_pb2.GetHandlerRequest(name=name)
        return HandlerInfo(call(self._connection.service.GetHandler, request, timeout))

    def list(self, *, page_size: int = 0, timeout: float = 60) -> Iterator[HandlerInfo]:
        """Yield the handlers by id; a page is read when it is needed.

        Raises:
            RpcError: a page was not answered within `timeout` seconds, or refused.
        """
        request = batch_task_service_pb2.ListHandlersRequest(
            parent=project_name(self._connection.project), page_size=page_size
        )
        for page in pages(self._connection.service.ListHandlers, request, timeout):
            for handler in page.handlers:
                yield HandlerInfo(handler)
