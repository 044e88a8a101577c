"""Streamed outcomes, parsed at the client, beside the same pages from the memory of a bare server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from batchyard.v1 import batch_task_service_pb2
from tests.bench import api, bare, procs, rates, services
from tests.bench.harness import Arm, Env, Goal, Plan, Row
from tests.bench.procs import Driver
from tests.bench.server import Server, serving

FULL, QUICK = 200_000, 5_000
SHAPES = (("small", "65-byte"), ("text", "200-byte"))


def ended_task(submitter: Driver, reader: Driver, count: int, kind: str) -> str:
    """Run `count` records of a shape to their end; the name of their task."""
    submitter.call("prepare", count=count, kind=kind)
    created = submitter.call("create", handler="bench_noop")
    submitter.call("upload")
    reader.call("read", operation=created["operation"])
    task: str = created["task"]
    return task


def _keep_pages(server: Server, request: bytes, path: Path) -> None:
    with api.connect(server.address) as channel:
        bare.write_messages(path, channel.unary_stream(api.SERVICE + "StreamRecords")(request))


@contextlib.contextmanager
def open_row(env: Env) -> Iterator[Plan]:
    """Two ended tasks, and their very pages in the memory of bare servers."""
    count = env.size(FULL, QUICK)
    values = {"pages": "records", "seconds": rates.seconds(env), "expected": count}
    arms = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(env))
        submitter, reader, drain = stack.enter_context(services.drivers(env, "submitter", "reader", "drain"))
        for client in (submitter, reader):
            client.call("connect", address=server.address)
        for kind, words in SHAPES:
            task = ended_task(submitter, reader, count, kind)
            request = batch_task_service_pb2.StreamRecordsRequest(parent=task).SerializeToString()
            path = env.workdir / f"{kind}.pages"
            _keep_pages(server, request, path)
            plain = stack.enter_context(services.bare(env, kind, pages=path))
            method = api.SERVICE + "StreamRecords"
            ours = partial(rates.drain, drain, server.pid, server.address, method, request, **values)
            theirs = partial(rates.drain, drain, plain.pid, plain.address, "/Bare/Pages", b"", **values)
            arms.append(Arm(f"batchyard, {words}", f"StreamRecords, {count} outcomes of {words} records", ours))
            arms.append(Arm(f"memory, {words}", "grpc.aio on uvloop: the same pages from memory", theirs))
        goals = [Goal(f"batchyard, 65-byte.{rates.ITEMS}", ">=", 1.5e6, note="the records the target was set with")]
        yield Plan(arms, goals, {"client": rates.DRAIN_WORDS}, settle=lambda: procs.settle(server.pid))


ROW = Row("outcomes", "streamed outcomes, parsed", open_row)
