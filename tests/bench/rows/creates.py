"""Durable creates at 50 in flight beside a bare echo of the same requests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

from tests.bench import api, procs, rates, services
from tests.bench.harness import Arm, Env, Plan, Row
from tests.bench.server import serving


@contextlib.contextmanager
def open_row(env: Env) -> Iterator[Plan]:
    """Our server, the bare one, one client for both."""
    method = api.SERVICE + "CreateBatchTask"
    with services.bare(env) as bare, serving(env) as server, services.drivers(env, "load") as (load,):
        ours = partial(rates.load, load, server.pid, server.address, method, seconds=rates.seconds(env))
        echo = partial(rates.load, load, bare.pid, bare.address, "/Bare/Echo", seconds=rates.seconds(env))
        words = "one record of 200 bytes, 3 labels, a request_id of its own each"
        arms = [
            Arm("batchyard", f"CreateBatchTask, start=false: {words}", partial(ours, kind="creates")),
            Arm("batchyard, started", "the same, started: they run besides", partial(ours, kind="creates and starts")),
            Arm("echo", f"{rates.BARE_WORDS}: the same requests", partial(echo, kind="creates")),
        ]
        goals = [rates.at_least(rates.CALLS, "batchyard", 0.75, "echo")]
        yield Plan(arms, goals, {"client": rates.LOAD_WORDS}, settle=lambda: procs.settle(server.pid))


ROW = Row("creates", "creates per second, durable, 50 in flight", open_row)
