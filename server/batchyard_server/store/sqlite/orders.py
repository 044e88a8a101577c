"""Along which index are the tasks of a filter met in an order, and between which bounds?

    (filter, order) ─▶ Walk: an index, the states it is read for, bounds on what orders, and what is left of the filter
    Walk ─▶ statements: all of one value in order of id; or all between bounds, in the order of the index

An index has its ties by id in its own direction. Read in the other one (`backward`), ties come by id descending:
whoever reads it puts them right, see searching.py.
"""

# ruff: noqa: S608 - what is put into statements here are names of this module, never values of callers

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from batchyard_server.model.filter import (
    UNSET,
    All,
    Always,
    Compare,
    IsSet,
    Node,
    Not,
    Op,
    Prefix,
    TaskOrder,
    conjuncts,
)
from batchyard_server.model.filter import Any as Either
from batchyard_server.model.states import TaskState
from batchyard_server.model.task_query import Position
from batchyard_server.store.sqlite import filters
from batchyard_server.store.sqlite.filters import Expression

Value = int | str


class _Order(NamedTuple):
    """How the order of a field is read.

    Attributes:
        along: the index, by `column`, which falls in it if it is `downward`.
        of_states: the one that begins with the state; "" = there is none.
        unset: states in which the column is 0, for not set, as it is in no other: the index does without them.
    """

    column: str
    along: str
    downward: bool = False
    of_states: str = ""
    unset: tuple[int, ...] = ()


_ORDERS = {
    "id": _Order("task_id", "task_by_name", of_states="task_by_state"),
    "create_time": _Order("create_us", "task_by_time", downward=True, of_states="task_by_state_time"),
    "update_time": _Order("update_us", "task_by_update"),
    "end_time": _Order("end_us", "task_by_end", unset=tuple(state for state in TaskState if not state.is_final)),
    "display_name": _Order("display_name", "task_by_display_name"),
    "priority": _Order("priority", "task_by_priority"),
    "state": _Order("state", "task_by_state"),
}
_EVERY_STATE = frozenset(TaskState)
_COMPARED = {
    Op.EQ: operator.eq,
    Op.NE: operator.ne,
    Op.LT: operator.lt,
    Op.LE: operator.le,
    Op.GT: operator.gt,
    Op.GE: operator.ge,
}


