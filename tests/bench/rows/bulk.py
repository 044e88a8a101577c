"""Durable creates by BatchCreateBatchTasks, a thousand tasks in a call, beside SQLite's own rate for such groups."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

from tests.bench import api, procs, services
from tests.bench.harness import Arm, Env, Goal, Plan, Row, Sample
from tests.bench.procs import Driver
from tests.bench.server import Server, serving

FULL, QUICK = 100, 3
TASKS = 1000  # in a call, and in a group of SQLite's
ROW_BYTES = 600  # about what the store keeps of such a task
METRIC = "tasks_per_s"
IN_FLIGHT = 2


def _ours(driver: Driver, server: Server, calls: int) -> Sample:
    before = procs.cpu_seconds(server.pid)
    method = api.SERVICE + "BatchCreateBatchTasks"
    done = driver.call(
        "run", address=server.address, method=method, in_flight=IN_FLIGHT, calls=calls, kind="batches of creates"
    )
    cpu = (procs.cpu_seconds(server.pid) - before) / (done["calls"] * TASKS) * 1e6
    return {METRIC: done["calls_per_s"] * TASKS, "p50_ms": done["p50_ms"], "server_cpu_us": cpu}


@contextlib.contextmanager
def open_row(env: Env) -> Iterator[Plan]:
    """Our server, and SQLite alone."""
    calls = env.size(FULL, QUICK)
    folder = str(env.folder("rows"))
    with serving(env) as server, services.drivers(env, "load", "rows") as (load, rows):
        words = f"{calls} calls of {TASKS} DRAFTs of one record of 200 bytes, 3 labels, one request_id a call"
        arms = [
            Arm("batchyard", f"{words}; {IN_FLIGHT} in flight", partial(_ours, load, server, calls)),
            Arm(
                "SQLite",
                f"page_size 16384, WAL, synchronous=FULL, {calls} transactions of {TASKS} rows of {ROW_BYTES} bytes",
                partial(rows.call, "run", folder=folder, groups=calls, row_bytes=ROW_BYTES),
            ),
        ]
        goals = [
            Goal(f"batchyard.{METRIC}", ">=", 60_000),
            Goal(f"batchyard.{METRIC}", ">=", 0.33, (f"SQLite.{METRIC}",)),
        ]
        yield Plan(arms, goals, {"server_cpu_us": "of a task"}, settle=lambda: procs.settle(server.pid))


ROW = Row("bulk", "creates per second, durable, a thousand in a call", open_row)
