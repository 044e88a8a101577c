"""google.longrunning.Operations: all five methods, over the same engine."""

from __future__ import annotations

from typing import cast

from batchyard_server.codec import pages, queries, requests
from batchyard_server.engine import cancel, operations
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.wait import Waits
from batchyard_server.model import limits
from batchyard_server.rpc.interceptors.draining import Gate
from batchyard_server.rpc.interceptors.errors import Context
from batchyard_server.rpc.registry import Service

NAME = "google.longrunning.Operations"


class Operations:
    """The methods. Each answers serialized messages."""

    def __init__(self, deps: Deps, waits: Waits) -> None:
        self._deps = deps
        self._waits = waits

    def register(self, service: Service, gate: Gate) -> None:
        """Add every method; while draining `gate` refuses what changes, and waits are answered at once."""
        service.unary("GetOperation", self.get_operation)
        service.unary("ListOperations", self.list_operations)
        service.unary("WaitOperation", self.wait_operation)
        service.unary("CancelOperation", gate.unary(self.cancel_operation))
        service.unary("DeleteOperation", gate.unary(self.delete_operation))

    async def get_operation(self, raw: bytes, _context: Context) -> bytes:
        """GetOperation."""
        return await operations.get_operation(self._deps, queries.get_operation(raw))

    async def list_operations(self, raw: bytes, _context: Context) -> bytes:
        """ListOperations."""
        return await operations.list_operations(self._deps, queries.list_operations(raw))

    async def wait_operation(self, raw: bytes, context: Context) -> bytes:
        """WaitOperation: at most the request's timeout, 60 s, and a little less than the caller's deadline."""
        asked = queries.wait_operation(raw)
        seconds = limits.WAIT_SECONDS
        if asked.seconds is not None:
            seconds = min(seconds, asked.seconds)
        remaining = cast("float | None", context.time_remaining())  # None without a deadline
        if remaining is not None:
            seconds = min(seconds, remaining - limits.WAIT_MARGIN_SECONDS)
        return await self._waits.wait(asked.name, seconds)

    async def cancel_operation(self, raw: bytes, _context: Context) -> bytes:
        """CancelOperation."""
        await cancel.cancel_operation(self._deps, requests.cancel_operation(raw))
        return pages.EMPTY

    async def delete_operation(self, raw: bytes, _context: Context) -> bytes:
        """DeleteOperation."""
        await operations.delete_operation(self._deps, requests.delete_operation(raw))
        return pages.EMPTY
