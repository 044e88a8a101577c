"""Records over a connection that is cut at random bytes: all there, each once, as it was; memory is flat."""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from batchyard import AsyncClient, Client
from tests.support import footprint
from tests.support.proxy import CutProxy, random_budgets
from tests.support.server import Process, process
from tests.upload.records import LEAST_BYTES, ByCompletion, ByIndex, Source

HANDLERS = pathlib.Path(__file__).parent / "handlers"
SEED = int(os.environ.get("UPLOAD_SEED", random.SystemRandom().randrange(1 << 32)))
GROWTH = 64 * footprint.MB
PATIENCE = 120.0
_TOML = f"""\
[handlers.fingerprint]
kind = "python"
callable = "fingerprint:fingerprint"
path = ["{HANDLERS}"]
"""


@contextlib.contextmanager
def starting(folder: pathlib.Path) -> Iterator[Process]:
    (folder / "handlers.toml").write_text(_TOML)
    with process(folder, "--handlers", str(folder / "handlers.toml"), "--workers", "2") as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with starting(tmp_path_factory.mktemp("upload")) as server:
        with Client(server.target) as client:  # what is loaded and made at the first call is no growth
            client.batch.run("fingerprint", Source(1, 5000)).wait(poll_timeout=PATIENCE)
        yield server


class Memory:
    """The server's peak since this was made, step by step; prints each."""

    def __init__(self, server: Process) -> None:
        self._pid = server.popen.pid
        self._before = footprint.forget_peak(self._pid)

    def check(self, what: str) -> None:
        """At most GROWTH more than before."""
        grown = footprint.peak(self._pid) - self._before
        print(f"{what}: the server's peak is {grown / footprint.MB:.1f} MB above {self._before / footprint.MB:.0f} MB")
        assert grown <= GROWTH, f"{what}: +{grown / footprint.MB:.1f} MB"


def cutting(server: Process, chance: random.Random, *, up: int, down: int) -> CutProxy:
    return CutProxy(server.target, random_budgets(chance, up=up, down=down))


def note(what: str, proxy: CutProxy, least: int) -> None:
    """Print how often the connections were cut, and check that it was often enough."""
    cuts = sum(proxy.cuts.values())
    print(f"{what}: {cuts} cuts ({proxy.cuts['up']} towards the server, {proxy.cuts['down']} back)")
    assert cuts >= least


def read_back(task: Any, source: Source) -> None:
    """Read everything in both orders."""
    by_index = ByIndex(source)
    for page in task.pages(view="full"):
        by_index.take(page.records)
    by_index.check()
    by_completion = ByCompletion(source)
    for page in task.pages(order="completion"):
        by_completion.take(page.records)
    by_completion.check()


def upload(server: Process, count: int, *, least: int, acks: int) -> None:
    """Upload, run and read back `count` records; at least `least` cuts on the way there, and on the way back.

    `acks`: after at most how many bytes of the server's answers to an upload the connection is cut.
    """
    print(f"seed {SEED}")
    chance, each = random.Random(SEED), count * LEAST_BYTES // (least + 1)
    source = Source(chance.getrandbits(32), count)
    memory = Memory(server)
    with Client(server.target) as direct:
        with cutting(server, chance, up=each, down=acks) as proxy, Client(proxy.target) as client:
            operation = client.batch.run("fingerprint", source, timeout=PATIENCE)
        note("upload", proxy, least)
        memory.check("after the upload")
        task = direct.batch.get(operation.task_id)
        counts = task.wait(poll_timeout=PATIENCE).counts
        assert (counts.total, counts.succeeded) == (count, count)
        memory.check("after the run")
        read_back(task, source)
        memory.check("after it was read")
        with cutting(server, chance, up=2 * each, down=each) as proxy, Client(proxy.target) as client:
            read_back(client.batch.get(operation.task_id), source)
        note("reading", proxy, least)
        memory.check("after it was read with cuts")


async def upload_async(server: Process, count: int, *, least: int, acks: int) -> None:
    """The same with the asynchronous client and an asynchronous source."""
    print(f"seed {SEED}")
    chance, each = random.Random(SEED), count * LEAST_BYTES // (least + 1)
    source = Source(chance.getrandbits(32), count)
    memory = Memory(server)

    async def records() -> AsyncIterator[bytes]:
        for record in source:
            yield record

    with cutting(server, chance, up=each, down=acks) as proxy:
        async with AsyncClient(proxy.target) as client:
            operation = await client.batch.run("fingerprint", records(), timeout=PATIENCE)
    note("upload", proxy, least)
    memory.check("after the upload")
    with cutting(server, chance, up=2 * each, down=each) as proxy:
        async with AsyncClient(proxy.target) as client:
            task = await client.batch.get(operation.task_id)
            counts = (await task.wait(poll_timeout=PATIENCE)).counts
            assert (counts.total, counts.succeeded) == (count, count)
            by_index = ByIndex(source)
            async for page in task.pages(view="full"):
                by_index.take(page.records)
            by_index.check()
            by_completion = ByCompletion(source)
            async for page in task.pages(order="completion"):
                by_completion.take(page.records)
            by_completion.check()
    note("reading", proxy, least)
    memory.check("after it was read with cuts")


def test_twenty_thousand_records(server: Process) -> None:
    upload(server, 20_000, least=3, acks=1500)


async def test_twenty_thousand_records_async(server: Process) -> None:
    await upload_async(server, 20_000, least=3, acks=1500)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name)
def test_a_server_that_ends_and_comes_back(tmp_path: pathlib.Path, number: signal.Signals) -> None:
    source = Source(3, 30_000)
    with contextlib.ExitStack() as stack:
        lives = [stack.enter_context(starting(tmp_path))]
        proxy = stack.enter_context(CutProxy(lives[0].target))

        def records() -> Iterator[bytes]:
            for at, record in enumerate(source):
                if at in {9_000, 21_000}:
                    lives[-1].signal(number)
                    assert lives[-1].wait() == (0 if number == signal.SIGTERM else -number)
                    lives.append(stack.enter_context(starting(tmp_path)))
                    proxy.retarget(lives[-1].target)
                yield record

        client = stack.enter_context(Client(proxy.target))
        task = client.batch.run("fingerprint", records(), timeout=PATIENCE)
        assert task.wait(poll_timeout=PATIENCE).counts.succeeded == len(source.sums)
        read_back(task, source)
        assert len(lives) == 3


@pytest.mark.long
@pytest.mark.timeout(280)
def test_a_million_records(server: Process) -> None:
    upload(server, 1_000_000, least=50, acks=3000)


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_two_hundred_thousand_records_async(server: Process) -> None:
    await upload_async(server, 200_000, least=20, acks=2000)
