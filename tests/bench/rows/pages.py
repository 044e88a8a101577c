"""Unary pages of 1000 tasks: the last one beside the first one, in projects of two sizes."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator
from functools import partial

from tests.bench import bare, procs, rates, services
from tests.bench.harness import Arm, Env, Plan, Row, RowError, Sample
from tests.bench.procs import Driver
from tests.bench.rows.latency import METRIC, percentiles
from tests.bench.rows.listing import task_bytes
from tests.bench.rows.record_pages import QUICK_READS, READS, page_times
from tests.bench.server import Server, serving

SMALL, QUICK_SMALL = 10_000, 2_000
LARGE, QUICK_LARGE = 1_000_000, 5_000
PAGE = 1_000
# Different tasks that the baseline's table is made of; it holds as many rows as the large project.
SAMPLED = 1_000


def _filled(env: Env, project: str, count: int, server: Server) -> None:
    argv = [sys.executable, "-m", "tests.bench.fill", "--data", str(server.data)]
    child = procs.Child([*argv, "--project", project, "--count", str(count)], env.workdir / "fill.log")
    try:
        if child.line() != str(count):
            raise RowError(f"the store was not filled: {child.tail()}")
    finally:
        child.stop()


def _bare(driver: Driver, address: str, key: int, reads: int) -> Sample:
    return percentiles(driver.call("bare_times", address=address, keys=[key], count=reads)["seconds"][0])


def _arms(server: Server, pages: Driver, project: str, count: int, reads: int) -> list[Arm]:
    parent = f"projects/{project}"
    walked = pages.call("walk", address=server.address, kind="tasks", parent=parent)
    if walked["items"] != count:
        raise RowError(f"{walked['items']} of {count} tasks of {parent} were listed")
    measure = partial(page_times, pages, server, "tasks", parent, reads=reads)
    words = f"ListBatchTasks, page_size {PAGE}, project of {count} tasks, sequential"
    return [
        Arm(f"first of {count}", words, partial(measure, "")),
        Arm(f"last of {count}", words, partial(measure, walked["last"])),
    ]


@contextlib.contextmanager
def open_row(env: Env) -> Iterator[Plan]:
    """One server with both projects, filled before it starts, and a bare one with as many rows."""
    sizes = {"small": env.size(SMALL, QUICK_SMALL), "large": env.size(LARGE, QUICK_LARGE)}
    reads, large = env.size(READS, QUICK_READS), sizes["large"]
    with contextlib.ExitStack() as stack:
        fill = [partial(_filled, env, name, size) for name, size in sizes.items()]
        server = stack.enter_context(serving(env, before=fill))
        (pages,) = stack.enter_context(services.drivers(env, "pages"))
        arms = [arm for name, size in sizes.items() for arm in _arms(server, pages, name, size, reads)]
        sample = list(itertools.islice(task_bytes(server, "projects/large"), SAMPLED))
        database = env.workdir / "rows.db"
        bare.fill_rows(database, itertools.islice(itertools.cycle(sample), large))
        plain = stack.enter_context(services.bare(env, database=database))
        words = f"grpc.aio on uvloop: the same messages by keyset from SQLite, {large} rows"
        arms += [
            Arm(f"keyset, {place}", words, partial(_bare, pages, plain.address, key, reads))
            for place, key in (("first", 0), ("last", large - PAGE))
        ]
        goals = [rates.at_most(METRIC, f"last of {size}", 1.5, f"first of {size}") for size in sizes.values()]
        facts = {"filling": "through the Store protocol, in process, before the server started"}
        yield Plan(arms, goals, facts, settle=lambda: procs.settle(server.pid))


ROW = Row("pages", "page of 1000 tasks, first and last", open_row)
