"""Watching the real server, its workers and its ends: nothing is missed, nothing comes twice."""

from __future__ import annotations

import random
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from batchyard import BatchTaskState
from tests.client.test_real_server import gate, serve, until_waited  # noqa: F401 - a fixture
from tests.support.proxy import CutProxy, random_budgets

RECORDS = 30_000
pytestmark = pytest.mark.xdist_group("real server")


def test_over_cuts_and_a_server_that_is_killed(connect: Any, tmp_path: Path) -> None:
    chance = random.Random(7)
    with ExitStack() as stack:
        first = serve(tmp_path, stack)
        proxy = stack.enter_context(CutProxy(first.target, random_budgets(chance, up=200_000, down=2_000_000)))
        client = connect(proxy.target)
        operation = client.batch.run("echo", range(RECORDS))
        indexes: list[int] = []
        states: list[int] = []
        killed = False
        for message in operation.watch(include_records=True):
            indexes += [record.index for record in message.records]
            if message.state:
                states.append(message.state)
                assert message.counts.succeeded <= len(indexes)
            if not killed and len(indexes) > RECORDS // 4:
                killed = True
                first.signal(signal.SIGKILL)
                first.wait()
                proxy.retarget(serve(tmp_path, stack).target)
        assert killed
        assert states[-1] == BatchTaskState.SUCCEEDED
        assert len(indexes) == RECORDS
        assert indexes == [record.index for record in operation.records(order="completion")]
        assert proxy.cuts["down"] > 1


def test_what_runs_now(connect: Any, tmp_path: Path, gate: Path) -> None:  # noqa: F811 - the fixture
    with ExitStack() as stack:
        client = connect(serve(tmp_path, stack).target)
        operation = client.batch.run("gated", [1], parameters=str(gate))
        until_waited(gate)
        messages = iter(operation.watch())
        while next(messages).counts.running != 1:
            pass
        gate.touch()
        assert [message.counts.succeeded for message in messages][-1] == 1
