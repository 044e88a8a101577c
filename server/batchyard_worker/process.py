"""One run of a program: feeds it, collects what it writes with bounded memory, and ends what it leaves behind.

What it writes to its standard error goes on to that of the worker, the record's log, as it comes.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
from typing import Any

STDERR_TAIL = 4096
"""Bytes of standard error that are kept."""
_CHUNK = 65536
_LAST_CHUNKS = 32
_POLL = 0.05  # seconds, only where the kernel has no pidfd


class Process:
    """A program in a session of its own.

    Args:
        argv: Argument vector; the program is looked up on PATH.
        stdin: What it reads; it need not.
        max_output: It is killed when it writes more bytes to standard output.
        env: Its environment; None: that of this process.

    Attributes:
        stdout: What it wrote, at most ``max_output`` and one chunk.
        stderr_tail: The end of its standard error.
        too_large: It wrote more than ``max_output`` and was killed.
        exit_code: After `run`: its exit code, -n for signal n.

    Raises:
        OSError: It could not be started.
    """

    def __init__(self, argv: list[bytes], stdin: bytes, max_output: int, env: dict[str, str] | None = None) -> None:
        self.stdout = bytearray()
        self.stderr_tail = b""
        self.too_large = False
        self.exit_code: int | None = None
        self._stdin = memoryview(stdin)
        self._max_output = max_output
        self._exited = False
        self._process = subprocess.Popen(  # noqa: S603 - starting the operator's program is its job
            argv,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=env,
            start_new_session=True,
        )

    def run(self) -> int:
        """Waits for the program's own end, not for that of its children; then kills those in its session.

        Returns:
            Its exit code, -n for signal n.
        """
        pidfd = _open_pidfd(self._process.pid)
        try:
            with selectors.DefaultSelector() as selector:
                self._register(selector, pidfd)
                while not self._exited and not self.too_large:
                    for key, _ in selector.select(None if pidfd is not None else _POLL):
                        key.data(selector, key.fileobj)
                    if pidfd is None:
                        self._exited = _has_exited(self._process.pid)
        finally:
            self.exit_code = self._end(pidfd)
        return self.exit_code

    def _register(self, selector: selectors.BaseSelector, pidfd: int | None) -> None:
        process = self._process
        for stream, event, call in (
            (process.stdin, selectors.EVENT_WRITE, self._feed),
            (process.stdout, selectors.EVENT_READ, self._collect),
            (process.stderr, selectors.EVENT_READ, self._collect_error),
        ):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, event, call)
        if pidfd is not None:
            selector.register(pidfd, selectors.EVENT_READ, self._note_exit)

    def _note_exit(self, selector: selectors.BaseSelector, stream: Any) -> None:
        self._exited = True

    def _feed(self, selector: selectors.BaseSelector, stream: Any) -> None:
        try:
            written = os.write(stream.fileno(), self._stdin[:_CHUNK])
        except BlockingIOError:
            return
        except OSError:  # it closed its standard input, which it may
            written = len(self._stdin)
        self._stdin = self._stdin[written:]
        if not self._stdin:
            selector.unregister(stream)
            stream.close()

    def _collect(self, selector: selectors.BaseSelector | None, stream: Any) -> bool:
        data = _read(stream)
        if data:
            self.stdout += data
            self.too_large = len(self.stdout) > self._max_output
        elif data is not None and selector is not None:
            selector.unregister(stream)
        return bool(data) and not self.too_large

    def _collect_error(self, selector: selectors.BaseSelector | None, stream: Any) -> bool:
        data = _read(stream)
        if data:
            with contextlib.suppress(OSError):  # no room for a log is no reason to fail a record
                os.write(2, data)
            self.stderr_tail = (self.stderr_tail + data)[-STDERR_TAIL:]
        elif data is not None and selector is not None:
            selector.unregister(stream)
        return bool(data)

    def _end(self, pidfd: int | None) -> int:
        """Kills the session's group while the program, dead or not, still holds its number; reaps and drains."""
        process = self._process
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            process.kill()
        code = process.wait()
        if pidfd is not None:
            os.close(pidfd)
        # A child in another session may hold the pipes open and write on: only what is there now, and not endlessly.
        for collect, stream in ((self._collect, process.stdout), (self._collect_error, process.stderr)):
            chunks = 0
            while chunks < _LAST_CHUNKS and not self.too_large and collect(None, stream):
                chunks += 1
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        return code


def _read(stream: Any) -> bytes | None:
    """What is there; empty at the end of file; None if there is nothing now."""
    try:
        return os.read(stream.fileno(), _CHUNK)
    except BlockingIOError:
        return None


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _has_exited(pid: int) -> bool:
    """Whether a child has ended, without reaping it: its number stays its own."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
