"""kill -9 while the store is being made."""

from __future__ import annotations

import pathlib
import signal

import pytest

from batchyard_server.store.sqlite import migrate
from tests.crash.served import KILLED, Server, Stubs
from tests.crash.workload import list_tasks


@pytest.mark.parametrize("step", range(1, len(migrate.steps()) + 1))
async def test_a_start_that_was_killed_in_a_migration_is_made_up_for_by_the_next(
    tmp_path: pathlib.Path, step: int
) -> None:
    server = Server(tmp_path)
    try:
        assert not await server.start(failpoints=f"store.migrate=kill@{step}")
        assert await server.start()
        stubs = Stubs(server.target)
        assert await list_tasks(stubs) == []
        await stubs.channel.close()
        server.signal(signal.SIGKILL)
        assert await server.ended() == KILLED
        server.check_file()
    finally:
        await server.end()