class Bound(NamedTuple):
    """A value, and whether it is inside."""

    value: Value
    inside: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What is read.

    Attributes:
        states: those that the index is read for, one range each, merged; none = whatever the state.
        lower, upper: of what orders; None = none.
        rest: the parts of the filter that each task is looked at for.
        only: the one id that can match; "" = any.
    """

    project: str
    order: TaskOrder
    states: tuple[int, ...] = ()
    lower: Bound | None = None
    upper: Bound | None = None
    rest: tuple[Node, ...] = ()
    only: str = ""

    @property
    def column(self) -> str:
        """What orders."""
        return _ORDERS[self.order.field].column

    @property
    def by_id(self) -> bool:
        """Whether the id alone orders, so that nothing ties."""
        return self.order.field == "id"

    @property
    def backward(self) -> bool:
        """Whether equal ones come by id descending."""
        return not self.by_id and self.order.descending != _ORDERS[self.order.field].downward

    def above(self, value: Value, *, inside: bool = False) -> Walk:
        """Of this walk what is greater than the value, or equal to it."""
        bound = Bound(value, inside)
        return self if self.lower and _low(self.lower) >= _low(bound) else replace(self, lower=bound)

    def below(self, value: Value, *, inside: bool = False) -> Walk:
        """Of this walk what is less than the value, or equal to it."""
        bound = Bound(value, inside)
        return self if self.upper and _high(self.upper) <= _high(bound) else replace(self, upper=bound)

    def beyond(self, value: Value) -> Walk:
        """Of this walk what comes after all that have the value."""
        return self.below(value) if self.order.descending else self.above(value)

    def at(self, value: Value) -> Walk:
        """Of this walk what has the value."""
        return self.above(value, inside=True).below(value, inside=True)

    @property
    def value(self) -> Value | None:
        """The one value that is inside; None if there may be others."""
        low, high = self.lower, self.upper
        return low.value if low and high and low.inside and high.inside and low.value == high.value else None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is inside."""
        low, high = self.lower, self.upper
        if low is None or high is None:
            return False
        a, b = _comparable(low.value), _comparable(high.value)
        return a > b or (a == b and not (low.inside and high.inside))

    @property
    def has_unset(self) -> bool:
        """Whether tasks for which the field is not set are inside, apart from the others."""
        return bool(_ORDERS[self.order.field].unset) and not self.at(0).is_empty

    @property
    def _is_unset(self) -> bool:
        return bool(_ORDERS[self.order.field].unset) and self.value == 0

    def is_after(self, position: Position, other: Position) -> bool:
        """Whether a position comes after another one in this order."""
        if not self.by_id and position[0] == other[0]:
            return position[1] > other[1]
        ours, theirs = (_comparable(each[1 if self.by_id else 0]) for each in (position, other))
        return ours < theirs if self.order.descending else ours > theirs

    # -- statements ---------------------------------------------------------------------------------------------

    def rows(
        self, columns: Sequence[str], rest: Expression, *, examined: int, limit: int, after_id: str = ""
    ) -> Expression:
        """At most `limit` of the first `examined` rows: those that match the rest of the filter, in order.

        They have `columns`, then the value and the id. `after_id`: where one value is read, those with a greater id.
        A subquery with a LIMIT is run row by row, and its order stays: SQLite makes it no part of what is around it.
        """
        if not self.rest:
            return self._scan([*columns, self._valued, "task_id AS at_id"], limit, after_id)
        inner = self._scan([*self._needed(columns), self._valued, "task_id AS at_id"], examined, after_id)
        sql = f"SELECT {', '.join(columns)}, at, at_id FROM ({inner.sql}) WHERE {rest.sql} LIMIT ?"
        return Expression(sql, (*inner.values, *rest.values, limit))

    def point(self, columns: Sequence[str], rest: Expression) -> Expression:
        """The same of the one task that has the id `only`."""
        needed = ", ".join([*self._needed(columns), self._valued, "task_id AS at_id"])
        inner = f"SELECT {needed} FROM task WHERE project = ? AND id_fold = ? LIMIT 1"
        sql = f"SELECT {', '.join(columns)}, at, at_id FROM ({inner}) WHERE {rest.sql}"
        return Expression(sql, (self.project, self.only.lower(), *rest.values))

    def _needed(self, columns: Sequence[str]) -> list[str]:
        return sorted({*columns, *filters.columns_of(All(self.rest)), "key"})

    def last(self, examined: int, after_id: str = "") -> Expression:
        """(value, id) of row number `examined`, from 1: none if there are fewer."""
        scan = self._scan([self._valued, "task_id AS at_id"], 1, after_id)
        return Expression(f"{scan.sql} OFFSET ?", (*scan.values, examined - 1))

    def first(self) -> Expression:
        """(value, id) of a row that has the first value."""
        return self._scan([self._valued, "task_id AS at_id"], 1, "")

    def count(self, after_id: str = "") -> Expression:
        """How many rows there are; only where they are known to be few."""
        scan = self._scan([self._valued, "task_id AS at_id"], -1, after_id)
        return Expression(f"SELECT count(*) FROM ({scan.sql})", scan.values)

    @property
    def _valued(self) -> str:
        return "0 AS at" if self.by_id or self._is_unset else f"{self.column} AS at"

    def _scan(self, columns: Iterable[str], limit: int, after_id: str) -> Expression:
        order = _ORDERS[self.order.field]
        states, along = self.states, order.of_states if self.states else order.along
        where, values = ["project = ?", "id_fold IS NOT NULL"], list[Any]()
        if self._is_unset:
            states, along = order.unset, "task_by_state"
        elif order.unset:
            where.append("state >= 7")
        if states:
            where.append("state = ?")
        for sql, value in self._range(after_id):
            where.append(sql)
            values.append(value)
        one = f"SELECT {', '.join(columns)} FROM task INDEXED BY {along} WHERE {' AND '.join(where)}"
        every = " UNION ALL ".join([one] * max(1, len(states)))
        heads = [(self.project, state) for state in states] or [(self.project,)]
        bound = tuple(value for head in heads for value in (*head, *values))
        return Expression(f"{every} ORDER BY {self._by} LIMIT ?", (*bound, limit))

    @property
    def _by(self) -> str:
        way = " DESC" if self.order.descending else ""
        if self.by_id:
            return f"at_id{way}"
        if self.value is not None:
            return "at_id"
        return f"at{way}, at_id{' DESC' if self.backward else ''}"

    def _range(self, after_id: str) -> Iterator[tuple[str, Value]]:
        column = self.column
        if self.value is not None and not self.by_id:
            if not self._is_unset:
                yield f"{column} = ?", self.value
            yield "task_id > ?", after_id
            return
        if self.lower:
            yield f"{column} >{'=' if self.lower.inside else ''} ?", self.lower.value
        if self.upper:
            yield f"{column} <{'=' if self.upper.inside else ''} ?", self.upper.value


