"""Services that baselines need: a Redis of the bench's own, and the bare gRPC server."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.harness import Env, RowError
from tests.bench.procs import Child, Driver


def require_peers() -> None:
    """Check that Redis, Celery and Huey are there.

    Raises:
        RowError: One is missing; the text says how to install it.
    """
    if shutil.which("redis-server") is None:
        raise RowError("redis-server is missing: apt-get install redis-server")
    missing = []
    for module in ("celery", "huey", "redis"):
        try:
            __import__(module)
        except ImportError:
            missing.append(module)
    if missing:
        raise RowError(f"{', '.join(missing)} missing: install the dependency group `bench` (make dev)")


def free_port() -> int:
    """A port on 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def redis(env: Env) -> Iterator[str]:
    """A Redis without persistence on a private port of 127.0.0.1; yields its URL."""
    folder = env.folder("redis")
    port = free_port()
    argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    child = Child([*argv, "--dir", str(folder), "--logfile", str(folder / "redis.log")], folder / "stderr.log")
    try:
        _await_port(child, port)
        yield f"redis://127.0.0.1:{port}"
    finally:
        child.stop()


def _await_port(child: Child, port: int) -> None:
    limit = time.monotonic() + 20
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if not child.alive() or time.monotonic() > limit:
            raise RowError(f"redis-server does not answer: {child.tail()}")
        time.sleep(0.02)


@contextlib.contextmanager
def worker(argv: list[str], name: str, env: Env, extra: dict[str, str]) -> Iterator[Child]:
    """A peer's worker, `python -m …`; ended with everything that it started."""
    child = Child([sys.executable, "-m", *argv], env.workdir / f"{name}.log", extra)
    try:
        yield child
    finally:
        child.stop()


@dataclass(frozen=True)
class Bare:
    """A running bare gRPC server.

    Attributes:
        address: `host:port`.
        pid: Process id.
    """

    address: str
    pid: int


@contextlib.contextmanager
def bare(env: Env, name: str = "", *, pages: Path | None = None, database: Path | None = None) -> Iterator[Bare]:
    """`tests.bench.bare` in a process of its own (see there for its methods and for `pages` and `database`)."""
    argv = [sys.executable, "-m", "tests.bench.bare", "--scratch", str(env.folder(f"bare-{name}"))]
    argv += ["--pages", str(pages)] if pages else []
    argv += ["--database", str(database)] if database else []
    child = Child(argv, env.workdir / "bare.log")
    try:
        yield Bare(child.line(), child.pid)
    finally:
        child.stop()


@contextlib.contextmanager
def drivers(env: Env, *modules: str) -> Iterator[list[Driver]]:
    """Client processes, one per module name."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Driver(module, env.workdir)) for module in modules]
