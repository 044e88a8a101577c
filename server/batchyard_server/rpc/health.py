"""grpc.health.v1: is the server ready? Service "" and each of ours have one status.

Not the servicer of grpcio-health-checking: when one of its watchers leaves, the others hear of no change any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2

from batchyard_server.codec.parts import parse
from batchyard_server.rpc.interceptors.errors import Context, Messages
from batchyard_server.rpc.registry import Service

NAME = "grpc.health.v1.Health"
_Response = health_pb2.HealthCheckResponse


class Health:
    """One status for all services: SERVING until `set_serving(False)`."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = {"", *services}
        self._serving = True
        self._closed = False
        self._changed = asyncio.Event()

    def register(self, service: Service) -> None:
        """Add both methods."""
        service.unary("Check", self.check)
        service.stream("Watch", self.watch)

    def set_serving(self, serving: bool) -> None:
        """Change the status and tell the watchers."""
        if serving is not self._serving:
            self._serving = serving
            self._tell()

    def close(self) -> None:
        """End the watches: they would hold up the end of the server for as long as it lets calls finish."""
        self._closed = True
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def check(self, raw: bytes, context: Context) -> bytes:
        """Check. An unknown service is a plain NOT_FOUND, as the protocol says."""
        request = parse(health_pb2.HealthCheckRequest, raw)
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return self._status(request.service)

    async def watch(self, raw: bytes, _context: Context) -> Messages:
        """Watch. An unknown service stays SERVICE_UNKNOWN: services never come later."""
        request = parse(health_pb2.HealthCheckRequest, raw)
        told = b""
        while True:
            changed, closed, status = self._changed, self._closed, self._status(request.service)
            if status != told:  # also the last one, of somebody who was not done with the one before
                told = status
                yield status
            if closed:
                return
            await changed.wait()

    def _status(self, service: str) -> bytes:
        if service not in self._services:
            status = _Response.SERVICE_UNKNOWN
        else:
            status = _Response.SERVING if self._serving else _Response.NOT_SERVING
        return _Response(status=status).SerializeToString()
