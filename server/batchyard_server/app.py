"""The composition root: the only place that knows which store and which executor there are.

store ─▶ what is over ─▶ recover ─▶ dispatch + executor ─▶ rpc
SIGTERM: rpc drains ─▶ dispatch drains ─▶ rpc ─▶ store close
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable

import uvloop

from batchyard_server.artifacts import LocalArtifacts
from batchyard_server.codec.tokens import Tokens
from batchyard_server.config.settings import Address, Config
from batchyard_server.dispatch.dispatcher import Dispatcher
from batchyard_server.dispatch.janitor import Janitor
from batchyard_server.dispatch.loops import Chores
from batchyard_server.dispatch.staging import FileStaging
from batchyard_server.dispatch.timekeeper import Timekeeper
from batchyard_server.engine.deps import Deps
from batchyard_server.execution.handlers import HandlerBook
from batchyard_server.execution.launch import Launcher, choose_isolation, sweep, tidy
from batchyard_server.execution.local import LocalExecutor
from batchyard_server.model.clock import Clock, Randomness, SystemClock, SystemRandomness
from batchyard_server.model.failpoints import Failpoints
from batchyard_server.model.handler import Isolation
from batchyard_server.rpc.server import RpcServer
from batchyard_server.store.errors import StoreError
from batchyard_server.store.protocols import LiveTask, Store
from batchyard_server.store.sqlite import open_sqlite
from batchyard_worker import memory

OK, CANNOT_START, INTERRUPTED = 0, 1, 130
GRACE_SECONDS = 2.0  # for calls that are still open when everything else has ended
GC_THRESHOLD = 20_000  # containers; the default of 700 is reached by a single page
HEALTH_SECONDS = 1.0  # between two looks at the store's health

_log = logging.getLogger(__name__)


class CannotStart(Exception):
    """The server cannot serve; the text is one line for the operator."""


class App:
    """One server, from `start` to `stop`. Used by `run` and, without a process of their own, by tests."""

    def __init__(
        self, config: Config, *, clock: Clock | None = None, randomness: Randomness | None = None, node: str = ""
    ) -> None:
        self._config = config
        self._node = node or socket.gethostname()
        self._clock = clock or SystemClock()
        self._randomness = randomness or SystemRandomness()
        self._failpoints = Failpoints(config.failpoints)
        self._store: Store
        self._files: LocalArtifacts
        self._rpc: RpcServer
        self._dispatcher: Dispatcher
        self._chores: Chores
        self._janitor: Janitor
        self._timekeeper: Timekeeper
        self._watching: asyncio.TimerHandle | None = None
        self.address: Address
        self.isolation = Isolation.SUBREAPER

    async def start(self) -> None:
        """Open the store, take up unfinished work, serve. Raises CannotStart."""
        config = self._config
        try:
            self._store = await open_sqlite(
                config.data, clock=self._clock, randomness=self._randomness, failpoints=self._failpoints
            )
        except StoreError as error:
            raise CannotStart(str(error)) from error
        try:
            self._files = self._open_files()
            dispatcher, handlers = self._make_dispatcher()
            await self._timekeeper.look()  # what is over by now does not begin again
            recovered = await self._recover()
            self._rpc = RpcServer(
                Deps(
                    store=self._store,
                    clock=self._clock,
                    randomness=self._randomness,
                    live=dispatcher,
                    handlers=handlers,
                    failpoints=self._failpoints,
                    tokens=Tokens(self._store.secret),
                    files=self._files,
                )
            )
            self.address = Address(host=config.listen.host, port=self._listen())
            dispatcher.start(recovered)
            self._chores.start()
            self._janitor.start()
            self._timekeeper.start()
            await self._rpc.start()
        except BaseException:
            await self._store.close()
            raise
        self._watch_health()

    async def _recover(self) -> list[LiveTask]:
        began = self._clock.monotonic_ns()
        recovered = await self._store.recover()
        millis = (self._clock.monotonic_ns() - began) / 1e6
        _log.info("recovered %d unfinished tasks in %.2f ms", len(recovered), millis)
        return recovered

    def _open_files(self) -> LocalArtifacts:
        root = self._config.data / "artifacts"
        try:
            return LocalArtifacts(root, clock=self._clock, randomness=self._randomness)
        except OSError as error:
            raise CannotStart(f"{root} cannot be used: {error.strerror}") from None

    def _make_dispatcher(self) -> tuple[Dispatcher, HandlerBook]:
        """Kill what an earlier server left, then make what runs the records."""
        config, server_id = self._config, self._store.server_id
        try:
            self.isolation = choose_isolation(config.isolation, server_id)
        except ValueError as error:
            raise CannotStart(str(error)) from None
        if left := sweep(server_id):
            _log.warning("killed %d processes that an earlier server left", left)
        handlers = HandlerBook(config.handlers, self.isolation)
        launcher = Launcher(
            server_id=server_id, isolation=self.isolation, environment=os.environ, module_path=config.module_path
        )
        executor = LocalExecutor(slots=config.workers, handlers=handlers, launcher=launcher, clock=self._clock)
        self._janitor = Janitor(self._store, self._files)
        self._dispatcher = Dispatcher(
            self._store,
            executor,
            slots=config.workers,
            node=self._node,
            max_worker_lost=config.max_worker_lost,
            clock=self._clock,
            randomness=self._randomness,
            failpoints=self._failpoints,
            staging=FileStaging(self._files, self._janitor),
            handlers=config.handlers,
        )
        executor.attach(self._dispatcher)
        self._chores = Chores(self._store)
        lifetime_us = round(config.max_task_lifetime_seconds * 1e6)
        self._timekeeper = Timekeeper(self._store, self._clock, lifetime_us=lifetime_us)
        return self._dispatcher, handlers

    def _listen(self) -> int:
        try:
            return self._rpc.listen(str(self._config.listen))
        except RuntimeError:
            raise CannotStart(f"cannot listen on {self._config.listen}: it is in use, or not of this machine") from None

    def _watch_health(self) -> None:
        """Tell whoever asks for health when the store cannot be written any more."""
        if self._store.healthy:
            self._watching = asyncio.get_running_loop().call_later(HEALTH_SECONDS, self._watch_health)
        else:
            _log.error("the store takes no writes any more: restart the server")
            self._rpc.health.set_serving(False)

    async def stop(self) -> None:
        """Drain and end: in-flight records get `drain_timeout_seconds`, then are killed and wait for the next start."""
        if self._watching is not None:
            self._watching.cancel()
        self._rpc.drain()
        await self._dispatcher.drain(self._config.drain_timeout_seconds)
        await self._timekeeper.stop()
        await self._chores.stop()
        await self._dispatcher.stop()
        await self._janitor.stop()
        tidy(self._store.server_id)
        await self._rpc.stop(GRACE_SECONDS)
        await self._files.close()
        await self._store.close()

    def ready_line(self) -> str:
        """What is printed once the server serves."""
        config = self._config
        return (
            f"batchyard-server serving on {self.address} data={config.data} workers={config.workers}"
            f" isolation={self.isolation.name.lower()} handlers={','.join(sorted(config.handlers))}"
        )


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code. A second signal ends the process at once."""
    memory.keep()
    return uvloop.run(_serve(App(config)))


async def _serve(app: App) -> int:
    told = asyncio.Event()
    _on_signals(told.set)
    try:
        await app.start()
    except CannotStart as error:
        sys.stderr.write(f"batchyard-server: {error}\n")
        return CANNOT_START
    # What was made until now stays: the collector need not walk it again and again (15 % of a list page, measured).
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    sys.stdout.write(app.ready_line() + "\n")
    sys.stdout.flush()
    await told.wait()
    _log.info("draining")
    await app.stop()
    _log.info("stopped")
    return OK


def _on_signals(first: Callable[[], None]) -> None:
    """Have `first` called at the first SIGTERM or SIGINT; the second one does not wait for anything."""
    loop = asyncio.get_running_loop()
    told = False

    def on_signal() -> None:
        nonlocal told
        if told:
            # What is acknowledged is durable, and what ran is found and killed by the next start.
            os._exit(INTERRUPTED)
        told = True
        first()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
