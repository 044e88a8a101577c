"""The same with a gRPC channel, worker processes and threads, all real; only the server's wall clock is held.

What it does by itself it does in its own time, so `settle` waits until nothing is under way: every worker has a record
that waits for its word, or nothing to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import shutil
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from batchyard_server.dispatch.protocols import Subtask
from batchyard_server.engine.deps import Deps
from batchyard_server.execution.launch import Launcher, tidy
from batchyard_server.execution.slot import LocalSlot, Phase
from batchyard_server.execution.worker import Launch
from batchyard_server.model.clock import SystemClock
from batchyard_server.model.handler import HandlerSpec, Isolation, Kind
from batchyard_server.rpc import batch_tasks, operations
from batchyard_server.rpc.interceptors.errors import DETAILS_KEY
from batchyard_server.rpc.server import RpcServer
from tests.property.calls import Refused
from tests.property.events import SUCCESS, Event, Result
from tests.property.faults import Faults
from tests.property.server import HANDLERS, Server, open_store
from tests.support.clock import SeededRandomness
from tests.support.eventually import eventually_in_loop

M = TypeVar("M", bound=Message)
HANDLER_FOLDER = pathlib.Path(__file__).parent / "handlers"
SECONDS = 30.0  # longest wait for anything
STAGE = "MODEL_STAGE"


class HeldClock(SystemClock):
    """The machine's monotonic clock, on which workers stamp; a wall clock that stands still until `advance`."""

    def __init__(self) -> None:
        self.us = 1_700_000_000_000_000

    def now_us(self) -> int:
        """See Clock.now_us."""
        return self.us

    def advance(self, seconds: float) -> None:
        """Move the wall clock."""
        self.us += round(seconds * 1e6)


class RealWorker:
    """A worker process with a loaded handler. None is ever seen killed or dead: they are reaped at once."""

    killed = dead = False

    def __init__(self, slot: LocalSlot, running: int | None) -> None:
        self.slot = slot
        self.handler = slot.handler
        self.running = running
        self.is_idle = slot.load == 0


