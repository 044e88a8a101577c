"""The worker: runs the records of one handler in a process of its own, and what a handler may import.

Needs protobuf (>= 6.31) alone, uses orjson where it is present, imports nothing of the server, and runs under any
CPython >= 3.9, so that a handler can live in its own interpreter and virtual environment.
"""

from __future__ import annotations

from batchyard_worker.context import CANONICAL_CODES, Context, RecordError

__all__ = ["CANONICAL_CODES", "Context", "RecordError"]
