"""What SQLite alone makes of it: blobs of 1 MiB, each in a FULL transaction of its own, page size 16384."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path
from typing import Any

import apsw

from tests.bench.bare import run_all
from tests.bench.drivers import protocol

BLOB = 2**20


def run(folder: str, megabytes: int) -> dict[str, Any]:
    """Megabytes a second into a new file, which is removed afterwards."""
    source = random.Random(BLOB)
    blobs = [source.randbytes(BLOB) for _ in range(min(megabytes, 16))]
    path = Path(folder) / "blobs.db"
    with contextlib.closing(apsw.Connection(str(path))) as store:
        run_all(store, "pragma page_size=16384; pragma journal_mode=wal; pragma synchronous=full")
        store.execute("create table blob(key integer primary key, data blob not null)")
        if (
            store.pragma("page_size") != 16384
            or store.pragma("synchronous") != 2
            or store.pragma("journal_mode") != "wal"
        ):
            raise RuntimeError("SQLite did not take the settings that the table names")
        began = time.monotonic()
        for turn in range(megabytes):
            store.execute("insert into blob(data) values(?)", (blobs[turn % len(blobs)],))
        seconds = time.monotonic() - began
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return {"mb_per_s": megabytes * BLOB / seconds / 1e6}


if __name__ == "__main__":
    protocol.serve(run=run)
