"""The records of a filter in order of completion."""

# ruff: noqa: S608 - what is put into statements here are names of this module, never values of callers

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing

from batchyard_server.model import ranges as rg
from batchyard_server.model.record import View
from batchyard_server.model.states import RecordState
from batchyard_server.store.sqlite import record_parts
from batchyard_server.store.sqlite.generations import Span
from batchyard_server.store.sqlite.record_search import Part, Ranges, Search, touches

_COLUMNS = "SELECT first_sequence, size, id, lo, hi, count, failed_count FROM outcome_segment"
EVERY = (
    f"{_COLUMNS} INDEXED BY outcome_by_sequence WHERE task_key = ? AND generation = ? "
    "AND first_sequence >= coalesce((SELECT max(first_sequence) FROM outcome_segment "
    "WHERE task_key = ? AND generation = ? AND first_sequence <= ?), 0) ORDER BY first_sequence"
)
WITH_FAILED = (
    f"{_COLUMNS} INDEXED BY outcome_failed WHERE task_key = ? AND generation = ? AND failed_count > 0 "
    "AND first_sequence >= coalesce((SELECT max(first_sequence) FROM outcome_segment INDEXED BY outcome_failed "
    "WHERE task_key = ? AND generation = ? AND failed_count > 0 AND first_sequence <= ?), 0) ORDER BY first_sequence"
)
_CHUNK = 4096  # cancelled records that are looked at at once


class CompletionSearch(Search):
    """One page."""

    def outcomes(self, span: Span, position: int) -> int:
        """Find outcomes of a generation from completion number `position` on; that of the first one that is left."""
        last = RecordState.SUCCEEDED if span.inherited else RecordState.FAILED
        if not self.places or not self.match.of_outcomes(0, self.task.total, (RecordState.SUCCEEDED, last)).may:
            return span.end
        key = (self.task.key, span.generation)
        with closing(self.reader.stream(EVERY if self.success_may else WITH_FAILED, (*key, *key, position))) as rows:
            for row in rows:
                first, size, part = row[0], row[1], Part(*row[2:], inherited=span.inherited)
                if first + part.records <= position or part.hidden == part.records:
                    continue
                position = max(position, first)
                if self.full:
                    return position
                position = first + self._in_part(part, size, position - first)
                if position < first + part.records:
                    return position
        return span.end

    def _in_part(self, part: Part, size: int, begin: int) -> int:
        """Find those in a segment, from its `begin`-th record on; which one is the first that is left."""
        judged = self.match.of_outcomes(part.lo, part.hi, part.states)
        if not judged.may or not touches(self.places, part.lo, part.hi):
            self.left -= 1
            return part.records
        full = self.query.view is View.FULL
        if judged.must and not begin and not full and not part.hidden and self.page.fits(part.records, size):
            self.page.add_whole(record_parts.blob(self.reader, part.row), part.records)
            return part.records
        if not begin and self.page.enough:
            self.ended = True
            return begin
        at: Sequence[int] = range(begin, part.records)
        indexes = record_parts.indexes_of(self.reader, part.row) if part.hidden or full else ()
        if part.hidden:
            hidden = self.failed_of(part)
            at = [each for each in at if indexes[each] not in hidden]
        looked_at = at[: self.left]
        after = at[self.left] if len(looked_at) < len(at) else part.records
        matched, records = self.select(part, looked_at, all_match=judged.must)
        wanted = matched[: self.page.room]
        chosen: Iterable[bytes] = [records[each] for each in wanted]
        if full:
            which = [indexes[each] for each in wanted]
            chosen = record_parts.with_inputs(self.reader, self.query, which, list(chosen))
        for each, record in zip(wanted, chosen, strict=True):
            if not self.page.add(record):
                self.ended = True
                return each
        return matched[len(wanted)] if len(wanted) < len(matched) else after

    def cancelled(self, position: int, known: int, cancelled: Ranges) -> int:
        """Find cancelled records, by index, from the (position − known)-th on; number of the first one that is left."""
        states = RecordState.CANCELLED, RecordState.CANCELLED
        if not self.places or not self.match.of_waiting(0, self.task.total, states, attempt=None, ids=True).may:
            return known + rg.count(cancelled)
        _, rest = rg.take(cancelled, position - known)
        while rest and not self.full:
            chunk, rest = rg.take(rest, min(_CHUNK, max(256, 4 * self.page.room), self.left))
            self.left -= 1
            wanted = rg.intersect(chunk, self.places)
            found = self.waiting(wanted) if wanted else []
            left = self.add({each.index: each for each in found})
            if left is not None:
                return position + rg.count(rg.intersect(chunk, [(0, left)]))
            position += rg.count(chunk)
        return position
