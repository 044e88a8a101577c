"""How does one change reach a thousand watchers? Each is kept once, and written for the wire once.

    store events ─▶ topic (a task, a project): held back ─▶ shown ─▶ every watcher of the topic, without a read

A topic lives while somebody watches it and remembers its last changes. Who keeps up is served from them; who does not,
or comes from earlier, reads the store's log until it is there. Nothing is queued per watcher: each one has a place in
the log and takes what comes after it when its client has room.

Counts are held back so that a topic shows them five times a second at most, joined with what follows of their task.
All else goes out at once, unless counts that come before it are held back.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Generator, Hashable, Iterable, Sequence
from contextlib import contextmanager
from itertools import takewhile

from batchyard_server.codec import watch as codec
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.watch_outcomes import Outcomes
from batchyard_server.model.task import Operation
from batchyard_server.model.watch import Change, LogEntry
from batchyard_server.store.protocols import TaskEvent

PACE_SECONDS = 0.2  # between two messages with counts of a topic
QUIET_SECONDS = 13.0  # without a message: then one has only a token
TICK_SECONDS = 1.0  # between two looks at who had no message; with the above less than the 15 s that are promised
REMEMBERED_BYTES = 16 * 1024 * 1024  # of shown changes, over all topics
_SHOWN_BYTES = 1500  # of one without large parts, about


class Shown:
    """A change as watchers see it; its bytes are made when they are first needed.

    Attributes:
        entry: the change.
        ended: the operation with its snapshot, if the generation ended in it and that is at hand.
        silent: its counts are not shown, since a later change of the task is on its way; its outcomes are.
    """

    __slots__ = ("_joined", "_messages", "ended", "entry", "silent")

    def __init__(self, entry: LogEntry, ended: Operation | None = None) -> None:
        self.entry = entry
        self.ended = ended
        self.silent = False
        self._joined: list[tuple[int, int]] = [(entry.seq, entry.first_sequence)]
        self._messages: dict[Hashable, bytes] = {}

    def join(self, earlier: Shown) -> None:
        """Take over the outcomes of the change right before it, of the same task, which is not shown."""
        self._joined = earlier._joined + self._joined

    @property
    def first_seq(self) -> int:
        """Number of the first change that it stands for."""
        return self._joined[0][0]

    def first_after(self, seq: int) -> int:
        """Completion number of the first outcome that came with it for somebody who has seen all up to `seq`."""
        return next((first for number, first in self._joined if number > seq), self.entry.next_sequence)

    @property
    def weight(self) -> int:
        """Bytes in memory, about: what it holds, and that once more for the wire, with two or three tokens."""
        ended = len(self.ended.metadata) + len(self.ended.result) if self.ended is not None else 0
        return _SHOWN_BYTES + 4 * (len(self.entry.error) + ended)

    def message(self, token: str, running: int) -> bytes:
        """The change with the token of those who have seen it; `running`: how many records run now."""
        made = self._messages.get(token)
        if made is None:
            body = self._messages.get("")
            if body is None:
                body = self._messages[""] = codec.event(self.entry, self.ended, running)
            made = self._messages[token] = body + codec.token(token)
        return made


class Backlog:
    """Changes in order. COUNTS that another change of their task follows are joined with that one, or silent.

    Joined are neighbours alone: no watcher can be told to go on from a place between them.
    """

    def __init__(self) -> None:
        self._waiting: list[Shown] = []
        self._counts: dict[int, Shown] = {}  # task → its last change, if that is COUNTS

    def add(self, shown: Shown) -> None:
        """The next change."""
        task_key = shown.entry.task_key
        earlier = self._counts.pop(task_key, None)
        if earlier is not None:
            if self._waiting[-1] is earlier:
                shown.join(self._waiting.pop())
            else:
                earlier.silent = True
        self._waiting.append(shown)
        if shown.entry.change is Change.COUNTS:
            self._counts[task_key] = shown

    @property
    def first_seq(self) -> int | None:
        """Number of the first change; None if there is none."""
        return self._waiting[0].first_seq if self._waiting else None

    def take(self, *, counts: bool) -> list[Shown]:
        """All of them, or those before the first COUNTS that are to be shown."""
        taken = self._waiting
        if counts or not self._counts:
            self._counts.clear()
        else:
            taken = list(takewhile(lambda each: each.silent or each.entry.change is not Change.COUNTS, taken))
        self._waiting = self._waiting[len(taken) :]
        return taken


def joined(entries: Iterable[LogEntry]) -> list[Shown]:
    """Changes that were read from the log, as they are shown."""
    backlog = Backlog()
    for entry in entries:
        backlog.add(Shown(entry))
    return backlog.take(counts=True)


class Topic:
    """A task or a project that is watched.

    Attributes:
        since: all its changes after this number are here.
        waiters: watchers that have seen everything.
    """

    def __init__(self, since: int) -> None:
        self.since = since
        self.watchers = 0
        self.waiters: set[asyncio.Future[bool]] = set()
        self.backlog = Backlog()
        self.counts_ns = 0  # when counts were shown last
        self._shown: deque[Shown] = deque()

    def after(self, seq: int) -> list[Shown]:
        """What is shown after this number, which is not before `since`."""
        found: list[Shown] = []
        for shown in reversed(self._shown):
            if shown.entry.seq <= seq:
                break
            found.append(shown)
        found.reverse()
        return found

    def show(self, changes: Sequence[Shown]) -> None:
        """Let every watcher see these."""
        self._shown.extend(changes)
        wake(self.waiters)

    def clear(self) -> None:
        """Nobody watches it any more."""
        self._shown.clear()

    def forget_first(self) -> None:
        """The oldest change that is shown goes; who has not seen it yet reads the log."""
        if self._shown:
            self.since = self._shown.popleft().entry.seq


def wake(waiters: Iterable[asyncio.Future[bool]]) -> None:
    """Let watchers go on."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(True)


