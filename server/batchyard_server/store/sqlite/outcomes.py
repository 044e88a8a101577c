"""The outcome_segment, attempt and failure tables: what became of the records.

A segment's `ranges` are its indexes as a set, its `ordering` their order in its page: that of completion.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from batchyard_server.codec import logs
from batchyard_server.codec.segments import Compressor
from batchyard_server.model import limits
from batchyard_server.model import ranges as rg
from batchyard_server.model.task import Attempts, Flush, Task
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.transaction import Entry, Row, Rows, Transaction

Ranges = list[tuple[int, int]]

NARROW = 4096  # widest hi − lo of a segment that is found by its lo; wider ones are in an index of their own (0001.sql)

_INSERT = Rows(
    6,
    "INSERT INTO outcome_segment (task_key, generation, first_sequence, count, lo, hi, failed_count, codec, size, "
    "ranges, ordering, failed, blob, logs) VALUES",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
)
_INSERT_FAILURE = Rows(7, "INSERT INTO failure VALUES", "(?, ?, ?, ?, ?)")
_INSERT_ATTEMPT = Rows(8, "INSERT OR REPLACE INTO attempt VALUES", "(?, ?, ?, ?, ?, ?, ?)")
_NARROW_ONES = (
    "FROM outcome_segment INDEXED BY outcome_by_index WHERE task_key = ? AND generation = ? "
    f"AND lo > ? - {NARROW} AND lo < ? AND hi > ? AND hi - lo <= {NARROW}"
)
_WIDE_ONES = (
    "FROM outcome_segment INDEXED BY outcome_wide WHERE task_key = ? AND generation = ? "
    f"AND lo < ? AND hi > ? AND hi - lo > {NARROW}"
)
NARROW_ONES = f"SELECT id, lo, hi, count {_NARROW_ONES} ORDER BY lo"
WIDE_ONES = f"SELECT id, lo, hi, count {_WIDE_ONES} ORDER BY lo"
COUNTED_NARROW = f"SELECT id, lo, hi, count, failed_count {_NARROW_ONES}"
COUNTED_WIDE = f"SELECT id, lo, hi, count, failed_count {_WIDE_ONES}"
FAILED_NARROW = f"{COUNTED_NARROW} AND failed_count > 0".replace("outcome_by_index", "outcome_failed_by_index")
FAILED_WIDE = f"{COUNTED_WIDE} AND failed_count > 0"
# Of an earlier generation only the successes count: without segments that have none.
INHERITED_NARROW = f"SELECT id, lo, hi, count, failed_count {_NARROW_ONES} AND failed_count < count ORDER BY lo"
INHERITED_WIDE = f"SELECT id, lo, hi, count, failed_count {_WIDE_ONES} AND failed_count < count ORDER BY lo"
_SETS = "SELECT lo, hi, ranges, failed"
NARROW_SETS = f"{_SETS} {_NARROW_ONES} AND failed_count < count"
WIDE_SETS = f"{_SETS} {_WIDE_ONES} AND failed_count < count"
ALL = (
    "SELECT id, lo, hi, count FROM outcome_segment INDEXED BY outcome_by_index WHERE task_key = ? AND generation = ? "
    "ORDER BY lo"
)
FAILED = (
    "SELECT failed FROM outcome_segment INDEXED BY outcome_by_index WHERE task_key = ? AND generation = ? "
    "AND failed IS NOT NULL"
)

BEGUN = "SELECT idx, begun FROM attempt WHERE task_key = ? AND generation = ? AND idx >= ? AND idx < ?"


class Found(NamedTuple):
    """Where a stored segment is: its row, how many indexes within [lo, hi) it holds, and how many of them do not count.

    Those are the failed ones of an earlier generation, which are run again.
    """

    row: int
    lo: int
    hi: int
    records: int
    hidden: int = 0

    @property
    def dense(self) -> bool:
        """Whether it holds every index of [lo, hi)."""
        return self.records == self.hi - self.lo


def pack_indexes(indexes: Iterable[int]) -> bytes:
    """Indexes as stored: uint32 each, little-endian."""
    packed = array("I", indexes)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack_indexes(blob: bytes) -> Sequence[int]:
    """The reverse of `pack_indexes`."""
    packed = array("I")
    packed.frombytes(blob)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed


def insert(tx: Transaction, task_key: int, generation: int, first_sequence: int, flush: Flush) -> None:
    """Store a flush as a segment; its records get the completion numbers from `first_sequence` on."""
    key = (task_key, generation, first_sequence)
    texts = logs.pack(flush.logs) if flush.logs else b""
    insert_segment(tx, key, rg.normalize(flush.ranges), None, flush.failed, flush.page, texts)


def insert_segment(
    tx: Transaction,
    key: tuple[int, int, int],
    ranges: Ranges,
    ordering: Sequence[int] | None,
    failed: Sequence[int],
    page: bytes,
    texts: bytes,
) -> None:
    """Store a segment under (task, generation, first completion number); `ranges` are normalized, `texts` its logs."""
    kind, blob = tx.compressor.pack(page)
    lo, hi = ranges[0][0], ranges[-1][1]
    tx.add(
        _INSERT,
        (
            *key,
            rg.count(ranges),
            lo,
            hi,
            len(failed),
            kind,
            len(page),
            None if len(ranges) == 1 else rg.pack(ranges),
            None if ordering is None else pack_indexes(ordering),
            pack_indexes(failed) if failed else None,
            blob,
            pack_logs(tx.compressor, texts),
        ),
    )


def pack_logs(compressor: Compressor, texts: bytes) -> bytes | None:
    """Logs (`codec.logs`) as stored: one byte for the codec, then what that made of them."""
    if not texts:
        return None
    kind, packed = compressor.pack(texts)
    return bytes([kind]) + packed


def unpack_logs(compressor: Compressor, stored: bytes | None) -> bytes:
    """The reverse of `pack_logs`."""
    return compressor.unpack(stored[0], stored[1:]) if stored else b""


def order_of(lo: int, hi: int, ranges: bytes | None, ordering: bytes | None) -> Sequence[int]:
    """The index of each record of a segment, in the order of its page, from the columns of its row."""
    if ordering is not None:
        return unpack_indexes(ordering)
    return range(lo, hi) if ranges is None else list(rg.indexes(rg.unpack(ranges)))


def holds(ranges: Ranges, index: int) -> bool:
    """Whether the index is in the ranges (normalized)."""
    at = bisect_right(ranges, index, key=lambda each: each[0])
    return at > 0 and index < ranges[at - 1][1]


def between(
    source: Reader | Transaction, task_key: int, generation: int, start: int, end: int, *, inherited: bool = False
) -> list[Found]:
    """The segments that may hold indexes of [start, end), by lo. Reads indexes only.

    `inherited`: of an earlier generation, those with successes; looks at their rows too.
    """
    narrow, wide = (INHERITED_NARROW, INHERITED_WIDE) if inherited else (NARROW_ONES, WIDE_ONES)
    rows = source.run(narrow, (task_key, generation, start, end, start))
    wide_rows = source.run(wide, (task_key, generation, end, start))
    found = [Found(*row) for row in rows]
    if wide_rows:
        found += [Found(*row) for row in wide_rows]
        found.sort(key=lambda each: each.lo)
    return found


def counted(reader: Reader, task_key: int, generation: int, start: int, end: int, *, failed: bool = False) -> list[Row]:
    """The segments that may hold indexes of [start, end): row, lo, hi, how many records, how many of them failed.

    `failed`: only those with failures, which reads no others.
    """
    narrow, wide = (FAILED_NARROW, FAILED_WIDE) if failed else (COUNTED_NARROW, COUNTED_WIDE)
    rows = reader.run(narrow, (task_key, generation, start, end, start))
    return [*rows, *reader.run(wide, (task_key, generation, end, start))]


def any_within(tx: Transaction, task: Task, ranges: Ranges) -> bool:
    """Whether an index of `ranges` (normalized) has an outcome that counts in the task's generation."""
    if any(row[0] == task.key for row in tx.waiting(_INSERT)):
        tx.flush()
    for group in _neighbours(ranges):
        for found in between(tx, task.key, task.generation, group[0][0], group[-1][1]):
            if rg.subtract(group, sets(tx, [found[:4]])) != group:
                return True
        for generation in range(task.base_generation, task.generation):
            if _any_inherited(tx, task.key, generation, group):
                return True
    return False


