"""A server process that is killed and started again on one data directory, and the connection that outlives it."""

from __future__ import annotations

import asyncio
import os
import pathlib
import shutil
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import apsw
import grpc
import grpc.aio
from google.longrunning import operations_pb2_grpc

from batchyard.v1 import batch_task_service_pb2_grpc
from batchyard_worker import isolation
from tests.support import processes
from tests.support.eventually import eventually_in_loop
from tests.support.kept import check_counts
from tests.support.server import SECONDS, command

T = TypeVar("T")
HANDLERS = pathlib.Path(__file__).parent / "handlers"
WORKERS = 2
KILLED = -signal.SIGKILL
TERMINATED = -signal.SIGTERM  # before it listens to that
_TOML = """\
[handlers.noted]
kind = "python"
callable = "noted:noted"
path = ["{path}"]
env = ["CRASH_SIDE_LOG"]
"""


class Stubs:
    """One channel to one life of the server."""

    def __init__(self, target: str) -> None:
        self.channel = grpc.aio.insecure_channel(target)
        self.tasks = batch_task_service_pb2_grpc.BatchTaskServiceStub(self.channel)
        self.operations = operations_pb2_grpc.OperationsStub(self.channel)


class Server:
    """`batchyard-server serve` with the handler `noted`, below `folder`."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.side_log = folder / "side.log"
        self.log = folder / "server.log"
        self.target = ""
        self.born = 0
        self._handlers = folder / "handlers.toml"
        self._handlers.write_text(_TOML.format(path=HANDLERS))
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the present life."""
        assert self._process is not None
        return self._process.pid

    async def start(self, *, failpoints: str = "", level: str = "auto", arguments: Sequence[str] = ()) -> bool:
        """Start it. True once it serves, False if it was ended before that; anything else is an AssertionError."""
        argv = command(self.folder, "--workers", str(WORKERS), "--handlers", str(self._handlers))
        argv += ["--isolation", level, *arguments]
        env = {key: value for key, value in os.environ.items() if not key.startswith("BATCHYARD_")}
        env |= {"CRASH_SIDE_LOG": str(self.side_log), "BATCHYARD_FAILPOINTS": failpoints}
        with self.log.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *argv, stdout=asyncio.subprocess.PIPE, stderr=errors, env=env
            )
        seen = processes.see(self.pid)
        self.born = seen.born if seen is not None else 0
        assert self._process.stdout is not None
        async with asyncio.timeout(SECONDS):
            line = (await self._process.stdout.readline()).decode()
        if not line:
            assert await self.ended() in (KILLED, TERMINATED), f"the server did not start: {self.tail()}"
            return False
        self.target = line.partition("serving on ")[2].split()[0]
        return True

    async def ended(self, seconds: float = SECONDS) -> int:
        """Its exit code once it has ended. TimeoutError."""
        assert self._process is not None
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    def signal(self, number: int) -> None:
        """Signal the server alone, if it still runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:]

    def marked(self) -> list[processes.Seen]:
        """What lives of its workers, supervisors and everything below them."""
        store = self.data / "store.sqlite3"
        return processes.marked(processes.server_id(self.data)) if store.exists() else []

    def older(self) -> list[processes.Seen]:
        """What lives of the lives before this one."""
        return [seen for seen in self.marked() if seen.born < self.born]

    async def until_nothing_is_left(self, seconds: float = 5.0) -> None:
        """Wait until no process is marked. AssertionError at the deadline."""

        def nothing() -> bool:
            left = self.marked()
            assert left == []
            return True

        await eventually_in_loop(nothing, seconds)

    async def stop(self) -> None:
        """SIGTERM; it must end with 0 and leave nothing."""
        self.signal(signal.SIGTERM)
        assert await self.ended() == 0, self.tail()
        assert self.marked() == []

    async def end(self) -> None:
        """After a test that may have failed: nothing of it may stay."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()
        if (self.data / "store.sqlite3").exists():
            await asyncio.to_thread(isolation.sweep, processes.server_id(self.data))

    def check_file(self) -> None:
        """SQLite's own check of a copy of the files, so that the next start still finds them as the kill left them."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for file in self.data.glob("store.sqlite3*"):
            shutil.copyfile(file, copy / file.name)
        if not (copy / "store.sqlite3").exists():
            return
        connection = apsw.Connection(str(copy / "store.sqlite3"))
        try:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        finally:
            connection.close()
        check_counts(copy)


class _Life:
    """One life of the server, as calls see it."""

    def __init__(self, stubs: Stubs) -> None:
        self.stubs = stubs
        self.over = asyncio.Event()
        self.calls = 0
        self.idle = asyncio.Event()
        self.idle.set()


class Session:
    """Calls that are made again, the same, until a life of the server answers them."""

    def __init__(self) -> None:
        self._next: asyncio.Future[_Life] = asyncio.get_running_loop().create_future()

    def open(self, stubs: Stubs) -> None:
        """A life serves."""
        self._next.set_result(_Life(stubs))

    async def close(self) -> None:
        """That life is over; returns when every call has noticed. Nothing if there is none."""
        if self._next.done():
            life = self._next.result()
            self._next = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(SECONDS):
                await life.idle.wait()
            life.over.set()
            await life.stubs.channel.close()

    async def call(self, make: Callable[[Stubs], Awaitable[T]]) -> T:
        """`await make(stubs)`, again in the next life if the connection breaks. Other errors are raised."""
        while True:
            async with asyncio.timeout(SECONDS):
                life = await asyncio.shield(self._next)
            life.calls += 1
            life.idle.clear()
            try:
                return await make(life.stubs)
            except grpc.aio.AioRpcError as error:
                if not is_broken(error):
                    raise
            finally:
                life.calls -= 1
                if not life.calls:
                    life.idle.set()
            async with asyncio.timeout(SECONDS):
                await life.over.wait()

    async def unary(self, method: str, request: Any) -> Any:
        """One unary call of BatchTaskService or Operations."""

        def make(stubs: Stubs) -> Awaitable[Any]:
            stub = stubs.tasks if hasattr(stubs.tasks, method) else stubs.operations
            return getattr(stub, method)(request, timeout=SECONDS)

        return await self.call(make)


def is_broken(error: grpc.aio.AioRpcError) -> bool:
    """Whether it was the connection, not the server, that failed."""
    # What grpc.aio makes of a write to a stream that has just broken.
    died_in_write = error.code() is grpc.StatusCode.INTERNAL and error.details() == "Internal error from Core"
    return error.code() is grpc.StatusCode.UNAVAILABLE or died_in_write
