"""What the server costs when nothing runs, alone and with 1,000 waits and 1,000 watches open."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import partial

from tests.bench import procs, services
from tests.bench.harness import Arm, Env, Goal, Plan, Row, RowError, Sample
from tests.bench.procs import Driver
from tests.bench.server import Server, serving

WAITS, QUICK_WAITS = 1_000, 50
# Longer than a wait lasts at most, so that every wait is answered and made again once in it.
WINDOW, QUICK_WINDOW = 60.0, 2.0


def _window(pid: int, window: float) -> Sample:
    """CPU of a process and its family over a while, in percent of one core, and its memory."""
    procs.settle(pid)
    before, began = procs.cpu_seconds(pid, family=True), time.monotonic()
    time.sleep(window)
    busy = procs.cpu_seconds(pid, family=True) - before
    return {
        "cpu_percent": busy / (time.monotonic() - began) * 100,
        "rss_mb": procs.memory(pid)["VmRSS"] / 1e6,
        "family_mb": procs.proportional_memory(pid) / 1e6,
    }


def _with_waits(env: Env, server: Server, count: int, window: float) -> Sample:
    with Driver("waits", env.workdir) as waits:
        waits.call("open", address=server.address, count=count)
        sample = _window(server.pid, window)
        if waits.call("held")["held"] != 2 * count:
            raise RowError(f"not all of {count} waits and watches were held")
    return sample


@contextlib.contextmanager
def open_row(env: Env) -> Iterator[Plan]:
    """Our server after a start, and a bare one."""
    count, window = env.size(WAITS, QUICK_WAITS), QUICK_WINDOW if env.quick else WINDOW
    with services.bare(env) as bare, serving(env) as server:
        arms = [
            Arm("batchyard, idle", f"{server.settings}; over {window:.0f} s", partial(_window, server.pid, window)),
            Arm(
                "batchyard, waits",
                f"{count} WaitOperation and {count} WatchBatchTask open",
                partial(_with_waits, env, server, count, window),
            ),
            Arm("bare server", "grpc.aio on uvloop, SQLite loaded", partial(_window, bare.pid, window)),
        ]
        goals = [
            Goal("batchyard, idle.rss_mb", "<=", 120),
            Goal("batchyard, idle.cpu_percent", "<=", 1),
            Goal("batchyard, waits.cpu_percent", "<=", 3),
        ]
        facts = {
            "reading": "rss_mb: the server's process; family_mb: it and all workers, shared pages once; "
            "cpu_percent: of one core, workers included"
        }
        yield Plan(arms, goals, facts)


ROW = Row("idle", "idle cost", open_row)
