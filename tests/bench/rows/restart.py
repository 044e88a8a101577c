"""Restart in the middle of a batch: killed with -9, how soon does it serve again, and is nothing lost or doubled."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from batchyard.v1 import batch_task_service_pb2
from tests.bench import api, services
from tests.bench.harness import Arm, Env, Goal, Plan, Row, RowError, Sample
from tests.bench.procs import Driver
from tests.bench.server import Server, serving

FULL, QUICK = 1_000_000, 100_000
POLL = 0.005
# The server's own line about the scan, in its log.
SCAN = re.compile(r"recover\w*.*?([\d.]+) ?ms")


def _scan_ms(log: Path, since: int) -> float:
    with log.open(encoding="utf-8", errors="replace") as lines:
        lines.seek(since)
        for line in lines:
            if found := SCAN.search(line):
                return float(found.group(1))
    raise RowError("the server's log has no line of its recovery (`recovered …`, with the milliseconds it took)")


def _counts(server: Server, task: str) -> tuple[int, int]:
    with api.connect(server.address) as channel:
        service, _ = api.stubs(channel)
        request = batch_task_service_pb2.GetBatchTaskRequest(name=task)
        counts = service.GetBatchTask(request, timeout=30, wait_for_ready=True).counts
    return counts.succeeded, counts.total


def measure(server: Server, submitter: Driver, reader: Driver, count: int, expected: str) -> Sample:
    """Kill after a third of the records, start again, read everything.

    Raises:
        RowError: The batch was over before the kill, or the outcomes are not the expected ones.
    """
    for client in (submitter, reader):
        client.call("connect", address=server.address)
    created = submitter.call("create", handler="bench_noop")
    submitter.call("upload")
    while submitter.call("succeeded", task=created["task"])["succeeded"] < count // 3:
        time.sleep(POLL)
    server.kill()
    since = server.log.stat().st_size
    began = time.monotonic()
    line = server.start()
    kept, total = _counts(server, created["task"])
    serving_s = time.monotonic() - began
    if kept >= total:
        raise RowError("the batch was over before the kill: nothing was in the middle")
    reader.call("connect", address=server.address)
    read = reader.call("read", operation=created["operation"])
    if read["count"] != count or read["digest"] != expected:
        raise RowError(f"{read['count']} of {count} outcomes came back after the kill, or wrong ones")
    return {
        "serving_s": serving_s,
        "line_s": line,
        "scan_ms_per_1e6": _scan_ms(server.log, since) / count * 1e6,
        "kept": kept,
    }


@contextlib.contextmanager
def open_row(env: Env) -> Iterator[Plan]:
    """Our server and the two clients."""
    count = env.size(FULL, QUICK)
    with serving(env) as server, services.drivers(env, "submitter", "reader") as (submitter, reader):
        digest = submitter.call("prepare", count=count, kind="text")["digest"]
        words = f"{count} records of 200 bytes, kill -9 of the server after a third; {server.settings}"
        arms = [Arm("batchyard", words, partial(measure, server, submitter, reader, count, digest))]
        goals = [
            Goal("batchyard.serving_s", "<=", 1.0, note="exec to the first answered call"),
            Goal("batchyard.scan_ms_per_1e6", "<=", 10.0, note="from the server's log"),
        ]
        facts = {"check": "after every kill all outcomes are read back: dense indexes, SHA-256 as expected"}
        yield Plan(arms, goals, facts)


ROW = Row("restart", "restart in the middle of a batch", open_row)
