"""Fair shares and limits of handlers, measured in the handlers: who had how much of the workers, and who began when.

The full sizes are for `make ci-long`; the same at a fifth of them is for every day.
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import Sequence

import pytest

from batchyard import Client
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from tests.live.seats import TOML, Execution, executions, most_at_once, seats, submit, toml
from tests.live.served import Live, living
from tests.support.eventually import eventually

pytestmark = pytest.mark.xdist_group("fair")  # one after the other: they measure time
LONG = (pytest.mark.long, pytest.mark.timeout(200))
BURST_SECONDS = 0.1  # documented: that much of a rate may begin at once


def seconds_within(found: Sequence[Execution], begin: int, end: int) -> float:
    """Worker-seconds of these between two moments."""
    return sum(max(min(each.end, end) - max(each.begin, begin), 0) for each in found) / 1e9


def shares(live: Live, first: str, second: str, since: int) -> tuple[float, float]:
    """Worker-seconds of two tasks from the `since`-th record of the first one to the last that has ended."""
    mine, others = executions(live, first), executions(live, second)
    begin, end = mine[since].begin, max(each.end for each in mine)
    return seconds_within(mine, begin, end), seconds_within(others, begin, end)


# -- projects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slow", "quick", "count"),
    [(0.2, 0.005, 40), pytest.param(1.0, 0.01, 20, marks=LONG)],
)
def test_two_projects_have_the_same(tmp_path: pathlib.Path, slow: float, quick: float, count: int) -> None:
    with living(tmp_path, workers=2, toml=TOML) as live:
        submit(live, "slow", [{"sleep": slow}] * 1000, parent="projects/slow")
        submit(live, "quick", [{"sleep": quick}] * 20_000, parent="projects/quick")
        eventually(lambda: len(executions(live, "slow")) > count, seconds=120)
        had = shares(live, "slow", "quick", count // 4)
        assert had[0] / sum(had) == pytest.approx(0.5, abs=0.1), had


def test_also_with_handlers_of_their_own(tmp_path: pathlib.Path) -> None:
    """Three slots cannot be halved: one of them is handed to and fro."""
    with living(tmp_path, workers=3, toml=TOML) as live:
        submit(live, "slow", [{"sleep": 0.1}] * 1000, parent="projects/slow")
        submit(live, "quick", [{"sleep": 0.01}] * 20_000, "other", parent="projects/quick")
        eventually(lambda: len(executions(live, "slow")) > 160, seconds=120)
        had = shares(live, "slow", "quick", 40)
        assert had[0] / sum(had) == pytest.approx(0.5, abs=0.1), had


# -- how soon ---------------------------------------------------------------------------------------------------------


def overtaken(live: Live, large: str, small: str, since_ns: int) -> int:
    """How many records of the large task began at the small one's slots after a moment and before the small one."""
    (mine,) = executions(live, small)
    return sum(since_ns < each.begin < mine.begin for each in executions(live, large))


@pytest.mark.parametrize("parent", ["projects/default", "projects/another"])
@pytest.mark.parametrize("seconds", [0.02, 0.05, 0.15])
def test_one_record_behind_many(tmp_path: pathlib.Path, seconds: float, parent: str) -> None:
    """It begins within two record times: at the one slot at most one other record begins before it."""
    with living(tmp_path, workers=1, toml=TOML) as live:
        submit(live, "large", [{"sleep": seconds}] * 20_000)
        eventually(lambda: len(executions(live, "large")) > 20)
        for number in range(4):
            name = submit(live, f"small{number}", [{"sleep": seconds}], parent=parent)
            accepted = time.monotonic_ns()
            assert live.finish(name).counts.succeeded == 1
            assert overtaken(live, "large", f"small{number}", accepted) <= 1


@pytest.mark.long
@pytest.mark.timeout(200)
@pytest.mark.parametrize("seconds", [0.05, 1.0])
def test_one_record_behind_a_million(tmp_path: pathlib.Path, seconds: float) -> None:
    with living(tmp_path, workers=2, toml=TOML) as live, Client(live.server.target) as client:
        parameters = {"task": "large"}
        client.batch.run("seated", ({"sleep": seconds} for _ in range(1_000_000)), parameters=parameters)
        eventually(lambda: len(executions(live, "large")) > 6)
        for number, parent in enumerate(["projects/default", "projects/another"] * 2):
            name = submit(live, f"small{number}", [{"sleep": seconds}], parent=parent)
            accepted = time.monotonic_ns()
            assert live.finish(name).counts.succeeded == 1
            (mine,) = executions(live, f"small{number}")
            assert mine.begin - accepted < 2 * seconds * 1e9


