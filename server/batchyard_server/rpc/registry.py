"""Which methods does the server have? Collects a service's handlers and hands them to gRPC in one piece."""

from __future__ import annotations

from typing import Any

import grpc
from grpc.aio import Server

from batchyard_server.rpc.interceptors.errors import Bidi, Errors, Stream, Unary


class Service:
    """The methods of one service, each surrounded by the error handling."""

    def __init__(self, name: str, errors: Errors) -> None:
        self.name = name
        self._errors = errors
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def unary(self, method: str, handler: Unary) -> None:
        """Add a unary method."""
        self._handlers[method] = self._errors.unary(f"{self.name}/{method}", handler)

    def stream(self, method: str, handler: Stream) -> None:
        """Add a server-streaming method."""
        self._handlers[method] = self._errors.stream(f"{self.name}/{method}", handler)

    def bidi(self, method: str, handler: Bidi) -> None:
        """Add a method that streams both ways."""
        self._handlers[method] = self._errors.bidi(f"{self.name}/{method}", handler)

    def add_to(self, server: Server) -> None:
        """Serve the methods."""
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(self.name, self._handlers),))
