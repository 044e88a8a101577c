"""A server in one thread of this process: everything is real but its clock, its sockets and its worker processes.

world.call("PauseBatchTask", request)     bytes through the method's handler, and what follows until all is quiet
world.work(0, Result(code=14))            the first worker goes on by one step
world.advance(60)                         time passes
world.restart() / world.kill()            the data directory is opened by another server

A server that is killed leaves its directory as it is in that moment: the next one opens a copy.
"""

from __future__ import annotations

import asyncio
import logging
import pathlib
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from batchyard_server.codec.tokens import Tokens
from batchyard_server.dispatch.dispatcher import Dispatcher
from batchyard_server.dispatch.loops import Chores
from batchyard_server.dispatch.timekeeper import Timekeeper
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.wait import Waits
from batchyard_server.execution.handlers import HandlerBook
from batchyard_server.execution.local import LocalExecutor
from batchyard_server.model.failpoints import OFF
from batchyard_server.model.handler import HandlerSpec, Isolation, Kind
from batchyard_server.rpc import batch_tasks, operations
from batchyard_server.rpc.interceptors.draining import Gate
from batchyard_server.rpc.interceptors.errors import DETAILS_KEY, Errors
from batchyard_server.rpc.registry import Service
from batchyard_server.store.sqlite import open_sqlite
from tests.property.events import SUCCESS, Event, Result
from tests.property.life import MAX_WORKER_LOST
from tests.property.loop import QuietLoop, on_the_loop
from tests.property.recorder import Recorder
from tests.property.workers import ModelLauncher, ModelWorker
from tests.support.clock import FakeClock, SeededRandomness

M = TypeVar("M", bound=Message)
HANDLERS = ("audit", "echo")
NODE = "node-of-the-model"
LIFETIME = 10 * 86_400 * 1_000_000
DRAIN_SECONDS = 30.0


class Refused(Exception):
    """The call failed with this status."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


class Pending:
    """A call that is not answered yet, as far as is known."""

    def __init__(self, task: asyncio.Task[bytes]) -> None:
        self._task = task

    @property
    def is_answered(self) -> bool:
        """Whether it is."""
        return self._task.done()

    def answer(self) -> bytes:
        """The answer, which is there. Raises Refused."""
        return self._task.result()


class _Context:
    """What a method sees of its call: no deadline; what it writes is kept."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def time_remaining(self) -> None:
        """No deadline."""

    async def write(self, message: bytes) -> None:
        """Of a stream."""
        self.written.append(message)

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing_metadata: Sequence[tuple[str, bytes]]
    ) -> NoReturn:
        """The end of a call that fails."""
        ((key, raw),) = trailing_metadata
        status = Status.FromString(raw)
        assert key == DETAILS_KEY
        assert (code.value[0], details) == (status.code, status.message)
        raise Refused(status)


