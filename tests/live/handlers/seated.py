"""A handler that says how many of it run at once: it takes the lowest seat that is free, so seat N means N + 1 at once.

LIVE_FOLDER/seats/TASK/N    is locked by the record that has the seat; the kernel unlocks it however the process ends
LIVE_FOLDER/seats.log       `TASK INDEX ATTEMPT SEAT BEGIN END` of each record that ended, in monotonic nanoseconds

TASK is what the task's parameters say.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import pathlib
import signal
import time
from typing import Any

_FOLDER = pathlib.Path(os.environ["LIVE_FOLDER"])
_log = os.open(_FOLDER / "seats.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)


def seated(record: dict[str, Any], context: Any) -> int:
    """Do what the record says, in this order; returns the seat.

    sleep        for so many seconds
    gate         wait until this gate is open
    stubborn     at the first attempt: wait for SIGKILL
    die          at the first attempt: end the process
    """
    begin = time.monotonic_ns()
    task = context.parameters["task"]
    seat, lock = _take(_FOLDER / "seats" / task)
    try:
        if "sleep" in record:
            time.sleep(record["sleep"])
        while "gate" in record and not (_FOLDER / "open" / record["gate"]).exists():
            time.sleep(0.005)
        if record.get("stubborn") and context.attempt == 1:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(3600)
        if record.get("die") and context.attempt == 1:
            os._exit(3)
        end = time.monotonic_ns()
        os.write(_log, f"{task} {context.index} {context.attempt} {seat} {begin} {end}\n".encode())
        return seat
    finally:
        os.close(lock)


def _take(folder: pathlib.Path) -> tuple[int, int]:
    folder.mkdir(parents=True, exist_ok=True)
    for seat in itertools.count():
        lock = os.open(folder / str(seat), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return seat, lock
    raise AssertionError
