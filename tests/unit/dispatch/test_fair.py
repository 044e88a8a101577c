"""Does every project with work get its share of worker-seconds, whatever its records take, and nobody waits long?"""

from __future__ import annotations

import pytest

from batchyard_server.model.states import TaskState
from tests.unit.dispatch.market import Market

LONG, SHORT = 1.0, 0.02


def share(worked: dict[str, int], project: str) -> float:
    """The part of all work that was this project's."""
    return worked[project] / sum(worked.values())


@pytest.mark.parametrize("slots", [1, 2, 3])
async def test_records_of_1_s_and_of_10_ms(slots: int) -> None:
    market = Market(slots=slots)
    market.create("a", 1000, LONG)
    market.create("b", 4_000, SHORT)
    await market.go(10)
    worked = await market.go(24)
    assert share(worked, "a") == pytest.approx(0.5, abs=0.05)
    assert sum(worked.values()) > 0.85 * slots * 24e9  # no slot stands idle


async def test_by_weight() -> None:
    market = Market(slots=2, weights={"a": 2.0})
    market.create("a", 1000, 0.2)
    market.create("b", 4_000, SHORT)
    await market.go(5)
    assert share(await market.go(24), "a") == pytest.approx(2 / 3, abs=0.04)


async def test_by_project_not_by_task() -> None:
    market = Market(slots=2)
    market.create("a", 5000, SHORT)
    for _ in range(9):
        market.create("b", 5000, SHORT)
    await market.go(2)
    assert share(await market.go(20), "a") == pytest.approx(0.5, abs=0.05)


async def test_a_priority_holds_inside_its_project() -> None:
    market = Market(slots=2)
    market.create("a", 5000, SHORT, priority=1000)
    high = market.create("b", 600, SHORT)
    low = market.create("b", 5000, SHORT, priority=-1000)
    await market.go(2)
    assert share(await market.go(8), "a") == pytest.approx(0.5, abs=0.05)
    assert not low.outcomes
    await market.go(10)
    assert high.task.state is TaskState.SUCCEEDED
    assert low.outcomes


async def test_who_comes_late_has_no_credit_and_no_debt() -> None:
    market = Market(slots=2)
    market.create("a", 4_000, SHORT)
    await market.go(24)
    market.create("b", 4_000, SHORT)
    assert share(await market.go(2), "b") == pytest.approx(0.5, abs=0.1)
    assert share(await market.go(20), "b") == pytest.approx(0.5, abs=0.05)


async def test_idle_time_is_no_credit() -> None:
    market = Market(slots=1)
    market.create("a", 4_000, SHORT)
    first = market.create("b", 100, SHORT)
    await market.go(5)
    assert first.task.state is TaskState.SUCCEEDED
    await market.go(24)
    market.create("b", 4_000, SHORT)
    assert share(await market.go(4), "b") == pytest.approx(0.5, abs=0.1)


async def test_who_goes_and_comes_back_at_once_has_not_lost_its_debt() -> None:
    """Else many small tasks one after the other would be worth more than one large one."""
    market = Market(slots=1)
    market.create("a", 4_000, SHORT)
    await market.go(1)
    for _ in range(20):
        held = market.create("b", 1, LONG)
        while not held.task.state.is_final:
            await market.go(0.1)
    assert share(market.worked, "b") == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("slots", [1, 2, 3])
async def test_two_projects_with_handlers_of_their_own(slots: int) -> None:
    market = Market(slots=slots, handlers=("x", "y"))
    market.create("a", 4_000, SHORT, handler="x")
    market.create("b", 4_000, SHORT, handler="y")
    await market.go(6)
    assert share(await market.go(24), "a") == pytest.approx(0.5, abs=0.08)
    assert market.stage.launcher.started < 40 * slots


async def test_many_handlers_are_worth_no_more_than_one() -> None:
    market = Market(slots=2, handlers=("x", "y", "z"))
    for handler in ("x", "y"):
        market.create("a", 4_000, SHORT, handler=handler)
    market.create("b", 4_000, SHORT, handler="z")
    await market.go(6)
    assert share(await market.go(24), "b") == pytest.approx(0.5, abs=0.1)


async def test_a_handler_that_cannot_be_loaded_is_no_credit() -> None:
    market = Market(slots=2)
    market.create("a", 4_000, SHORT, handler="gone")
    market.create("b", 4_000, SHORT)
    await market.go(24)
    assert share(market.worked, "b") == 1.0
    market.create("a", 4_000, SHORT)
    assert share(await market.go(10), "a") < 0.7
    assert share(await market.go(20), "a") == pytest.approx(0.5, abs=0.05)


async def test_what_may_use_one_slot_leaves_the_others_and_gets_little_credit() -> None:
    market = Market(slots=4)
    market.create("a", 4_000, SHORT, parallel_count=1)
    market.create("b", 4_000, SHORT)
    assert share(await market.go(12), "a") == pytest.approx(0.25, abs=0.03)
    market.create("a", 4_000, SHORT)
    await market.go(4)
    assert share(await market.go(12), "a") == pytest.approx(0.5, abs=0.05)


