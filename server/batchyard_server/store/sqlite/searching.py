"""Which tasks match a filter, in an order? A page of them, with a bound on how many are looked at for it.

    the rest of what has the position's value ─▶ what comes after it ─▶ …as many as are wanted, or as may be looked at

Where ties come the wrong way round (`Walk.backward`) each value's tasks are turned round; of the last value maybe not
all were read: what was is dropped, and its tasks are read again from their first, or by the next page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from batchyard_server.codec import pages
from batchyard_server.model import limits
from batchyard_server.model.states import TaskState
from batchyard_server.model.task_query import Position, TaskQuery
from batchyard_server.store.protocols import TaskPage
from batchyard_server.store.sqlite import filters, orders, tasks
from batchyard_server.store.sqlite.orders import Walk
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.transaction import Row, Transaction

_ENTRY_BYTES = 384  # of a usual task: how many are tried at once follows from it
_SHOWN = ("key", "state", "fixed_size", "info")


@dataclass(frozen=True, slots=True)
class Found:
    """Some rows: the columns that were asked for, then the value that orders and the id.

    `last`: where it goes on, None if nothing was looked at. `more`: whether anything may come then.
    """

    rows: Sequence[Row]
    last: Position | None
    more: bool


def search(source: Reader | Transaction, query: TaskQuery, columns: Sequence[str], limit: int) -> Found:
    """The next rows that match; not all `limit`, though there are more, once limits.EXAMINED_TASKS were looked at."""
    walk = orders.plan(query.project, query.filter, query.order)
    if walk is None:
        return Found((), None, more=False)
    return _Search(source, walk, query, columns, limit).found()


def page(reader: Reader, query: TaskQuery) -> TaskPage:
    """See Store.list_tasks."""
    found = search(reader, query, _SHOWN, min(query.limit, query.max_bytes // _ENTRY_BYTES + 1))
    entries: list[bytes] = []
    live: list[tuple[int, int]] = []
    size, last, more = 0, found.last, found.more
    for key, state, fixed_size, info, *_ in found.rows:
        entry = info if fixed_size else pages.entry(tasks.fixed_apart(reader, key) + info)
        size += len(entry)
        if size > query.max_bytes and entries:
            last, more = found.rows[len(entries) - 1][-2:], True
            break
        if TaskState(state).is_live:
            live.append((len(entries), key))
        entries.append(entry)
    return TaskPage(entries=b"".join(entries), count=len(entries), live=live, last=last, more=more)


class _Search:
    def __init__(
        self, source: Reader | Transaction, walk: Walk, query: TaskQuery, columns: Sequence[str], limit: int
    ) -> None:
        self._source = source
        self._walk = walk
        self._after = query.after
        self._columns = columns
        self._limit = limit
        self._rest = filters.translate(walk.rest, query.running)
        self._budget = limits.EXAMINED_TASKS
        self._rows: list[Row] = []
        self._stopped: Position | None = None  # where, if that was not the end

    def found(self) -> Found:
        """What there is."""
        if self._walk.only:
            rows = self._source.run(*self._walk.point(self._columns, self._rest))
            self._rows = [row for row in rows if self._after is None or self._walk.is_after(row[-2:], self._after)]
        elif self._walk.by_id:
            self._read(self._walk if self._after is None else self._walk.beyond(self._after[1]))
        else:
            self._by_value()
        if len(self._rows) > self._limit:
            del self._rows[self._limit :]
            return Found(self._rows, self._rows[-1][-2:], more=True)
        if self._stopped is not None:
            return Found(self._rows, self._stopped, more=True)
        return Found(self._rows, self._rows[-1][-2:] if self._rows else None, more=False)

    @property
    def _wanted(self) -> int:
        """How many are still looked for; one more than asked for tells whether there are more."""
        return self._limit + 1 - len(self._rows)

    def _by_value(self) -> None:
        walk, after = self._walk, self._after
        if after is None and walk.backward and walk.value is None:
            first = self._source.run(*walk.first())
            after = (first[0][0], "") if first else None
        if after is None:
            self._read(walk)
            return
        value, task_id = after
        same, beyond = walk.at(value), walk.beyond(value)
        if not same.is_empty and not self._read(same, task_id):
            return
        if beyond.is_empty:
            return
        if beyond.backward and beyond.value is None:
            self._read_backward(beyond)
        else:
            self._read(beyond)

    def _read(self, walk: Walk, after_id: str = "") -> bool:
        """Look at what comes in the right order; whether to go on behind it."""
        wanted = self._wanted
        rows = self._run(walk, after_id)
        self._rows += rows
        if len(rows) == wanted:
            return False
        if not walk.rest:
            return True
        last = self._source.run(*walk.last(self._budget, after_id))
        if last:
            self._stopped = last[0]
            return False
        self._budget -= self._source.run(*walk.count(after_id))[0][0]
        return True

    def _read_backward(self, walk: Walk) -> None:
        """Look at values whose ties come the wrong way round."""
        wanted = self._wanted
        rows = self._run(walk)
        if len(rows) == wanted:
            cut = rows[-1][-2]
            self._rows += _turned(row for row in rows if row[-2] != cut)
            self._read(walk.at(cut))
            return
        last = self._source.run(*walk.last(self._budget)) if walk.rest else []
        if last:
            self._stopped = (last[0][0], "")
            rows = [row for row in rows if row[-2] != last[0][0]]
        self._rows += _turned(rows)

    def _run(self, walk: Walk, after_id: str = "") -> list[Row]:
        return self._source.run(
            *walk.rows(self._columns, self._rest, examined=self._budget, limit=self._wanted, after_id=after_id)
        )


def _turned(rows: Iterable[Row]) -> Iterable[Row]:
    """The rows with those of each value turned round."""
    for _, same in groupby(rows, key=lambda row: row[-2]):
        yield from reversed(list(same))
