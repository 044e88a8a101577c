"""priority, seen in the order in which handlers begin: who comes later with a higher one overtakes all who wait."""

from __future__ import annotations

import pathlib

from tests.live.seats import TOML, Execution, executions, submit, update
from tests.live.served import Live, living
from tests.support.eventually import eventually

WORKERS = 2
SLOW = {"sleep": 0.02}
READY = 2 * 16 * WORKERS  # records that may lie ready at workers, more than there are


def before(found: list[Execution], task: str, other: str) -> int:
    """How many of `other` began after the first of `task` and before its last."""
    begun = [each.begin for each in found if each.task == task]
    return sum(begun[0] < each.begin < begun[-1] for each in found if each.task == other)


def begun(live: Live, task: str, count: int) -> None:
    """Wait until so many of its records have ended."""
    eventually(lambda: len(executions(live, task)) >= count)


def test_a_later_task_overtakes(tmp_path: pathlib.Path) -> None:
    with living(tmp_path, workers=WORKERS, toml=TOML) as live:
        low = [submit(live, task, [SLOW] * 100) for task in ("low", "low2")]
        begun(live, "low", 10)
        high = submit(live, "high", [SLOW] * 60, priority=1)
        assert live.finish(high).counts.succeeded == 60
        found = executions(live)
        assert len([each for each in found if each.task != "high"]) < 100
        assert before(found, "high", "low") + before(found, "high", "low2") <= READY
        last = [each for each in found if each.task == "high"][20:]
        assert before(found, "high", "low") - before([*last, *executions(live, "low")], "high", "low") >= 0
        assert before(sorted([*last, *executions(live, "low")], key=lambda each: each.begin), "high", "low") == 0
        for name in low:
            assert live.finish(name).counts.succeeded == 100
        # Equal ones take turns.
        assert before(executions(live), "low", "low2") > 30


def test_across_handlers(tmp_path: pathlib.Path) -> None:
    with living(tmp_path, workers=WORKERS, toml=TOML) as live:
        low = submit(live, "low", [SLOW] * 150)
        begun(live, "low", 10)
        high = submit(live, "high", [SLOW] * 60, "other", priority=1000)
        assert live.finish(high).counts.succeeded == 60
        assert before(executions(live), "high", "low") <= READY
        assert live.finish(low).counts.succeeded == 150
        assert {each.attempt for each in executions(live)} == {1}  # nothing was interrupted


def test_a_lower_one_gets_what_a_higher_one_leaves(tmp_path: pathlib.Path) -> None:
    with living(tmp_path, workers=WORKERS, toml=TOML) as live:
        high = submit(live, "high", [SLOW] * 60, priority=1, parallel_count=1)
        low = submit(live, "low", [SLOW] * 60)
        for name in (high, low):
            assert live.finish(name).counts.succeeded == 60
        assert before(executions(live), "high", "low") > 20


def test_a_change_of_priority(tmp_path: pathlib.Path) -> None:
    with living(tmp_path, workers=WORKERS, toml=TOML) as live:
        names = {task: submit(live, task, [SLOW] * 80) for task in ("a", "b", "c")}
        begun(live, "a", 10)
        update(live, names["c"], priority=7)
        assert live.finish(names["c"]).counts.succeeded == 80
        assert len(executions(live, "a")) < 60
        update(live, names["a"], priority=-7)
        assert live.finish(names["b"]).counts.succeeded == 80
        assert len(executions(live, "a")) < 70
        assert live.finish(names["a"]).counts.succeeded == 80
