"""Handlers of the benchmarks. They lie outside the package, as an operator's own would."""

from __future__ import annotations

import time
from typing import Any

from batchyard_worker import RecordError


def noop(record: Any, context: Any) -> Any:
    """Hand the record back as it came: the whole cost is that of the system around it."""
    del context
    return record


def nap(record: Any, context: Any) -> Any:
    """Take 20 ms, so that whoever waits for the task is waiting when it ends."""
    del context
    time.sleep(0.02)
    return record


def once(record: Any, context: Any) -> Any:
    """Fail one record in a hundred in generation 1; hand every other one back, and these in later generations."""
    if context.generation == 1 and context.index % 100 == 99:
        raise RecordError("INVALID_ARGUMENT", "not in the first generation")
    return record
