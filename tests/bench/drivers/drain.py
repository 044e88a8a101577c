"""Drains a stream of pages and parses each of them, again and again for a given time."""

from __future__ import annotations

import base64
import time
from typing import Any

from batchyard.v1 import batch_task_service_pb2
from tests.bench import api
from tests.bench.drivers import protocol

# Message of a page and the field that holds its items.
PAGES: dict[str, tuple[Any, str]] = {
    "tasks": (batch_task_service_pb2.StreamBatchTasksResponse, "batch_tasks"),
    "records": (batch_task_service_pb2.StreamRecordsResponse, "records"),
}


def run(address: str, method: str, request: str, pages: str, seconds: float, expected: int) -> dict[str, Any]:
    """Drain the stream until `seconds` have passed, at least once; items a second, parsed and counted.

    Raises:
        ValueError: A drain gave other than `expected` items.
    """
    message, field = PAGES[pages]
    parse = message.FromString
    body = base64.b64decode(request)
    items = size = drains = messages = 0
    with api.connect(address) as channel:
        call = channel.unary_stream(method)
        began = time.perf_counter()
        while not drains or time.perf_counter() - began < seconds:
            found = 0
            for answer in call(body):
                found += len(getattr(parse(answer), field))
                size += len(answer)
                messages += 1
            if found != expected:
                raise ValueError(f"{found} items came instead of {expected}")
            items += found
            drains += 1
        took = time.perf_counter() - began
    return {
        "items": items,
        "items_per_s": items / took,
        "mb_per_s": size / took / 1e6,
        "items_per_message": items / messages,
        "bytes_per_item": size / items,
    }


if __name__ == "__main__":
    protocol.serve(run=run)
