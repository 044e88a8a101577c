"""A handler whose every execution is written down outside: one line, one write, at its beginning.

    job index attempt process start previous .

`process` names the worker process (a pid means little in a namespace), `start` is its monotonic clock, `previous` how
many nanoseconds the execution before in this process took. When a worker starts, it also writes down who is there of
workers of an earlier server: `left PID COMMAND .`. A line begins with its line feed and ends with a full stop, so that
one that was torn by SIGKILL (which happens where two pages meet) spoils no other.
"""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import time
from typing import Any

from batchyard_worker import RecordError

PROCESS = os.urandom(6).hex()
MARKER = "BATCHYARD_SERVER_ID"

_log = os.open(os.environ["CRASH_SIDE_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
_previous = 0


def noted(record: dict[str, Any], context: Any) -> dict[str, Any]:
    """Runs one record: {"nap": seconds, "do": what}. Its output says which execution it was.

    `do`, of those that are given, in this order:
        leave           start a daemon in a session of its own
        wait, sign      at this attempt, if the file `sign` is not there: make it, and never return
        die             end this process by this signal
        fail            raise
        fail_first      raise in generation 1 only
    """
    global _previous
    start = time.monotonic_ns()
    job = context.parameters["job"]
    if context.generation > 1:
        job += f"#{context.generation}"
    os.write(_log, f"\n{job} {context.index} {context.attempt} {PROCESS} {start} {_previous} .".encode())
    try:
        if nap := record.get("nap"):
            time.sleep(nap)
        if do := record.get("do"):
            _act(do, context)
    finally:
        _previous = time.monotonic_ns() - start
    return {"process": PROCESS, "start": start}


def _act(do: dict[str, Any], context: Any) -> None:
    if "leave" in do:
        subprocess.Popen(["setsid", "sleep", "3600"], stdin=subprocess.DEVNULL, start_new_session=True)
    if context.attempt == do.get("wait") and not (sign := pathlib.Path(do["sign"])).exists():
        sign.touch()
        while True:
            signal.pause()
    if "die" in do:
        os.kill(os.getpid(), do["die"])
        while True:
            signal.pause()
    if "fail" in do or ("fail_first" in do and context.generation == 1):
        raise RecordError("INVALID_ARGUMENT", f"record {context.index} was made to fail")


def _stat(pid: int) -> list[str]:
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _note_left() -> None:
    """The marked processes that are older than our supervisor's parent, the server. None is in sight in a namespace."""
    supervisor = os.getppid()
    if supervisor <= 1:
        return
    server = int(_stat(supervisor)[1])
    if server <= 1:
        return
    born = int(_stat(server)[19])
    needle = f"{MARKER}={os.environ[MARKER]}".encode()
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if needle in (folder / "environ").read_bytes().split(b"\0") and int(_stat(int(folder.name))[19]) < born:
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    os.write(_log, f"\nleft {folder.name} {command} .".encode())
            except (OSError, IndexError):
                continue


_note_left()
