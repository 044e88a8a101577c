"""What is one worker process, seen from the server? A socket, a progress cell, and a supervisor that can kill it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import pathlib
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from batchyard_server.codec.logs import Texts
from batchyard_server.execution import messages
from batchyard_server.execution.cell import Cell, Progress
from batchyard_server.execution.inbox import Inbox
from batchyard_server.execution.log_file import LogFile
from batchyard_server.model.handler import HandlerSpec
from batchyard_worker import capture
from batchyard_worker.v1 import worker_pb2

log = logging.getLogger(__name__)
SOCKET_BYTES = 1 << 20
REAP_SECONDS = 10.0  # after SIGKILL; a process that is still there then is stuck in the kernel
REPORT_SECONDS = 1.0  # for the supervisor to say which
TRIM_SECONDS = 0.005  # between two looks at a record that writes very much …
LOOK_SECONDS = 0.05  # … or that is being killed
LOAD_LOG_BYTES = 4096  # of what a load wrote that failed, for the server's own log


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The end of a worker: how, for people and as a number (see Loss), where it was, and who could not be ended.

    `written`: by the record that ran, or by the handler while it was loaded. `unsent`: (index, text) of records that
    ended and were not sent.
    """

    exit: str
    exit_code: int | None
    progress: Progress
    unreaped: tuple[int, ...]
    written: bytes = b""
    unsent: Texts = ()


@dataclass(slots=True, kw_only=True)
class Callbacks:
    """Where a worker's events go; called on the loop.

    Attributes:
        message: the worker said something.
        closed: it will say nothing more; its end is being handled.
        exited: it is gone, or given up. Comes once, after everything else.
    """

    message: Callable[[worker_pb2.FromWorker], None]
    closed: Callable[[], None]
    exited: Callable[[Exit], None]


