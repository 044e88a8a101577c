"""A page of records: stored segments passed on whole where possible, cut and mixed with placeholders where not."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import closing

from batchyard_server.codec import segments as codec
from batchyard_server.model import ranges as rg
from batchyard_server.model.filter import EVERYTHING
from batchyard_server.model.record import EVERY_GENERATION, Order, RecordPage, RecordQuery, View
from batchyard_server.model.states import RecordState
from batchyard_server.model.task import Task
from batchyard_server.store.sqlite import generations, inputs, outcomes, tasks
from batchyard_server.store.sqlite.generations import Span
from batchyard_server.store.sqlite.outcomes import Found
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.record_parts import SIZE, Page, blob, indexes_of, placeholder, with_inputs
from batchyard_server.store.sqlite.search_by_completion import CompletionSearch
from batchyard_server.store.sqlite.search_by_index import IndexSearch

_FROM = (
    "FROM outcome_segment INDEXED BY outcome_by_sequence WHERE task_key = ? AND generation = ? "
    "AND first_sequence >= coalesce((SELECT max(first_sequence) FROM outcome_segment "
    "WHERE task_key = ? AND generation = ? AND first_sequence <= ?), 0)"
)
_COLUMNS = "SELECT id, first_sequence, count, lo, hi, size"
SEQUENCE = f"{_COLUMNS} {_FROM} AND first_sequence < ? ORDER BY first_sequence"
# Of an earlier generation only the successes are seen: without segments that have none.
INHERITED = f"{_COLUMNS}, failed_count {_FROM} AND failed_count < count ORDER BY first_sequence"


def outcome(reader: Reader, task_key: int, generation: int, index: int) -> bytes | None:
    """The serialized RecordInfo of the outcome that the record has in this generation; None if it has none."""
    for found in outcomes.between(reader, task_key, generation, index, index + 1):
        indexes = indexes_of(reader, found.row)
        if index in indexes:
            return codec.split_page(blob(reader, found.row))[indexes.index(index)]
    return None


class RecordReader:
    """Answers RecordQuerys. One for all readers: it remembers which records of a cancelled task have no outcome."""

    def __init__(self) -> None:
        self._cancelled: OrderedDict[tuple[int, int], rg.Ranges] = OrderedDict()

    def page(self, reader: Reader, query: RecordQuery) -> RecordPage:
        """See Store.record_page. Raises NotFound if the task was deleted."""
        task = tasks.by_key(reader, query.task_key)
        if task is None:
            raise tasks.deleted(reader, query.task_key)
        spans = generations.seen_in(reader, task, query.generation)
        if query.order is Order.INDEX:
            read = _IndexPage if query.filter == EVERYTHING else IndexSearch
            return read(reader, query, task, spans).read()
        return self._completion(reader, query, task, spans)

    def _completion(self, reader: Reader, query: RecordQuery, task: Task, spans: Sequence[Span]) -> RecordPage:
        search = None if query.filter == EVERYTHING else CompletionSearch(reader, query, task)
        page = Page(query) if search is None else search.page
        position, known = query.position, spans[-1].end
        for span in spans:  # after it, position >= its end
            if position < span.end:
                begin = max(position, span.first)
                if search is not None:
                    position = search.outcomes(span, begin)
                else:
                    add = _add_inherited if span.inherited else _add_outcomes
                    position = add(reader, query, page, span, begin)
                if position < span.end:
                    return RecordPage(records=page.bytes(), count=page.count, next_position=position, more=True)
        cancelled = self._cancelled_in(reader, query, task, spans)
        if cancelled:
            if search is not None:
                position = search.cancelled(position, known, cancelled)
            else:
                position = _add_cancelled(reader, query, task, page, position, known, cancelled)
        more = position < known + rg.count(cancelled)
        return RecordPage(records=page.bytes(), count=page.count, next_position=position, more=more)

    def _cancelled_in(self, reader: Reader, query: RecordQuery, task: Task, spans: Sequence[Span]) -> rg.Ranges:
        """The records that were cancelled with the task at the end of the generation."""
        generation = query.generation
        if generation == EVERY_GENERATION or (generation == task.generation and not task.cancelled):
            return []
        key = (task.key, generation)
        gaps = self._cancelled.get(key)
        if gaps is None:
            gaps = rg.subtract([(0, task.total)], outcomes.seen(reader, task.key, spans[0].generation, generation))
            self._cancelled[key] = gaps
            if len(self._cancelled) > 8:
                self._cancelled.popitem(last=False)
        return gaps


def _add_outcomes(reader: Reader, query: RecordQuery, page: Page, span: Span, position: int) -> int:
    """Add outcomes of a generation from completion number `position` on; that of the first one that is left."""
    key = (query.task_key, span.generation)
    for row, first, count, lo, hi, size in reader.run(SEQUENCE, (*key, *key, position, position + page.room)):
        if first + count <= position:
            continue
        position += _from_segment(reader, query, page, Found(row, lo, hi, count), size, first, position)
        if position < first + count or not page.room:
            break
    return position


def _add_inherited(reader: Reader, query: RecordQuery, page: Page, span: Span, position: int) -> int:
    """Add what succeeded in an earlier generation from `position` on; that of the first success that is left."""
    key = (query.task_key, span.generation)
    with closing(reader.stream(INHERITED, (*key, *key, position))) as rows:
        for row, first, count, lo, hi, size, failed in rows:
            if first + count <= position:
                continue
            position = max(position, first)
            if not page.room:
                return position
            position += _from_segment(reader, query, page, Found(row, lo, hi, count, failed), size, first, position)
            if position < first + count:
                return position
    return span.end


def _from_segment(
    reader: Reader, query: RecordQuery, page: Page, found: Found, size: int, first: int, position: int
) -> int:
    """Add records of the segment from completion number `position` on; how many numbers lie before the next one."""
    basic = query.view is View.BASIC
    if basic and first == position and not found.hidden and page.fits(found.records, size):
        page.add_whole(blob(reader, found.row), found.records)
        return found.records
    if first == position and page.enough:
        return 0
    at: Sequence[int] = range(position - first, found.records)  # where in the segment those are that are seen
    indexes = indexes_of(reader, found.row) if found.hidden or not basic else ()
    if found.hidden:
        failed = set(outcomes.failed_of(reader, found.row))
        at = [each for each in at if indexes[each] not in failed]
    wanted = at[: page.room]
    stored = codec.split_page(blob(reader, found.row))
    records: Iterable[bytes] = (
        stored[wanted.start : wanted.stop] if isinstance(wanted, range) else [stored[each] for each in wanted]
    )
    if not basic:
        records = with_inputs(reader, query, [indexes[each] for each in wanted], list(records))
    done = 0
    for record in records:
        if not page.add(record):
            break
        done += 1
    return (at[done] if done < len(at) else found.records) - (position - first)


def _add_cancelled(
    reader: Reader, query: RecordQuery, task: Task, page: Page, position: int, known: int, cancelled: rg.Ranges
) -> int:
    """Add the records that were cancelled with the task, by index, from the (position − known)-th on."""
    _, rest = rg.take(cancelled, position - known)
    wanted, _ = rg.take(rest, page.room)
    if not wanted:
        return position
    start, end = wanted[0][0], wanted[-1][1]
    source = inputs.Records(reader, inputs.between(reader, task.key, start, end))
    make = codec.Placeholders(task.name, query.generation)
    begun = outcomes.begun_between(reader, task.key, query.generation, start, end)
    for index in rg.indexes(wanted):
        if not page.add(placeholder(source, make, index, RecordState.CANCELLED, begun.get(index, 0), query.view)):
            break
        position += 1
    return position


class _IndexPage:
    """One page in order of index."""

    def __init__(self, reader: Reader, query: RecordQuery, task: Task, spans: Sequence[Span]) -> None:
        self._reader = reader
        self._query = query
        self._task = task
        self._spans = spans
        self._over = task.state.is_final or query.generation < task.generation
        self._start = query.position
        self._end = min(query.position + query.max_records, task.total)
        self._page = Page(query)
        self._loaded: dict[int, bytes] = {}  # records of cut segments that have not been reached yet
        self._source = inputs.Records(reader, inputs.between(reader, task.key, self._start, self._end))
        self._make = codec.Placeholders(task.name, query.generation)
        self._begun: dict[int, int] | None = None  # read with the first record that has no outcome

    def read(self) -> RecordPage:
        """The page."""
        end = self._end
        found = generations.between(self._reader, self._task.key, self._spans, self._start, end)
        # Where the next segment begins: a dense one that ends before it can be passed on whole.
        cursor, at = self._start, 0
        while cursor < end:
            while at < len(found) and found[at].lo <= cursor < end:
                alone = at + 1 == len(found) or found[at + 1].lo >= found[at].hi
                if alone and self._pass_on(found[at], cursor):
                    cursor = found[at].hi
                elif self._page.enough:
                    end = cursor
                else:
                    self._load(found[at], cursor)
                at += 1
            upto = min(end, found[at].lo if at < len(found) else end)
            reached = self._emit(cursor, upto)
            if reached < upto:
                cursor = reached
                break
            cursor = upto
        return RecordPage(
            records=self._page.bytes(), count=self._page.count, next_position=cursor, more=cursor < self._task.total
        )

    def _pass_on(self, segment: Found, cursor: int) -> bool:
        """Add a whole segment unparsed; False if it must be cut, or is not all that there is in its place."""
        if segment.lo != cursor or not segment.dense or segment.hidden or segment.hi > self._end or self._loaded:
            return False
        if self._query.view is not View.BASIC:
            return False
        size, in_order = self._reader.run(SIZE, (segment.row,))[0]
        if not in_order or not self._page.fits(segment.records, size):
            return False
        self._page.add_whole(blob(self._reader, segment.row), segment.records)
        return True

    def _load(self, segment: Found, cursor: int) -> None:
        records = codec.split_page(blob(self._reader, segment.row))
        hidden = set(outcomes.failed_of(self._reader, segment.row)) if segment.hidden else ()
        for index, record in zip(indexes_of(self._reader, segment.row), records, strict=True):
            if cursor <= index < self._end and index not in hidden:
                self._loaded[index] = record

    def _emit(self, cursor: int, upto: int) -> int:
        """Add the records of [cursor, upto) from what is loaded, placeholders between; where it ended."""
        full = self._query.view is View.FULL
        while cursor < upto:
            record = self._loaded.pop(cursor, None)
            if record is None:
                running = not self._over and cursor in self._query.running
                waiting = RecordState.RUNNING if running else RecordState.PENDING
                state = RecordState.CANCELLED if self._over else waiting
                attempt = self._begun_before(cursor) + running
                record = placeholder(self._source, self._make, cursor, state, attempt, self._query.view)
            elif full:
                record = codec.with_input(record, self._source.get(cursor))
            if not self._page.add(record):
                break
            cursor += 1
        return cursor

    def _begun_before(self, index: int) -> int:
        """Executions of a record without an outcome that are known to have begun."""
        if self._begun is None:
            key, generation = self._query.task_key, self._query.generation
            self._begun = outcomes.begun_between(self._reader, key, generation, self._start, self._end)
        return self._begun.get(index, 0)
