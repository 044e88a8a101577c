"""Run the failed records of a large batch again: how soon is that accepted, how soon are they all done?

The baseline is a new task with as many records, in the same server: what they cost if there was nothing around them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import partial

from batchyard.v1 import batch_task_service_pb2
from tests.bench import api, procs, services
from tests.bench.harness import Arm, Env, Goal, Plan, Row, RowError, Sample
from tests.bench.procs import Driver
from tests.bench.server import Server, serving

FULL, QUICK = 1_000_000, 20_000
ONE_IN = 100  # records that fail in generation 1, see handlers/noop.py
SPIKE_ACCEPTED_MS, SPIKE_DONE_MS = 31.0, 94.0  # DESIGN: a throw-away engine, 10^4 scattered of 10^6


def _run(submitter: Driver, reader: Driver, count: int, handler: str) -> tuple[str, float]:
    """Submit and run a batch; its task, and the seconds from the start to the end."""
    submitter.call("prepare", count=count, kind="text")
    created = submitter.call("create", handler=handler)
    uploaded = submitter.call("upload")
    read = reader.call("wait", operation=created["operation"])
    return created["task"], read["done"] - uploaded["uploaded"]


def again(server: Server, submitter: Driver, reader: Driver, count: int) -> Sample:
    """A batch of which one record in a hundred fails; these are run again.

    Raises:
        RowError: They were not the records that ran, or did not all succeed.
    """
    task, _ = _run(submitter, reader, count, "bench_once")
    procs.settle(server.pid)
    with api.connect(server.address) as channel:
        service, operations = api.stubs(channel)
        began = time.monotonic()
        request = batch_task_service_pb2.ReactivateBatchTaskRequest(name=task)
        operation = service.ReactivateBatchTask(request, timeout=60)
        accepted = time.monotonic()
        api.wait(operations, operation.name)
        done = time.monotonic()
        counts = service.GetBatchTask(batch_task_service_pb2.GetBatchTaskRequest(name=task)).counts
    if (counts.succeeded, counts.failed) != (count, 0):
        raise RowError(f"after the second generation {counts.succeeded} of {count} have succeeded")
    return {"accepted_ms": (accepted - began) * 1e3, "done_ms": (done - began) * 1e3}


def fresh(submitter: Driver, reader: Driver, count: int) -> Sample:
    """As many records as were run again, in a task of their own."""
    _, seconds = _run(submitter, reader, count // ONE_IN, "bench_noop")
    return {"done_ms": seconds * 1e3}


@contextlib.contextmanager
def open_row(env: Env) -> Iterator[Plan]:
    """Our server and the two clients."""
    count = env.size(FULL, QUICK)
    with serving(env) as server, services.drivers(env, "submitter", "reader") as (submitter, reader):
        for client in (submitter, reader):
            client.call("connect", address=server.address)
        words = f"{count // ONE_IN} scattered records of {count} run again; {server.settings}"
        arms = [
            Arm("batchyard", words, partial(again, server, submitter, reader, count)),
            Arm(
                "new task",
                f"{count // ONE_IN} records in a task of their own",
                partial(fresh, submitter, reader, count),
            ),
        ]
        goals = [
            Goal("batchyard.accepted_ms", "<=", 2 * SPIKE_ACCEPTED_MS, note="twice the spike's"),
            Goal("batchyard.done_ms", "<=", 2 * SPIKE_DONE_MS, note="twice the spike's"),
        ]
        yield Plan(arms, goals, settle=lambda: procs.settle(server.pid))


ROW = Row("reactivate", "failed records of a large batch run again", open_row)
