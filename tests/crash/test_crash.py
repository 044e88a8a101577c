"""kill -9 in the middle of everything: at every failpoint, at random moments, of workers. Nothing is lost or twice."""

from __future__ import annotations

import os
import pathlib
import random

import pytest

from tests.crash.runner import Kill, Runner, at_points, at_random, points

SEED = int(os.environ.get("CRASH_SEED", random.SystemRandom().randrange(1 << 32)))


async def run(folder: pathlib.Path, kills: list[Kill], *, bulk: int) -> Runner:
    """One run; the server is gone after it, whatever happens."""
    runner = Runner(folder, SEED, bulk=bulk)
    try:
        await runner.run(kills)
    finally:
        await runner.server.end()
    print(f"kills: {runner.kills.total()} ({', '.join(f'{n} {what}' for what, n in sorted(runner.kills.items()))})")
    print(
        f"tasks checked: {runner.clients.finished}, cancelled: {runner.clients.cancels}, executions:"
        f" {runner.side.executions}, run again: {runner.side.repeated} of {len(runner.side.lost)} lost workers"
    )
    return runner


@pytest.mark.timeout(60)
async def test_three_kills(tmp_path: pathlib.Path) -> None:
    kills = [
        Kill(point="dispatch.before_outcomes", hit=3),
        Kill(after=1.2, workers=1),
        Kill(after=1.5, how="frozen"),
    ]
    runner = await run(tmp_path, kills, bulk=2000)
    assert runner.kills.total() == 4


@pytest.mark.long
@pytest.mark.timeout(560)
async def test_every_failpoint_and_random_moments(tmp_path: pathlib.Path) -> None:
    chance = random.Random(SEED)
    kills = [*at_points(points(), chance), *at_random(40, chance), *at_random(10, chance, workers=3)]
    runner = await run(tmp_path, kills, bulk=20_000)
    assert runner.kills["failpoint"] == 2 * len(points())
    assert sum(runner.kills[how] for how in ("server", "frozen", "supervisors", "draining")) >= 20
    assert runner.kills["worker"] + runner.kills["supervisor"] >= 20
