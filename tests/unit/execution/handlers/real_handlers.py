"""Handlers of the tests beside: a record says what is to become of it."""

from __future__ import annotations

import ctypes
import os
import pathlib
import select
import signal
import subprocess
import sys
from typing import Any


def act(record: Any, context: Any) -> Any:
    """Does what the record (an object) says, after noting that it began."""
    log = record.get("log")
    if log:
        with pathlib.Path(log).open("a") as file:
            file.write(f"{context.index} {context.attempt} {os.getpid()}\n")
    if "say" in record:
        print(f"{record['say']} {context.index}.{context.attempt}")
    if record.get("shell"):
        subprocess.run(["sh", "-c", record["shell"]], check=False)
    if "fail" in record and context.attempt <= record["fail"]:
        raise ConnectionError("try again")
    if record.get("stall"):
        ctypes.PyDLL(None).usleep(600_000)  # nothing else of this process runs meanwhile
    if "crash" in record and (context.attempt <= record["crash"]):
        os.kill(os.getpid(), signal.SIGSEGV)
    if record.get("exit"):
        os._exit(3)
    if record.get("stray"):
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
    if record.get("ignore"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    select.select([], [], [], record.get("take", 0))
    if record.get("hang"):
        while True:
            select.select([], [], [], 3600)
    return {"index": context.index, "attempt": context.attempt}


def environment(record: Any, context: Any) -> Any:
    """The names of the environment and the folders that modules come from."""
    return {"names": sorted(os.environ), "path": sys.path}


class Dies:
    """Cannot be called: the process ends while the handler is built."""

    def __init__(self) -> None:
        print("these are its last words")
        os._exit(4)

    def __call__(self, record: Any, context: Any) -> None:
        """Never comes."""


class Helped:
    """Needs a process of its own, which is not a stray."""

    def __init__(self) -> None:
        self._helper = subprocess.Popen(["sleep", "1000"])

    def __call__(self, record: Any, context: Any) -> Any:
        """The helper's process id."""
        return self._helper.pid