def _any_inherited(tx: Transaction, task_key: int, generation: int, group: Ranges) -> bool:
    """Whether an index of `group` succeeded in an earlier generation.

    Those that are run again were scattered over many segments, so all of these are read at once.
    """
    start, end = group[0][0], group[-1][1]
    rows = tx.run(NARROW_SETS, (task_key, generation, start, end, start))
    for lo, hi, ranges, failed in [*rows, *tx.run(WIDE_SETS, (task_key, generation, end, start))]:
        inside = _clip(group, lo, hi)
        if failed is not None:
            inside = rg.subtract(inside, rg.from_indexes(unpack_indexes(failed)))
        if inside and (ranges is None or rg.subtract(inside, rg.unpack(ranges)) != inside):
            return True
    return False


def _clip(ranges: Ranges, lo: int, hi: int) -> Ranges:
    """The part of `ranges` (normalized) within [lo, hi)."""
    first = bisect_right(ranges, lo, key=lambda each: each[1])
    last = bisect_left(ranges, hi, key=lambda each: each[0])
    return [(max(start, lo), min(end, hi)) for start, end in ranges[first:last]]


def failed_of(source: Reader | Transaction, row: int) -> Sequence[int]:
    """The indexes of a segment that failed."""
    packed = source.run("SELECT failed FROM outcome_segment WHERE id = ?", (row,))[0][0]
    return () if packed is None else unpack_indexes(packed)


