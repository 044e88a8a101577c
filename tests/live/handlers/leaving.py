"""Handlers that leave files, as the record says."""

from __future__ import annotations

import ctypes
import os
import pathlib
import time
from typing import Any

from batchyard_worker import RecordError

_holding = ctypes.PyDLL(None)  # its calls do not let other threads of the interpreter run
_FOLDER = pathlib.Path(os.environ["LIVE_FOLDER"])


def leaving(record: dict[str, Any], context: Any) -> Any:
    """Do what the record says, in this order; its output is the folder, if there is one.

    files       {path: text} that are left; `{attempt}` in a text is the number of this execution
    link, fifo  so called, and left too
    hold        so many seconds: stay in one call that holds the interpreter
    until       a gate: wait until it is open
    fail        raise a RecordError of this code
    die         end the process
    """
    if not record:
        return None
    folder = None
    if "files" in record:
        folder = context.artifacts_dir
        assert folder == context.artifacts_dir
        for path, text in record["files"].items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text.replace("{attempt}", str(context.attempt)))
    if "link" in record:
        (context.artifacts_dir / record["link"]).symlink_to("/etc/hostname")
    if "fifo" in record:
        os.mkfifo(context.artifacts_dir / record["fifo"])
    (_FOLDER / "running" / str(context.index)).touch()
    if "hold" in record:
        _holding.usleep(int(record["hold"] * 1e6))
    while "until" in record and not (_FOLDER / "open" / record["until"]).exists():
        time.sleep(0.005)
    if context.attempt <= record.get("fails", 0):
        raise RecordError("UNAVAILABLE", "not yet")
    if "fail" in record:
        raise RecordError(record["fail"], "as it was told")
    if context.attempt <= record.get("dies", 0):
        os.abort()
    return None if folder is None else str(folder)
