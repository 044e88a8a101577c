"""Unary pages of 1000 tasks: the last one beside the first one, in projects of two sizes."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator
from functools import partial

from tests.bench import bare, procs, services
from tests.bench.harness import Arm, Env, Plan, Row, RowError
from tests.bench.procs import Driver
from tests.bench.rows.listing import task_bytes
from tests.bench.rows.record_pages import QUICK_READS, READS, first_and_last, flat
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


def _arm(server: Server, pages: Driver, project: str, count: int, reads: int) -> Arm:
    parent = f"projects/{project}"
    walked = pages.call("walk", address=server.address, kind="tasks", parent=parent)
    if walked["items"] != count:
        raise RowError(f"{walked['items']} of {count} tasks of {parent} were listed")
    values = {"address": server.address, "kind": "tasks", "parent": parent, "count": reads}
    words = f"ListBatchTasks, page_size {PAGE}, project of {count} tasks, sequential"
    tokens = ["", walked["last"]]
    return Arm(f"of {count}", words, partial(first_and_last, pages, "times", tokens=tokens, **values))


@contextlib.contextmanager
def open_row(env: Env) -> Iterator[Plan]:
    """One server with both projects, filled before it starts, and a bare one with as many rows."""
    sizes = {"small": env.size(SMALL, QUICK_SMALL), "large": env.size(LARGE, QUICK_LARGE)}
    reads, large = env.size(READS, QUICK_READS), sizes["large"]
    with contextlib.ExitStack() as stack:
        fill = [partial(_filled, env, name, size) for name, size in sizes.items()]
        server = stack.enter_context(serving(env, before=fill))
        (pages,) = stack.enter_context(services.drivers(env, "pages"))
        arms = [_arm(server, pages, name, size, reads) for name, size in sizes.items()]
        goals = [flat(arm.name) for arm in arms]
        sample = list(itertools.islice(task_bytes(server, "projects/large"), SAMPLED))
        database = env.workdir / "rows.db"
        bare.fill_rows(database, itertools.islice(itertools.cycle(sample), large))
        plain = stack.enter_context(services.bare(env, database=database))
        values = {"address": plain.address, "keys": [0, large - PAGE], "count": reads}
        words = f"grpc.aio on uvloop: the same messages by keyset from SQLite, {large} rows"
        arms.append(Arm("keyset", words, partial(first_and_last, pages, "bare_times", **values)))
        facts = {"filling": "through the Store protocol, in process, before the server started"}
        yield Plan(arms, goals, facts, settle=lambda: procs.settle(server.pid))


ROW = Row("pages", "page of 1000 tasks, first and last", open_row)
