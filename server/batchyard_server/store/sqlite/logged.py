"""What did records write? Beside the outcomes of a segment, and with the executions that left none."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, groupby

from batchyard_server.codec import attempts as codec
from batchyard_server.codec import logs
from batchyard_server.model import limits
from batchyard_server.model.record import PastAttempt
from batchyard_server.store.sqlite import outcomes, records, tasks
from batchyard_server.store.sqlite.outcomes import NARROW
from batchyard_server.store.sqlite.readers import Reader

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
_LOGS = "SELECT logs FROM outcome_segment WHERE id = ?"


def of_record(reader: Reader, task_key: int, index: int) -> list[PastAttempt]:
    """See Store.record_log."""
    task = tasks.by_key(reader, task_key)
    if task is None:
        raise tasks.deleted(reader, task_key)
    for generation in range(task.generation, 0, -1):
        rows = reader.run(OF_ATTEMPTS, (task_key, index, generation))
        found = [PastAttempt(generation=generation, attempt=n, info=info, log=log or b"") for n, info, log in rows]
        ended = records.outcome_and_row(reader, task_key, generation, index)
        if ended is not None:
            record, row = ended
            past = codec.of_stored(record)
            text = _texts(reader, row).get(index, b"")
            found.append(PastAttempt(generation=generation, attempt=past.attempt, info=past.info, log=text))
        if found:
            return found[-limits.RECORD_ATTEMPTS :] if any(each.log for each in found) else []
    return []


def indexes(reader: Reader, task_key: int, start: int, limit: int) -> list[int]:
    """See Store.logged."""
    task = tasks.by_key(reader, task_key)
    if task is None:
        raise tasks.deleted(reader, task_key)
    sources = [_of_generation(reader, task_key, generation, start) for generation in range(1, task.generation + 1)]
    sources.append(_of_attempts(reader, task_key, start))
    found: list[int] = []
    for index, _ in groupby(heapq.merge(*sources)):
        if len(found) == limit:
            break
        found.append(index)
    return found


def _of_generation(reader: Reader, task_key: int, generation: int, start: int) -> Iterator[int]:
    """Ascending, those whose outcomes in this generation have a log. Segments may overlap, so some are held open."""
    key = (task_key, generation, start)
    narrow = reader.stream(NARROW_ONES, (*key, start))
    wide = reader.stream(WIDE_ONES, key)
    waiting: list[int] = []
    with closing(narrow), closing(wide):
        for lo, _, row in heapq.merge(narrow, wide):
            while waiting and waiting[0] < lo:
                yield heapq.heappop(waiting)
            for index in _texts(reader, row):
                if index >= start:
                    heapq.heappush(waiting, index)
    yield from chain(sorted(waiting))


def _of_attempts(reader: Reader, task_key: int, start: int) -> Iterator[int]:
    with closing(reader.stream(ATTEMPTS, (task_key, start))) as rows:
        for (index,) in rows:
            yield index


def _texts(reader: Reader, row: int) -> dict[int, bytes]:
    """The logs of a segment, by index."""
    [(stored,)] = reader.run(_LOGS, (row,))
    return logs.unpack(outcomes.unpack_logs(reader.compressor, stored))
