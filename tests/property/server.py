"""A server, put together as app.py does it, with a recorder between its dispatcher and all else.

`Threadless` is the one for many steps: on a QuietLoop, its methods called without gRPC, its workers ModelWorkers.
"""

from __future__ import annotations

import asyncio
import pathlib
from typing import Any

import grpc

from batchyard_server.codec.tokens import Tokens
from batchyard_server.dispatch.dispatcher import Dispatcher
from batchyard_server.dispatch.loops import Chores
from batchyard_server.dispatch.timekeeper import Timekeeper
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.wait import Waits
from batchyard_server.engine.watch_hub import Hub
from batchyard_server.execution.handlers import HandlerBook
from batchyard_server.execution.local import LocalExecutor
from batchyard_server.execution.worker import Launch
from batchyard_server.model.clock import Clock
from batchyard_server.model.failpoints import OFF
from batchyard_server.model.handler import HandlerSpec, Isolation, Kind
from batchyard_server.rpc import batch_tasks, operations
from batchyard_server.rpc.interceptors.draining import Gate
from batchyard_server.rpc.interceptors.errors import Errors
from batchyard_server.rpc.registry import Service
from batchyard_server.store.sqlite import open_sqlite
from batchyard_server.store.sqlite.store import SqliteStore
from tests.property.life import MAX_WORKER_LOST
from tests.property.loop import QuietLoop, on_the_loop
from tests.property.recorder import Recorder
from tests.property.workers import ModelLauncher
from tests.support.artifacts import NO_FILES
from tests.support.clock import FakeClock, SeededRandomness

HANDLERS = ("audit", "echo")
NODE = "node-of-the-model"
LIFETIME = 10 * 86_400 * 1_000_000


def open_store(folder: pathlib.Path, clock: Clock, randomness: SeededRandomness) -> Any:
    """The store in a folder."""
    return open_sqlite(folder, clock=clock, randomness=randomness, failpoints=OFF, readers=1)


class Server:
    """One server, from the opening of its directory on. `assemble` is to be run on its loop; then `begin`."""

    def __init__(self, folder: pathlib.Path, clock: Clock, randomness: SeededRandomness, *, slots: int) -> None:
        self.folder = folder
        self.recorder = Recorder()
        self._clock = clock
        self._randomness = randomness
        self._slots = slots
        self.store: SqliteStore

    def specs(self) -> dict[str, HandlerSpec]:
        """The handlers."""
        return {name: HandlerSpec(handler_id=name, kind=Kind.PYTHON) for name in HANDLERS}

    def launch(self) -> Launch:
        """What starts workers."""
        raise NotImplementedError

    async def serve(self, deps: Deps) -> None:
        """Make the methods."""
        raise NotImplementedError

    async def assemble(self) -> None:
        """From the store to the methods; work begins."""
        clock, slots = self._clock, self._slots
        self.recorder.store = self.store
        book = HandlerBook(self.specs(), Isolation.SUBREAPER)
        self.executor = LocalExecutor(slots=slots, handlers=book, launcher=self.launch(), clock=clock)
        self.dispatcher = Dispatcher(
            self.recorder,  # type: ignore[arg-type]
            self.executor,
            slots=slots,
            node=NODE,
            max_worker_lost=MAX_WORKER_LOST,
            clock=clock,
            randomness=self._randomness,
            failpoints=OFF,
            look_seconds=0,
        )
        self.recorder.reports, self.recorder.executor = self.dispatcher, self.executor
        self.executor.attach(self.recorder)
        self.chores = Chores(self.store)
        self.timekeeper = Timekeeper(self.store, clock, lifetime_us=LIFETIME)
        await self.timekeeper.look()
        recovered = await self.store.recover()
        await self.serve(
            Deps(
                store=self.store,
                clock=clock,
                randomness=self._randomness,
                live=self.dispatcher,
                handlers=book,
                failpoints=OFF,
                tokens=Tokens(self.store.secret),
                files=NO_FILES,
            )
        )
        self.dispatcher.start(recovered)
        self.chores.start()
        self.timekeeper.start()

    async def finish(self, drain_seconds: float) -> None:
        """What goes on behind the methods ends."""
        await self.dispatcher.drain(drain_seconds)
        await self.timekeeper.stop()
        await self.chores.stop()
        await self.dispatcher.stop()


class Threadless(Server):
    """A server in one thread, on a loop of its own."""

    def __init__(self, folder: pathlib.Path, clock: FakeClock, randomness: SeededRandomness, *, slots: int) -> None:
        super().__init__(folder, clock, randomness, slots=slots)
        self.loop = QuietLoop(clock)
        self.launcher = ModelLauncher(clock)
        self.launcher.on_start = self.recorder.listen  # type: ignore[assignment]
        self.methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        with on_the_loop():
            self.store = self.loop.do(open_store(folder, clock, randomness))
        self.loop.do(self.assemble())

    def launch(self) -> Launch:
        """See Server.launch."""
        return self.launcher

    async def serve(self, deps: Deps) -> None:
        """See Server.serve."""
        self._gate = Gate()
        self._waits = Waits(deps)
        self._hub = Hub(deps)
        errors = Errors(self._randomness, self._gate.enter)
        for name, service in (
            (batch_tasks.NAME, batch_tasks.BatchTasks(deps, self._hub)),
            (operations.NAME, operations.Operations(deps, self._waits)),
        ):
            registered = Service(name, errors)
            service.register(registered, self._gate)
            self.methods |= registered._handlers

    def stop(self, drain_seconds: float) -> asyncio.Task[None]:
        """Begin to end it in order."""

        async def stopping() -> None:
            self._gate.close()
            self._waits.close()
            self._hub.close()
            await self.finish(drain_seconds)
            self._waits.stop()
            self._hub.stop()
            await self.store.close()

        return self.loop.create_task(stopping())

    def end(self) -> None:
        """End it without telling anybody."""
        self.loop.cancel_all()
        self.loop.do(self.store.close())
        self.loop.close()


def make_template(folder: pathlib.Path) -> pathlib.Path:
    """An empty store, for every World to begin with."""
    clock = FakeClock()
    loop = QuietLoop(clock)
    with on_the_loop():
        store = loop.do(open_store(folder, clock, SeededRandomness()))
    loop.do(store.close())
    loop.close()
    return folder
