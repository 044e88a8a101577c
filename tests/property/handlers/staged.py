"""A handler whose records end when the test says so, and how.

It tells the test, at the abstract socket that MODEL_STAGE names, which record begins, and does what comes back:
`{"code": 0}` returns the record, another code raises that RecordError, `{"die": true}` ends the process.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import Any

from batchyard_worker import Context, RecordError


def staged(record: Any, context: Context) -> Any:
    """Wait for the test's word."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\0" + os.environ["MODEL_STAGE"])
        with connection.makefile("rw") as lines:
            lines.write(json.dumps({"record": record, "index": context.index, "attempt": context.attempt}) + "\n")
            lines.flush()
            said = json.loads(lines.readline() or "{}")
    if said.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if said.get("code"):
        raise RecordError(said["code"], "the model says so", retryable=said["retryable"])
    return record