def plan(project: str, node: Node, order: TaskOrder) -> Walk | None:
    """The walk for a filter and an order; None if nothing can match."""
    parts = tuple(conjuncts(node))
    for part in parts:
        if isinstance(part, Compare) and part.field.name == "id" and part.op is Op.EQ:
            return Walk(project=project, order=order, rest=parts, only=str(part.value))
    walk = Walk(project=project, order=order, lower=Bound(0) if _ORDERS[order.field].unset else None)
    states, rest = _EVERY_STATE, list[Node]()
    for part in parts:
        if part == Always(truth=False):
            return None
        found = _states(part) if _ORDERS[order.field].of_states else None
        if found is not None:
            states &= found
            continue
        bounded = _bounded(walk, part)
        if bounded is not None:
            walk = bounded
            continue
        rest.append(part)
    walk = replace(walk, rest=tuple(rest), states=() if states == _EVERY_STATE else tuple(sorted(states)))
    return None if not states or walk.is_empty else walk


def _bounded(walk: Walk, part: Node) -> Walk | None:
    """The walk between the bounds of a comparison of what orders; None if it is none."""
    if not isinstance(part, Compare | IsSet | Prefix) or part.field.name != walk.order.field:
        return None
    if _ORDERS[walk.order.field].unset:
        walk = walk.above(0)
    if isinstance(part, IsSet):
        return walk if walk.order.field not in UNSET else None
    if isinstance(part, Prefix):
        return _begins(walk, part.text)
    if part.op is Op.NE:
        return None
    if part.op in {Op.EQ, Op.GE, Op.GT}:
        walk = walk.above(part.value, inside=part.op is not Op.GT)
    if part.op in {Op.EQ, Op.LE, Op.LT}:
        walk = walk.below(part.value, inside=part.op is not Op.LT)
    return walk


def _begins(walk: Walk, text: str) -> Walk:
    """The walk between a text and the least one that is greater than all that begin so: code points sort as UTF-8."""
    walk = walk.above(text, inside=True)
    stem = text.rstrip(chr(sys.maxunicode))
    if not stem:
        return walk
    following = ord(stem[-1]) + 1
    return walk.below(stem[:-1] + chr(0xE000 if following == 0xD800 else following))  # what is between is no text


def _states(node: Node) -> frozenset[TaskState] | None:
    """The states in which a filter matches, if it looks at nothing else."""
    if isinstance(node, Not):
        part = _states(node.part)
        return None if part is None else _EVERY_STATE - part
    if isinstance(node, All | Either):
        parts = [_states(part) for part in node.parts]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return _EVERY_STATE.intersection(*known) if isinstance(node, All) else frozenset().union(*known)
    if not isinstance(node, Compare) or node.field.name != "state":
        return None
    return frozenset(state for state in TaskState if _COMPARED[node.op](state, node.value))


def _comparable(value: Value) -> Any:
    return value.encode() if isinstance(value, str) else value


def _low(bound: Bound) -> tuple[Any, bool]:
    return _comparable(bound.value), not bound.inside


def _high(bound: Bound) -> tuple[Any, bool]:
    return _comparable(bound.value), bound.inside