class _Faults(logging.Handler):
    """Keeps what the server calls an error and is not the world's fault."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("batchyard_server.execution."):
            self.found.append(self.format(record))


_LOG = logging.getLogger("batchyard_server")


class _Life:
    """One server, from the opening of the directory on."""

    def __init__(self, folder: pathlib.Path, clock: FakeClock, randomness: SeededRandomness, *, slots: int) -> None:
        self.folder = folder
        self.loop = QuietLoop(clock)
        self.recorder = Recorder()
        self.launcher = ModelLauncher(clock)
        self.launcher.on_start = self.recorder.listen  # type: ignore[assignment]
        self.gate = Gate()
        with on_the_loop():
            self.store = self.loop.do(
                open_sqlite(folder, clock=clock, randomness=randomness, failpoints=OFF, readers=1)
            )
        self.recorder.store = self.store
        self.methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self.loop.do(self._assemble(clock, randomness, slots))

    async def _assemble(self, clock: FakeClock, randomness: SeededRandomness, slots: int) -> None:
        """As app.py does."""
        specs = {name: HandlerSpec(handler_id=name, kind=Kind.PYTHON) for name in HANDLERS}
        book = HandlerBook(specs, Isolation.SUBREAPER)
        executor = LocalExecutor(slots=slots, handlers=book, launcher=self.launcher, clock=clock)
        self.dispatcher = Dispatcher(
            self.recorder,  # type: ignore[arg-type]
            executor,
            slots=slots,
            node=NODE,
            max_worker_lost=MAX_WORKER_LOST,
            clock=clock,
            randomness=randomness,
            failpoints=OFF,
        )
        self.recorder.reports, self.recorder.executor = self.dispatcher, executor
        executor.attach(self.recorder)
        self.chores = Chores(self.store)
        self.timekeeper = Timekeeper(self.store, clock, lifetime_us=LIFETIME)
        await self.timekeeper.look()
        recovered = await self.store.recover()
        deps = Deps(
            store=self.store,
            clock=clock,
            randomness=randomness,
            live=self.dispatcher,
            handlers=book,
            failpoints=OFF,
            tokens=Tokens(self.store.secret),
        )
        self.waits = Waits(deps)
        errors = Errors(randomness, self.gate.enter)
        for name, service in (
            (batch_tasks.NAME, batch_tasks.BatchTasks(deps)),
            (operations.NAME, operations.Operations(deps, self.waits)),
        ):
            registered = Service(name, errors)
            service.register(registered, self.gate)
            self.methods |= registered._handlers
        self.dispatcher.start(recovered)
        self.chores.start()
        self.timekeeper.start()

    async def stop(self, drain_seconds: float) -> None:
        """As app.py does."""
        self.gate.close()
        self.waits.close()
        await self.dispatcher.drain(drain_seconds)
        await self.timekeeper.stop()
        await self.chores.stop()
        await self.dispatcher.stop()
        self.waits.stop()
        await self.store.close()

    def end(self) -> None:
        """Without telling anybody, and its folder with it."""
        self.loop.cancel_all()
        self.loop.do(self.store.close())
        self.loop.close()
        shutil.rmtree(self.folder)


class World:
    """A data directory below `folder`, made from `template`, and the server on it."""

    def __init__(self, folder: pathlib.Path, template: pathlib.Path, *, slots: int) -> None:
        self.clock = FakeClock()
        self._randomness = SeededRandomness()
        self._root = folder
        self._slots = slots
        self._lives = 0
        self._faults = _Faults()
        _LOG.addHandler(self._faults)
        _LOG.propagate = False
        shutil.copytree(template, self._next_folder())
        self.start()

    def _next_folder(self) -> pathlib.Path:
        self._lives += 1
        return self._root / f"life-{self._lives}"

    # -- callers --------------------------------------------------------------------------------------------------

    def call(self, method: str, request: Message, kind: type[M]) -> M:
        """Call a unary method; return once all is quiet. Raises Refused."""
        handler = self._life.methods[method].unary_unary
        try:
            return kind.FromString(self._life.loop.do(handler(request.SerializeToString(), _Context())))
        finally:
            self.settle()

    def read(self, method: str, request: Message) -> bytes:
        """Call a unary method that changes nothing."""
        return self._life.loop.do(self._life.methods[method].unary_unary(request.SerializeToString(), _Context()))

    def begin(self, method: str, request: Message) -> Pending:
        """Call a unary method that may take its time."""
        handler = self._life.methods[method].unary_unary
        task = self._life.loop.create_task(handler(request.SerializeToString(), _Context()))
        self.settle()
        return Pending(task)

    def stream(self, method: str, request: Message, kind: type[M]) -> list[M]:
        """All messages of a stream."""
        context = _Context()
        self._life.loop.do(self._life.methods[method].unary_stream(request.SerializeToString(), context))
        return [kind.FromString(raw) for raw in context.written]

    def talk(self, method: str, requests: Sequence[Message], kind: type[M]) -> list[M]:
        """All answers in a stream of both ways. Raises Refused."""

        async def messages() -> AsyncIterator[bytes]:
            for request in requests:
                yield request.SerializeToString()

        context = _Context()
        try:
            self._life.loop.do(self._life.methods[method].stream_stream(messages(), context))
        finally:
            self.settle()
        return [kind.FromString(raw) for raw in context.written]

    # -- workers --------------------------------------------------------------------------------------------------

    @property
    def faults(self) -> list[str]:
        """Errors in the server's log."""
        return self._faults.found

    def events(self) -> list[Event]:
        """What happened at the workers since the last call."""
        return self._life.recorder.take()

    @property
    def workers(self) -> list[ModelWorker]:
        """Those that are not reaped, the oldest first."""
        return self._life.launcher.living  # type: ignore[return-value]

    def settle(self) -> None:
        """Let everything happen that needs no time and no decision."""
        loop = self._life.loop
        loop.run_forever()
        while speaking := [worker for worker in self.workers if worker.listens() and worker.has_news]:
            for worker in speaking:
                loop.call_soon(worker.deliver)
            loop.run_forever()

    def _here(self, act: Callable[[], Any]) -> None:
        """Do something on the loop."""

        async def acting() -> None:
            act()

        self._life.loop.do(acting())
        self.settle()

    def work(self, worker: ModelWorker, result: Result = SUCCESS, *, keep: bool = False, over: bool = False) -> None:
        """The worker ends its record, if one runs, and begins the next one; it is loaded, or reaped, before.

        Args:
            result: of the record.
            keep: what is finished is not sent yet.
            over: its subtask has used up its time.
        """
        if worker.killed or worker.dead:
            self._here(worker.reap)
            return
        if not worker.is_loaded:
            self._here(lambda: (worker.load(), worker.deliver()))

        def step() -> None:
            if worker.running is not None:
                worker.result = result
                worker.step(failed=result.code != 0, flush=not keep, over=over)
            worker.read()
            worker.step()
            worker.deliver()

        if not (worker.killed or worker.dead):
            self._here(step)

    def crash(self, worker: ModelWorker) -> None:
        """The worker's process ends by itself; it is still to be reaped."""
        if not (worker.dead or worker.killed):
            self._here(worker.crash)

    def reap(self, worker: ModelWorker, result: Result | None, *, unreaped: bool) -> None:
        """A worker that was killed, or has crashed, is gone. With a result its record ended before, and was sent."""
        if worker.killed and not worker.dead and worker.running is not None and result is not None:
            worker.result = result
            self._here(lambda: worker.step(failed=result.code != 0, flush=True))
        self._here(lambda: worker.reap((4711,) if unreaped and worker.killed else ()))

    def break_launcher(self, error: OSError | None) -> None:
        """No worker can be started from now on; or they can again."""
        self._life.launcher.error = error

    # -- time, and the ends of servers ----------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Time passes all at once, as for a machine that was suspended."""
        self.clock.advance(seconds)
        self.settle()

    def stop(self, *, patient: bool) -> None:
        """The server ends in order; `start` is to follow. `patient`: what runs ends well before."""
        life = self._life
        stopping = life.loop.create_task(life.stop(DRAIN_SECONDS if patient else 0.0))
        self.settle()
        while not stopping.done():
            worker = next(each for each in self.workers if each.killed or each.dead or each.running is not None)
            self.work(worker)
        stopping.result()
        life.loop.cancel_all()
        life.loop.close()
        life.folder.rename(self._next_folder())

    def kill(self) -> None:
        """The server and its workers are gone at once; `start` is to follow."""
        shutil.copytree(self._life.folder, self._next_folder())
        self._life.end()

    def start(self) -> None:
        """Another server begins, with what is stored."""
        folder = self._root / f"life-{self._lives}"
        self._life = _Life(folder, self.clock, self._randomness, slots=self._slots)
        self.settle()

    def close(self) -> None:
        """Forget everything."""
        _LOG.removeHandler(self._faults)
        _LOG.propagate = True
        self._life.end()
        shutil.rmtree(self._root)


def make_template(folder: pathlib.Path) -> pathlib.Path:
    """An empty store, for every World to begin with."""
    clock = FakeClock()
    loop = QuietLoop(clock)
    with on_the_loop():
        store = loop.do(open_sqlite(folder, clock=clock, randomness=SeededRandomness(), failpoints=OFF))
    loop.do(store.close())
    loop.close()
    return folder
