"""Which tasks match a filter, in an order? A page of them, with a bound on how many are looked at for it.

    the rest of what has the position's value ─▶ what comes after it ─▶ …as many as are wanted, or as may be looked at

Where ties come the wrong way round (`Walk.backward`) each value's tasks are turned round; of the last value maybe not
all were read: what was is dropped, and its tasks are read again from their first, or by the next page.

Each statement gives one row, with all that were found in it: see listing.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from batchyard_server.codec import pages
from batchyard_server.model import limits
from batchyard_server.model.states import LIVE
from batchyard_server.model.task_query import Position, TaskQuery
from batchyard_server.store.protocols import TaskPage
from batchyard_server.store.sqlite import filters, listing, orders, tasks
from batchyard_server.store.sqlite.filters import Expression
from batchyard_server.store.sqlite.orders import Walk
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.transaction import Row, Transaction

_APART = "SELECT info FROM task WHERE key = ?"
# One that is kept apart has no entry in its row: an empty one stands for it.
_ENTRIES = ", CAST(coalesce(group_concat(iif(fixed_size > 0, info, x'0a00'), ''), '') AS BLOB)"


@dataclass(frozen=True, slots=True)
class Found:
    """Some rows: the columns that were asked for, then the value that orders and the id.

    Attributes:
        infos: of each row its BatchTaskInfo, b"" = it is kept apart; none if they were not asked for.
        last: where it goes on, None if nothing was looked at.
        more: whether anything may come then.
    """

    rows: Sequence[Row]
    infos: Sequence[bytes]
    last: Position | None
    more: bool


def search(
    source: Reader | Transaction, query: TaskQuery, columns: Sequence[str], limit: int, *, shown: bool = False
) -> Found:
    """The next rows that match: not all `limit`, though there are more, once limits.EXAMINED_TASKS were looked at.

    `columns`: of numbers and texts. `shown`: their infos too.
    """
    walk = orders.plan(query.project, query.filter, query.order)
    if walk is None:
        return Found((), (), None, more=False)
    return _Search(source, walk, query, columns, limit, shown=shown).found()


def page(reader: Reader, query: TaskQuery) -> TaskPage:
    """See Store.list_tasks."""
    limit = min(query.limit, query.max_bytes // listing.ENTRY_BYTES + 1)
    found = search(reader, query, ("key", "state"), limit, shown=True)
    met = (
        (key, state in LIVE, pages.entry(info or tasks.fixed_apart(reader, key) + reader.run(_APART, (key,))[0][0]))
        for (key, state, *_), info in zip(found.rows, found.infos, strict=True)
    )
    entries, live = listing.fitting(met, query.max_bytes)
    last, more = found.last, found.more
    if len(entries) < len(found.rows):
        last, more = _position(found.rows[len(entries) - 1]), True
    return TaskPage(entries=b"".join(entries), count=len(entries), live=live, last=last, more=more)


def _position(row: Row) -> Position:
    return row[-2], row[-1]


class _Search:
    def __init__(
        self,
        source: Reader | Transaction,
        walk: Walk,
        query: TaskQuery,
        columns: Sequence[str],
        limit: int,
        *,
        shown: bool,
    ) -> None:
        self._source = source
        self._walk = walk
        self._after = query.after
        self._columns = (*columns, "fixed_size", "info") if shown else tuple(columns)
        self._packed = f"json_group_array(json_array({', '.join(columns)}, at, at_id)){_ENTRIES if shown else ''}"
        self._limit = limit
        self._rest = filters.translate(walk.rest, query.running)
        self._budget = limits.EXAMINED_TASKS
        self._rows: list[_Met] = []
        self._stopped: Position | None = None  # where, if that was not the end

    def found(self) -> Found:
        """What there is."""
        if self._walk.only:
            met = self._run(self._walk.point(self._columns, self._rest))
            self._rows += [each for each in met if self._after is None or self._walk.is_after(each.at, self._after)]
        elif self._walk.by_id:
            self._read(self._walk if self._after is None else self._walk.beyond(self._after[1]))
        else:
            self._by_value()
        more = len(self._rows) > self._limit
        del self._rows[self._limit :]
        last = self._rows[-1].at if self._rows else None
        if not more and self._stopped is not None:
            last, more = self._stopped, True
        return Found([met.row for met in self._rows], [met.info for met in self._rows], last, more)

    @property
    def _wanted(self) -> int:
        """How many are still looked for; one more than asked for tells whether there are more."""
        return self._limit + 1 - len(self._rows)

    def _by_value(self) -> None:
        walk = self._walk
        after = self._after or self._before_first()
        if after is None:
            self._read(walk)
            return
        value, task_id = after
        same, beyond = walk.at(value), walk.beyond(value)
        goes_on = same.is_empty or self._read(same, task_id)
        if goes_on and not beyond.is_empty:
            goes_on = (self._read_backward if beyond.backward and beyond.value is None else self._read)(beyond)
            if goes_on and beyond.has_unset:
                self._read(beyond.at(0))

    def _before_first(self) -> Position | None:
        """Where to begin if not with a range of the index: before what is not set, or before the first value."""
        walk = self._walk
        if walk.value is not None or not (walk.backward or walk.has_unset):
            return None
        first = self._source.run(*walk.first()) if walk.backward else []
        return (first[0][0] if first else 0, "") if first or walk.has_unset else None

    def _read(self, walk: Walk, after_id: str = "") -> bool:
        """Look at what comes in the right order; whether to go on behind it."""
        wanted = self._wanted
        met = self._look(walk, after_id)
        self._rows += met
        if len(met) == wanted:
            return False
        if not walk.rest:
            return True
        last = self._source.run(*walk.last(self._budget, after_id))
        if last:
            self._stopped = _position(last[0])
            return False
        self._budget -= self._source.run(*walk.count(after_id))[0][0]
        return True

    def _read_backward(self, walk: Walk) -> bool:
        """Look at values whose ties come the wrong way round; whether to go on behind them."""
        wanted = self._wanted
        met = self._look(walk)
        if len(met) == wanted:
            cut = met[-1].at[0]
            self._rows += _turned(each for each in met if each.at[0] != cut)
            self._read(walk.at(cut))
            return False
        last = self._source.run(*walk.last(self._budget)) if walk.rest else []
        if last:
            self._stopped = (last[0][0], "")
            met = [each for each in met if each.at[0] != last[0][0]]
        elif walk.rest:
            self._budget -= self._source.run(*walk.count())[0][0]
        self._rows += _turned(met)
        return not last

    def _look(self, walk: Walk, after_id: str = "") -> list[_Met]:
        return self._run(
            walk.rows(self._columns, self._rest, examined=self._budget, limit=self._wanted, after_id=after_id)
        )

    def _run(self, rows: Expression) -> list[_Met]:
        """What these rows are, read as one."""
        ((packed, *entries),) = self._source.run(f"SELECT {self._packed} FROM ({rows.sql})", rows.values)  # noqa: S608
        found = json.loads(packed)
        infos = pages.infos(entries[0]) if entries else [b""] * len(found)
        return [_Met(tuple(row), _position(row), info) for row, info in zip(found, infos, strict=True)]


class _Met(NamedTuple):
    """A row that matches, its position, and its info."""

    row: Row
    at: Position
    info: bytes


def _turned(rows: Iterable[_Met]) -> Iterable[_Met]:
    """The rows with those of each value turned round."""
    for _, same in groupby(rows, key=lambda met: met.at[0]):
        yield from reversed(list(same))
