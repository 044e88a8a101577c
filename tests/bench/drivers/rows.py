"""What SQLite alone makes of it: narrow rows with a unique id, a thousand in each FULL transaction."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import apsw

from tests.bench.bare import run_all
from tests.bench.drivers import protocol

GROUP = 1000


def run(folder: str, groups: int, row_bytes: int) -> dict[str, Any]:
    """Rows a second into a new file, which is removed afterwards."""
    path = Path(folder) / "rows.db"
    data = b"x" * row_bytes
    with contextlib.closing(apsw.Connection(str(path))) as store:
        run_all(store, "pragma page_size=16384; pragma journal_mode=wal; pragma synchronous=full")
        store.execute("create table row(key integer primary key, id text not null unique, data blob not null)")
        if store.pragma("synchronous") != 2 or store.pragma("journal_mode") != "wal":
            raise RuntimeError("SQLite did not take the settings that the table names")
        began = time.monotonic()
        for group in range(groups):
            with store:
                first = group * GROUP
                store.executemany(
                    "insert into row values(?, ?, ?)",
                    ((key, f"task-{key:030d}", data) for key in range(first, first + GROUP)),
                )
        seconds = time.monotonic() - began
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return {"tasks_per_s": groups * GROUP / seconds}


if __name__ == "__main__":
    protocol.serve(run=run)
