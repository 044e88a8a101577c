"""Whose turn is it? Priority first, then round robin, and what is at its bound keeps nobody waiting."""

from __future__ import annotations

from dataclasses import replace

from batchyard_server.dispatch.queue import Ready, TaskQueue
from batchyard_server.model.settings import Settings
from batchyard_server.model.states import TaskState
from tests.support import store as tasks

LOOKS = {"count": 0}


class Counted(TaskQueue):
    """A queue that counts how often any one of them is looked at."""

    @property
    def is_waiting(self) -> bool:
        LOOKS["count"] += 1
        return super().is_waiting


def queue(pending: int = 10, handler: str = "echo", **settings: int) -> TaskQueue:
    task = replace(tasks.new_task("t", pending).task, handler=handler, settings=Settings(**settings))
    return Counted(task, [(0, pending)], {})


def line(*queues: TaskQueue) -> Ready:
    ready = Ready()
    for each in queues:
        ready.add(each)
    return ready


def configure(ready: Ready, which: TaskQueue, **settings: int) -> None:
    which.task = replace(which.task, settings=Settings(**settings))
    ready.add(which)


def test_round_robin() -> None:
    first, second, other = queue(), queue(), queue(handler="other")
    ready = line(first, second, other, first)
    assert list(ready.classes()) == [{"echo": [first], "other": [other]}]
    ready.rotate(first)
    assert [list(each.items()) for each in ready.classes()] == [[("other", [other]), ("echo", [second])]]
    second.forget_pending()
    assert list(ready.classes()) == [{"other": [other], "echo": [first]}]
    first.resting = True
    assert list(ready.classes()) == [{"other": [other]}]
    first.resting = False
    ready.add(first)
    assert list(ready.classes()) == [{"other": [other], "echo": [first]}]
    for each in (first, other, second):
        ready.remove(each)
    assert not ready


def test_what_may_not_start_is_left_out() -> None:
    made = [queue() for _ in range(5)]
    ready = line(*made)
    made[0].barred = True
    made[1].dropped = True
    for each, state in ((made[2], TaskState.PAUSING), (made[3], TaskState.CANCELLING)):
        each.task = replace(each.task, state=state)
    assert list(ready.classes()) == [{"echo": [made[4]]}]
    made[0].barred = False
    ready.add(made[0])
    ready.rotate(made[4])
    assert list(ready.classes()) == [{"echo": [made[0]]}]


def test_priority_before_turn() -> None:
    low, high, higher = queue(priority=-5), queue(priority=1), queue(priority=1000, handler="other")
    ready = line(low, high, higher)
    assert list(ready.classes()) == [{"other": [higher]}, {"echo": [high]}, {"echo": [low]}]
    higher.forget_pending()
    assert list(ready.classes()) == [{"echo": [high]}, {"echo": [low]}]


def test_a_new_priority_moves_a_queue_and_leaves_nothing_behind() -> None:
    first, second = queue(), queue()
    ready = line(first, second)
    for priority in (7, 0, 7, 0):
        configure(ready, first, priority=priority)
    assert list(ready.classes()) == [{"echo": [second]}]
    ready.rotate(second)
    assert list(ready.classes()) == [{"echo": [first]}]
    configure(ready, second, priority=3)
    assert list(ready.classes()) == [{"echo": [second]}, {"echo": [first]}]
    ready.remove(first)
    ready.remove(second)
    assert not ready


def test_the_bound_is_the_number_of_its_slots() -> None:
    made = queue(parallel_count=2)
    made.slots["a"] += 1
    made.slots["a"] += 1
    assert made.within is None
    made.slots["b"] += 1
    assert set(made.within or ()) == {"a", "b"}
    made.leave("a")
    assert set(made.within or ()) == {"a", "b"}
    made.task = replace(made.task, settings=Settings(parallel_count=1))
    assert made.within == ()
    made.leave("a")
    assert set(made.within or ()) == {"b"}
    made.leave("b")
    assert made.within is None
    assert queue().within is None


def test_what_is_at_its_bound_or_being_cut_keeps_nobody_waiting() -> None:
    bounded, cut, free, last = queue(parallel_count=1), queue(), queue(), queue()
    bounded.slots["a"] += 1
    cut.cutting = 1
    ready = line(bounded, cut, free, last)
    assert list(ready.classes()) == [{"echo": [bounded, cut, free]}]


def test_ten_thousand_that_wait_cost_nothing() -> None:
    made = [queue(priority=number % 3) for number in range(10_000)]
    ready = line(*made)
    LOOKS["count"] = 0
    for _ in range(1000):
        (_, found), *_ = next(ready.classes()).items()
        ready.rotate(found[-1])
    assert LOOKS["count"] == 1000
