"""A handler that a test holds back: it does not answer before the file that `context.parameters` names exists."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from batchyard_worker import Context, RecordError


def gated(record: Any, context: Context) -> Any:
    """Echo, once the gate is there; say before that it is waited for. `{"fail": text}` fails, `{"say": text}` logs."""
    if context.parameters is not None:
        gate = Path(context.parameters)
        gate.with_suffix(".waited").touch()
        while not gate.exists():
            time.sleep(0.005)
    if isinstance(record, dict) and "say" in record:
        context.log.info(record["say"])
    if isinstance(record, dict) and "fail" in record:
        raise RecordError("INVALID_ARGUMENT", record["fail"])
    return record
