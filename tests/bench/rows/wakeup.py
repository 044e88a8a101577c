"""Wake-up of a waiter: from the commit that ends a task to the moment its waiter has the answer."""

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
    with (
        services.bare(env) as bare,
        serving(env, stamped=True) as server,
        services.drivers(env, "single") as (single,),
    ):
        poll = partial(_measure, single, "bare_wakeups", address=bare.address, count=count)
        ours = partial(_measure, single, "wakeups", address=server.address, handler="bench_nap", count=count)
        words = "grpc.aio on uvloop, asyncio.Condition, 20 ms after the call"
        mine = f"{count} WaitOperation on a record of 20 ms"
        arms = [
            Arm("batchyard", f"{mine}, from the moment the end was durable", partial(ours, stamp=str(server.stamp))),
            Arm("long poll", words, partial(poll, method="LongPoll")),
            Arm("batchyard, commit", f"{mine}, from its end_time, set before the commit", ours),
            Arm("long poll, commit", f"{words}; a FULL commit before the wake-up", partial(poll, method="LongPollRow")),
        ]
        facts = {"reading": "two arms begin when there is something to tell, the two others before it is made durable"}
        goal = Goal(f"batchyard.{METRIC}", "<=", 1.0, (f"long poll.{METRIC}",))
        yield Plan(arms, [goal], facts, settle=lambda: procs.settle(server.pid))


ROW = Row("wakeup", "wake-up of a waiter", open_row)
