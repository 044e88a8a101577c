"""What does a mutation see? The open transaction, with the tasks it touches held in memory.

The writer is the only one that changes a task, so what it read or wrote last is the truth and need not be read again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import apsw

from batchyard_server.codec.segments import Compressor
from batchyard_server.model.clock import Clock
from batchyard_server.model.failpoints import Failpoints
from batchyard_server.model.task import Task
from batchyard_server.store.protocols import Change, TaskEvent

Row = tuple[Any, ...]
_HELD_BYTES = 16 * 1024 * 1024
_ENTRY_BYTES = 2000  # of an entry without large parts, about


class OpenLease(NamedTuple):
    """A live lease: the indexes that are still open in it."""

    generation: int
    worker: str
    open: list[tuple[int, int]]


class Entry(NamedTuple):
    """A task as the writer knows it. `leases`, by epoch, and `failures`, (count, bytes), are None until needed."""

    task: Task
    leases: Mapping[int, OpenLease] | None = None
    failures: tuple[int, int] | None = None


@dataclass(slots=True)
class Debt:
    """Outcome segments of a generation that are worth joining: how many, and from which completion number on."""

    small: int = 0
    first_sequence: int = 0
    waits: bool = True  # for more of them, since the generation goes on


class Transaction:
    """The writer's connection while a group of mutations runs on it. Used by the writer thread alone."""

    def __init__(self, connection: apsw.Connection, *, clock: Clock, failpoints: Failpoints) -> None:
        self.connection = connection
        self.clock = clock
        self.failpoints = failpoints
        self.compressor = Compressor()
        self.events: list[TaskEvent] = []
        self.debts: dict[tuple[int, int], Debt] = {}  # by (task, generation)
        self.deleted = True  # whether a task was deleted since the last sweep, as far as is known
        self._cursor = connection.cursor()
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._held_bytes = 0
        self._before: dict[int, Entry | None] = {}
        self._first_event = 0
        self._undo: list[Callable[[], None]] = []
        self._first_undo = 0

    def run(self, sql: str, values: tuple[Any, ...] = ()) -> list[Row]:
        """Execute one statement and return all its rows."""
        return self._cursor.execute(sql, values).fetchall()

    # -- entries ------------------------------------------------------------------------------------------------

    def held(self, key: int) -> Entry | None:
        """The entry of a task if it is in memory."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def hold(self, key: int, entry: Entry | None) -> None:
        """Remember the entry of a task, or with None that it is gone."""
        before = self._entries.pop(key, None)
        self._before.setdefault(key, before)
        if before is not None:
            self._held_bytes -= _weight(before)
        if entry is not None:
            self._entries[key] = entry
            self._held_bytes += _weight(entry)

    def publish(self, task: Task, change: Change) -> None:
        """Tell the subscribers after the commit."""
        self.events.append(TaskEvent(task, change))

    def on_undo(self, undo: Callable[[], None]) -> None:
        """Have `undo` called if this mutation, or its whole group, is not committed."""
        self._undo.append(undo)

    # -- life of a mutation and of a group ----------------------------------------------------------------------

    def start(self) -> None:
        """A mutation begins."""
        self._before.clear()
        self._first_event = len(self.events)
        self._first_undo = len(self._undo)

    def undo(self) -> None:
        """The mutation failed: forget what it did in memory."""
        for key, entry in self._before.items():
            self.hold(key, entry)
        self._before.clear()
        del self.events[self._first_event :]
        self._run_undo(self._first_undo)

    def end(self, *, committed: bool) -> list[TaskEvent]:
        """The group ended; return its events."""
        events, self.events = self.events, []
        if committed:
            self._undo.clear()
            while self._held_bytes > _HELD_BYTES:
                _, entry = self._entries.popitem(last=False)
                self._held_bytes -= _weight(entry)
            return events
        self._run_undo(0)
        self._entries.clear()
        self._held_bytes = 0
        return []

    def _run_undo(self, first: int) -> None:
        for undo in reversed(self._undo[first:]):
            undo()
        del self._undo[first:]


def _weight(entry: Entry) -> int:
    return _ENTRY_BYTES + len(entry.task.fixed) + len(entry.task.parameters)
