"""The records of a filter in order of index."""

from __future__ import annotations

from collections.abc import Sequence

from batchyard_server.model import ranges as rg
from batchyard_server.model.record import RecordPage, RecordQuery, View
from batchyard_server.model.states import RecordState
from batchyard_server.model.task import Task
from batchyard_server.store.sqlite import outcomes, record_parts
from batchyard_server.store.sqlite.generations import Span
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.record_search import Part, Ranges, Search, Waiting

_STRETCHES = 4096, 1 << 20  # indexes of which segments are looked up at once: the fewest and the most
_FEW_PARTS = 64  # of a stretch: so the next one may be wider
_CHUNKS = 256, 65_536  # records without an outcome that are looked at at once


class IndexSearch(Search):
    """One page. It goes from group to group: segments that overlap, and what lies between them without an outcome."""

    def __init__(self, reader: Reader, query: RecordQuery, task: Task, spans: Sequence[Span]) -> None:
        super().__init__(reader, query, task)
        self._spans = spans
        self._width = _STRETCHES[0]
        self._chunk = _CHUNKS[0]
        all_ended = query.generation == task.generation and task.succeeded + task.failed == task.total
        cancelled = RecordState.CANCELLED, RecordState.CANCELLED
        states = cancelled if self.over else (RecordState.PENDING, RecordState.RUNNING)
        self._gaps_may = not all_ended and self.match.of_waiting(0, task.total, states, attempt=None, ids=True).may
        self._parts_may = self.match.of_outcomes(0, task.total, (RecordState.SUCCEEDED, RecordState.FAILED)).may
        self._failed_only = not (self._gaps_may or self.success_may)

    def read(self) -> RecordPage:
        """The page."""
        position = self.query.position
        ranges = rg.intersect(self.places, rg.normalize([(position, self.task.total)]))
        for start, end in ranges if self._gaps_may or self._parts_may else ():
            position = start
            while position < end:
                if self.full:
                    return self.result(position, more=True)
                position = self._stretch(position, end)
        return self.result(ranges[-1][1] if ranges else position, more=False)

    def _stretch(self, start: int, end: int) -> int:
        """Look at some of [start, end); where to go on."""
        begin, end = start, min(end, start + self._width)
        parts = self._between(start, end)
        width = 2 * self._width if len(parts) < _FEW_PARTS else self._width // 2
        self._width = max(_STRETCHES[0], min(_STRETCHES[1], width))
        at = 0
        while at < len(parts):
            group, hi = [parts[at]], parts[at].hi
            at += 1
            while at < len(parts) and parts[at].lo < hi:
                group.append(parts[at])
                hi = max(hi, parts[at].hi)
                at += 1
            start = self._gap(start, group[0].lo)
            if hi > end and start > begin:  # so that most are opened once, in the next stretch
                return start
            if not self.full:
                start = self._group(group, start, min(hi, end))
            if self.full or start < min(hi, end):
                return start
        return self._gap(start, end)

    def _between(self, start: int, end: int) -> list[Part]:
        """The segments that may hold indexes of [start, end), by lo; without those that cannot matter."""
        parts: list[Part] = []
        for span in self._spans[-1:] if self._failed_only else self._spans:
            rows = outcomes.counted(self.reader, self.task.key, span.generation, start, end, failed=self._failed_only)
            parts += [Part(*row, inherited=span.inherited) for row in rows if not span.inherited or row[4] < row[3]]
        return sorted(parts, key=lambda part: part.lo)

    def _gap(self, start: int, end: int) -> int:
        """Look at records of [start, end), none of which has an outcome; where to go on."""
        if not self._gaps_may:
            return max(start, end)
        while start < end and not self.full:
            upto = min(end, start + self._chunk, start + max(1, self.left))
            found = self.waiting([(start, upto)])
            self._chunk = _CHUNKS[0] if found else min(_CHUNKS[1], 2 * self._chunk)
            start = self._added({each.index: each for each in found}, upto)
        return start

    def _group(self, group: Sequence[Part], start: int, end: int) -> int:
        """Look at records of [start, end), over which lie these segments; where to go on."""
        if len(group) == 1 and self._passed_on(group[0], start, end):
            return end
        if self.page.enough:
            self.ended = True
            return start
        end = min(end, start + self.left)
        found: dict[int, bytes | Waiting] = {}
        for part in group:
            self._look_into(part, start, end, found)
        if self._gaps_may:
            covered = rg.normalize(each for part in group for each in self._seen(part))
            gaps = rg.subtract([(start, end)], covered)
            if gaps:
                found |= {each.index: each for each in self.waiting(gaps)}
        return self._added(found, end)

    def _added(self, found: dict[int, bytes | Waiting], end: int) -> int:
        """Add what was found below `end`; where to go on."""
        left = self.add(found)
        return end if left is None else left

    def _passed_on(self, part: Part, start: int, end: int) -> bool:
        """Add a whole segment unparsed, if all of it matches and fits."""
        if part.lo != start or part.hi != end or part.records < part.hi - part.lo or part.hidden:
            return False
        if self.query.view is not View.BASIC or not self.match.of_outcomes(part.lo, part.hi, part.states).must:
            return False
        size, in_order = self.reader.run(record_parts.SIZE, (part.row,))[0]
        if not in_order or not self.page.fits(part.records, size):
            return False
        self.page.add_whole(record_parts.blob(self.reader, part.row), part.records)
        return True

    def _look_into(self, part: Part, start: int, end: int, found: dict[int, bytes | Waiting]) -> None:
        """Find those of a segment that match and whose indexes are in [start, end)."""
        start, end = max(part.lo, start), min(part.hi, end)
        if start >= end or not (judged := self.match.of_outcomes(start, end, part.states)).may:
            self.left -= 1
            return
        indexes, hidden = record_parts.indexes_of(self.reader, part.row), self.failed_of(part)
        at: Sequence[int] = range(start - part.lo, end - part.lo)
        if hidden or not isinstance(indexes, range):
            at = [each for each, index in enumerate(indexes) if start <= index < end and index not in hidden]
        matched, records = self.select(part, at, all_match=judged.must)
        found |= {indexes[each]: records[each] for each in matched}

    def _seen(self, part: Part) -> Ranges:
        """The indexes whose outcomes in the segment are seen."""
        held = outcomes.sets(self.reader, [part[:4]])
        return rg.subtract(held, rg.from_indexes(self.failed_of(part))) if part.hidden else held