class Fds(NamedTuple):
    """What a supervisor and its worker inherit: the supervisor's socket, the worker's, the cell, the log file."""

    control: int
    socket: int
    cell: int
    log: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How to start a worker.

    Attributes:
        argv: the supervisor's command.
        env: its environment, and the worker's.
        first: the Load frame.
        grace_seconds: between SIGTERM and SIGKILL.
        sweep: kills what is left of this worker when its supervisor was killed; slow, for a thread.
    """

    argv: Callable[[Fds], list[str]]
    env: dict[str, str]
    first: bytes
    grace_seconds: float
    sweep: Callable[[], object]


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
    """One worker under its supervisor; alive until `callbacks.exited`.

    Raises:
        OSError: It could not be started.
    """

    def __init__(self, command: Command, callbacks: Callbacks) -> None:
        self.callbacks = callbacks
        self._command = command
        self._loop = asyncio.get_running_loop()
        self._cell = Cell()
        self._log = LogFile()
        self.inbox = Inbox(self._cell, self.send)
        self._unsent: list[bytes] = [command.first]
        self._transport: asyncio.Transport | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._trimming: asyncio.TimerHandle | None = None
        self._report = b""
        self._killing = self._loaded = self._closed = self._reaped = self._done = False
        self._at_load: set[int] = set()
        self._process = self._start()
        self._loop.add_reader(self._control.fileno(), self._on_report)
        self._connecting = self._loop.create_task(self._connect())

    def _start(self) -> subprocess.Popen[bytes]:
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            ours.callback(self._cell.close)
            ours.callback(self._log.close)
            self._socket, sock = socket.socketpair()
            self._control, control = socket.socketpair()
            for kept, given in ((self._socket, sock), (self._control, control)):
                ours.enter_context(kept)
                theirs.enter_context(given)
                kept.setblocking(False)
            for each in (self._socket, sock):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
            fds = Fds(control.fileno(), sock.fileno(), self._cell.fd, self._log.fd)
            process = subprocess.Popen(  # noqa: S603 - the operator's own command
                self._command.argv(fds),
                env=self._command.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=fds,
                start_new_session=True,
            )
            ours.pop_all()
            return process

    async def _connect(self) -> None:
        transport, _ = await self._loop.create_unix_connection(lambda: _Socket(self), sock=self._socket)
        self._transport = transport
        unsent, self._unsent = self._unsent, []
        for data in unsent:
            transport.write(data)

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

    def stop(self, number: int) -> None:
        """Let this subtask, if it is the one that runs, end after the record at hand."""
        if not self._done:
            self._cell.stop(number)

    def trim_log(self) -> None:
        """Keep what the running record writes within bounds; looks again soon while it writes very much."""
        if self._trimming is None and not self._done:
            self._trim_log()

    def _trim_log(self) -> None:
        self._trimming = None
        if self._log.trim(self._cell.log_start()):
            self._trimming = self._loop.call_later(TRIM_SECONDS, self._trim_log)
        elif self._killing:  # nobody else looks any more
            self._trimming = self._loop.call_later(LOOK_SECONDS, self._trim_log)

    def kill(self) -> None:
        """The kill ladder: SIGTERM to everything, after the grace SIGKILL, then give up after the reap bound."""
        if not self._done and not self._killing:
            self._say(b"T")
            self._kill_later()

    def _kill_later(self) -> None:
        self._killing = True
        self.trim_log()
        grace = self._command.grace_seconds
        self._timers.append(self._loop.call_later(grace, self._say, b"K"))
        self._timers.append(self._loop.call_later(grace + REAP_SECONDS + REPORT_SECONDS, self._give_up))

    def _say(self, byte: bytes) -> None:
        with contextlib.suppress(OSError):  # the supervisor is gone; its end is being handled
            self._control.send(byte)

    def loaded(self) -> None:
        """Note which processes there are before the first record: those that the handler itself needs."""
        self._loaded = True
        self._at_load = set(_descendants(self.pid))

    def has_strays(self) -> bool:
        """Whether processes live under the supervisor that were not there when the handler had been loaded."""
        return not self._at_load.issuperset(_descendants(self.pid))

    # -- the end --------------------------------------------------------------------------------------------------

    def socket_closed(self) -> None:
        """Everything that the worker sent has been received."""
        self._closed = True
        if self._done:
            return
        self.callbacks.closed()
        if not self._reaped and not self._killing:
            self._kill_later()  # its supervisor takes what it started along, unless it closed the socket and lives on
        self._finish_if_ended()

    def _on_report(self) -> None:
        try:
            data = self._control.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._report += data
            return
        self._loop.remove_reader(self._control.fileno())
        self._await_supervisor()

    def _await_supervisor(self) -> None:
        """It closed its end by exiting; a moment later it can be reaped."""
        if self._done:
            return
        if self._process.poll() is None:
            self._timers.append(self._loop.call_later(0.005, self._await_supervisor))
        elif self._report:
            self._on_reaped()
        else:
            log.error("a supervisor was killed (%d); what it watched over is killed too", self._process.returncode)
            sweeping = self._loop.run_in_executor(None, self._command.sweep)
            sweeping.add_done_callback(lambda _: self._on_reaped())

    def _on_reaped(self) -> None:
        self._reaped = True
        if not self._closed and not self._killing:
            self._kill_later()
        self._finish_if_ended()

    def _finish_if_ended(self) -> None:
        if self._closed and self._reaped and not self._done:
            self._end()

    def _give_up(self) -> None:
        if self._reaped:
            log.error("somebody holds the socket of a worker that is gone")
            self._end()
        elif not self._done:
            self._finish("nothing, not even SIGKILL", None, (self.pid, *_descendants(self.pid)))

    def _end(self) -> None:
        report = json.loads(self._report) if self._report else {}
        how = _describe(report, self._process.returncode)
        self._finish(how, _exit_code(report), tuple(report.get("survivors", ())))

    def _finish(self, how: str, code: int | None, unreaped: tuple[int, ...]) -> None:
        self._done = True
        for timer in (*self._timers, self._trimming):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()
        else:
            self._socket.close()
        end = Exit(
            exit=how,
            exit_code=code,
            progress=self.progress(),
            unreaped=unreaped,
            written=self._log.read(self._cell.log_start()),
            unsent=self.inbox.unsent(),
        )
        self._cell.close()
        self._log.close()
        if end.written and not self._loaded:
            text = capture.cut(end.written, LOAD_LOG_BYTES).decode("utf-8", "replace").rstrip("\n")
            log.warning("a worker ended before its handler was loaded; it wrote:\n%s", text)
        self.callbacks.exited(end)


class Launch(Protocol):
    """What starts workers: `Launcher`."""

    def start(self, spec: HandlerSpec, callbacks: Callbacks) -> Worker:
        """Start a worker of this handler. Raises OSError."""
        ...


def _describe(report: dict[str, Any], returncode: int) -> str:
    """How a worker ended, for people."""
    if report.get("error"):
        return f"not starting: {report['error']}"
    number = report.get("signal")
    if number:
        names = {each.value: each.name for each in signal.Signals}
        return f"signal {number} ({names.get(number, 'real-time')})"
    if report.get("exit") is not None:
        return f"exit code {report['exit']}"
    return f"the end of its supervisor ({returncode})"


def _exit_code(report: dict[str, Any]) -> int | None:
    """Its exit code, −n if signal n ended it; None if its supervisor did not say."""
    number = report.get("signal")
    return -number if number else report.get("exit")


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
            found += [int(each) for each in (thread / "children").read_text().split()]
    return found


def _descendants(pid: int) -> list[int]:
    """The processes below this one; reads only what belongs to them, for /proc may be large."""
    found: list[int] = []
    for child in _children(pid):
        if not _is_zombie(child):
            found += [child, *_descendants(child)]
    return found


def _is_zombie(pid: int) -> bool:
    """Whether it only waits for its parent; not what ended between two looks, for that may have a successor."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b") ")[2][:1] == b"Z"
