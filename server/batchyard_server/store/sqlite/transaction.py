"""What does a mutation see, and when is it written? The open transaction as a unit of work.

    load what is touched ─▶ mutations change entries in memory and add rows ─▶ flush: few statements for the whole group

The writer is the only one that changes a task, so what it read or wrote last is the truth and need not be read again.
Statements are few because each one gives the interpreter away and wins it back from a busy event loop, which takes
longer than the statement itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import apsw

from batchyard_server.codec.segments import Compressor
from batchyard_server.model.clock import Clock
from batchyard_server.model.failpoints import Failpoints
from batchyard_server.model.task import Operation, Task
from batchyard_server.store.protocols import Change, TaskEvent

Row = tuple[Any, ...]
_HELD_BYTES = 16 * 1024 * 1024
MANY_ROWS = 128
MOST_ROWS = 1000  # SQLite takes 32,766 values
_ENTRY_BYTES = 2000  # of an entry without large parts, about


class OpenLease(NamedTuple):
    """A live lease: who has it, since when, with which indexes, and those that are still open in it."""

    generation: int
    worker: str
    node: str
    start_us: int
    granted: list[tuple[int, int]]
    open: list[tuple[int, int]]


class Entry(NamedTuple):
    """A task as the writer knows it.

    `leases`, by epoch, `failures`, (count, bytes), and whether it may have `artifacts` are None until needed.
    """

    task: Task
    leases: Mapping[int, OpenLease] | None = None
    failures: tuple[int, int] | None = None
    artifacts: bool | None = None


class Published(NamedTuple):
    """What is told of a change once it is committed; its outcomes have completion numbers from `first_sequence` on."""

    task: Task
    change: Change
    operation: Operation | None
    first_sequence: int


@dataclass(slots=True)
class Debt:
    """Outcome segments of a generation that are worth joining: how many, and from which completion number on."""

    small: int = 0
    first_sequence: int = 0
    waits: bool = True  # for more of them, since the generation goes on


class Rows:
    """A statement that writes many rows: `head`, `row` for each of them, `tail`.

    Args:
        order: rows of a lower order are written first.
        most: how many rows one statement takes.
        whole: from MANY_ROWS on one takes MOST_ROWS, and is prepared for them alone: it costs nothing beside them, and
            each statement gives the interpreter away. Not with more than 32 values in a row.
    """

    def __init__(self, order: int, head: str, row: str, tail: str = "", *, most: int = 32, whole: bool = False) -> None:
        self.order = order
        self._texts = head, row, tail
        self._most = most
        self._whole = whole
        self._statements: dict[int, str] = {}

    def statement(self, count: int) -> str:
        """The statement for `count` rows."""
        if count not in self._statements:
            self._statements[count] = self._text(count)
        return self._statements[count]

    def _text(self, count: int) -> str:
        head, row, tail = self._texts
        return f"{head} {', '.join([row] * count)}{tail}"

    def write(self, tx: Transaction, rows: Sequence[Row], shared: Row = ()) -> None:
        """Write rows now; the values in `shared` come before theirs, once in a statement.

        The numbers of rows in a statement are powers of two, so that few statements are prepared.
        """
        at = 0
        while self._whole and len(rows) - at >= MANY_ROWS:
            some = rows[at : at + MOST_ROWS]
            tx.run(self._text(len(some)), (*shared, *chain.from_iterable(some)), cached=False)
            at += len(some)
        while at < len(rows):
            count = min(self._most, 1 << ((len(rows) - at).bit_length() - 1))
            tx.run(self.statement(count), (*shared, *chain.from_iterable(rows[at : at + count])))
            at += count


class Transaction:
    """The writer's connection while a group of mutations runs on it. Used by the writer thread alone.

    Attributes:
        careful: after a conflict: each mutation looks for conflicts itself and is written before the next one runs.
        write_entries: writes the difference between entries as they are stored and as they are to be.
        write_events: writes what was published into the log; what the subscribers are told.
        names: (project, id in lower case) → key of the tasks that this group created.
        calls: (project, request_id) → (digest, task key, task id) of the calls that this group did.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        clock: Clock,
        failpoints: Failpoints,
        write_entries: Callable[[Transaction, Sequence[tuple[Entry, Entry]]], None],
        write_events: Callable[[Transaction, Sequence[Published]], list[TaskEvent]],
    ) -> None:
        self.connection = connection
        self.clock = clock
        self.failpoints = failpoints
        self.compressor = Compressor()
        self.careful = False
        self.names: dict[tuple[str, str], int] = {}
        self.calls: dict[tuple[str, str], Row] = {}
        self.debts: dict[tuple[int, int], Debt] = {}  # by (task, generation)
        self.deleted = True  # whether a task was deleted since the last sweep, as far as is known
        self._write_entries = write_entries
        self._write_events = write_events
        self._cursor = connection.cursor()
        self._waiting: dict[Rows, list[Row]] = {}
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._held_bytes = 0
        self._stored: dict[int, Entry] = {}  # entries that were changed, as they are in the database
        self._published: list[Published] = []
        self._events: list[TaskEvent] = []
        self._undo: list[Callable[[], Any]] = []
        self._mark = (0, 0)

    def run(self, sql: str, values: Row = (), *, cached: bool = True) -> list[Row]:
        """Execute one statement now and return all its rows. It does not see what waits to be written.

        `cached`: it is kept prepared for the next time.
        """
        return self._cursor.execute(sql, values, can_cache=cached).fetchall()

    def add(self, statement: Rows, row: Row) -> None:
        """Have a row written with the next flush."""
        rows = self._waiting.setdefault(statement, [])
        rows.append(row)
        self._undo.append(rows.pop)

    def add_many(self, statement: Rows, rows: Sequence[Row]) -> None:
        """The same for many rows."""
        waiting = self._waiting.setdefault(statement, [])
        before = len(waiting)
        waiting.extend(rows)
        self._undo.append(partial(waiting.__delitem__, slice(before, None)))

    def waiting(self, statement: Rows) -> Sequence[Row]:
        """The rows that wait to be written by a statement."""
        return self._waiting.get(statement, ())

    def flush(self) -> None:
        """Write what waits. Raises apsw.ConstraintError for what is there already, unless `careful`."""
        waiting, self._waiting = self._waiting, {}
        for statement in sorted(waiting, key=lambda each: each.order):
            statement.write(self, waiting[statement])
        if self._stored:
            pairs = [(stored, self._entries[key]) for key, stored in self._stored.items()]
            self._stored.clear()
            self._write_entries(self, pairs)

    # -- entries ------------------------------------------------------------------------------------------------

    def held(self, key: int) -> Entry | None:
        """The entry of a task if it is in memory."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def learn(self, key: int, entry: Entry) -> None:
        """Remember what was read of a task; its other parts stay as they are."""
        stored = self._stored.get(key)
        if stored is not None and stored.leases is None:
            self._stored[key] = stored._replace(leases=entry.leases)
        self._put(key, entry)

    def hold(self, key: int, entry: Entry) -> None:
        """The task is to be as in `entry`; it is written with the next flush."""
        before = self._entries.get(key)
        assert before is not None, "it was learnt or created before"
        self._stored.setdefault(key, before)
        self._put(key, entry)
        self._undo.append(lambda: self._put(key, before))

    def created(self, key: int, entry: Entry) -> None:
        """A new task, whose row was added."""
        self._put(key, entry)
        self._undo.append(lambda: self._put(key, None))

    def created_many(self, entries: Mapping[int, Entry]) -> None:
        """The same for many, by key."""
        for key, entry in entries.items():
            self._put(key, entry)
        self._undo.append(lambda: [self._put(key, None) for key in entries])

    def forget(self, key: int) -> None:
        """The task is gone."""
        before, stored = self._entries.get(key), self._stored.pop(key, None)
        assert stored is None or stored == before, "flushed before"
        self._put(key, None)
        self._undo.append(lambda: self._put(key, before))

    def publish(
        self, task: Task, change: Change, operation: Operation | None = None, first_sequence: int | None = None
    ) -> None:
        """Tell the subscribers after the commit, and those who watch. See TaskEvent.

        `first_sequence`: completion number of the first outcome that came with it; None = none came.
        """
        first = task.next_sequence if first_sequence is None else first_sequence
        self._published.append(Published(task, change, operation, first))

    def log(self) -> None:
        """The group is complete: write what was published into the log."""
        if self._published:
            published, self._published = self._published, []
            self._events = self._write_events(self, published)

    def on_undo(self, undo: Callable[[], Any]) -> None:
        """Have `undo` called if this mutation, or its whole group, is not committed."""
        self._undo.append(undo)

    # -- life of a mutation and of a group ----------------------------------------------------------------------

    def start(self) -> None:
        """A mutation begins."""
        self._mark = len(self._published), len(self._undo)

    def undo(self) -> None:
        """The mutation failed: forget what it did in memory."""
        published, undos = self._mark
        del self._published[published:]
        self._take_back(undos)

    def end(self, *, committed: bool) -> list[TaskEvent]:
        """The group ended; return its events."""
        events, self._events = self._events, []
        self._published.clear()
        self.names.clear()
        self.calls.clear()
        self._stored.clear()
        if committed:
            self._undo.clear()
            while self._held_bytes > _HELD_BYTES:
                self._put(next(iter(self._entries)), None)
            return events
        self._take_back(0)
        self._waiting.clear()
        self._entries.clear()
        self._held_bytes = 0
        return []

    def _take_back(self, first: int) -> None:
        for undo in reversed(self._undo[first:]):
            undo()
        del self._undo[first:]

    def _put(self, key: int, entry: Entry | None) -> None:
        before = self._entries.pop(key, None)
        if before is not None:
            self._held_bytes -= _weight(before)
        if entry is not None:
            self._entries[key] = entry
            self._held_bytes += _weight(entry)


def _weight(entry: Entry) -> int:
    return _ENTRY_BYTES + len(entry.task.fixed) + len(entry.task.parameters)
