"""Everything at once for a minute: submit, append, follow, cancel, delete, list, get. Nothing is wrong or grows."""

from __future__ import annotations

import asyncio
import os
import pathlib
import random

import pytest

from tests.crash.served import Server, Session, Stubs
from tests.crash.workload import Clients, list_tasks
from tests.support import footprint
from tests.support.ledger import Ledger
from tests.support.sidelog import SideLog

SEED = int(os.environ.get("SOAK_SEED", random.SystemRandom().randrange(1 << 32)))
ROUNDS, SECONDS = 5, 12.0
CROWD = 3  # times every kind of client
GROWTH = 24 * footprint.MB


async def one_round(clients: Clients, stubs: Stubs) -> None:
    """Let the clients work for a while, each to the end of what it has begun; meanwhile somebody lists."""
    clients.stop.clear()
    listed = 0

    async def lister() -> None:
        nonlocal listed
        while not clients.stop.is_set():
            names = [info.name for info in await list_tasks(stubs)]
            assert len(names) == len(set(names))
            listed += 1

    async with asyncio.TaskGroup() as group:
        for loop in (loop for _ in range(CROWD) for loop in clients.loops()):
            group.create_task(loop)
        group.create_task(lister())
        try:
            await asyncio.wait_for(clients.stop.wait(), SECONDS)
        except TimeoutError:
            clients.stop.set()
    assert listed > 0


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_a_minute_of_everything(tmp_path: pathlib.Path) -> None:
    print(f"seed {SEED}")
    server, session, ledger = Server(tmp_path), Session(), Ledger()
    clients = Clients(session, ledger, SideLog(server.side_log), random.Random(SEED), bulk=5000)
    try:
        assert await server.start()
        stubs = Stubs(server.target)
        session.open(stubs)
        used: list[int] = []
        for number in range(ROUNDS):
            await one_round(clients, stubs)
            ledger.audit(await list_tasks(stubs))
            used.append(footprint.resident(server.pid))
            print(
                f"round {number + 1}: {clients.finished} tasks checked, {clients.cancels} cancelled,"
                f" {len(ledger.entries)} made, {used[-1] / footprint.MB:.0f} MB,"
                f" {footprint.descriptors(server.pid)} descriptors, {footprint.threads(server.pid)} threads"
            )
        await session.close()
        await server.stop()
        server.check_file()
        log = server.log.read_text()
        assert " ERROR " not in log, log[-4000:]
        assert "Traceback" not in log, log[-4000:]
        assert used[-1] - used[0] <= GROWTH
    finally:
        await server.end()
