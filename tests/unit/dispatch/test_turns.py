"""Whose turn is it of which handler? And does it cost more when more wait?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from batchyard_server.dispatch.gates import Gates
from batchyard_server.dispatch.queue import TaskQueue
from batchyard_server.dispatch.shares import Order, Shares
from batchyard_server.dispatch.turns import Turns
from batchyard_server.model.handler import HandlerSpec, Kind
from batchyard_server.model.settings import Settings
from tests.support import store as tasks
from tests.support.clock import FakeClock

SECOND = 1_000_000_000


class Desk:
    """Queues, and what is charged to their projects."""

    def __init__(self, **concurrency: int) -> None:
        specs = {
            name: HandlerSpec(handler_id=name, kind=Kind.PYTHON, concurrency=most) for name, most in concurrency.items()
        }
        self.gates = Gates(specs, FakeClock(), lambda: None)
        self.shares = Shares(lambda _: 1.0)
        self.turns = Turns(self.shares, self.gates)
        self.absent: set[str] = set()

    def add(self, project: str = "a", handler: str = "x", **settings: int) -> TaskQueue:
        task = replace(tasks.new_task("t", 10, project=project).task, handler=handler, settings=Settings(**settings))
        queue = TaskQueue(task, [(0, 10)], {})
        self.turns.add(queue)
        return queue

    def charge(self, project: str, seconds: float) -> None:
        self.shares.charge(self.shares.of(project), seconds * SECOND)

    def look(self) -> list[tuple[str, list[TaskQueue]]]:
        turns, _ = self.turns.look(lambda handler: handler not in self.absent)
        return [(turn.handler, turn.queues) for turn in turns]

    def waits(self) -> dict[str, bool]:
        _, claims = self.turns.look(lambda handler: handler not in self.absent)
        return {handler: claim.waits for handler, claim in claims.items()}


def test_who_has_had_least_is_next() -> None:
    desk = Desk()
    a, b, other = desk.add("a"), desk.add("b"), desk.add("c", "y")
    assert desk.look() == [("x", [a]), ("y", [other])]
    desk.charge("a", 1)
    assert desk.look() == [("x", [b]), ("y", [other])]
    desk.charge("b", 0.5)
    assert desk.look() == [("y", [other]), ("x", [b])]
    b.forget_pending()
    assert desk.look() == [("y", [other]), ("x", [a])]
    for queue in (a, b, other):
        desk.turns.remove(queue)
    assert not desk.turns
    assert desk.look() == []
    assert desk.shares._shares == {}


def test_priority_is_a_matter_of_one_project() -> None:
    desk = Desk()
    low, high, other = desk.add("a"), desk.add("a", priority=9), desk.add("b", priority=-9)
    assert desk.look() == [("x", [high])]
    desk.charge("a", 1)
    assert desk.look() == [("x", [other])]
    desk.charge("b", 2)
    high.forget_pending()
    assert desk.look() == [("x", [low])]


def test_a_slot_for_which_a_project_waits_goes_to_none_of_its_lower_priorities() -> None:
    desk = Desk()
    high, low = desk.add("a", "x", priority=1), desk.add("a", "y")
    assert desk.look() == [("x", [high])]
    other = desk.add("b", "y")
    assert desk.look() == [("x", [high]), ("y", [other])]
    desk.absent.add("x")
    assert desk.look() == [("x", [high]), ("y", [low])]


def test_what_is_at_its_bound_is_passed_by_others() -> None:
    desk = Desk()
    bounded, other = desk.add("a", parallel_count=1), desk.add("b")
    bounded.slots["s"] += 1
    assert desk.look() == [("x", [bounded, other])]
    desk.turns.remove(other)
    assert desk.look() == [("x", [bounded])]
    assert desk.waits() == {"x": False}


def test_a_handler_at_its_bound_waits_for_no_slot_and_its_project_may_go_on() -> None:
    desk = Desk(x=1)
    high, low = desk.add("a", "x", priority=1), desk.add("a", "y")
    assert desk.look() == [("x", [high])]
    desk.gates.of("x").enter("s", 1)
    assert desk.look() == [("x", [high]), ("y", [low])]
    assert desk.waits() == {"x": False, "y": True}


def test_who_is_being_cut_is_waited_for_if_it_is_its_turn() -> None:
    desk = Desk()
    a, b = desk.add("a"), desk.add("b")
    a.cutting = 1
    assert desk.look() == [("x", [a])]
    desk.charge("a", 1)
    assert desk.look() == [("x", [b])]


def test_a_changed_priority_leaves_nothing_behind() -> None:
    desk = Desk()
    a = desk.add("a")
    for priority in (3, 0, -3, 7):
        a.task = replace(a.task, settings=Settings(priority=priority))
        desk.turns.add(a)
        assert desk.look() == [("x", [a])]
    desk.turns.remove(a)
    assert not desk.turns


def test_crowded() -> None:
    desk = Desk()
    queue = desk.add("a")
    assert not desk.turns.is_crowded(queue, 1)
    desk.add("a", "y")
    assert not desk.turns.is_crowded(queue, 1)
    desk.add("b")
    assert desk.turns.is_crowded(queue, 1)
    assert not desk.turns.is_crowded(queue, 2)
    desk.add("a")
    assert desk.turns.is_crowded(queue, 2)


@pytest.mark.parametrize(("projects", "each"), [(1, 10_000), (10_000, 1), (100, 100)])
def test_ten_thousand_that_wait_cost_nothing(projects: int, each: int, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    for number in range(projects * each):
        desk.add(f"p{number % projects}", "xyz"[number % 3], priority=number % 2)
    looks = 0

    def counted(function: Any) -> Any:
        def call(*args: Any) -> Any:
            nonlocal looks
            looks += 1
            return function(*args)

        return call

    monkeypatch.setattr(TaskQueue, "is_waiting", property(counted(TaskQueue.is_waiting.fget)))
    walk = Order.__iter__

    def counted_walk(order: Order) -> Iterator[Any]:
        for share in walk(order):
            counted(lambda: None)()
            yield share

    monkeypatch.setattr(Order, "__iter__", counted_walk)
    for _ in range(300):
        (turn, *_), _ = desk.turns.look(lambda _: True)
        desk.turns.rotate(turn.queues[-1])
        desk.shares.serve(desk.shares.of(turn.queues[-1].task.project), SECOND)
    assert looks <= 300 * 3 * 4  # of each of three handlers: a project and its queues
