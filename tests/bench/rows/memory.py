"""Memory that a large batch adds to the server's process."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from functools import partial

from tests.bench import procs, services
from tests.bench.harness import Arm, Env, Goal, Plan, Row, Sample
from tests.bench.procs import Driver
from tests.bench.rows.outcomes import ended_task
from tests.bench.server import serving

FULL, QUICK = 1_000_000, 20_000
WARM = 1_000


def measure(env: Env, submitter: Driver, reader: Driver, count: int, turns: Iterator[int]) -> Sample:
    """A new server, warmed by a small batch; then the large one, submitted, run and read back."""
    with serving(env, f"server-{next(turns)}") as server:
        for client in (submitter, reader):
            client.call("connect", address=server.address)
        ended_task(submitter, reader, WARM, "text")
        procs.settle(server.pid)
        procs.reset_peak(server.pid)
        before = procs.memory(server.pid)["VmRSS"]
        ended_task(submitter, reader, count, "text")
        peak = procs.memory(server.pid)["VmHWM"]
    return {"added_mb": (peak - before) / 1e6, "before_mb": before / 1e6, "peak_mb": peak / 1e6}


@contextlib.contextmanager
def open_row(env: Env) -> Iterator[Plan]:
    """The two clients; every round has a server of its own."""
    count = env.size(FULL, QUICK)
    with services.drivers(env, "submitter", "reader") as (submitter, reader):
        words = f"{count} records of 200 bytes submitted, run and read back: VmHWM after less VmRSS before"
        arms = [Arm("batchyard", words, partial(measure, env, submitter, reader, count, itertools.count()))]
        yield Plan(arms, [Goal("batchyard.added_mb", "<=", 64)])


ROW = Row("memory", "memory that a large batch adds", open_row)
