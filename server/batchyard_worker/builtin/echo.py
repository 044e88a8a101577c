"""The handler `echo`."""

from __future__ import annotations

from typing import Any

from batchyard_worker.context import Context


def echo(record: Any, context: Context) -> Any:
    """Returns the record."""
    return record
