"""What is a page of records put together from? Stored segments, placeholders, inputs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from batchyard_server.codec import segments as codec
from batchyard_server.model.record import RecordQuery, View
from batchyard_server.model.states import RecordState
from batchyard_server.store.sqlite import inputs, outcomes
from batchyard_server.store.sqlite.readers import Reader

# Of a segment: its bytes before compression, and whether its page is in order of index.
SIZE = "SELECT size, ordering IS NULL FROM outcome_segment WHERE id = ?"


class Page:
    """What goes out: records up to a number and a size, never fewer than one."""

    def __init__(self, query: RecordQuery) -> None:
        self.parts: list[bytes] = []
        self.count = 0
        self._loose: list[bytes] = []
        self._records = query.max_records
        self._bytes = query.max_bytes
        self._whole = query.whole
        self._size = 0

    @property
    def enough(self) -> bool:
        """Whether to end here rather than cut a segment."""
        return self._whole and (2 * self.count >= self._records or 2 * self._size >= self._bytes)

    @property
    def room(self) -> int:
        """How many more records may come."""
        return self._records - self.count

    def fits(self, count: int, size: int) -> bool:
        """Whether a whole segment of `count` records and `size` bytes may be added."""
        return self.count + count <= self._records and self._size + size <= self._bytes

    def add_whole(self, page: bytes, count: int) -> None:
        """Add a whole segment that fits."""
        self._flush()
        self.parts.append(page)
        self.count += count
        self._size += len(page)

    def add(self, record: bytes) -> bool:
        """Add a record if it fits."""
        size = codec.framed(len(record))
        if self.count >= self._records or (self.count and self._size + size > self._bytes):
            return False
        self._loose.append(record)
        self.count += 1
        self._size += size
        return True

    def bytes(self) -> bytes:
        """The serialized RawRecordPage."""
        self._flush()
        return b"".join(self.parts)

    def _flush(self) -> None:
        if self._loose:
            self.parts.append(codec.join_page(self._loose))
            self._loose = []


def blob(reader: Reader, row: int) -> bytes:
    """The RawRecordPage of a segment."""
    kind, data = reader.run("SELECT codec, blob FROM outcome_segment WHERE id = ?", (row,))[0]
    return reader.compressor.unpack(kind, data)


def indexes_of(reader: Reader, row: int) -> Sequence[int]:
    """The index of each record of a segment, in the order of its page."""
    columns = reader.run("SELECT lo, hi, ranges, ordering FROM outcome_segment WHERE id = ?", (row,))[0]
    return outcomes.order_of(*columns)


def placeholder(
    source: inputs.Records, make: codec.Placeholders, index: int, state: RecordState, attempt: int, view: View
) -> bytes:
    """The serialized RecordInfo of a record that has no outcome."""
    full = view is View.FULL
    record_input = source.get(index) if full or source.has_id(index) else None
    record = make.make(index, state, record_input, attempt)
    return codec.with_input(record, record_input) if full and record_input is not None else record


def with_inputs(
    reader: Reader, query: RecordQuery, indexes: Sequence[int], records: Sequence[bytes]
) -> Iterator[bytes]:
    """The records in view FULL, made about a page at a time: a hundred small outcomes may have 100 MiB of input."""
    at = 0
    while at < len(records):
        few = indexes[at : len(records)]
        found = inputs.between(reader, query.task_key, min(few), max(few) + 1)
        starts = [each.first for each in found]
        end, size = at, 0
        while end < len(records) and size <= query.max_bytes:
            size += len(records[end]) + found[bisect_right(starts, indexes[end]) - 1].record_bytes
            end += 1
        yield from _with_few_inputs(inputs.Records(reader, found), indexes[at:end], records[at:end])
        at = end


def _with_few_inputs(source: inputs.Records, indexes: Sequence[int], records: Sequence[bytes]) -> list[bytes]:
    """The records in view FULL; their indexes come in any order."""
    out = list(records)
    for at in sorted(range(len(out)), key=indexes.__getitem__):
        out[at] = codec.with_input(out[at], source.get(indexes[at]))
    return out
