"""A hundred clients that ask for everything and read nothing: they cost the server little, and nobody else anything."""

from __future__ import annotations

import contextlib
import pathlib
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from batchyard import Client
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from tests.live.served import Live, living
from tests.support import footprint
from tests.support.eventually import eventually
from tests.support.server import SECONDS

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECORDS = 200_000
READERS = 100
GROWTH = 160 * footprint.MB  # measured 107 to 113: each has a message in gRPC, one in the making
SIZE = 500
SPARE = 20  # descriptors of a worker or two that came since


@contextlib.contextmanager
def readers(live: Live, task: str, count: int) -> Iterator[subprocess.Popen[str]]:
    """A process of readers that have had their first message."""
    argv = [sys.executable, "-m", "tests.soak.readers", live.server.target, task, str(count)]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], SECONDS)
            assert ready
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.long
@pytest.mark.timeout(150)
def test_frozen_readers(tmp_path: pathlib.Path) -> None:
    chance = random.Random(11)
    with living(tmp_path) as live, Client(live.server.target) as client, contextlib.ExitStack() as stack:
        task = client.batch.run("echo", (chance.randbytes(SIZE) for _ in range(RECORDS)))
        assert task.wait(poll_timeout=SECONDS).counts.succeeded == RECORDS
        descriptors = footprint.descriptors(live.pid)
        before = footprint.forget_peak(live.pid)
        groups = [stack.enter_context(readers(live, task.task_name, READERS // 2)) for _ in range(2)]
        groups[0].send_signal(signal.SIGSTOP)  # those of the other one live and answer pings
        assert footprint.descriptors(live.pid) >= descriptors + READERS
        read = sum(len(page.records) for page in task.pages())
        assert read == RECORDS
        name = live.submit([{}] * 1000)
        assert live.finish(name).state == BatchTaskInfo.SUCCEEDED
        grown = footprint.peak(live.pid) - before
        print(f"{READERS} readers that do not read: +{grown / footprint.MB:.1f} MB")
        assert grown <= GROWTH
        groups[1].kill()
        eventually(lambda: footprint.descriptors(live.pid) <= descriptors + READERS // 2 + SPARE)
        began = time.monotonic()
        live.server.signal(signal.SIGTERM)  # the frozen ones do not hold it up
        assert live.server.wait() == 0
        assert time.monotonic() - began < 10
