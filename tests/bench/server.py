"""Our server under test: started, watched, killed and started again like any other process."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc

from tests.bench import api, procs
from tests.bench.harness import Env, RowError

HANDLERS = Path(__file__).resolve().parent / "handlers"
ADDRESS = re.compile(r"127\.0\.0\.1:\d+")
_TOML = """\
[handlers.bench_noop]
kind = "python"
callable = "noop:noop"
path = ["{path}"]

[handlers.bench_once]
kind = "python"
callable = "noop:once"
path = ["{path}"]

[handlers.bench_nap]
kind = "python"
callable = "noop:nap"
path = ["{path}"]
"""


class Server:
    """`batchyard-server serve` on a folder of its own, with the handlers of `tests/bench/handlers`.

    Attributes:
        address: `host:port`, new at every start.
        log: Its standard error; every start appends.
        stamp: Of a stamped one, what `stamped.read` reads.
    """

    def __init__(self, env: Env, name: str = "server", *, stamped: bool = False) -> None:
        folder = env.folder(name)
        self.stamp = folder / "stamp"
        self._program = [sys.executable, "-m", "tests.bench.stamped", str(self.stamp)] if stamped else _program()
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.address = ""
        self._slots = env.slots
        self._handlers = folder / "handlers.toml"
        self._handlers.write_text(_TOML.format(path=HANDLERS), encoding="utf-8")
        self._child: procs.Child | None = None

    @property
    def pid(self) -> int:
        """Process id of the server itself."""
        assert self._child is not None
        return self._child.pid

    def start(self) -> float:
        """Start it; returns the seconds from exec to the line that says it serves."""
        argv = [*self._program, "serve", "--data", str(self.data), "--listen", "127.0.0.1:0"]
        argv += ["--handlers", str(self._handlers), "--workers", str(self._slots)]
        self._child = procs.Child(argv, self.log)
        while not (found := ADDRESS.search(self._child.line())):
            pass
        self.address = found.group()
        return time.monotonic() - self._child.started

    def kill(self) -> None:
        """SIGKILL to the server's process alone; its workers have to notice."""
        assert self._child is not None
        self._child.kill()

    def stop(self) -> None:
        """SIGTERM and its orderly end."""
        if self._child is not None:
            self._child.stop(grace=60.0)

    @property
    def settings(self) -> str:
        """For the table."""
        return f"1 server process, {self._slots} workers, SQLite WAL, synchronous=FULL"


def _program() -> list[str]:
    beside = Path(sys.executable).with_name("batchyard-server")
    found = str(beside) if beside.exists() else shutil.which("batchyard-server")
    if found is None:
        raise RowError("batchyard-server is not installed here: run `make dev`")
    return [found]


@contextlib.contextmanager
def serving(
    env: Env, name: str = "server", before: Sequence[Callable[[Server], None]] = (), *, stamped: bool = False
) -> Iterator[Server]:
    """A started server that has answered its first call; `before` runs on its empty data directory."""
    server = Server(env, name, stamped=stamped)
    try:
        for prepare in before:
            prepare(server)
        server.start()
        with api.connect(server.address) as channel:
            grpc.channel_ready_future(channel).result(timeout=30)
        yield server
    finally:
        server.stop()


def syncs_seen(server: Server, work: Callable[[], None]) -> int:
    """Run `work` while strace watches the server; returns how many fsync and fdatasync calls it made.

    Raises:
        RowError: strace is missing, may not attach, or saw none.
    """
    program = shutil.which("strace")
    if program is None:
        raise RowError("strace is missing (Debian package strace): nothing proves that commits reach the disk")
    out = server.log.with_name("strace.txt")
    argv = [program, "-f", "-c", "-e", "trace=fsync,fdatasync", "-p", str(server.pid), "-o", str(out)]
    tracer = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _await_attached(tracer, server.pid)
        work()
    finally:
        tracer.send_signal(signal.SIGINT)
        _, errors = tracer.communicate(timeout=30)
    calls = 0
    for line in out.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words and words[-1] in {"fsync", "fdatasync"}:
            calls += int(words[3])
    if calls == 0:
        raise RowError(f"strace saw neither fsync nor fdatasync: the durable figures do not count ({errors.strip()})")
    return calls


def _await_attached(tracer: subprocess.Popen[str], pid: int) -> None:
    """Until every thread of `pid` has the tracer on it."""
    while True:
        if tracer.poll() is not None:
            assert tracer.stderr is not None
            raise RowError(f"strace could not attach: {tracer.stderr.read().strip()}")
        states = []
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                states.append(f"TracerPid:\t{tracer.pid}\n" in (thread / "status").read_text(encoding="utf-8"))
        if states and all(states):
            return
        time.sleep(0.01)
