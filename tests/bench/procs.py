"""Processes that a row starts: started with a log, ended by pid, and looked at through `/proc`."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from tests.bench.harness import RowError

ROOT = Path(__file__).resolve().parents[2]
TICK = os.sysconf("SC_CLK_TCK")
LOG_LINES = 3
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, even by SIGKILL: nothing of a run may outlive it."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def forks_die_with_me() -> None:
    """The same for every process that this one will fork, be it in a library that knows nothing of it."""
    os.register_at_fork(after_in_child=die_with_parent)


class Child:
    """A process with its standard error in a log file.

    Attributes:
        log: Where its standard error goes.
    """

    def __init__(self, argv: Sequence[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.log = log
        self.started = time.monotonic()
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                preexec_fn=die_with_parent,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def line(self) -> str:
        """The next line of its standard output.

        Raises:
            RowError: It ended instead; the text has the end of its log.
        """
        out: IO[bytes] | None = self._process.stdout
        assert out is not None
        text = out.readline().decode()
        if not text:
            code = self._process.wait()
            raise RowError(f"{self._name()} ended with {code}: {self.tail()}")
        return text.rstrip("\n")

    def send(self, text: str) -> None:
        """Write one line to its standard input."""
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(text.encode() + b"\n")
            pipe.flush()
        except BrokenPipeError:
            raise RowError(f"{self._name()} is gone: {self.tail()}") from None

    def tail(self) -> str:
        """The last lines of its log, as one."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-LOG_LINES:] if line.strip())

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL to this process alone, and wait for its end."""
        self._process.kill()
        self._process.wait()

    def stop(self, grace: float = 10.0) -> None:
        """SIGTERM, then after `grace` seconds SIGKILL; then whatever it had started and left behind."""
        family = {pid: _start_time(pid) for pid in descendants(self.pid)}
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._process.terminate()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()
        for pid, born in family.items():
            if born is not None and _start_time(pid) == born:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _name(self) -> str:
        argv = self._process.args
        return " ".join(str(word) for word in argv[:6]) if isinstance(argv, (list, tuple)) else str(argv)


class Driver:
    """A client process (a module of `tests.bench.drivers`) that answers commands, one at a time."""

    def __init__(self, module: str, log: Path, *args: str, env: dict[str, str] | None = None) -> None:
        argv = [sys.executable, "-m", f"tests.bench.drivers.{module}", *args]
        self.child = Child(argv, log / f"{module}.log", env)
        self.receive()

    def send(self, command: str, **values: Any) -> None:
        """Begin a command; `receive` gives its answer."""
        self.child.send(json.dumps({"command": command, **values}))

    def receive(self) -> dict[str, Any]:
        """The answer of the command that was sent.

        Raises:
            RowError: The command failed or the process ended.
        """
        answer: dict[str, Any] = json.loads(self.child.line())
        if "error" in answer:
            raise RowError(f"{answer['error']} (log: {self.child.tail()})")
        return answer

    def call(self, command: str, **values: Any) -> dict[str, Any]:
        """`send` and `receive`."""
        self.send(command, **values)
        return self.receive()

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.stop()


def _stat_fields(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def _start_time(pid: int) -> int | None:
    fields = _stat_fields(pid)
    return None if fields is None else int(fields[19])


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, without itself."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat_fields(int(entry.name))) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def cpu_seconds(pid: int, *, family: bool = False) -> float:
    """User and system time so far, in steps of 10 ms; with `family`, that of all processes below it too."""
    total = 0
    for one in [pid, *(descendants(pid) if family else [])]:
        fields = _stat_fields(one)
        if fields is not None:
            total += int(fields[11]) + int(fields[12])
    return total / TICK


def memory(pid: int) -> dict[str, int]:
    """`VmRSS` and `VmHWM` (greatest `VmRSS` since the last `reset_peak`) of a process, in bytes."""
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        key, _, rest = line.partition(":")
        if key in {"VmRSS", "VmHWM"}:
            found[key] = int(rest.split()[0]) * 1024
    return found


def proportional_memory(pid: int) -> int:
    """Memory of a process and everything below it in bytes, pages that several share counted once."""
    total = 0
    for one in [pid, *descendants(pid)]:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for line in Path(f"/proc/{one}/smaps_rollup").read_text(encoding="utf-8").splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def reset_peak(pid: int) -> None:
    """Make `VmHWM` begin again at the present `VmRSS`."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="utf-8")


def settle(pid: int, longest: float = 60.0) -> float:
    """Wait until a process and its family are idle, so that work it put off is not charged to the next arm.

    Returns:
        Seconds waited, at most `longest`.
    """
    began = time.monotonic()
    before = cpu_seconds(pid, family=True)
    while time.monotonic() - began < longest:
        time.sleep(0.25)
        now = cpu_seconds(pid, family=True)
        if now - before <= 0.011:
            break
        before = now
    return time.monotonic() - began