class Hub:
    """All watchers of this server. One subscription of the store, one timer for the quiet and one for held back counts.

    Attributes:
        outcomes: reads the outcomes for them.
        closed: the server drains: who waits is woken, and nobody waits any more.
        head: number of the last change that it was told of.
    """

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self.outcomes = Outcomes(deps.store)
        self.closed = False
        self.head = deps.store.last_seq
        self._topics: dict[int | str, Topic] = {}
        self._order: deque[tuple[Topic, int]] = deque()  # of what is shown, oldest first, with its weight
        self._bytes = 0
        self._held: set[Topic] = set()
        self._pace: asyncio.TimerHandle | None = None
        self._quiet: OrderedDict[asyncio.Future[bool], int] = OrderedDict()  # since when each one waits, ns
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
        for timer in (self._pace, self._tick):
            if timer is not None:
                timer.cancel()

    @contextmanager
    def topic(self, key: int | str) -> Generator[Topic]:
        """The topic of a task (its key) or of a project (its id), kept up as long as somebody is in the block."""
        topic = self._topics.get(key)
        if topic is None:
            topic = self._topics[key] = Topic(self.head)
        topic.watchers += 1
        try:
            yield topic
        finally:
            topic.watchers -= 1
            if not topic.watchers:
                del self._topics[key]
                self._held.discard(topic)
                topic.clear()

    def seen(self, topic: Topic) -> int:
        """Up to this number, who has seen what is shown in the topic has seen everything."""
        first = topic.backlog.first_seq
        return self.head if first is None else first - 1

    def running(self, entry: LogEntry) -> int:
        """How many records of the task run now, to be shown with its counts."""
        return len(self._deps.live.running(entry.task_key)) if entry.change is Change.COUNTS else 0

    async def wait(self, topic: Topic) -> bool:
        """Until more is shown in the topic: True. False if it was quiet for long, or the server drains."""
        if self.closed:
            return False
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        topic.waiters.add(waiter)
        self._quiet[waiter] = self._deps.clock.monotonic_ns()
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
        while self._quiet:
            waiter, since = next(iter(self._quiet.items()))
            if since > before:
                break
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
            for key in (entry.task_key, entry.project):
                topic = self._topics.get(key)
                if topic is not None:
                    topic.backlog.add(Shown(entry, event.operation))
                    touched.add(topic)
        for topic in touched:
            self._show(topic)

    def _show(self, topic: Topic) -> None:
        """Show what need not be held back."""
        now = self._deps.clock.monotonic_ns()
        left = topic.counts_ns + int(PACE_SECONDS * 1e9) - now if topic.counts_ns else 0
        changes = topic.backlog.take(counts=left <= 0)
        if any(shown.entry.change is Change.COUNTS and not shown.silent for shown in changes):
            topic.counts_ns = now
        if changes:
            for shown in changes:
                self._order.append((topic, shown.weight))
                self._bytes += shown.weight
            topic.show(changes)
            while self._bytes > REMEMBERED_BYTES:
                oldest, weight = self._order.popleft()
                self._bytes -= weight
                oldest.forget_first()
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
