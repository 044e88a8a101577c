"""The event table: the log of committed changes, and the reads of those who watch.

A row a change, in the order of the commits. Nothing is indexed: who catches up reads forward from where it was.
"""

# ruff: noqa: S608 - what is put into statements here are names and numbers of this module, never values of callers

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from functools import partial

from batchyard_server.model.filter import NEWEST_FIRST
from batchyard_server.model.names import TaskName
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Operation, Task
from batchyard_server.model.task_query import TaskQuery, numbered
from batchyard_server.model.watch import Change, LogEntry
from batchyard_server.store.event_log import LogPage, Watched, WatchedPage
from batchyard_server.store.protocols import TaskEvent
from batchyard_server.store.sqlite import operations, searching, tasks
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.transaction import Published, Row, Rows, Transaction

_COLUMNS = ", ".join(LogEntry._fields)
_INSERT = Rows(10, "INSERT INTO event VALUES", f"({', '.join('?' * len(LogEntry._fields))})", most=64)
_PAGE = f"SELECT {_COLUMNS} FROM event WHERE seq > ? AND seq <= ? AND project = ?"
OF_PROJECT = f"{_PAGE} ORDER BY seq LIMIT ?"
OF_TASK = f"{_PAGE} AND task_key = ? ORDER BY seq LIMIT ?"
BOUNDS = "SELECT (SELECT min(seq) FROM event), (SELECT max(seq) FROM event)"
TRIM = "DELETE FROM event WHERE seq <= ?"
_PAGE_ENTRIES = 128  # each may have an error of limits.ERROR bytes
_PAGE_LOOKED_AT = 16_384
_TRIMMED = 500  # at once

_JOINED = (
    f"SELECT {operations.COLUMNS}, first_sequence, {tasks.COLUMNS} "
    f"FROM task CROSS JOIN operation ON operation.key = {operations.KEY_OF_TASK} "
)
WATCHED_BY_KEY = f"{_JOINED}WHERE task.key = ? AND task.id_fold IS NOT NULL"
_WATCHED = f"{_JOINED}WHERE task.project = ? AND task.id_fold IS NOT NULL"
WATCHED = f"{_WATCHED} AND task.id_fold = ?"
WATCHED_EQUAL = f"{_WATCHED} AND task.create_us = ? AND task.task_id > ? ORDER BY task.task_id LIMIT ?"
WATCHED_OLDER = f"{_WATCHED} AND task.create_us < ? ORDER BY task.create_us DESC, task.task_id LIMIT ?"
_LATEST = 2**63 - 1
_OPERATION = f"SELECT {operations.COLUMNS} FROM operation WHERE key = ? AND hidden = 0"


class Log:
    """The writer's side: numbers and writes changes, and removes the oldest. `first` and `last`: numbers in the table.

    Args:
        kept: so many changes are kept.
    """

    def __init__(self, first: int, last: int, kept: int) -> None:
        self.first = first
        self.last = last
        self._kept = kept

    def write(self, tx: Transaction, published: Sequence[Published]) -> list[TaskEvent]:
        """Write what a group published, and return what the subscribers are told.

        COUNTS that another change of the task follows in the group leave no row; their outcomes come with that one.
        """
        before = self.last
        tx.on_undo(partial(setattr, self, "last", before))
        firsts, joined = _joined(published)
        now_us = tx.clock.now_us()
        told: list[TaskEvent] = []
        rows: list[LogEntry] = []
        for at, each in enumerate(published):
            entry = None
            if at not in joined:
                self.last += 1
                entry = _entry(self.last, now_us, each, firsts[at])
                rows.append(entry)
            told.append(TaskEvent(each.task, each.change, each.operation, entry))
        _INSERT.write(tx, rows)
        return told

    @property
    def is_long(self) -> bool:
        """Whether it is worth it to remove some."""
        return self.last - self.first >= self._kept + self._kept // 16

    def trim(self, tx: Transaction, deadline: int) -> None:
        """Remove the oldest ones until `kept` are left or the time is over."""
        before = self.first
        tx.on_undo(partial(setattr, self, "first", before))
        while (end := self.last - self._kept) >= self.first and tx.clock.monotonic_ns() < deadline:
            upto = min(end, self.first + _TRIMMED - 1)
            tx.run(TRIM, (upto,))
            self.first = upto + 1


def open_log(row: Row, kept: int) -> Log:
    """The log as it is in the table, from the row of BOUNDS."""
    return Log(row[0] or 1, row[1] or 0, kept)


