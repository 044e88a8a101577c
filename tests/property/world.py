"""A data directory, the servers on it, one after the other, their callers, their workers, and time.

world.call("PauseBatchTask", request)     and what follows until all is quiet
world.work(worker, Result(code=14))       a worker goes on by one step
world.advance(60)                         time passes
world.stop(); world.start()               the directory is opened by another server

A server that is killed leaves its directory as it is in that moment: the next one opens a copy.
"""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message

from tests.property.calls import Context, Following, Pending, Refused
from tests.property.events import SUCCESS, Event, Result
from tests.property.faults import Faults
from tests.property.server import HANDLERS, LIFETIME, NODE, Threadless, make_template
from tests.property.workers import ModelWorker
from tests.support.clock import FakeClock, SeededRandomness

M = TypeVar("M", bound=Message)
DRAIN_SECONDS = 30.0


class World:
    """Everything is real but the server's clock, its sockets, its threads and its worker processes.

    The directory is below `folder`, made from `template`.
    """

    def __init__(self, folder: pathlib.Path, template: pathlib.Path, *, slots: int) -> None:
        self.clock = FakeClock()
        self._randomness = SeededRandomness()
        self._root = folder
        self._slots = slots
        self._lives = 0
        self._log = Faults()
        shutil.copytree(template, self._next_folder())
        self.start()

    def _next_folder(self) -> pathlib.Path:
        self._lives += 1
        return self._root / f"life-{self._lives}"

    # -- callers --------------------------------------------------------------------------------------------------

    def call(self, method: str, request: Message, kind: type[M]) -> M:
        """Call a unary method; return once all is quiet. Raises Refused."""
        handler = self._server.methods[method].unary_unary
        try:
            return kind.FromString(self._server.loop.do(handler(request.SerializeToString(), Context())))
        finally:
            self.settle()

    def read(self, method: str, request: Message) -> bytes:
        """Call a unary method that changes nothing."""
        return self._server.loop.do(self._server.methods[method].unary_unary(request.SerializeToString(), Context()))

    def begin(self, method: str, request: Message) -> Pending:
        """Call a unary method that may take its time."""
        handler = self._server.methods[method].unary_unary
        task = self._server.loop.create_task(handler(request.SerializeToString(), Context()))
        self.settle()
        return Pending(task)

    def stream(self, method: str, request: Message, kind: type[M]) -> list[M]:
        """All messages of a stream."""
        context = Context()
        self._server.loop.do(self._server.methods[method].unary_stream(request.SerializeToString(), context))
        return [kind.FromString(raw) for raw in context.written]

    def follow(self, method: str, request: Message) -> Following:
        """Read a stream for as long as this server lives."""
        context = Context()
        handler = self._server.methods[method].unary_stream
        reading = self._server.loop.create_task(handler(request.SerializeToString(), context))
        reading.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        self.settle()
        return Following(context)

    def talk(self, method: str, requests: Sequence[Message], kind: type[M]) -> list[M]:
        """All answers in a stream of both ways. Raises Refused."""

        async def messages() -> AsyncIterator[bytes]:
            for request in requests:
                yield request.SerializeToString()

        context = Context()
        try:
            self._server.loop.do(self._server.methods[method].stream_stream(messages(), context))
        finally:
            self.settle()
        return [kind.FromString(raw) for raw in context.written]

    # -- workers --------------------------------------------------------------------------------------------------

    @property
    def faults(self) -> list[str]:
        """Errors in the server's log."""
        return self._log.found

    def events(self) -> list[Event]:
        """What happened at the workers since the last call."""
        return self._server.recorder.take()

    @property
    def workers(self) -> list[ModelWorker]:
        """Those that are not reaped, the oldest first."""
        return self._server.launcher.living  # type: ignore[return-value]

    def settle(self) -> None:
        """Let everything happen that needs no time and no decision."""
        loop = self._server.loop
        loop.run_forever()
        while speaking := [worker for worker in self.workers if worker.listens() and worker.has_news]:
            for worker in speaking:
                loop.call_soon(worker.deliver)
            loop.run_forever()

    def _here(self, act: Callable[[], Any]) -> None:
        """Do something on the loop."""

        async def acting() -> None:
            act()

        self._server.loop.do(acting())
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
        self._server.launcher.error = error

    # -- time, and the ends of servers ----------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Time passes all at once, as for a machine that was suspended."""
        self.clock.advance(seconds)
        self.settle()

    def stop(self, *, patient: bool) -> None:
        """The server ends in order; `start` is to follow. `patient`: what runs ends well before."""
        server = self._server
        stopping = server.stop(DRAIN_SECONDS if patient else 0.0)
        self.settle()
        while not stopping.done():
            worker = next(each for each in self.workers if each.killed or each.dead or each.running is not None)
            self.work(worker)
        stopping.result()
        server.loop.cancel_all()
        server.loop.close()
        server.folder.rename(self._next_folder())

    def kill(self) -> None:
        """The server and its workers are gone at once; `start` is to follow."""
        shutil.copytree(self._server.folder, self._next_folder())
        self._server.end()
        shutil.rmtree(self._server.folder)

    def start(self) -> None:
        """Another server begins, with what is stored."""
        folder = self._root / f"life-{self._lives}"
        self._server = Threadless(folder, self.clock, self._randomness, slots=self._slots)
        self.settle()

    def close(self) -> None:
        """Forget everything."""
        self._log.stop()
        self._server.end()
        shutil.rmtree(self._root)


__all__ = ["HANDLERS", "LIFETIME", "NODE", "Following", "Pending", "Refused", "World", "make_template"]
