"""How does one change reach a thousand watchers? Each is kept once, and written for the wire once.

    store events ─▶ topic (a task, a project): held back ─▶ shown ─▶ every watcher of the topic, without a read

A topic lives while somebody watches it and remembers its last changes. Who keeps up is served from them; who does not,
or comes from earlier, reads the store's log until it is there. Nothing is queued per watcher: each one has a place in
the log and takes what comes after it when its client has room.

Counts are held back so that a topic shows them five times a second at most, joined with what follows of their task.
All else goes out at once, unless counts that come before it are held back. That other records run now, which no commit
says, is looked at twice a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from batchyard_server.codec.values import TaskValues
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.watch_filter import Facts
from batchyard_server.engine.watch_outcomes import Outcomes
from batchyard_server.engine.watch_topic import Shown, Topic, wake
from batchyard_server.model.states import TaskState
from batchyard_server.model.watch import Change, LogEntry
from batchyard_server.store.protocols import TaskEvent

PACE_SECONDS = 0.2  # between two messages with counts of a topic
RUNNING_SECONDS = 0.5  # between two looks at how many records run
QUIET_SECONDS = 13.0  # without a message: then one has only a token
TICK_SECONDS = 1.0  # between two looks at who had no message; with the above less than the 15 s that are promised
REMEMBERED_BYTES = 16 * 1024 * 1024  # of shown changes, over all topics


_RUN = frozenset({TaskState.RUNNING, TaskState.PAUSING, TaskState.CANCELLING})


class Hub:
    """All watchers of this server. One subscription of the store, one timer for each kind of waiting.

    Attributes:
        outcomes: reads the outcomes for them.
        facts: reads tasks for those of them that filter.
        closed: the server drains: who waits is woken, and nobody waits any more.
        head: number of the last change that it was told of.
    """

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self.outcomes = Outcomes(deps.store)
        self.facts = Facts(deps.store)
        self.closed = False
        self.head = deps.store.last_seq
        self._topics: dict[int | str, Topic] = {}
        self._order: deque[tuple[Topic, int]] = deque()  # of what is shown, oldest first, with its weight
        self._bytes = 0
        self._held: set[Topic] = set()
        self._pace: asyncio.TimerHandle | None = None
        self._runs: dict[int, LogEntry] = {}  # the last change of each task that may have running records
        self._told: dict[int, tuple[int, int]] = {}  # how many it was told of last, and when (ns)
        self._running: asyncio.TimerHandle | None = None
        self._quiet: dict[asyncio.Future[bool], int] = {}  # since when each one waits, ns
        self._tick: asyncio.TimerHandle | None = None
        self._unsubscribe = deps.store.subscribe(self._on_events)

    @property
    def count(self) -> int:
        """How many watchers there are."""
        return sum(topic.watchers for topic in self._topics.values())

    @property
    def waiting(self) -> int:
        """How many of them have seen everything."""
        return sum(len(topic.waiters) for topic in self._topics.values())

    def close(self) -> None:
        """Let every watcher tell its client where to go on, now."""
        self.closed = True
        for topic in self._topics.values():
            wake(topic.waiters)

    def stop(self) -> None:
        """Hear of no more commits."""
        self._unsubscribe()
        for timer in (self._pace, self._tick, self._running):
            if timer is not None:
                timer.cancel()

    @contextmanager
    def topic(self, key: int | str, *, curious: bool = False) -> Generator[Topic]:
        """The topic of a task (its key) or of a project (its id), kept up as long as somebody is in the block.

        `curious`: who needs to know more of tasks than changes tell.
        """
        topic = self._topics.get(key)
        if topic is None:
            topic = self._topics[key] = Topic(self.head)
            self._watch_running()
        topic.watchers += 1
        topic.curious += curious
        try:
            yield topic
        finally:
            topic.watchers -= 1
            topic.curious -= curious
            if not topic.watchers:
                del self._topics[key]
                self._held.discard(topic)
                topic.clear()

    def seen(self, topic: Topic) -> int:
        """Up to this number, who has seen what is shown in the topic has seen everything."""
        first = topic.backlog.first_seq
        return self.head if first is None else first - 1

    def running(self, shown: Shown) -> int:
        """How many records of the task run now, if that is to be shown with it."""
        entry = shown.entry
        if entry.change is not Change.COUNTS or not shown.live:
            return 0
        running = len(self._deps.live.running(entry.task_key))
        if entry.task_key in self._runs:
            self._told[entry.task_key] = running, self._deps.clock.monotonic_ns()
        return running

    async def wait(self, topic: Topic, since_ns: int | None = None) -> bool:
        """Until more is shown in the topic: True. False if it was quiet for long, or the server drains.

        `since_ns`: when the watcher had its last message; None = now.
        """
        if self.closed:
            return False
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        topic.waiters.add(waiter)
        self._quiet[waiter] = self._deps.clock.monotonic_ns() if since_ns is None else since_ns
        if self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(TICK_SECONDS, self._on_tick)
        try:
            return await waiter and not self.closed
        finally:
            topic.waiters.discard(waiter)
            self._quiet.pop(waiter, None)

    def look(self) -> None:
        """Wake those who had no message for long."""
        before = self._deps.clock.monotonic_ns() - int(QUIET_SECONDS * 1e9)
        for waiter in [waiter for waiter, since in self._quiet.items() if since <= before]:
            del self._quiet[waiter]
            if not waiter.done():
                waiter.set_result(False)

    def _on_tick(self) -> None:
        self.look()
        self._tick = None
        if self._quiet:
            self._tick = asyncio.get_running_loop().call_later(TICK_SECONDS, self._on_tick)

    def _on_events(self, events: Sequence[TaskEvent]) -> None:
        touched: set[Topic] = set()
        for event in events:
            entry = event.entry
            if entry is None:  # joined with a later one
                continue
            self.head = entry.seq
            self.facts.forget(entry.task_key)
            if entry.state in _RUN and entry.change is not Change.DELETED:
                self._runs[entry.task_key] = entry
                if entry.change is Change.STATE:
                    self._told.pop(entry.task_key, None)
            elif self._runs.pop(entry.task_key, None):
                self._told.pop(entry.task_key, None)
            for key in (entry.task_key, entry.project):
                topic = self._topics.get(key)
                if topic is not None:
                    task = TaskValues(event.task).kept() if topic.curious else None
                    topic.backlog.add(Shown(entry, event.operation, task=task))
                    touched.add(topic)
        for topic in touched:
            self._show(topic)
        self._watch_running()

    def _show(self, topic: Topic) -> None:
        """Show what need not be held back."""
        now = self._deps.clock.monotonic_ns()
        left = topic.counts_ns + int(PACE_SECONDS * 1e9) - now if topic.counts_ns else 0
        changes = topic.backlog.take(counts=left <= 0)
        if any(shown.entry.change is Change.COUNTS and not shown.silent for shown in changes):
            topic.counts_ns = now
        if changes:
            self._remember(topic, changes)
        if topic.backlog.first_seq is None:
            self._held.discard(topic)
        else:
            self._held.add(topic)
            if self._pace is None:
                self._pace = asyncio.get_running_loop().call_later(max(left / 1e9, 0.001), self._on_pace)

    def _on_pace(self) -> None:
        self._pace = None
        for topic in list(self._held):
            self._show(topic)

    def _remember(self, topic: Topic, changes: Sequence[Shown]) -> None:
        """Show these, and forget the oldest of all topics."""
        for shown in changes:
            self._order.append((topic, shown.weight))
            self._bytes += shown.weight
        topic.show(changes)
        while self._bytes > REMEMBERED_BYTES:
            oldest, weight = self._order.popleft()
            self._bytes -= weight
            oldest.forget_first()

    def _watch_running(self) -> None:
        if self._running is None and self._runs and self._topics:
            self._running = asyncio.get_running_loop().call_later(RUNNING_SECONDS, self._on_running)

    def _on_running(self) -> None:
        self.look_at_running()
        self._running = None
        self._watch_running()

    def look_at_running(self) -> None:
        """Show the counts of tasks of which other records run than their watchers were told lately."""
        now = self._deps.clock.monotonic_ns()
        for task_key, entry in self._runs.items():
            topics = [topic for key in (task_key, entry.project) if (topic := self._topics.get(key)) is not None]
            running, told_ns = self._told.get(task_key, (0, 0))
            if not topics or now - told_ns < RUNNING_SECONDS * 1e9:
                continue
            found = len(self._deps.live.running(task_key))
            if found == running:
                continue
            self._told[task_key] = found, now
            for topic in topics:
                if not topic.backlog.holds(task_key):  # else they are shown in a moment
                    shown = Shown(entry._replace(change=Change.COUNTS, time_us=self._deps.clock.now_us()))
                    shown.fresh_at = self.head
                    self._remember(topic, [shown])
