"""Record upload, durable, beside SQLite's own rate for blobs and a bare stream."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

from tests.bench import procs, services
from tests.bench.harness import Arm, Env, Goal, Plan, Row, Sample
from tests.bench.procs import Driver
from tests.bench.server import Server, serving

RECORD, PER_MESSAGE = 4096, 256
FULL, QUICK = 200, 16
METRIC = "mb_per_s"


def _ours(driver: Driver, server: Server) -> Sample:
    before = procs.cpu_seconds(server.pid)
    done: Sample = driver.call("run", address=server.address)
    return {**done, "server_cpu_s": procs.cpu_seconds(server.pid) - before}


@contextlib.contextmanager
def open_row(env: Env) -> Iterator[Plan]:
    """Our server, the bare one, and the messages ready to be sent."""
    megabytes = env.size(FULL, QUICK)
    folder = str(env.folder("blobs"))
    with (
        services.bare(env) as bare,
        serving(env) as server,
        services.drivers(env, "upload", "blobs") as (upload, blobs),
    ):
        upload.call("prepare", record_bytes=RECORD, records_per_message=PER_MESSAGE, megabytes=megabytes)
        words = f"{megabytes} MiB of random bytes, records of {RECORD}, {PER_MESSAGE} in a message"
        arms = [
            Arm("batchyard", f"AppendRecords to the last acknowledgement; {words}", partial(_ours, upload, server)),
            Arm(
                "SQLite",
                f"page_size 16384, WAL, synchronous=FULL, {megabytes} transactions of one 1 MiB blob",
                partial(blobs.call, "run", folder=folder, megabytes=megabytes),
            ),
            Arm(
                "bare stream",
                f"grpc.aio on uvloop, drops and answers each message; {words}",
                partial(upload.call, "run_bare", address=bare.address),
            ),
        ]
        goal = Goal(f"batchyard.{METRIC}", ">=", 0.4, (f"SQLite.{METRIC}",))
        yield Plan(arms, [goal], {"megabyte": "10^6 bytes of payload"}, settle=lambda: procs.settle(server.pid))


ROW = Row("upload", "record upload, durable", open_row)
