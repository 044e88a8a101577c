"""Submits to Celery and reads back; `marked` tasks keep no result and are counted by a file."""

from __future__ import annotations

import time
from typing import Any

from celery.result import ResultSet

from tests.bench import records
from tests.bench.drivers import marks, protocol
from tests.bench.peers import celery_app


def throughput(count: int, *, marked: bool) -> dict[str, Any]:
    """`count` records, one task each: seconds from the first submit to the last outcome."""
    made = records.make(count)
    texts = [record.decode() for record in made]
    before = marks.count()
    began = time.monotonic()
    if marked:
        for text in texts:
            celery_app.run_marked.delay(text)
        marks.wait(before + count)
        return {"seconds": time.monotonic() - began}
    outputs = ResultSet([celery_app.run.delay(text) for text in texts]).join_native(timeout=300)
    seconds = time.monotonic() - began
    digest = records.digest_of(output.encode() for output in outputs)
    return {"seconds": seconds, "digest": digest, "expected": records.digest_of(made)}


def latency(count: int, *, marked: bool) -> dict[str, Any]:
    """`count` single tasks, one after the other: seconds of each."""
    text = records.make(1)[0].decode()
    taken = []
    for _ in range(count):
        before = marks.count()
        began = time.monotonic()
        if marked:
            celery_app.run_marked.delay(text)
            marks.wait(before + 1)
        else:
            celery_app.run.delay(text).get(timeout=60)
        taken.append(time.monotonic() - began)
    return {"seconds": taken}


if __name__ == "__main__":
    protocol.serve(throughput=throughput, latency=latency)