# -- limits -----------------------------------------------------------------------------------------------------------


def test_concurrency(tmp_path: pathlib.Path) -> None:
    with living(tmp_path, workers=4, toml=TOML + toml("narrow", "concurrency = 2")) as live:
        # They call themselves the same, so they take seats in one row.
        narrow = [
            submit(live, "narrow", [{"sleep": 0.02}] * 60 + [{"n": 1}] * 500, "narrow", parent=parent)
            for parent in ("projects/a", "projects/b", "projects/a")
        ]
        wide = submit(live, "wide", [{"sleep": 0.02}] * 200)
        for name in (*narrow, wide):
            live.finish(name)
        assert seats(live, "narrow") == {0, 1}
        assert most_at_once(executions(live)) > 2


def most_in(starts: Sequence[int], seconds: float) -> int:
    """Most that began within so many seconds."""
    most = first = 0
    for count, at in enumerate(starts, start=1):
        while at - starts[first] >= seconds * 1e9:
            first += 1
        most = max(most, count - first)
    return most


def least_in(starts: Sequence[int], seconds: float) -> int:
    """Fewest that began within so many seconds, between the first and the last."""
    least, last = len(starts), 0
    for first, at in enumerate(starts):
        while last < len(starts) and starts[last] - at < seconds * 1e9:
            last += 1
        if last == len(starts):
            break
        least = min(least, last - first)
    return least


@pytest.mark.parametrize(
    ("sleeps", "window", "total"),
    [
        ({40: 0.001}, 4.0, 7.0),
        pytest.param({2: 0.5, 10: 0.15, 100: 0.005, 1000: 0.0}, 10.0, 22.0, marks=LONG),
    ],
)
def test_rate(tmp_path: pathlib.Path, sleeps: dict[int, float], window: float, total: float) -> None:
    """`sleeps`: how long a record of the handler with a rate takes, by that rate."""
    paced = "".join(toml(f"paced{rate}", f'rate = "{rate * 60}/m"') for rate in sleeps)
    with living(tmp_path, workers=2 * len(sleeps), toml=paced) as live:
        names = [
            submit(live, f"{project}{rate}", records, f"paced{rate}", parent=f"projects/{project}")
            for rate, sleep in sleeps.items()
            for project, records in zip("ab", [[{"sleep": sleep}] * int(rate * total / 2)] * 2, strict=True)
        ]
        for name in names:
            assert live.finish(name).counts.failed == 0
        found = executions(live)
        for rate in sleeps:
            starts = [each.begin for each in found if each.task[1:] == str(rate)]
            assert most_in(starts, window) <= rate * window + max(1, rate * BURST_SECONDS)
            assert least_in(starts, window) >= 0.9 * rate * window


def test_a_task_says_that_only_a_limit_holds_it(tmp_path: pathlib.Path) -> None:
    limited = toml("seldom", 'rate = "1/h"') + toml("single", "concurrency = 1")
    with living(tmp_path, workers=3, toml=TOML + limited) as live:
        seldom = submit(live, "seldom", [{}] * 3, "seldom")
        single = submit(live, "single", [{"gate": "single"}], "single")
        eventually(lambda: live.counts(single).running == 1)
        behind = submit(live, "behind", [{}], "single")
        eventually(lambda: live.counts(seldom).succeeded == 1)
        for name, state in ((seldom, BatchTaskInfo.RUNNING), (behind, BatchTaskInfo.QUEUED)):
            eventually(lambda name=name: live.info(name).waiting_reason == BatchTaskInfo.LIMITED)
            assert live.info(name).state == state
        assert live.info(single).waiting_reason == BatchTaskInfo.WAITING_REASON_UNSPECIFIED
        live.open("single")
        assert live.finish(behind).counts.succeeded == 1
        # It holds nobody else.
        assert live.finish(submit(live, "other", [{}] * 20)).counts.succeeded == 20
        live.cancel(seldom)
