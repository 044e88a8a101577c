"""Submits to Huey and reads back; `marked` tasks keep no result and are counted by a file."""

from __future__ import annotations

import time
from typing import Any

from tests.bench import records
from tests.bench.drivers import marks, protocol
from tests.bench.peers import huey_app

# Huey's result is polled; its own default of 0.1 s and more would make it look slower than it is.
POLL = 0.0005


def throughput(count: int, *, marked: bool) -> dict[str, Any]:
    """`count` records, one task each: seconds from the first submit to the last outcome."""
    made = records.make(count)
    texts = [record.decode() for record in made]
    before = marks.count()
    began = time.monotonic()
    if marked:
        for text in texts:
            huey_app.run_marked(text)
        marks.wait(before + count)
        return {"seconds": time.monotonic() - began}
    results = [huey_app.run(text) for text in texts]
    outputs = [result.get(blocking=True, timeout=300, max_delay=POLL) for result in results]
    seconds = time.monotonic() - began
    digest = records.digest_of(output.encode() for output in outputs)
    return {"seconds": seconds, "digest": digest, "expected": records.digest_of(made)}


if __name__ == "__main__":
    protocol.serve(throughput=throughput)
