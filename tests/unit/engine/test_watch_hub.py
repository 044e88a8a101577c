"""The hub alone: what is joined, what is held back and for how long, what is forgotten, who is woken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from batchyard.v1.operation_status_pb2 import OperationStatus
from batchyard_server.engine import watch_hub
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.live import NullLive
from batchyard_server.engine.watch_hub import Hub
from batchyard_server.engine.watch_topic import Backlog, Shown, Topic, joined
from batchyard_server.model.states import TaskState
from batchyard_server.model.watch import Change, LogEntry
from batchyard_server.store.protocols import TaskEvent
from tests.support import store as make
from tests.support.clock import FakeClock

COUNTS, STATE = Change.COUNTS, Change.STATE


def entry(seq: int, change: Change = COUNTS, *, key: int = 1, first: int = 0, end: int = 0) -> LogEntry:
    """A change of task `key`, with the outcomes [first, end)."""
    return LogEntry(
        *(seq, "p", key, f"t{key}", f"op{key}", 1, change, False, TaskState.RUNNING, 10, end, 0, 0, first, end),
        *(1_000_000, 2_000_000, b""),
    )


def shape(changes: Sequence[Shown]) -> list[tuple[int, bool]]:
    """Number of each, and whether it is silent."""
    return [(each.entry.seq, each.silent) for each in changes]


def test_neighbours_are_joined_and_their_outcomes_kept() -> None:
    [one] = joined([entry(3, first=0, end=2), entry(5, first=2, end=3), entry(9, STATE, first=3, end=7)])
    assert (one.entry.seq, one.first_seq) == (9, 3)
    assert [one.first_after(seq) for seq in (0, 2, 3, 4, 5, 8, 9)] == [0, 0, 2, 2, 3, 3, 7]


def test_what_another_change_lies_between_is_silent() -> None:
    """A watcher may have been told to go on from the change between."""
    changes = joined([entry(1, end=2), entry(2, STATE, key=2), entry(3, first=2, end=4), entry(4, key=2)])
    assert shape(changes) == [(1, True), (2, False), (3, False), (4, False)]
    assert [each.first_after(0) for each in changes if each.entry.task_key == 1] == [0, 2]


def test_changes_of_a_state_are_never_joined() -> None:
    changes = joined([entry(1, STATE), entry(2, STATE), entry(3), entry(4, STATE), entry(5, Change.DELETED)])
    assert shape(changes) == [(1, False), (2, False), (4, False), (5, False)]


def test_a_backlog_gives_up_to_the_first_counts() -> None:
    backlog = Backlog()
    for each in (entry(1, STATE), entry(2), entry(3, STATE, key=2), entry(4, first=0, end=3)):
        backlog.add(Shown(each))
    assert shape(backlog.take(counts=False)) == [(1, False), (2, True), (3, False)]
    assert backlog.first_seq == 4
    backlog.add(Shown(entry(5, first=3, end=4)))
    assert backlog.first_seq == 4, "the first that it stands for"
    assert backlog.take(counts=False) == []
    assert shape(backlog.take(counts=True)) == [(5, False)]
    assert backlog.first_seq is None


@dataclass
class FakeStore:
    """Tells its one subscriber of changes."""

    last_seq: int = 0
    tell: Callable[[Sequence[TaskEvent]], None] = field(default=lambda _: None)

    def subscribe(self, subscriber: Callable[[Sequence[TaskEvent]], None]) -> Callable[[], None]:
        """See Store.subscribe."""
        self.tell = subscriber
        return lambda: None

    def commit(self, *entries: LogEntry | None) -> None:
        """These were committed together; None: one that was joined with a later one."""
        task = make.new_task("t").task
        self.tell([TaskEvent(task, STATE if each is None else each.change, None, each) for each in entries])


class FakeLive(NullLive):
    """Some records run."""

    def __init__(self) -> None:
        self.records: dict[int, frozenset[int]] = {}

    def running(self, task_key: int) -> frozenset[int]:
        """See Live.running."""
        return self.records.get(task_key, frozenset())


class World:
    """A hub with a clock that stands still."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = FakeStore()
        self.live = FakeLive()
        parts: Any = {"store": self.store, "clock": self.clock, "live": self.live}
        unused = dict.fromkeys(("randomness", "handlers", "failpoints", "tokens", "files"))
        self.hub = Hub(cast("Deps", Deps(**parts, **cast("Any", unused))))


async def test_a_topic_shows_states_at_once_and_holds_counts_back() -> None:
    world = World()
    with world.hub.topic("p") as project, world.hub.topic(1) as one:
        world.store.commit(entry(1, STATE), entry(2, end=1))
        assert shape(one.after(0)) == shape(project.after(0)) == [(1, False), (2, False)]
        world.store.commit(entry(3, first=1, end=2))
        world.store.commit(entry(4, STATE, key=2), entry(5, first=2, end=3))
        assert one.after(2) == []
        assert world.hub.seen(one) == 2
        assert shape(project.after(2)) == [(3, True), (4, False)]
        assert world.hub.seen(project) == 4
        world.store.commit(entry(6, STATE, first=3, end=4))
        [shown] = one.after(2)
        assert (shown.entry.seq, shown.first_after(2), shown.first_after(4)) == (6, 1, 2)
        assert world.hub.seen(one) == world.hub.head == 6
        world.clock.advance(0.2)
        world.store.commit(entry(7, first=4, end=5))
        assert shape(one.after(6)) == [(7, False)]
    world.hub.stop()


