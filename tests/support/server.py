"""Servers for tests: one inside the test without workers, and one as a process of its own.

async with serving(folder) as server:        the engine on a real store and a real port; nothing runs records
    await server.tasks.CreateBatchTask(…)
    await server.finish(name)                what workers would have done
with process(folder) as server:              `batchyard-server serve`
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import select
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence

import grpc
import grpc.aio
from google.longrunning import operations_pb2_grpc
from grpc_health.v1 import health_pb2_grpc

from batchyard.v1 import batch_task_service_pb2_grpc
from batchyard_server.artifacts import LocalArtifacts
from batchyard_server.codec.tokens import Tokens
from batchyard_server.config.builtin import BUILTIN
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.live import Live, NullLive
from batchyard_server.execution.handlers import HandlerBook
from batchyard_server.model import limits
from batchyard_server.model.clock import Clock, SystemClock, SystemRandomness
from batchyard_server.model.errors import Code
from batchyard_server.model.failpoints import Failpoints
from batchyard_server.model.handler import Isolation
from batchyard_server.model.names import TaskName, parse_task
from batchyard_server.model.ranges import from_indexes
from batchyard_server.model.task import Flush, Lease, Task
from batchyard_server.rpc.server import RpcServer
from batchyard_server.store.protocols import Store
from batchyard_server.store.sqlite import open_sqlite
from tests.support import outcomes

SECONDS = 60  # how long a test waits for what should take milliseconds
_ADDRESS = re.compile(r"serving on (\S+)")


class Served:
    """A server inside the test, with stubs on a channel of its own.

    Attributes:
        store: what it keeps its tasks in; tests play the workers on it.
        files: where the bytes of artifacts are.
        folder: the data directory.
        target: `127.0.0.1:PORT`.
    """

    def __init__(self, store: Store, files: LocalArtifacts, rpc: RpcServer, target: str, folder: pathlib.Path) -> None:
        self.store = store
        self.folder = folder
        self.files = files
        self.rpc = rpc
        self.target = target
        self.channel = grpc.aio.insecure_channel(target)
        self.tasks = batch_task_service_pb2_grpc.BatchTaskServiceStub(self.channel)
        self.operations = operations_pb2_grpc.OperationsStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    async def lease(self, name: str, indexes: Sequence[int]) -> Lease:
        """Lease records of a task, which makes it RUNNING."""
        task = await self.store.get_task(parse_task(name))
        lease = Lease(
            task_key=task.key, generation=task.generation, ranges=from_indexes(indexes), worker="worker-of-a-test"
        )
        await self.store.grant(lease)
        return lease

    async def end(self, name: str, lease: Lease, *, ok: Sequence[int] = (), failed: Sequence[int] = ()) -> Task:
        """Store outcomes of leased records."""
        flush: Flush = outcomes.flush(parse_task(name), ok=ok, failed=failed, generation=lease.generation)
        return await self.store.record_outcomes(lease, flush)

    async def finish(self, name: str, *, failed: Sequence[int] = ()) -> Task:
        """Run a QUEUED task to its end: every record that is still to be run succeeds but `failed`."""
        left = await self.left(name)
        lease = await self.lease(name, left)
        return await self.end(name, lease, ok=[i for i in left if i not in failed], failed=failed)

    async def left(self, name: str) -> list[int]:
        """The records of a task that are still to be run."""
        pending = (await self.store.unfinished(await self.store.get_task(parse_task(name)))).pending
        return [index for start, end in pending for index in range(start, end)]


@contextlib.asynccontextmanager
async def serving(
    folder: pathlib.Path,
    *,
    clock: Clock | None = None,
    live: Live | None = None,
    failpoints: str = "",
    kept_events: int = limits.EVENTS,
) -> AsyncGenerator[Served]:
    """Serve a store below `folder` on a free port of loopback, without workers. `kept_events`: how long its log is."""
    clock, randomness, points = clock or SystemClock(), SystemRandomness(), Failpoints(failpoints)
    store = await open_sqlite(
        folder / "data", clock=clock, randomness=randomness, failpoints=points, kept_events=kept_events
    )
    files = LocalArtifacts(folder / "data" / "artifacts", clock=clock, randomness=randomness)
    try:
        await store.recover()
        deps = Deps(
            store=store,
            clock=clock,
            randomness=randomness,
            live=live or NullLive(),
            handlers=HandlerBook({spec.handler_id: spec for spec in BUILTIN}, Isolation.SUBREAPER),
            failpoints=points,
            tokens=Tokens(store.secret),
            files=files,
        )
        rpc = RpcServer(deps)
        port = rpc.listen("127.0.0.1:0")
        await rpc.start()
        served = Served(store, files, rpc, f"127.0.0.1:{port}", folder / "data")
        try:
            yield served
        finally:
            await served.channel.close()
            await rpc.stop(0)
    finally:
        await files.close()
        await store.close()


class Process:
    """`batchyard-server serve` as a process. `line`: what it printed when it served."""

    def __init__(self, popen: subprocess.Popen[str], log: pathlib.Path, line: str) -> None:
        self.popen = popen
        self.log = log
        self.line = line
        found = _ADDRESS.search(line)
        assert found, f"the server did not say where it serves, but {line!r}; its log:\n{log.read_text()[-4000:]}"
        self.target = found[1]

    def channel(self) -> grpc.Channel:
        """A new channel for sync stubs; the caller closes it."""
        return grpc.insecure_channel(self.target)

    def signal(self, number: int) -> None:
        """Send a signal to the server alone."""
        self.popen.send_signal(number)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self.popen.wait(SECONDS)


def command(folder: pathlib.Path, *arguments: str) -> list[str]:
    """argv of a server with its data below `folder` on a free port of loopback."""
    program = str(pathlib.Path(sys.executable).with_name("batchyard-server"))
    return [program, "serve", "--data", str(folder / "data"), "--listen", "127.0.0.1:0", "--workers", "1", *arguments]


@contextlib.contextmanager
def process(folder: pathlib.Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Generator[Process]:
    """Run a server process; its log is `folder`/server.log. It is told to stop at the end, if it has not ended."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    env = {key: value for key, value in os.environ.items() if not key.startswith("BATCHYARD_")}
    with (
        log.open("a") as errors,
        subprocess.Popen(
            command(folder, *arguments),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=env | dict(environment or {}),
        ) as popen,
    ):
        try:
            assert popen.stdout is not None
            ready, _, _ = select.select([popen.stdout], [], [], SECONDS)
            yield Process(popen, log, popen.stdout.readline() if ready else "")
        finally:
            popen.send_signal(signal.SIGTERM)
            try:
                popen.wait(SECONDS)
            except subprocess.TimeoutExpired:
                popen.kill()


__all__ = ["SECONDS", "Code", "Process", "Served", "TaskName", "command", "process", "serving"]
