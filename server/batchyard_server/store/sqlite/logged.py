"""What did records write? Beside the outcomes of a segment, and with the executions that left none."""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby

from batchyard_server.codec import attempts as codec
from batchyard_server.codec import logs, segments
from batchyard_server.model import limits
from batchyard_server.model.record import LogPage, PastAttempt
from batchyard_server.model.task import Task
from batchyard_server.store.sqlite import outcomes, tasks
from batchyard_server.store.sqlite.outcomes import NARROW
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.transaction import Transaction

OF_ATTEMPTS = (
    "SELECT attempt, info, log FROM record_attempt WHERE task_key = ? AND idx = ? AND generation = ? ORDER BY attempt"
)
_SEGMENTS = (
    "SELECT lo, hi, id FROM outcome_segment INDEXED BY outcome_logged WHERE task_key = ? AND generation = ? "
    "AND logs IS NOT NULL AND hi > ?"
)
NARROW_ONES = f"{_SEGMENTS} AND lo > ? - {NARROW} AND hi - lo <= {NARROW} ORDER BY lo"
WIDE_ONES = f"{_SEGMENTS} AND hi - lo > {NARROW} ORDER BY lo"
ATTEMPTS = (
    "SELECT idx FROM record_attempt INDEXED BY attempt_logged WHERE task_key = ? AND idx >= ? AND log IS NOT NULL "
    "ORDER BY idx"
)
SEGMENT = "SELECT lo, hi, ranges, ordering, codec, blob, logs FROM outcome_segment WHERE id = ?"
CLEAR = "UPDATE record_attempt SET log = NULL WHERE task_key = ? AND idx = ? AND log IS NOT NULL"


def of_record(reader: Reader, task_key: int, index: int) -> list[PastAttempt]:
    """See Store.record_log."""
    return _Logs(reader, _task(reader, task_key)).of_record(index)


def page(reader: Reader, task_key: int, start: int, limit: int, max_bytes: int) -> LogPage:
    """See Store.log_page."""
    found = _Logs(reader, _task(reader, task_key))
    attempts: list[tuple[int, list[PastAttempt]]] = []
    with closing(found.indexes(start)) as candidates:
        size = 0
        for looked_at, index in enumerate(candidates, 1):
            mine = found.of_record(index)
            if mine:
                attempts.append((index, mine))
                size += sum(limits.LOG.maximum if each.log is None else len(each.log) for each in mine)
            if looked_at >= limit or size >= max_bytes:
                return LogPage(logs=attempts, next=index + 1)
    return LogPage(logs=attempts, next=None)


def delete(tx: Transaction, task: Task, index: int) -> bool:
    """Forget what the record wrote, in whichever generation; whether there was anything. What waits was written."""
    tx.run(CLEAR, (task.key, index))
    found = tx.connection.changes() > 0
    for generation in range(1, task.generation + 1):
        for segment in outcomes.between(tx, task.key, generation, index, index + 1):
            texts = _texts(tx, segment.row)
            if index in texts:
                found = True
                del texts[index]
                packed = outcomes.pack_logs(tx.compressor, logs.pack(texts.items()))
                tx.run("UPDATE outcome_segment SET logs = ? WHERE id = ?", (packed, segment.row))
    return found


class _Logs:
    """Those of one task in one snapshot; remembers the segment that it looked into last, of each generation."""

    def __init__(self, reader: Reader, task: Task) -> None:
        self._reader = reader
        self._task = task
        self._known: dict[int, tuple[int, Sequence[int], Sequence[bytes], Mapping[int, bytes]]] = {}

    def of_record(self, index: int) -> list[PastAttempt]:
        """See Store.record_log."""
        key = self._task.key
        for generation in range(self._task.generation, 0, -1):
            rows = self._reader.run(OF_ATTEMPTS, (key, index, generation))
            found = [PastAttempt(generation=generation, attempt=n, info=info, log=log or b"") for n, info, log in rows]
            found += self._ended(generation, index)
            if found:
                return found[-limits.RECORD_ATTEMPTS :] if any(each.log != b"" for each in found) else []
        return []

    def indexes(self, start: int) -> Generator[int]:
        """The indexes from `start` on of which something is kept, in whichever generation, ascending."""
        sources = [self._of_generation(generation, start) for generation in range(1, self._task.generation + 1)]
        for index, _ in groupby(heapq.merge(*sources, self._of_attempts(start))):
            yield index

    def _ended(self, generation: int, index: int) -> list[PastAttempt]:
        """The execution that became the outcome in this generation, if one did."""
        for segment in outcomes.between(self._reader, self._task.key, generation, index, index + 1):
            order, page, texts = self._look(generation, segment.row)
            if index in order:
                past = codec.of_stored(page[order.index(index)])
                text = texts.get(index, b"")
                kept = None if index in texts and not text else text  # an empty one stands for a file
                return [PastAttempt(generation=generation, attempt=past.attempt, info=past.info, log=kept)]
        return []

    def _look(self, generation: int, row: int) -> tuple[Sequence[int], Sequence[bytes], Mapping[int, bytes]]:
        known = self._known.get(generation)
        if known is None or known[0] != row:
            [(*order, kind, blob, stored)] = self._reader.run(SEGMENT, (row,))
            compressor = self._reader.compressor
            texts = logs.unpack(outcomes.unpack_logs(compressor, stored))
            known = row, outcomes.order_of(*order), segments.split_page(compressor.unpack(kind, blob)), texts
            self._known[generation] = known
        return known[1:]

    def _of_generation(self, generation: int, start: int) -> Iterator[int]:
        """Those whose outcomes in this generation have a log. Segments may overlap, so that some indexes wait."""
        key = (self._task.key, generation, start)
        narrow = self._reader.stream(NARROW_ONES, (*key, start))
        wide = self._reader.stream(WIDE_ONES, key)
        waiting: list[int] = []
        with closing(narrow), closing(wide):
            for lo, _, row in heapq.merge(narrow, wide):
                while waiting and waiting[0] < lo:
                    yield heapq.heappop(waiting)
                for index in _texts(self._reader, row):
                    if index >= start:
                        heapq.heappush(waiting, index)
        yield from sorted(waiting)

    def _of_attempts(self, start: int) -> Iterator[int]:
        with closing(self._reader.stream(ATTEMPTS, (self._task.key, start))) as rows:
            for (index,) in rows:
                yield index


def _task(reader: Reader, key: int) -> Task:
    task = tasks.by_key(reader, key)
    if task is None:
        raise tasks.deleted(reader, key)
    return task


def _texts(source: Reader | Transaction, row: int) -> dict[int, bytes]:
    """The logs of a segment, by index."""
    [(stored,)] = source.run("SELECT logs FROM outcome_segment WHERE id = ?", (row,))
    return logs.unpack(outcomes.unpack_logs(source.compressor, stored))