async def test_what_is_held_back_is_shown_without_another_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_hub, "PACE_SECONDS", 0.01)
    world = World()
    with world.hub.topic(1) as topic:
        world.store.commit(entry(1))
        world.store.commit(entry(2))
        assert shape(topic.after(0)) == [(1, False)]
        waiting = asyncio.create_task(world.hub.wait(topic))
        await asyncio.sleep(0)
        world.clock.advance(0.01)
        async with asyncio.timeout(10):
            assert await waiting
        assert shape(topic.after(1)) == [(2, False)]
    world.hub.stop()


async def test_other_records_run_and_nothing_was_committed() -> None:
    world = World()
    with world.hub.topic(1) as topic:
        world.store.commit(entry(1, STATE))
        world.hub.look_at_running()
        assert shape(topic.after(0)) == [(1, False)]
        world.live.records[1] = frozenset({4, 5})
        world.hub.look_at_running()
        [shown] = topic.after(1, 2)
        assert OperationStatus.FromString(shown.message("x", world.hub.running(shown))).counts.running == 2
        assert world.hub.running(joined([entry(1)])[0]) == 0, "it is not from now"
        assert topic.after(1) == [], "who comes anew was told in its snapshot"
        assert topic.after(2, 2) == [], "who has seen more knows better"
        world.live.records[1] = frozenset({5})
        world.hub.look_at_running()
        assert topic.number == 3, "that was a moment ago"
        world.clock.advance(0.5)
        world.hub.look_at_running()
        assert topic.number == 4
        world.clock.advance(0.5)
        world.store.commit(entry(2, end=1))
        world.store.commit(entry(3, first=1, end=2))
        world.live.records[1] = frozenset({6, 7, 8})
        world.hub.look_at_running()
        assert shape(topic.after(1, 4)) == [(2, False)], "counts are held back, which will say it"
        world.store.commit(entry(4, STATE, key=2), entry(5, Change.DELETED))
        world.clock.advance(0.5)
        before = topic.number
        world.live.records.clear()
        world.hub.look_at_running()
        assert topic.number == before
    world.hub.stop()


async def test_joined_ones_have_no_place_of_their_own() -> None:
    world = World()
    with world.hub.topic(1) as topic:
        world.store.commit(None, entry(1, STATE))
        assert shape(topic.after(0)) == [(1, False)]
    world.hub.stop()


async def test_the_oldest_are_forgotten_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    with world.hub.topic(1) as one, world.hub.topic(2) as two:
        monkeypatch.setattr(watch_hub, "REMEMBERED_BYTES", 10 * Shown(entry(1)).weight)
        world.store.commit(entry(1, STATE, key=2))
        for seq in range(2, 30):
            world.store.commit(entry(seq, STATE))
        assert (two.since, two.after(1)) == (1, [])
        assert one.since == 19
        assert len(one.after(19)) == 10
    world.hub.stop()


async def test_a_topic_lives_as_long_as_it_is_watched() -> None:
    world = World()
    with ExitStack() as first:
        topic = first.enter_context(world.hub.topic("p"))
        with world.hub.topic("p") as same:
            assert same is topic
            assert world.hub.count == 2
        world.store.commit(entry(1, STATE), entry(2))
        assert len(topic.after(0)) == 2
    assert world.hub.count == 0
    world.store.commit(entry(3, STATE))
    with world.hub.topic("p") as again:
        assert (again.since, again.after(0)) == (3, [])
    world.hub.stop()


async def test_who_waits_is_woken_by_news_by_silence_and_at_the_end() -> None:
    world = World()

    async def wait(topic: Topic) -> asyncio.Task[bool]:
        waiting = asyncio.create_task(world.hub.wait(topic))
        await asyncio.sleep(0)
        return waiting

    with world.hub.topic(1) as topic:
        early = await wait(topic)
        world.clock.advance(5)
        late = await wait(topic)
        world.clock.advance(8.5)
        world.hub.look()
        assert await early is False
        assert world.hub.waiting == 1
        world.store.commit(entry(1, STATE))
        assert await late is True
        last = await wait(topic)
        world.hub.close()
        assert await last is False
        assert await world.hub.wait(topic) is False
    world.hub.stop()


def test_bytes_are_made_once() -> None:
    shown = Shown(entry(7, end=4))
    one, again, other = shown.message("a", 2), shown.message("a", 3), shown.message("b", 4)
    assert one is again
    found = [OperationStatus.FromString(each) for each in (one, other)]
    assert [each.resume_token for each in found] == ["a", "b"]
    assert [each.counts.running for each in found] == [2, 2]
    assert (found[0].counts.pending, found[0].counts.succeeded) == (4, 4)
