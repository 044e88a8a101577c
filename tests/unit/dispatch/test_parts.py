"""The small parts: sizes of subtasks, queues, pauses, chores."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard_server.dispatch import loops
from batchyard_server.dispatch.loops import Chores
from batchyard_server.dispatch.pause import Pause
from batchyard_server.dispatch.queue import TaskQueue
from batchyard_server.dispatch.sizing import GROWTH, TARGET_NS, WORTH_NS, Pace
from batchyard_server.model import limits
from batchyard_server.model import ranges as rg
from batchyard_server.model.errors import Reason, Unavailable
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Attempts
from batchyard_server.store.protocols import Change, Store, Subscriber, TaskEvent
from tests.support import store as tasks
from tests.support.eventually import eventually_in_loop


def queue(pending: int = 10) -> TaskQueue:
    return TaskQueue(tasks.new_task("t", pending).task, [(0, pending)], {})


# -- sizes --------------------------------------------------------------------------------------------------------


def test_an_unknown_handler_begins_with_one_record() -> None:
    assert Pace().size(1000, 2) == 1
    assert Pace().estimate_ns(1) is None


def test_quick_records_go_in_large_subtasks_soon() -> None:
    pace, sizes = Pace(), []
    for _ in range(4):
        sizes.append(pace.size(10**6, 2))
        pace.last_size = sizes[-1]
        pace.learn(sizes[-1], sizes[-1] * 3_000)
    assert sizes == [1, GROWTH, GROWTH**2, limits.SEGMENT_RECORDS]


def test_slow_records_go_one_by_one() -> None:
    pace = Pace()
    pace.learn(1, 10**10)
    assert pace.size(1000, 1) == 1
    assert pace.estimate_ns(1) == 10**10


def test_a_sudden_slowness_counts_at_once() -> None:
    pace = Pace(1_000.0, 1024)
    pace.learn(1, 50_000_000)
    assert pace.size(10**6, 1) == TARGET_NS // 50_000_000


def test_no_slot_is_left_without_records() -> None:
    for pace in (Pace(1_000.0), Pace(1_000_000.0, 1024)):
        assert pace.size(100, 4) == 25
    assert Pace(1_000.0).size(3, 4) == 1


def test_what_is_quickly_done_is_not_shared() -> None:
    pace = Pace(1_000.0, 1024)
    assert pace.size(100, 4) == 100
    assert pace.size(3, 4) == 3
    assert Pace(WORTH_NS / 40, 1024).size(100, 4) == 40


@given(st.lists(st.tuples(st.integers(1, 2000), st.integers(0, 10**11))), st.integers(1, 10**8), st.integers(1, 64))
def test_sizes_are_within_bounds(seen: list[tuple[int, int]], pending: int, slots: int) -> None:
    pace = Pace()
    for count, work_ns in seen:
        pace.last_size = pace.size(pending, slots)
        pace.learn(count, work_ns)
    most = max(-(-pending // slots), int(WORTH_NS / pace.record_ns) if pace.record_ns else 1)
    assert 1 <= pace.size(pending, slots) <= min(limits.SEGMENT_RECORDS, most, pending)


# -- queues -------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30))))
def test_a_queue_neither_loses_nor_doubles(steps: list[tuple[bool, int]]) -> None:
    made, out = queue(100), rg.normalize([])
    for take, count in steps:
        if take:
            taken = made.take(count)
            assert not rg.subtract(taken, [(0, 100)])
            out = rg.normalize([*out, *taken])
        else:
            back, out = rg.take(out, count)
            made.give_back(back)
        assert made.pending_count == rg.count(list(made.pending))
        assert rg.normalize([*out, *made.pending]) == [(0, 100)]
        assert rg.count(out) + made.pending_count == 100


def test_attempts_are_kept_until_the_outcome() -> None:
    made = queue()
    made.attempts = {index: Attempts(begun=1, lost=0) for index in (1, 5, 9)}
    assert sorted(made.attempts_of([(0, 2), (9, 10)])) == [1, 9]
    made.forget_attempts([(0, 6)])
    assert sorted(made.attempts) == [9]


# -- waiting ------------------------------------------------------------------------------------------------------


async def test_a_pause_ends_early() -> None:
    pause = Pause()
    waiting = asyncio.ensure_future(pause(3600))
    await asyncio.sleep(0)
    assert not waiting.done()
    pause.end()
    await waiting
    await pause(3600)
    assert pause.ended


class ChoreStore:
    """Has slices of work; counts calls."""

    def __init__(self) -> None:
        self.left = {"merge": 0, "sweep": 0}
        self.calls = {"merge": 0, "sweep": 0}
        self.error: Exception | None = None
        self.called = asyncio.Event()
        self.subscriber: Subscriber = lambda _: None

    def subscribe(self, subscriber: Subscriber) -> object:
        self.subscriber = subscriber
        return lambda: None

    async def merge(self) -> bool:
        return self._slice("merge")

    async def sweep(self) -> bool:
        self.called.set()
        return self._slice("sweep")

    def _slice(self, name: str) -> bool:
        self.calls[name] += 1
        if self.error is not None:
            self.called.set()
            raise self.error
        self.left[name] = max(0, self.left[name] - 1)
        return self.left[name] > 0

    async def next(self) -> None:
        """Wait for the next round."""
        self.called.clear()
        await self.called.wait()


@pytest.fixture
async def chores(monkeypatch: pytest.MonkeyPatch) -> ChoreStore:
    monkeypatch.setattr(loops, "SLICE_SECONDS", 0)
    return ChoreStore()


def event(state: TaskState, change: Change) -> TaskEvent:
    return TaskEvent(replace(tasks.new_task("t").task, state=state), change)


async def test_chores_are_done_slice_by_slice_and_only_when_there_may_be_some(chores: ChoreStore) -> None:
    chores.left = {"merge": 5, "sweep": 3}
    made = Chores(cast_store(chores), rest_seconds=0)
    made.start()
    await chores.next()
    await eventually_in_loop(lambda: chores.calls["sweep"] == 3)
    assert chores.calls == {"merge": 5, "sweep": 3}
    chores.subscriber([event(TaskState.QUEUED, Change.STATE)])
    for _ in range(20):
        await asyncio.sleep(0)
    assert chores.calls == {"merge": 5, "sweep": 3}
    chores.subscriber([event(TaskState.SUCCEEDED, Change.STATE)])
    await chores.next()
    assert chores.calls == {"merge": 6, "sweep": 4}
    chores.subscriber([event(TaskState.QUEUED, Change.STATE)] * loops.MANY_EVENTS)  # the log may have grown too long
    await chores.next()
    await made.stop()


async def test_a_chore_that_fails_is_tried_again(chores: ChoreStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "FAILED_SECONDS", 0)
    chores.error = Unavailable(Reason.STORE_UNAVAILABLE, "no")
    made = Chores(cast_store(chores), rest_seconds=0)
    made.start()
    await chores.next()
    await chores.next()
    chores.error = RuntimeError("a fault of the store")
    await chores.next()
    chores.error = None
    await chores.next()
    assert chores.calls["sweep"] >= 1
    await made.stop()


async def test_stop_does_not_wait_for_a_rest(chores: ChoreStore) -> None:
    made = Chores(cast_store(chores), rest_seconds=3600)
    made.start()
    await chores.next()
    async with asyncio.timeout(5):
        await made.stop()


def cast_store(chores: ChoreStore) -> Store:
    return chores  # type: ignore[return-value]
