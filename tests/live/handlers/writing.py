"""A handler that writes what its record says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from batchyard_worker import Context, RecordError


def writing(record: dict[str, Any], context: Context) -> int:
    """Write `lines` lines; then, before attempt `ok` (or generation `since`), fail; `file`, `link`: leave one, too."""
    for n in range(record.get("lines", 0)):
        print(f"{context.index}.{context.generation}.{context.attempt}: line {n} of {record['lines']}")
    if "file" in record:
        Path(context.artifacts_dir, record["file"]).write_text("a file")
    if "link" in record:
        Path(context.artifacts_dir, record["link"]).symlink_to("/etc/passwd")
    if context.attempt < record.get("ok", 0):
        raise RecordError("UNAVAILABLE", "not yet")
    if context.generation < record.get("since", 0):
        raise RecordError("INVALID_ARGUMENT", "not in this generation")
    return context.index
