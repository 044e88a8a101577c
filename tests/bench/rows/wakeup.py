"""Wake-up of a waiter: from the end of a task to the moment its waiter has the answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.bench import procs, services
from tests.bench.harness import Arm, Env, Goal, Plan, Row, Sample
from tests.bench.procs import Driver
from tests.bench.rows.latency import METRIC, percentiles
from tests.bench.server import serving

FULL, QUICK = 200, 20


def _measure(driver: Driver, command: str, **values: Any) -> Sample:
    return percentiles(driver.call(command, **values)["seconds"])


@contextlib.contextmanager
def open_row(env: Env) -> Iterator[Plan]:
    """Our server, the bare one, and one client for both."""
    count = env.size(FULL, QUICK)
    with services.bare(env) as bare, serving(env) as server, services.drivers(env, "single") as (single,):
        poll = partial(_measure, single, "bare_wakeups", address=bare.address, count=count)
        ours = partial(_measure, single, "wakeups", address=server.address, handler="bench_nap", count=count)
        words = "grpc.aio on uvloop, asyncio.Condition, 20 ms after the call"
        arms = [
            Arm("batchyard", f"{count} WaitOperation on a record of 20 ms, from the end_time of the task", ours),
            Arm("long poll", words, partial(poll, method="LongPoll")),
            Arm("long poll, commit", f"{words}; a FULL commit before the wake-up", partial(poll, method="LongPollRow")),
        ]
        facts = {"reading": "end_time is set before the commit of the outcome, so our figure has that commit in it"}
        goal = Goal(f"batchyard.{METRIC}", "<=", 1.0, (f"long poll.{METRIC}",))
        yield Plan(arms, [goal], facts, settle=lambda: procs.settle(server.pid))


ROW = Row("wakeup", "wake-up of a waiter", open_row)