class RealServer(Server):
    """A server with all that belongs to it."""

    def __init__(self, folder: pathlib.Path, clock: HeldClock, *, slots: int) -> None:
        super().__init__(folder, clock, SeededRandomness(), slots=slots)
        self.stage = f"batchyard-model-{uuid.uuid4().hex}"
        self.waiting: dict[tuple[Subtask, int], asyncio.StreamWriter] = {}  # records that wait for their word

    def specs(self) -> dict[str, HandlerSpec]:
        """See Server.specs."""
        return {
            name: HandlerSpec(
                handler_id=name, kind=Kind.PYTHON, callable="staged:staged", path=(str(HANDLER_FOLDER),), env=(STAGE,)
            )
            for name in HANDLERS
        }

    def launch(self) -> Launch:
        """See Server.launch."""
        environment = {**os.environ, STAGE: self.stage}
        server_id = self.store.server_id
        return Launcher(server_id=server_id, isolation=Isolation.SUBREAPER, environment=environment, module_path=())

    async def serve(self, deps: Deps) -> None:
        """See Server.serve."""
        self._rpc = RpcServer(deps)
        port = self._rpc.listen("127.0.0.1:0")
        await self._rpc.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")

    async def start(self) -> None:
        """Serve."""
        self.store = await open_store(self.folder, self._clock, self._randomness)
        self._stage = await asyncio.start_unix_server(self._on_record, path="\0" + self.stage)
        await self.assemble()

    async def stop(self, drain_seconds: float) -> None:
        """As app.py does."""
        self._rpc.drain()
        await self.finish(drain_seconds)
        tidy(self.store.server_id)
        await self.channel.close()
        await self._rpc.stop(0)
        self._stage.close()
        await self.store.close()

    # -- records --------------------------------------------------------------------------------------------------

    async def _on_record(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A record has begun, and waits."""
        said = json.loads(await reader.readline())
        subtask = self._subtask_of(said["index"])
        key = (subtask, said["index"])
        self.waiting[key] = writer
        self.recorder.note_begun(subtask, said["index"], said["attempt"])
        with contextlib.suppress(ConnectionError):
            await reader.read()  # it has got its word, or was killed
        self.waiting.pop(key, None)
        writer.close()

    def _subtask_of(self, index: int) -> Subtask:
        found = [each for each, at in self.executor.running() if at == index and (each, at) not in self.waiting]
        return found[0]

    async def tell(self, slot: LocalSlot, word: dict[str, Any], result: Result | None) -> None:
        """Give a worker's record its word."""
        now = slot.running()
        assert now is not None
        if result is not None:
            self.recorder.note_ended(*now, result)
        writer = self.waiting.pop(now)
        writer.write(json.dumps(word).encode() + b"\n")
        await writer.drain()

    def is_quiet(self) -> bool:
        """Whether nothing is under way."""
        slots = self.executor._slots
        spare = any(slot.is_spare for slot in slots)
        return not self.dispatcher._jobs.running and all(self._is_quiet(slot, spare=spare) for slot in slots)

    def _is_quiet(self, slot: LocalSlot, *, spare: bool) -> bool:
        if slot.phase in (Phase.EMPTY, Phase.RETIRED):
            return True
        if slot.phase is not Phase.READY or slot._asked_back or slot._reserved or len(slot._in_flight) > 1:
            return False
        if not slot._in_flight:
            return True
        now = slot.running()
        if now is None or now not in self.waiting:
            return False
        # What waits behind a record that is slow is given back if another slot could take it.
        rests = now[0].count > 1 and slot._worker is not None and slot._trimming != slot._worker.progress().number
        return not (spare and rests and now[1] != now[0].lease.ranges[-1][1] - 1)


class RealWorld:
    """See World."""

    def __init__(self, folder: pathlib.Path, template: pathlib.Path, *, slots: int) -> None:
        self.clock = HeldClock()
        self._root = folder
        self._slots = min(slots, 2)
        self._loop = asyncio.new_event_loop()
        self._lives = 0
        self._log = Faults()
        shutil.copytree(template, self._next_folder())
        self.start()

    def _next_folder(self) -> pathlib.Path:
        self._lives += 1
        return self._root / f"life-{self._lives}"

    def _do(self, coroutine: Any) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(coroutine, 2 * SECONDS))

    # -- callers --------------------------------------------------------------------------------------------------

    def call(self, method: str, request: Message, kind: type[M]) -> M:
        """See World.call."""
        try:
            return kind.FromString(self.read(method, request))
        finally:
            self.settle()

    def read(self, method: str, request: Message) -> bytes:
        """See World.read."""
        return self._do(self._answer(self._server.channel.unary_unary(_path(method)), request))

    async def _answer(self, method: Any, request: Message) -> bytes:
        try:
            return await method(request.SerializeToString(), timeout=SECONDS)
        except grpc.aio.AioRpcError as error:
            raise _refused(error) from None

    def stream(self, method: str, request: Message, kind: type[M]) -> list[M]:
        """See World.stream."""

        async def messages() -> list[bytes]:
            call = self._server.channel.unary_stream(_path(method))(request.SerializeToString(), timeout=SECONDS)
            return [raw async for raw in call]

        return [kind.FromString(raw) for raw in self._do(messages())]

    def talk(self, method: str, requests: Sequence[Message], kind: type[M]) -> list[M]:
        """See World.talk."""

        async def sent() -> AsyncIterator[bytes]:
            for request in requests:
                yield request.SerializeToString()

        async def messages() -> list[bytes]:
            call = self._server.channel.stream_stream(_path(method))(sent(), timeout=SECONDS)
            try:
                return [raw async for raw in call]
            except grpc.aio.AioRpcError as error:
                raise _refused(error) from None

        try:
            return [kind.FromString(raw) for raw in self._do(messages())]
        finally:
            self.settle()

    # -- workers --------------------------------------------------------------------------------------------------

    @property
    def faults(self) -> list[str]:
        """See World.faults."""
        return self._log.found

    def events(self) -> list[Event]:
        """See World.events."""
        return self._server.recorder.take()

    @property
    def workers(self) -> list[RealWorker]:
        """See World.workers."""
        slots = [slot for slot in self._server.executor._slots if slot.phase is Phase.READY]
        return [RealWorker(slot, now[1] if (now := slot.running()) else None) for slot in slots]

    def settle(self) -> None:
        """Wait until nothing is under way, for a moment at least."""

        async def settled() -> None:
            quiet = 0

            def look() -> bool:
                nonlocal quiet
                quiet = quiet + 1 if self._server.is_quiet() else 0
                return quiet >= 2

            await eventually_in_loop(look, SECONDS, "nothing is under way")

        self._do(settled())

    def work(self, worker: RealWorker, result: Result = SUCCESS, *, keep: bool = False, over: bool = False) -> None:
        """See World.work; what is finished is always sent, and no time is used up."""
        del keep, over
        if worker.running is not None:
            word = {"code": result.code, "retryable": result.retryable}
            self._do(self._server.tell(worker.slot, word, result))
        self.settle()

    def crash(self, worker: RealWorker) -> None:
        """See World.crash; it is reaped at once. Only one whose record runs."""
        if worker.running is not None:
            self._do(self._server.tell(worker.slot, {"die": True}, None))
        self.settle()

    def reap(self, worker: RealWorker, result: Result | None, *, unreaped: bool) -> None:
        """See World.reap: done already."""

    def break_launcher(self, error: OSError | None) -> None:
        """See World.break_launcher: never broken."""

    # -- time, and the ends of servers ----------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """The wall clock moves on."""
        self.clock.advance(seconds)
        self.settle()

    def stop(self, *, patient: bool) -> None:
        """See World.stop."""
        self._do(self._stop(patient=patient))
        self._server.folder.rename(self._next_folder())

    async def _stop(self, *, patient: bool) -> None:
        server = self._server
        stopping = asyncio.ensure_future(server.stop(SECONDS if patient else 0.0))
        while patient and server.waiting:
            for slot in server.executor._slots:
                if slot.running() in server.waiting:
                    await eventually_in_loop(lambda slot=slot: not slot._asked_back)  # type: ignore[misc]
                    await server.tell(slot, {"code": 0}, SUCCESS)
            await eventually_in_loop(lambda: not server.dispatcher._jobs.running)
        await stopping

    def kill(self) -> None:
        """See World.kill."""
        folder = self._server.folder
        shutil.copytree(folder, self._next_folder())
        told = self._server.recorder.take()
        self._do(self._server.stop(0.0))
        self._server.recorder.events[:] = told  # what happens in the end is not known to who comes after
        shutil.rmtree(folder)

    def start(self) -> None:
        """See World.start."""
        self._server = RealServer(self._root / f"life-{self._lives}", self.clock, slots=self._slots)
        self._do(self._server.start())
        self.settle()

    def close(self) -> None:
        """See World.close."""
        self._log.stop()
        self._do(self._server.stop(0.0))
        self._loop.close()
        shutil.rmtree(self._root)


def _path(method: str) -> str:
    service = operations.NAME if hasattr(operations.Operations, _snake(method)) else batch_tasks.NAME
    return f"/{service}/{method}"


def _snake(name: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).lstrip("_")


def _refused(error: grpc.aio.AioRpcError) -> Refused:
    metadata = dict(error.trailing_metadata() or ())
    return Refused(Status.FromString(metadata[DETAILS_KEY]))
