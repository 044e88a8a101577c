"""Unary pages of 1000 outcomes: the last one of a large task beside its first one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

from tests.bench import procs, rates, services
from tests.bench.harness import Arm, Env, Plan, Row, RowError, Sample
from tests.bench.procs import Driver
from tests.bench.rows.latency import METRIC, percentiles
from tests.bench.rows.outcomes import ended_task
from tests.bench.server import Server, serving

FULL, QUICK = 1_000_000, 5_000
READS, QUICK_READS = 40, 10


def page_times(driver: Driver, server: Server, kind: str, parent: str, token: str, reads: int) -> Sample:
    """One round of reads of the page at `token`."""
    done = driver.call("times", address=server.address, kind=kind, parent=parent, tokens=[token], count=reads)
    return percentiles(done["seconds"][0])


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
        measure = partial(page_times, pages, server, "records", task, reads=reads)
        words = f"ListRecords, page_size 1000, {count} outcomes of 200-byte records, sequential"
        arms = [Arm("first", words, partial(measure, "")), Arm("last", words, partial(measure, walked["last"]))]
        yield Plan(arms, [rates.at_most(METRIC, "last", 1.5, "first")], settle=lambda: procs.settle(server.pid))


ROW = Row("record_pages", "page of 1000 outcomes, first and last", open_row)
