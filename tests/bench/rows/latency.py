"""One record, from submit to done."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator
from functools import partial

from tests.bench import procs, services
from tests.bench.harness import Arm, Env, Goal, Plan, Row, Sample
from tests.bench.peers import stack as peers
from tests.bench.procs import Driver
from tests.bench.server import Server, serving

FULL, QUICK = 300, 30
METRIC = "p50_ms"


def percentiles(seconds: list[float]) -> Sample:
    """Median and 99th percentile in milliseconds."""
    ordered = sorted(seconds)
    return {METRIC: statistics.median(ordered) * 1e3, "p99_ms": ordered[int(0.99 * (len(ordered) - 1))] * 1e3}


def _ours(driver: Driver, server: Server, count: int) -> Sample:
    done = driver.call("latency", address=server.address, handler="bench_noop", count=count)
    return {**percentiles(done["seconds"]), "create_p50_ms": statistics.median(done["creates"]) * 1e3}


def _celery(driver: Driver, count: int, *, marked: bool) -> Sample:
    return percentiles(driver.call("latency", count=count, marked=marked)["seconds"])


@contextlib.contextmanager
def open_row(env: Env) -> Iterator[Plan]:
    """Our server and a Celery worker, both warm."""
    count = env.size(FULL, QUICK)
    with contextlib.ExitStack() as stack:
        extra = stack.enter_context(peers.environment(env))
        celery = stack.enter_context(peers.celery(env, extra))
        server = stack.enter_context(serving(env))
        (single,) = stack.enter_context(services.drivers(env, "single"))
        words = peers.CELERY_WORDS.format(slots=env.slots)
        ours = f"{count} times CreateBatchTask, WaitOperation, one after the other; {server.settings}"
        arms = [
            Arm("batchyard", ours, partial(_ours, single, server, count)),
            Arm("Celery, results", f"delay, get; {words}", partial(_celery, celery, count, marked=False)),
            Arm("Celery, no results", f"delay, seen by a file; {words}", partial(_celery, celery, count, marked=True)),
        ]
        goals = [
            Goal(f"batchyard.{METRIC}", "<=", 1.0, (f"Celery, results.{METRIC}",), "both clients know the outcome"),
            Goal(f"batchyard.{METRIC}", "<=", 1.0, (f"Celery, no results.{METRIC}",), "seen by a file, not by Celery"),
        ]
        yield Plan(arms, goals, settle=lambda: procs.settle(server.pid))


ROW = Row("latency", "one record, submit to done", open_row)
