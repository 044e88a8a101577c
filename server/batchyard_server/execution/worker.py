"""What is one worker process, seen from the server? A socket, a progress cell, and a supervisor that can kill it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

from batchyard_server.execution import messages
from batchyard_server.execution.cell import Cell, Progress
from batchyard_worker.v1 import worker_pb2

log = logging.getLogger(__name__)
SOCKET_BYTES = 1 << 20
REAP_SECONDS = 10.0  # after SIGKILL; a process that is still there then is stuck in the kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The end of a worker: how, where it was, and which processes could not be ended."""

    exit: str
    progress: Progress
    unreaped: tuple[int, ...]


@dataclass(slots=True, kw_only=True)
class Callbacks:
    """Where a worker's events go; called on the loop. `exited` comes once, last, after every message."""

    message: Callable[[worker_pb2.FromWorker], None]
    loaded: Callable[[str], None]
    exited: Callable[[Exit], None]


class Fds(NamedTuple):
    """What a supervisor and its worker inherit: control and status pipe, the worker's socket, the progress cell."""

    control: int
    status: int
    socket: int
    cell: int


class _Socket(asyncio.Protocol):
    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._frames = messages.FrameBuffer()

    def data_received(self, data: bytes) -> None:
        for message in self._frames.feed(data):
            self._worker.callbacks.message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._worker.socket_closed()


class Worker:
    """One worker under its supervisor. Made by `Launcher`; alive until `callbacks.exited`."""

    def __init__(
        self,
        *,
        argv: Callable[[Fds], list[str]],
        env: dict[str, str],
        first: bytes,
        grace_seconds: float,
        callbacks: Callbacks,
    ) -> None:
        """Start it. `argv` gives the supervisor's command; `first` is the Load frame."""
        self.callbacks = callbacks
        self._grace = grace_seconds
        self._loop = asyncio.get_running_loop()
        self._cell = Cell()
        self._unsent: list[bytes] = [first]
        self._transport: asyncio.Transport | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._report = b""
        self._closed = self._reaped = self._done = False
        self._unreaped: tuple[int, ...] = ()
        ours, theirs = socket.socketpair()
        control, self._control = os.pipe()
        self._status, status = os.pipe()
        for sock in (ours, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        fds = Fds(control, status, theirs.fileno(), self._cell.fd)
        try:
            self._process = subprocess.Popen(
                argv(fds),
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=fds,
                start_new_session=True,
            )
        finally:
            theirs.close()
            os.close(control)
            os.close(status)
        os.set_blocking(self._status, False)
        ours.setblocking(False)
        self._loop.add_reader(self._status, self._on_status)
        self._connecting = self._loop.create_task(self._connect(ours))

    async def _connect(self, sock: socket.socket) -> None:
        transport, _ = await self._loop.create_unix_connection(lambda: _Socket(self), sock=sock)
        self._transport = cast(asyncio.Transport, transport)
        unsent, self._unsent = self._unsent, []
        for data in unsent:
            self._transport.write(data)

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        return self._process.pid

    def send(self, data: bytes) -> None:
        """Send one frame; what a dead worker cannot take is dropped."""
        if self._transport is None:
            self._unsent.append(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def progress(self) -> Progress:
        """What the worker runs now."""
        return self._cell.read()

    def on_loaded(self, error: str) -> None:
        """The handler was loaded, or was not."""
        self.callbacks.loaded(error)

    def kill(self) -> None:
        """The kill ladder: SIGTERM to everything, after the grace SIGKILL, then give up after the reap bound."""
        self._say(b"T")
        self._timers.append(self._loop.call_later(self._grace, self._say, b"K"))
        self._timers.append(self._loop.call_later(self._grace + REAP_SECONDS, self._give_up))

    def has_strays(self) -> bool:
        """Whether processes other than the worker live under the supervisor."""
        workers = _children(self.pid)
        return len(workers) > 1 or any(_children(pid) for pid in workers)

    def _say(self, byte: bytes) -> None:
        try:
            os.write(self._control, byte)
        except OSError:
            pass  # the supervisor is gone; its end is being handled

    # -- the end ------------------------------------------------------------------------------------------------

    def _on_status(self) -> None:
        data = os.read(self._status, 65536)
        if data:
            self._report += data
            return
        self._loop.remove_reader(self._status)
        self._process.wait()  # it closed its end by exiting
        self._reaped = True
        self._finish_if_done()

    def socket_closed(self) -> None:
        """Everything that the worker sent has been received."""
        self._closed = True
        if not self._reaped and not self._timers:
            self.kill()  # by itself: what it started must go too
        self._finish_if_done()

    def _give_up(self) -> None:
        if not self._done:
            self._unreaped = tuple(_descendants(self.pid))
            self._finish()

    def _finish_if_done(self) -> None:
        if self._closed and self._reaped and not self._done:
            self._finish()

    def _finish(self) -> None:
        self._done = True
        for timer in self._timers:
            timer.cancel()
        if not self._reaped:
            self._loop.remove_reader(self._status)
        os.close(self._control)
        os.close(self._status)
        if self._transport is not None:
            self._transport.abort()
        progress = self.progress()
        self._cell.close()
        self.callbacks.exited(Exit(exit=self._describe(), progress=progress, unreaped=self._unreaped))

    def _describe(self) -> str:
        for line in self._report.splitlines():
            report = json.loads(line)
            self._unreaped = self._unreaped or tuple(report.get("survivors") or ())
            number = report.get("signal")
            if number:
                return f"signal {number} ({signal.Signals(number).name})"
            if report.get("exit") is not None:
                return f"exit code {report['exit']}"
        return f"the end of its supervisor ({self._process.returncode})"


def _children(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        found: list[int] = []
        for thread in threads:
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += [int(each) for each in file.read().split()]
        return found
    except OSError:
        return []


def _descendants(pid: int) -> list[int]:
    found = [pid] if os.path.exists(f"/proc/{pid}") else []
    for child in _children(pid):
        found += _descendants(child)
    return found
