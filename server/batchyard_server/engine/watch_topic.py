"""What is shown of a task or a project? Its last changes, in order, each written for the wire once.

Counts of one task that another change of it follows are joined with that one, or silent: only the newest are shown.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from itertools import takewhile

from batchyard_server.codec import watch as codec
from batchyard_server.codec.values import TaskValues
from batchyard_server.model.task import Operation
from batchyard_server.model.watch import Change, LogEntry

_SHOWN_BYTES = 1500  # of one without large parts, about
_TASK_BYTES = 1500  # of what is known of a task, about


class Shown:
    """A change as watchers see it; its bytes are made when they are first needed.

    Attributes:
        entry: the change.
        ended: the operation with its snapshot, if the generation ended in it and that is at hand.
        live: it is shown as it happens, not caught up.
        silent: its counts are not shown, since a later change of the task is on its way; its outcomes are.
        number: which one of its topic it is.
        fresh_at: 0 for a change. Else nothing changed but how many records run, when this was the head of the log.
        task: what the change left, for filters that need more than it tells; None if that is not at hand.
        verdicts: whether it is told, by the text of the filter.
    """

    __slots__ = (
        "_joined",
        "_messages",
        "ended",
        "entry",
        "fresh_at",
        "live",
        "number",
        "silent",
        "task",
        "verdicts",
    )

    def __init__(
        self, entry: LogEntry, ended: Operation | None = None, *, live: bool = True, task: TaskValues | None = None
    ) -> None:
        self.entry = entry
        self.task = task
        self.verdicts: dict[str, bool] = {}
        self.ended = ended
        self.live = live
        self.silent = False
        self.number = 0
        self.fresh_at = 0
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
        known = _TASK_BYTES if self.task is not None else 0
        return _SHOWN_BYTES + known + 4 * (len(self.entry.error) + ended)

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

    def holds(self, task_key: int) -> bool:
        """Whether counts of the task wait."""
        return task_key in self._counts

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
        backlog.add(Shown(entry, live=False))
    return backlog.take(counts=True)


class Topic:
    """A task or a project that is watched.

    Attributes:
        since: all its changes after this number of the log are here.
        number: of the last one that is shown, above 1.
        curious: how many of its watchers need to know more of a task than changes tell.
        waiters: watchers that have seen everything.
    """

    def __init__(self, since: int) -> None:
        self.since = since
        self.number = 1
        self.watchers = 0
        self.curious = 0
        self.waiters: set[asyncio.Future[bool]] = set()
        self.backlog = Backlog()
        self.counts_ns = 0  # when counts were shown last
        self._shown: deque[Shown] = deque()

    def after(self, seq: int, number: int = 0) -> list[Shown]:
        """What is shown after the place `seq` in the log, which is not before `since`.

        `number`: of the last one that was seen; 0 = none was, and no news of running records are wanted yet.
        """
        found: list[Shown] = []
        for shown in reversed(self._shown):
            if shown.number <= number or (not shown.fresh_at and shown.entry.seq <= seq):
                break
            if not shown.fresh_at or (number and shown.fresh_at >= seq):
                found.append(shown)
        found.reverse()
        return found

    def show(self, changes: Sequence[Shown]) -> None:
        """Let every watcher see these."""
        for shown in changes:
            self.number += 1
            shown.number = self.number
        self._shown.extend(changes)
        wake(self.waiters)

    def clear(self) -> None:
        """Nobody watches it any more."""
        self._shown.clear()

    def forget_first(self) -> None:
        """The oldest change that is shown goes; who has not seen it yet reads the log."""
        if self._shown:
            self.since = max(self.since, self._shown.popleft().entry.seq)


def wake(waiters: Iterable[asyncio.Future[bool]]) -> None:
    """Let watchers go on."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(True)
