"""The file to which a peer's worker adds one byte per finished task (see `peers/job.py`)."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.bench.peers import job

LONGEST = 300.0
# Short enough not to be seen in a latency of one millisecond, long enough to leave the worker its core.
POLL = 0.0001


def count() -> int:
    """Tasks finished so far."""
    path = Path(os.environ[job.MARKS])
    return path.stat().st_size if path.exists() else 0


def wait(wanted: int) -> None:
    """Until `wanted` tasks have finished.

    Raises:
        TimeoutError: They have not within five minutes.
    """
    limit = time.monotonic() + LONGEST
    while (done := count()) < wanted:
        if time.monotonic() > limit:
            raise TimeoutError(f"{done} of {wanted} tasks finished")
        time.sleep(POLL)
