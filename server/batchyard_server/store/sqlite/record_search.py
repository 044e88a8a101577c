"""What do both orders share when the records of a filter are looked for?

What rows know of their segments decides where it can: none of these match, then nothing is opened; all of them do, then
whole segments are passed on; else a segment is opened and each record held against the filter.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from batchyard_server.codec import segments as codec
from batchyard_server.codec.record_match import RecordMatch
from batchyard_server.model import limits
from batchyard_server.model import ranges as rg
from batchyard_server.model.filter import All, Always, Any, Compare, Node, Op
from batchyard_server.model.record import RecordPage, RecordQuery, View
from batchyard_server.model.states import RecordState
from batchyard_server.model.task import Task
from batchyard_server.store.sqlite import inputs, outcomes, record_parts
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.record_parts import Page

Ranges = list[tuple[int, int]]

BY_ID = "SELECT idx FROM record_key WHERE task_key = ? AND record_id = ?"


class Part(NamedTuple):
    """A stored segment: Found, and how many of it failed. What failed of an `inherited` one is not seen."""

    row: int
    lo: int
    hi: int
    records: int
    failed: int
    inherited: bool

    @property
    def hidden(self) -> int:
        """How many of its records are not seen."""
        return self.failed if self.inherited else 0

    @property
    def states(self) -> tuple[RecordState, RecordState]:
        """The states of those that are seen lie between these."""
        first = RecordState.SUCCEEDED if self.hidden or self.failed < self.records else RecordState.FAILED
        return first, RecordState.FAILED if self.failed and not self.inherited else RecordState.SUCCEEDED


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record that has no outcome."""

    index: int
    state: RecordState
    attempt: int


class Search:
    """A page of what matches, and how much may still be looked at for it.

    Attributes:
        places: indexes beyond these cannot match. success_may: whether what succeeded may.
        left: how many records may still be looked at.
        ended: a record did not fit any more.
    """

    def __init__(self, reader: Reader, query: RecordQuery, task: Task) -> None:
        self.reader = reader
        self.query = query
        self.task = task
        self.page = Page(query)
        self.match = RecordMatch(query.filter)
        self.places = _places(reader, query.filter, task)
        self.success_may = self.match.of_outcomes(0, task.total, (RecordState.SUCCEEDED, RecordState.SUCCEEDED)).may
        self.left = limits.EXAMINED_RECORDS
        self.ended = False
        # Those without an outcome are CANCELLED.
        self.over = task.state.is_final or query.generation < task.generation
        self._make = codec.Placeholders(task.name, query.generation)

    @property
    def full(self) -> bool:
        """Whether the page ends here."""
        return self.ended or self.left <= 0 or not self.page.room

    def select(self, part: Part, at: Sequence[int], *, all_match: bool) -> tuple[Sequence[int], Sequence[bytes]]:
        """Look at the records at these positions of a segment: where those are that match, and all of its records."""
        page = record_parts.blob(self.reader, part.row)
        self.left -= len(at)
        matched = at if all_match else self.match.positions(page, at)
        return matched, codec.split_page(page) if matched else ()

    def failed_of(self, part: Part) -> set[int]:
        """The indexes of a segment that are not seen."""
        return set(outcomes.failed_of(self.reader, part.row)) if part.hidden else set()

    def waiting(self, gaps: Ranges) -> list[Waiting]:
        """Those that match of records that have no outcome."""
        start, end = gaps[0][0], gaps[-1][1]
        names, plain = self.match.names, RecordState.CANCELLED if self.over else RecordState.PENDING
        found = inputs.between(self.reader, self.task.key, start, end) if "record_id" in names else []
        ids = any(each.ids for each in found)
        running = set[int]() if self.over else {index for index in self.query.running if start <= index < end}
        attempts = "attempt" in names
        self.left -= 1
        alike = self.match.of_waiting(start, end, (plain, plain), attempt=0, ids=ids)
        if not alike.may and not running and not attempts:
            return []
        begun = outcomes.begun_between(self.reader, self.task.key, self.query.generation, start, end)
        others = sorted(running | begun.keys() if attempts else running)  # that are not like most of them
        source = inputs.Records(self.reader, found)
        out: list[Waiting] = []
        for first, last in gaps:
            different = others[bisect_left(others, first) : bisect_left(others, last)]
            may, must = self.match.of_waiting(first, last, (plain, plain), attempt=0, ids=ids)
            looked_at = range(first, last) if may else different
            self.left -= len(looked_at)
            for index in looked_at:
                runs = index in running
                state, attempt = RecordState.RUNNING if runs else plain, begun.get(index, 0) + runs
                if (must and not different) or self.match.waiting(
                    index, _record_id(source, index) if ids else "", state, attempt
                ):
                    out.append(Waiting(index, state, attempt))
        return out

    def result(self, position: int, *, more: bool) -> RecordPage:
        """The page as it is."""
        return RecordPage(records=self.page.bytes(), count=self.page.count, next_position=position, more=more)

    def add(self, found: dict[int, bytes | Waiting]) -> int | None:
        """Add records by index: outcomes, and such that have none. The first one that did not fit."""
        full = self.query.view is View.FULL
        order = sorted(found)
        if not order:
            return None
        source = inputs.Records(self.reader, inputs.between(self.reader, self.task.key, order[0], order[-1] + 1))
        for index in order:
            record = found[index]
            if isinstance(record, Waiting):
                index, state, attempt = record.index, record.state, record.attempt
                record = record_parts.placeholder(source, self._make, index, state, attempt, self.query.view)
            elif full:
                record = codec.with_input(record, source.get(index))
            if not self.page.add(record):
                self.ended = True
                return index
        return None


def _record_id(source: inputs.Records, index: int) -> str:
    return codec.record_id_of(source.get(index)) if source.has_id(index) else ""


def _places(reader: Reader, node: Node, task: Task) -> Ranges:
    """Indexes of the task that can match, and perhaps others."""
    everywhere = [(0, task.total)]
    if isinstance(node, All):
        found = everywhere
        for part in node.parts:
            found = rg.intersect(found, _places(reader, part, task))
        return found
    if isinstance(node, Any):
        return rg.normalize(each for part in node.parts for each in _places(reader, part, task))
    if isinstance(node, Always) and not node.truth:
        return []
    if isinstance(node, Compare) and node.field.name == "index":
        assert isinstance(node.value, int), "an index is a number"
        return rg.intersect(everywhere, _indexes(node.op, node.value, task.total))
    if isinstance(node, Compare) and node.field.name == "record_id" and node.op is Op.EQ and node.value:
        rows = reader.run(BY_ID, (task.key, node.value))
        return [(index, index + 1) for (index,) in rows]
    return everywhere


def _indexes(op: Op, value: int, total: int) -> Ranges:
    if op is Op.NE:
        return rg.normalize([(0, value), (value + 1, total)])
    start = {Op.EQ: value, Op.GE: value, Op.GT: value + 1}.get(op, 0)
    end = {Op.EQ: value + 1, Op.LE: value + 1, Op.LT: value}.get(op, total)
    return rg.normalize([(start, end)])


def touches(ranges: Ranges, start: int, end: int) -> bool:
    """Whether an index of [start, end) is in the ranges (normalized)."""
    at = bisect_right(ranges, start, key=lambda each: each[1])
    return at < len(ranges) and ranges[at][0] < end
