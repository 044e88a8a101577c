"""The limit: multiprocessing.Pool in chunks of 32, the same JSON bytes, the same handler, nothing durable, no API."""

from __future__ import annotations

import atexit
import hashlib
import multiprocessing.pool
import time
from typing import Any

import orjson

from tests.bench import procs, records
from tests.bench.drivers import protocol
from tests.bench.handlers.noop import noop

CHUNK = 32


def run_one(text: bytes) -> bytes:
    """What a worker does with one record: parse, handle, serialize."""
    return orjson.dumps(noop(orjson.loads(text), None))


class Pool:
    """State of the driver: a warm pool and the records."""

    def __init__(self) -> None:
        self._records: list[bytes] = []
        self._pool: multiprocessing.pool.Pool | None = None

    def prepare(self, count: int, slots: int) -> dict[str, Any]:
        """Make the records and start the processes."""
        # Before the records are there: a child that shares them would copy their pages bit by bit.
        procs.forks_die_with_me()
        self._pool = multiprocessing.Pool(slots)
        atexit.register(self._pool.terminate)
        self._records = records.make(count)
        self._pool.map(run_one, self._records[:100])
        return {"digest": records.digest_of(self._records)}

    def run(self) -> dict[str, Any]:
        """All records through the pool, every output read back and summed as our reader does."""
        assert self._pool is not None
        total, count = hashlib.sha256(), 0
        began = time.monotonic()
        for chunk in records.chunks(self._pool.imap(run_one, self._records, chunksize=CHUNK), 1024):
            total.update(b"".join(chunk))
            count += len(chunk)
        return {"seconds": time.monotonic() - began, "digest": total.hexdigest(), "count": count}


if __name__ == "__main__":
    driver = Pool()
    protocol.serve(prepare=driver.prepare, run=driver.run)
