"""Load on unary methods: a fixed number of calls in flight from one grpc.aio channel, bytes in and bytes out."""

from __future__ import annotations

import asyncio
import base64
import itertools
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import grpc.aio
import uvloop

from batchyard.v1 import batch_task_service_pb2
from tests.bench import api, records
from tests.bench.drivers import protocol

Bodies = Iterator[bytes]
WARM_CALLS = 100


def _creates(*, start: bool) -> Bodies:
    payload = records.make(1)[0]
    while True:
        yield api.create_request("bench_noop", start=start, payload=payload).SerializeToString()


def _batches(tasks: int = 1000) -> Bodies:
    request = batch_task_service_pb2.BatchCreateBatchTasksRequest(parent=api.PROJECT)
    for _ in range(tasks):
        each = api.create_request("bench_noop", start=False, payload=records.make(1)[0])
        each.request_id = ""  # that of the call is for all of them
        request.requests.append(each)
    while True:
        request.request_id = str(uuid.uuid4())
        yield request.SerializeToString()


def bodies(kind: str, given: list[str]) -> Bodies:
    """Request bytes without end: `given` (base64) in turns, creates, or batches of them, each with a new request_id."""
    if kind == "given":
        return itertools.cycle([base64.b64decode(text) for text in given])
    if kind == "batches of creates":
        return _batches()
    return _creates(start=kind == "creates and starts")


async def _loop(call: Callable[[bytes], Any], source: Bodies, more: Callable[[], bool], taken: list[float]) -> None:
    while more():
        body = next(source)
        began = time.perf_counter()
        await call(body)
        taken.append(time.perf_counter() - began)


async def _drive(
    address: str, method: str, source: Bodies, in_flight: int, seconds: float, calls: int
) -> dict[str, Any]:
    async with grpc.aio.insecure_channel(address, options=api.OPTIONS) as channel:
        call = channel.unary_unary(method)
        if not calls:
            for _ in range(WARM_CALLS):
                await call(next(source), timeout=30)
        left = itertools.count(calls, -1)
        began = time.perf_counter()
        limit = began + seconds

        def more() -> bool:
            return next(left) > 0 if calls else time.perf_counter() < limit

        taken: list[float] = []
        await asyncio.gather(*[_loop(call, source, more, taken) for _ in range(in_flight)])
        took = time.perf_counter() - began
    ordered = sorted(taken)
    return {
        "calls": len(ordered),
        "seconds": took,
        "calls_per_s": len(ordered) / took,
        "p50_ms": statistics.median(ordered) * 1e3,
        "p99_ms": ordered[int(0.99 * (len(ordered) - 1))] * 1e3,
    }


def run(
    address: str,
    method: str,
    in_flight: int,
    seconds: float = 0,
    calls: int = 0,
    kind: str = "given",
    given: list[str] | None = None,
) -> dict[str, Any]:
    """Keep `in_flight` calls going for `seconds`, or until `calls` were made; any error of any call is an error."""
    return uvloop.run(_drive(address, method, bodies(kind, given or []), in_flight, seconds, calls))


if __name__ == "__main__":
    protocol.serve(run=run)
