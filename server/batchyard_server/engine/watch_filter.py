"""Which changes does a watcher with a filter hear of? Each one is judged once for all who have the same filter.

A change is judged by the task as it left it. Of one that happens now that is at hand; of one that comes out of the log,
which keeps no more than it tells, the task is read: once for all who ask at about the same time, and not at all by a
filter that needs only what changes tell.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

from batchyard_server.codec.values import IN_CHANGES, RUNNING_FIELDS, ChangeValues, TaskValues
from batchyard_server.engine.live import Live
from batchyard_server.engine.watch_topic import Shown
from batchyard_server.model.filter import EVERYTHING, Node, fields_of
from batchyard_server.model.watch import Change
from batchyard_server.query import matcher
from batchyard_server.store.protocols import Store

_MOST_TASKS = 4096  # that are remembered, without their parameters
_Reading = asyncio.Task[Mapping[int, TaskValues]]
_MOST_VERDICTS = 16  # of a change: those of so many filters are remembered


class Facts:
    """Reads tasks for those who filter. `reads`: how often the store was asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[int, TaskValues | None] = OrderedDict()
        self._reading: dict[int, _Reading] = {}
        self.reads = 0

    async def of(self, keys: Collection[int]) -> Mapping[int, TaskValues | None]:
        """What the tasks with these keys are now; None of one that is gone."""
        found = {key: self._known[key] for key in keys if key in self._known}
        missing = [key for key in keys if key not in found]
        new = [key for key in missing if key not in self._reading]
        if new:
            reading = asyncio.create_task(self._read(new))
            self._reading.update(dict.fromkeys(new, reading))
            reading.add_done_callback(lambda done: self._end(new, done))
        for key, reading in [(key, self._reading[key]) for key in missing]:
            found[key] = (await asyncio.shield(reading)).get(key)  # who leaves takes it from nobody
        return found

    def forget(self, key: int) -> None:
        """The task has changed."""
        self._known.pop(key, None)
        self._reading.pop(key, None)

    async def _read(self, keys: Sequence[int]) -> Mapping[int, TaskValues]:
        self.reads += 1
        tasks = await self._store.tasks_of(keys)
        return {key: TaskValues(task).kept() for key, task in tasks.items()}

    def _end(self, keys: Sequence[int], reading: _Reading) -> None:
        failed = reading.cancelled() or reading.exception() is not None
        for key in keys:
            if self._reading.get(key) is reading:  # else it has changed since
                del self._reading[key]
                if not failed:
                    self._known[key] = reading.result().get(key)
        while len(self._known) > _MOST_TASKS:
            self._known.popitem(last=False)


class Sieve:
    """What one watcher hears of.

    Attributes:
        wanted: what the filter means.
        curious: changes do not tell all that the filter needs.

    Args:
        text: of the filter, by which its judgements are known.
    """

    def __init__(self, live: Live, facts: Facts, text: str, wanted: Node) -> None:
        fields = {field.name for field in fields_of(wanted)}
        self.wanted = wanted
        self._matches = matcher(wanted)
        self.curious = not fields <= IN_CHANGES
        self._needs_running = not fields.isdisjoint(RUNNING_FIELDS)
        self._live = live
        self._facts = facts
        self._text = text

    def all_running(self) -> Mapping[int, int]:
        """How many records run of each task, if the filter looks at that."""
        return self._live.all_running() if self._needs_running else {}

    async def judge(self, changes: Sequence[Shown]) -> Sequence[bool]:
        """Whether each of these changes is told."""
        if self.wanted == EVERYTHING:
            return [True] * len(changes)
        unknown = [each for each in changes if self.curious and each.task is None and self._text not in each.verdicts]
        if unknown:
            found = await self._facts.of({each.entry.task_key for each in unknown})
            for each in unknown:
                each.task = found[each.entry.task_key]
        return [self._told(each) for each in changes]

    def _told(self, shown: Shown) -> bool:
        told = shown.verdicts.get(self._text)
        if told is None:
            if self.curious and shown.task is None:  # gone: its end is told, should it have been told of
                told = shown.entry.change is Change.DELETED
            else:
                running = self._running(shown.entry.task_key) if shown.live else 0
                told = self._matches(ChangeValues(shown.entry, running, shown.task))
            if len(shown.verdicts) < _MOST_VERDICTS:
                shown.verdicts[self._text] = told
        return told

    def _running(self, task_key: int) -> int:
        return len(self._live.running(task_key)) if self._needs_running else 0
