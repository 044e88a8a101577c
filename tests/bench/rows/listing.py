"""Streamed listing of tasks, parsed at the client, beside a bare stream of pages from SQLite."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

from batchyard.v1 import batch_task_service_pb2
from tests.bench import api, bare, procs, rates, services
from tests.bench.harness import Arm, Env, Plan, Row
from tests.bench.server import Server, serving

FULL, QUICK = 50_000, 5_000


def task_bytes(server: Server, parent: str = api.PROJECT) -> Iterator[bytes]:
    """Every task of a project, serialized, in the order of the listing."""
    with api.connect(server.address) as channel:
        service, _ = api.stubs(channel)
        for page in service.StreamBatchTasks(batch_task_service_pb2.StreamBatchTasksRequest(parent=parent)):
            for task in page.batch_tasks:
                yield task.SerializeToString()


@contextlib.contextmanager
def open_row(env: Env) -> Iterator[Plan]:
    """Our server full of tasks, and the same bytes in a table of a bare server."""
    count = env.size(FULL, QUICK)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(env))
        load, drain = stack.enter_context(services.drivers(env, "load", "drain"))
        create = api.SERVICE + "CreateBatchTask"
        load.call("run", address=server.address, method=create, in_flight=50, calls=count, kind="creates")
        database = env.workdir / "rows.db"
        stored, size = bare.fill_rows(database, task_bytes(server))
        plain = stack.enter_context(services.bare(env, database=database))
        values = {"pages": "tasks", "seconds": rates.seconds(env), "expected": count}
        request = batch_task_service_pb2.StreamBatchTasksRequest(parent=api.PROJECT).SerializeToString()
        method = api.SERVICE + "StreamBatchTasks"
        arms = [
            Arm(
                "batchyard",
                f"StreamBatchTasks, {count} tasks of {size // stored} bytes",
                partial(rates.drain, drain, server.pid, server.address, method, request, **values),
            ),
            Arm(
                "SQLite page stream",
                "grpc.aio on uvloop: the same messages by keyset from SQLite, 1000 in a page",
                partial(rates.drain, drain, plain.pid, plain.address, "/Bare/Rows", b"", **values),
            ),
        ]
        goals = [rates.at_least(rates.ITEMS, "batchyard", 0.8, "SQLite page stream")]
        yield Plan(arms, goals, {"client": rates.DRAIN_WORDS}, settle=lambda: procs.settle(server.pid))


ROW = Row("listing", "streamed listing of tasks, parsed", open_row)
