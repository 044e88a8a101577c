"""Handlers that say on the side what they do: a file while a record runs, a line when it has ended.

LIVE_FOLDER/running/INDEX   is there while the record runs, if it does anything
LIVE_FOLDER/ended.log       `INDEX ATTEMPT MONOTONIC_NANOSECONDS` of each record that ended, in one write
LIVE_FOLDER/open/NAME       opens the gate NAME
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import time
from typing import Any

_FOLDER = pathlib.Path(os.environ["LIVE_FOLDER"])
_log = os.open(_FOLDER / "ended.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
_holding = ctypes.PyDLL(None)  # its calls do not let other threads of the interpreter run


def noted(record: dict[str, Any], context: Any) -> Any:
    """Do what the record says, in this order; its output is `size` letters.

    sleep, spin, hold    for so many seconds: wait, compute, or stay in one call that holds the interpreter
    gate                 wait until this gate is open
    """
    if not record:  # quick, so that many make one subtask
        os.write(_log, _line(context))
        return ""
    mark = _FOLDER / "running" / str(context.index)
    mark.touch()
    try:
        if "sleep" in record:
            time.sleep(record["sleep"])
        if "spin" in record:
            end = time.monotonic() + record["spin"]
            while time.monotonic() < end:
                pass
        if "hold" in record:
            _holding.usleep(int(record["hold"] * 1e6))
        if "gate" in record:
            while not (_FOLDER / "open" / record["gate"]).exists():
                time.sleep(0.005)
        return "x" * record.get("size", 0)
    finally:
        mark.unlink()
        os.write(_log, _line(context))


def _line(context: Any) -> bytes:
    return f"{context.index} {context.attempt} {time.monotonic_ns()}\n".encode()
