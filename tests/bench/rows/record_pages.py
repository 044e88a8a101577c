"""Unary pages of 1000 outcomes: the last one of a large task beside its first one."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.bench import procs, services
from tests.bench.harness import Arm, Env, Goal, Plan, Row, RowError, Sample
from tests.bench.procs import Driver
from tests.bench.rows.outcomes import ended_task
from tests.bench.server import serving

FULL, QUICK = 1_000_000, 5_000
READS, QUICK_READS = 40, 10
FIRST, LAST = "first_p50_ms", "last_p50_ms"


def first_and_last(driver: Driver, command: str, **values: Any) -> Sample:
    """One round of reads of both pages in turns, so that a noisy moment meets both."""
    first, last = driver.call(command, **values)["seconds"]
    return {FIRST: statistics.median(first) * 1e3, LAST: statistics.median(last) * 1e3}


def flat(arm: str) -> Goal:
    """The last page may take half as long again as the first one."""
    return Goal(f"{arm}.{LAST}", "<=", 1.5, (f"{arm}.{FIRST}",))


@contextlib.contextmanager
def open_row(env: Env) -> Iterator[Plan]:
    """An ended task, walked through once for the token of its last page."""
    count, reads = env.size(FULL, QUICK), env.size(READS, QUICK_READS)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(env))
        submitter, reader, pages = stack.enter_context(services.drivers(env, "submitter", "reader", "pages"))
        for client in (submitter, reader):
            client.call("connect", address=server.address)
        task = ended_task(submitter, reader, count, "text")
        walked = pages.call("walk", address=server.address, kind="records", parent=task)
        if walked["items"] != count:
            raise RowError(f"{walked['items']} of {count} records were listed")
        values = {"address": server.address, "kind": "records", "parent": task, "count": reads}
        tokens = ["", walked["last"]]
        words = f"ListRecords, page_size 1000, {count} outcomes of 200-byte records, sequential"
        arms = [Arm("batchyard", words, partial(first_and_last, pages, "times", tokens=tokens, **values))]
        yield Plan(arms, [flat("batchyard")], settle=lambda: procs.settle(server.pid))


ROW = Row("record_pages", "page of 1000 outcomes, first and last", open_row)
