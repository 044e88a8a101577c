"""The gRPC server: every service, on one port of one event loop."""

from __future__ import annotations

import grpc.aio

from batchyard_server.engine.deps import Deps
from batchyard_server.engine.wait import Waits
from batchyard_server.engine.watch_hub import Hub
from batchyard_server.rpc import batch_tasks, health, operations, reflection
from batchyard_server.rpc.interceptors.draining import Gate
from batchyard_server.rpc.interceptors.errors import Errors
from batchyard_server.rpc.options import OPTIONS
from batchyard_server.rpc.registry import Service

OURS = (batch_tasks.NAME, operations.NAME)


class RpcServer:
    """Serves the engine from `start` to `stop`; `drain` comes between them."""

    def __init__(self, deps: Deps) -> None:
        self._gate = Gate()
        self._waits = Waits(deps)
        self._hub = Hub(deps)
        self.health = health.Health(OURS)
        self._server = grpc.aio.server(options=OPTIONS)
        errors = Errors(deps.randomness, self._gate.enter)

        ours = Service(batch_tasks.NAME, errors)
        batch_tasks.BatchTasks(deps, self._hub).register(ours, self._gate)
        lro = Service(operations.NAME, errors)
        operations.Operations(deps, self._waits).register(lro, self._gate)
        checks = Service(health.NAME, errors)
        self.health.register(checks)
        reflected = reflection.Reflection((*OURS, health.NAME))
        reflections = [Service(name, errors) for name in reflection.NAMES]
        for service in reflections:
            reflected.register(service)
        for service in (ours, lro, checks, *reflections):
            service.add_to(self._server)

    @property
    def waiting(self) -> int:
        """How many calls of WaitOperation are open."""
        return self._waits.count

    @property
    def hub(self) -> Hub:
        """Those who watch."""
        return self._hub

    def listen(self, address: str) -> int:
        """Bind `host:port` (port 0: any free one); return the port. Raises RuntimeError if that is not possible."""
        return self._server.add_insecure_port(address)

    async def start(self) -> None:
        """Begin to serve."""
        await self._server.start()

    def drain(self) -> None:
        """NOT_SERVING; reads go on, waits are answered and watches ended at once, all else is told to come back."""
        self.health.set_serving(False)
        self._gate.close()
        self._waits.close()
        self._hub.close()

    async def stop(self, grace_seconds: float) -> None:
        """Refuse every call, then stop listening; calls still open after `grace_seconds` are ended."""
        self.health.close()
        await self._gate.shut()
        await self._server.stop(grace_seconds)
        self._waits.stop()
        self._hub.stop()
