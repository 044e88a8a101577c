"""A server of one's own for the length of a `with` block."""

from __future__ import annotations

import ctypes
import re
import select
import signal
import subprocess
import sys
import tempfile
from typing import IO, TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

# Seconds. Recovery of a large data directory included.
_START_TIMEOUT: Final = 60.0
_STOP_TIMEOUT: Final = 40.0
_ADDRESS: Final = re.compile(r"\bserving on (\S+:\d+)")
_PR_SET_PDEATHSIG: Final = 1


class ServerNotStarted(Exception):
    """The server did not come up; the text is what it said."""


class LocalServer:
    """`batchyard-server serve` on a free port of 127.0.0.1; ended with the block, however that ends.

    Attributes:
        target: `host:port`, while it runs.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None
        self.target = ""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "batchyard_server", "serve"]
        command += ["--data", str(self._data), "--listen", "127.0.0.1:0"]
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")
        self._process = subprocess.Popen(  # noqa: S603 - our own program; nothing else runs in this process yet
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,  # Ctrl-C is for us; we end the server
            preexec_fn=_die_with_parent,
        )
        try:
            self.target = self._read_address()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _read_address(self) -> str:
        """Wait for the one line that the server prints once it serves."""
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], _START_TIMEOUT)
        line = self._process.stdout.readline() if ready else ""
        found = _ADDRESS.search(line)
        if found is None:
            raise ServerNotStarted(line.strip() or self._said() or "the server said nothing")
        return found[1]

    def _said(self) -> str:
        assert self._log is not None
        assert self._process is not None
        self._process.terminate()
        self._process.wait(_STOP_TIMEOUT)
        self._log.seek(0)
        return self._log.read().strip()

    def _stop(self) -> None:
        """SIGTERM: the server drains and exits; SIGKILL if it does not."""
        assert self._process is not None
        assert self._log is not None
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._log.close()


def _die_with_parent() -> None:
    """Let the kernel end the server should this process be killed outright."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