def _joined(published: Sequence[Published]) -> tuple[list[int], set[int]]:
    """The first completion number of each, and the places of those that another change of their task follows."""
    firsts = [each.first_sequence for each in published]
    joined: set[int] = set()
    if len(published) > 1:
        counts: dict[int, int] = {}  # task → the place of its last change, if that was COUNTS
        for at, each in enumerate(published):
            earlier = counts.pop(each.task.key, None)
            if earlier is not None:
                joined.add(earlier)
                firsts[at] = firsts[earlier]
            if each.change is Change.COUNTS:
                counts[each.task.key] = at
    return firsts, joined


def _entry(seq: int, now_us: int, published: Published, first_sequence: int) -> LogEntry:
    task, change, operation, _ = published
    return LogEntry(
        seq,
        task.project,
        task.key,
        task.task_id,
        task.operation,
        task.generation,
        change,
        operation is not None,
        task.state,
        task.total,
        task.succeeded,
        task.failed,
        task.cancelled,
        first_sequence,
        task.next_sequence,
        task.create_us,
        now_us,
        task.error if task.state.is_final else b"",
    )


def _of_row(row: Row) -> LogEntry:
    entry = LogEntry(*row)
    return entry._replace(change=Change(entry.change), ends=bool(entry.ends), state=TaskState(entry.state))


def page(reader: Reader, after: int, upto: int, project: str, task_key: int | None) -> LogPage:
    """See Store.events."""
    oldest, newest = reader.run(BOUNDS)[0]
    end = min(upto, newest or 0)
    kept = after <= (newest or 0) and after + 1 >= (oldest or 1)
    if not kept:
        return LogPage(entries=(), last=after, kept=False)
    last = min(after + _PAGE_LOOKED_AT, end)
    if task_key is None:
        rows = reader.run(OF_PROJECT, (after, last, project, _PAGE_ENTRIES))
    else:
        rows = reader.run(OF_TASK, (after, last, project, task_key, _PAGE_ENTRIES))
    entries = [_of_row(row) for row in rows]
    if len(entries) == _PAGE_ENTRIES:
        last = entries[-1].seq
    return LogPage(entries=entries, last=max(last, after), kept=True)


def watched(reader: Reader, name: TaskName) -> tuple[Watched, int]:
    """See Store.watched."""
    rows = reader.run(WATCHED, (name.project, name.task.lower()))
    if not rows or (found := _watched(rows[0])).task.task_id != name.task:
        raise tasks.not_found(name)
    return found, _newest(reader)


def watched_page(reader: Reader, query: TaskQuery) -> WatchedPage:
    """See Store.watched_page."""
    assert query.order == NEWEST_FIRST, query
    if query.is_usual:
        rows, follows = _rows(reader, query), None
    else:
        matching = searching.search(reader, query, ("key",), query.limit)
        rows = (row for key, *_ in matching.rows for row in reader.run(WATCHED_BY_KEY, (key,)))
        follows = numbered(matching.last) if matching.more else None
    found: list[Watched] = []
    size = 0
    for row in rows:
        found.append(_watched(row))
        task = found[-1].task
        size += len(row[4]) + len(row[5]) + len(task.fixed)
        if size > query.max_bytes or len(found) == query.limit:
            follows = task.create_us, task.task_id
            break
    rows.close()
    return WatchedPage(tasks=found, seq=_newest(reader), follows=follows)


def _rows(reader: Reader, query: TaskQuery) -> Generator[Row]:
    """All tasks after the position, one after the other."""
    after = numbered(query.after)
    parts: list[tuple[str, Row]] = [(WATCHED_OLDER, (query.project, after[0] if after else _LATEST))]
    if after:
        parts.insert(0, (WATCHED_EQUAL, (query.project, *after)))
    for sql, values in parts:
        with closing(reader.stream(sql, (*values, query.limit))) as rows:
            yield from rows


def tasks_of(reader: Reader, keys: Sequence[int]) -> Mapping[int, Task]:
    """See Store.tasks_of."""
    found = ((key, tasks.by_key(reader, key)) for key in keys)
    return {key: task for key, task in found if task is not None}


def operation_of(reader: Reader, task_key: int, generation: int) -> Operation | None:
    """See Store.operation_of."""
    rows = reader.run(_OPERATION, (operations.key_of(task_key, generation),))
    return operations.of_row(rows[0]) if rows else None


def _watched(row: Row) -> Watched:
    return Watched(operation=operations.of_row(row[:6]), first_sequence=row[6], task=tasks.of_row(row[7:]))


def _newest(reader: Reader) -> int:
    return reader.run(BOUNDS)[0][1] or 0
