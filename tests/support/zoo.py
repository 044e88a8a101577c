"""Handlers that behave as badly as handlers can, and how to find what they leave behind.

As handlers: ``tests.support.zoo:NAME``, or ``zoo:NAME`` with this folder on the path. A record may be an object:
``{"ready": path, "linger": bool}``; the file appears when everything is set up, a lingering handler then never returns.
As programs: ``python zoo.py NAME [READY [linger]]`` does the same without a worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

ANIMALS = ("tree", "sigterm_ignorer", "daemon", "respawner")
"""Those that leave processes behind."""

HUGE = 100 * 1024 * 1024


def _ready(record: Any) -> str:
    return record.get("ready", "") if isinstance(record, dict) else ""


def _tell(path: str) -> None:
    if path:
        with contextlib.suppress(FileNotFoundError):  # nobody waits for it any more
            pathlib.Path(path).touch()


def _settle(record: Any, *commands: list[str]) -> None:
    """Starts programs of this file, waits until the last of each says that it runs, lingers if asked to."""
    with tempfile.TemporaryDirectory() as folder:
        for command in commands:
            sign = pathlib.Path(folder, command[0])
            argv = [sys.executable, "-I", "-S", __file__, *command, str(sign)]
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)
            until(sign.exists)
    _tell(_ready(record))
    if isinstance(record, dict) and record.get("linger"):
        never_returns()


# ------------------------------------------------------------------------------------------------------- handlers


def segfault(record: Any = None, context: Any = None) -> None:
    """Reads address 0."""
    _tell(_ready(record))
    ctypes.string_at(0)


def never_returns(record: Any = None, context: Any = None) -> None:
    """Waits for ever."""
    _tell(_ready(record))
    while True:
        select.select([], [], [], 3600)


def endless_output(record: Any = None, context: Any = None) -> None:
    """Writes to both standard streams, through Python and beside it, for ever."""
    _tell(_ready(record))
    while True:
        print("x" * 65536)
        os.write(1, b"y" * 65536)
        os.write(2, b"z" * 65536)


def huge_result(record: Any = None, context: Any = None) -> str:
    """Returns 100 MB."""
    _tell(_ready(record))
    return "x" * HUGE


def tree(record: Any = None, context: Any = None) -> str:
    """Starts a child with a child of its own, both in this session."""
    _settle(record, ["_parent"])
    return "left a tree"


def sigterm_ignorer(record: Any = None, context: Any = None) -> str:
    """Ignores SIGTERM, and starts a child that ignores it too."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _settle(record, ["_ignorer"])
    return "left an ignorer"


def daemon(record: Any = None, context: Any = None) -> str:
    """Starts a daemon by the book: fork, setsid, fork; it closes its streams and ignores SIGTERM."""
    _settle(record, ["_daemon"])
    return "left a daemon"


def respawner(record: Any = None, context: Any = None) -> str:
    """Starts one process that forks every 50 ms, and one that every 50 ms leaves a successor and exits."""
    _settle(record, ["_respawner"], ["_runner"])
    return "left respawners"


# ------------------------------------------------------------------------------------------------ their processes


def _linger(*ignored: int) -> None:
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    while True:
        signal.pause()


def _parent(sign: str) -> None:
    subprocess.Popen([sys.executable, "-I", "-S", __file__, "_child", sign])
    _linger()


def _child(sign: str) -> None:
    _tell(sign)
    _linger()


def _ignorer(sign: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _tell(sign)
    _linger()


def _daemon(sign: str) -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.closerange(0, 3)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _tell(sign)
    _linger(signal.SIGHUP)


def _respawner(sign: str) -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        if os.fork() == 0:
            os.setsid()
            _tell(sign)
            select.select([], [], [], 1)
            os._exit(0)
        select.select([], [], [], 0.05)


def _runner(sign: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    generation = 0
    while True:
        if os.fork():
            os._exit(0)
        os.setsid()
        generation += 1
        if generation == 2:
            _tell(sign)
        select.select([], [], [], 0.05)


# -------------------------------------------------------------------------------------------------------- finding


def marked(variable: str, value: str) -> list[int]:
    """The processes that were started with ``variable=value`` in their environment, whatever became of them since."""
    needle = b"\0" + f"{variable}={value}".encode() + b"\0"
    found: list[int] = []
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if needle in b"\0" + (folder / "environ").read_bytes() + b"\0":
                    found.append(int(folder.name))
            except OSError:  # gone meanwhile
                continue
    return found


def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Waits for a condition and returns its value.

    Raises:
        TimeoutError: It did not come true in time.
    """
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s")
        pause.wait(0.005)
    return value


def survivors(variable: str, value: str, seconds: float = 5.0) -> list[int]:
    """Who is left of the marked processes: empty as soon as none is; after ``seconds`` those that still live."""
    try:
        until(lambda: not marked(variable, value), seconds)
    except TimeoutError:
        return marked(variable, value)
    return []


_PROGRAMS = {call.__name__: call for call in (_parent, _child, _ignorer, _daemon, _respawner, _runner)}


def _main(name: str, ready: str = "", linger: str = "") -> None:
    if name in _PROGRAMS:
        _PROGRAMS[name](ready)
    else:
        globals()[name]({"ready": ready, "linger": bool(linger)}, None)


if __name__ == "__main__":
    _main(*sys.argv[1:])
