"""A handler whose records say how they go: held back by a file, failing until a generation or a try."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from batchyard_worker import Context, RecordError


def lives(record: dict[str, Any], context: Context) -> Any:
    """Return `value`, once everything else that the record says is over.

    `hold`: wait for that file; before that, leave one beside it that ends in `.waited`. `until`: fail for good in
    generations before that one. `tries`: fail with UNAVAILABLE before that try. `fail`: fail with that text.
    """
    if "hold" in record:
        gate = Path(record["hold"])
        gate.with_suffix(".waited").touch()
        while not gate.exists():
            time.sleep(0.005)
    if context.generation < record.get("until", 0):
        raise RecordError("INVALID_ARGUMENT", f"not before generation {record['until']}")
    if context.attempt < record.get("tries", 0):
        raise RecordError("UNAVAILABLE", f"not before try {record['tries']}")
    if "fail" in record:
        raise RecordError("INVALID_ARGUMENT", record["fail"])
    return record.get("value")