def sets(source: Reader | Transaction, found: Iterable[tuple[int, int, int, int]]) -> Ranges:
    """All indexes of these segments (fields of Found), normalized. Reads a row only of those that are not dense."""
    out: Ranges = []
    for row, lo, hi, records in found:
        if records == hi - lo:
            out.append((lo, hi))
        else:
            out += rg.unpack(source.run("SELECT ranges FROM outcome_segment WHERE id = ?", (row,))[0][0])
    return rg.normalize(out)


def recorded(source: Reader | Transaction, task_key: int, generation: int) -> Ranges:
    """Every index that has an outcome in this generation, normalized. Reads no blob."""
    rows: list[Any] = source.run(ALL, (task_key, generation))
    return sets(source, rows)


def done(source: Reader | Transaction, task: Task) -> Ranges:
    """Every index that has an outcome which counts in the task's generation, normalized. Reads no blob."""
    return seen(source, task.key, task.base_generation, task.generation) if task.next_sequence else []


def seen(source: Reader | Transaction, task_key: int, base: int, generation: int) -> Ranges:
    """Every index that has an outcome which counts in a generation with that base, normalized. Reads no blob.

    Those of its own outcomes, and the ones that succeeded in an earlier generation since the base.
    """
    found = recorded(source, task_key, generation)
    for earlier in range(base, generation):
        failed = [each for (packed,) in source.run(FAILED, (task_key, earlier)) for each in unpack_indexes(packed)]
        found += rg.subtract(recorded(source, task_key, earlier), rg.from_indexes(failed))
    return rg.normalize(found)


def _neighbours(ranges: Ranges) -> Iterator[Ranges]:
    """The ranges in groups that lie close enough together to be looked up at once."""
    group: Ranges = []
    for each in ranges:
        if group and each[0] - group[-1][1] > NARROW:
            yield group
            group = []
        group.append(each)
    if group:
        yield group


# -- attempts and failures --------------------------------------------------------------------------------------------


def remember_attempts(tx: Transaction, task_key: int, generation: int, begun: Mapping[int, Attempts]) -> None:
    """Keep what is known of records that began and have no outcome."""
    for index, attempts in begun.items():
        known = (attempts.begun, attempts.lost, attempts.failures, attempts.retry_us)
        tx.add(_INSERT_ATTEMPT, (task_key, generation, index, *known))


def attempts(source: Reader | Transaction, task_key: int, generation: int) -> dict[int, Attempts]:
    """What is known of them, by index."""
    rows = source.run(
        "SELECT idx, begun, lost, failures, retry_us FROM attempt WHERE task_key = ? AND generation = ?",
        (task_key, generation),
    )
    return {
        index: Attempts(begun=begun, lost=lost, failures=failures, retry_us=retry_us)
        for index, begun, lost, failures, retry_us in rows
    }


def begun_between(reader: Reader, task_key: int, generation: int, start: int, end: int) -> dict[int, int]:
    """Executions that began, by index, of those of [start, end) of which it is known."""
    return dict(reader.run(BEGUN, (task_key, generation, start, end)))


def add_failures(tx: Transaction, held: Entry, failures: Sequence[tuple[int, bytes]]) -> Entry:
    """Keep the first failures of the generation, within limits.FAILED_REQUESTS*; return the entry with their number.

    They are the first ones without a gap: once one was passed over, fewer are kept than records failed, and no further
    one is added.
    """
    task = held.task
    count, size = held.failures or _measure_failures(tx, task.key, task.generation)
    if count < task.failed:
        return held._replace(failures=(count, size))
    for index, status in failures:
        if count >= limits.FAILED_REQUESTS or size + len(status) > limits.FAILED_REQUESTS_BYTES:
            break
        tx.add(_INSERT_FAILURE, (task.key, task.generation, count, index, status))
        count += 1
        size += len(status)
    return held._replace(failures=(count, size))


def failures(source: Reader | Transaction, task_key: int, generation: int) -> list[tuple[int, bytes]]:
    """See Store.failures."""
    rows = source.run(
        "SELECT idx, status FROM failure WHERE task_key = ? AND generation = ? ORDER BY position",
        (task_key, generation),
    )
    found = [(index, status) for index, status in rows]
    if isinstance(source, Transaction):
        waiting = [row for row in source.waiting(_INSERT_FAILURE) if row[:2] == (task_key, generation)]
        found += [(index, status) for _, _, _, index, status in waiting]
    return found


def _measure_failures(tx: Transaction, task_key: int, generation: int) -> tuple[int, int]:
    rows = tx.run(
        "SELECT count(*), coalesce(sum(length(status)), 0) FROM failure WHERE task_key = ? AND generation = ?",
        (task_key, generation),
    )
    return rows[0][0], rows[0][1]
