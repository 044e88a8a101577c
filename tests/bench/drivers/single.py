"""One record at a time: CreateBatchTask, then WaitOperation until it is done."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from google.protobuf import timestamp_pb2

from batchyard.v1 import batch_task_pb2
from tests.bench import api, records, stamped
from tests.bench.drivers import protocol


def latency(address: str, handler: str, count: int) -> dict[str, Any]:
    """Seconds of `count` tasks from submit to done, and of their creates alone."""
    payload = records.make(1)[0]
    taken, creates = [], []
    with api.connect(address) as channel:
        service, operations = api.stubs(channel)
        for turn in range(count + 3):
            request = api.create_request(handler, start=True, payload=payload)
            began = time.monotonic()
            operation = service.CreateBatchTask(request)
            created = time.monotonic()
            done = api.wait(operations, operation.name)
            ended = time.monotonic()
            api.require_counts(done, 1)
            if turn >= 3:  # the first ones find a cold channel and perhaps no worker for the handler
                taken.append(ended - began)
                creates.append(created - began)
    return {"seconds": taken, "creates": creates}


def wakeups(address: str, handler: str, count: int, stamp: str = "") -> dict[str, Any]:
    """Seconds until the waiter of a task has the answer: from its commit by the server's `stamp`, else its end_time.

    The end_time is set before the commit.
    """
    payload = records.make(1)[0]
    taken = []
    with api.connect(address) as channel:
        service, operations = api.stubs(channel)
        for turn in range(count + 3):
            created = service.CreateBatchTask(api.create_request(handler, start=True, payload=payload))
            done = api.wait(operations, created.name)
            known = time.time_ns()
            api.require_counts(done, 1)
            if turn >= 3:
                ended = stamped.read(Path(stamp)) if stamp else _nanoseconds(_end_time(done))
                taken.append((known - ended) / 1e9)
    return {"seconds": taken}


def bare_wakeups(address: str, method: str, count: int) -> dict[str, Any]:
    """The same with a bare long poll, whose answer says when it was woken."""
    taken = []
    with api.connect(address) as channel:
        call = channel.unary_unary(f"/Bare/{method}")
        for turn in range(count + 3):
            woken = int(call(b"", timeout=30))
            known = time.time_ns()
            if turn >= 3:
                taken.append((known - woken) / 1e9)
    return {"seconds": taken}


def _end_time(operation: Any) -> timestamp_pb2.Timestamp:
    info = batch_task_pb2.BatchTaskInfo()
    if not operation.response.Unpack(info):
        raise ValueError(f"{operation.name} has no response")
    return info.end_time


def _nanoseconds(moment: timestamp_pb2.Timestamp) -> int:
    return moment.seconds * 1_000_000_000 + moment.nanos


if __name__ == "__main__":
    protocol.serve(latency=latency, wakeups=wakeups, bare_wakeups=bare_wakeups)