async def test_idle_workers_of_a_handler_that_may_not_use_them_are_exchanged() -> None:
    market = Market(slots=4, handlers=("x", "y"))
    many = market.create("a", 150, SHORT, handler="x")
    while not many.task.state.is_final:
        await market.go(0.1)
    market.create("a", 4_000, SHORT, handler="x", parallel_count=1)
    market.create("b", 4_000, SHORT, handler="y")
    await market.go(6)
    market.most.clear()
    await market.go(2)
    assert market.most == {"x": 1, "y": 3}


async def test_records_that_are_killed_count() -> None:
    market = Market(slots=1)
    market.create("a", 1000, 3600, record_timeout_us=1_000_000)
    market.create("b", 4_000, SHORT)
    await market.go(24)
    ended = market.worked["b"] / 1e9
    assert 9 < ended < 15  # of the 24 seconds


async def test_a_record_that_does_not_end_counts_while_it_runs() -> None:
    """Who has one slot for hours does not get the other one, too."""
    market = Market(slots=2)
    market.create("a", 100, 3600)
    market.create("b", 4_000, SHORT)
    await market.go(24)
    assert len([each for each in market.starts if each.project == "a"]) == 1


# -- how soon ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.02, 0.05, 0.1, 1.0])
@pytest.mark.parametrize("project", ["a", "b"])
@pytest.mark.parametrize("slots", [1, 3])
async def test_one_record_behind_a_million(seconds: float, project: str, slots: int) -> None:
    market = Market(slots=slots, step=0.01)
    market.create("a", 4_000, seconds)
    await market.go(max(3, 20 * seconds))
    for _ in range(3):
        began, held = market.now, market.create(project, 1, seconds)
        await market.go(3 * seconds + 0.1)
        assert market.first(held).at - began <= 2 * seconds
    await market.stage.stop()


@pytest.mark.parametrize("project", ["a", "b"])
async def test_one_record_of_another_handler(project: str) -> None:
    """Its worker is to be started, too, in the place of one that gives back what it has not begun."""
    market = Market(slots=1, handlers=("x", "y"), step=0.01)
    market.create("a", 4_000, 0.05, handler="x")
    await market.go(3)
    began, held = market.now, market.create(project, 1, 0.05, handler="y")
    await market.go(1)
    assert market.first(held).at - began <= 2 * 0.05 + 3 * market.step
    await market.stage.stop()


async def test_a_slowness_that_nobody_knew_of_is_taken_back_too() -> None:
    market = Market(slots=1, step=0.01)
    market.create("a", 4_000, 0.001)
    await market.go(3)
    market._seconds["0"] = 0.04
    await market.go(0.2)
    began, held = market.now, market.create("b", 1, 0.04)
    await market.go(1)
    assert market.first(held).at - began <= 0.09
    await market.stage.stop()


async def test_nothing_is_taken_back_for_the_second_record() -> None:
    market = Market(slots=1, step=0.01)
    market.create("a", 4_000, 0.02)
    await market.go(3)
    market.create("b", 4_000, 0.02)
    await market.go(1)
    before = list(market.taken_back)
    assert before in ([], ["a"])  # by how much the worker had left just then
    await market.go(10)
    assert share(market.worked, "b") > 0.3
    assert market.taken_back == before


async def test_nothing_is_taken_back_if_a_slot_is_free() -> None:
    market = Market(slots=2, step=0.01)
    market.create("a", 4_000, 0.02, parallel_count=1)
    await market.go(3)
    began, held = market.now, market.create("a", 1, 0.02)
    await market.go(1)
    assert market.first(held).at - began <= 0.02
    assert not market.taken_back


async def test_nothing_is_taken_from_a_higher_priority() -> None:
    market = Market(slots=1, step=0.01)
    market.create("a", 4_000, 0.02, priority=1)
    await market.go(3)
    held = market.create("a", 1, 0.02)
    await market.go(3)
    assert not held.outcomes
    assert not market.taken_back


async def test_it_is_the_project_with_most_slots_that_gives_back() -> None:
    market = Market(slots=3, step=0.01)
    market.create("a", 4_000, 0.02, parallel_count=1)
    market.create("b", 4_000, 0.02)
    await market.go(5)
    market.create("c", 1, 0.02)
    await market.go(0.1)
    assert set(market.taken_back) == {"b"}


async def test_many_that_come_do_not_starve_a_large_one() -> None:
    market = Market(slots=1, step=0.01)
    large = market.create("a", 4_000, 0.01)
    await market.go(2)
    before = len(large.outcomes)
    for _ in range(300):
        for _ in range(3):  # three times as much as can be done
            market.create("a", 1, 0.01)
        await market.go(0.01)
    assert len(large.outcomes) - before > 3
