"""A handler whose records say which files they leave, and how they end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from batchyard_worker import Context, RecordError


def filing(record: dict[str, Any], context: Context) -> Any:
    """Return `{"value": value}` once everything else that the record says is over.

    `files`: text by name, written into the record's folder. `say`: logged. `hold`: wait for that file. `until`: fail in
    generations before that one. `fail`: fail with that text.
    """
    for name, text in record.get("files", {}).items():
        path = context.artifacts_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if "say" in record:
        context.log.info(record["say"])
    if "hold" in record:
        while not Path(record["hold"]).exists():
            time.sleep(0.005)
    if "fail" in record or context.generation < record.get("until", 0):
        raise RecordError("INVALID_ARGUMENT", record.get("fail", "not yet"))
    return {"value": record.get("value")}
