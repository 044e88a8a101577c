"""The input_segment and record_key tables: records as they were handed over."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence

from batchyard_server.codec import segments as codec
from batchyard_server.model import ranges as rg
from batchyard_server.model.errors import InvalidArgument, Reason
from batchyard_server.model.task import InputSegment, NewTask
from batchyard_server.store.sqlite.packing import Packed, pack
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.transaction import Row, Rows, Transaction

Ranges = list[tuple[int, int]]

_ENTRY_BYTES = 256  # what it costs to remember a segment, beside its bytes: tasks of one small record are many
_FIRSTS = 1 << 27  # more than limits.RECORDS: ids of a task's segments are task_key × 2^27 + first
_INSERT = Rows(
    5, "INSERT INTO input_segment (id, count, ids, codec, size, blob) VALUES", "(?, ?, ?, ?, ?, ?)", whole=True
)
# One statement for all ids of a call, as JSON: there may be a thousand.
_INSERT_IDS = Rows(4, "INSERT INTO record_key SELECT ?, value ->> 0, value ->> 1 FROM json_each(?)", row="", most=1)
_TAKEN = (
    "SELECT value ->> 0 FROM json_each(?) WHERE EXISTS "
    "(SELECT 1 FROM record_key WHERE task_key = ? AND record_id = value ->> 0) LIMIT 1"
)
BETWEEN = (
    "SELECT id, count, size, ids FROM input_segment WHERE id < ? AND id >= coalesce("
    "(SELECT max(id) FROM input_segment WHERE id BETWEEN ? AND ?), ?) ORDER BY id"
)


def ids_of(task_key: int) -> tuple[int, int]:
    """Lowest and highest id of the task's segments."""
    assert task_key < 1 << 36, task_key
    return task_key * _FIRSTS, (task_key + 1) * _FIRSTS - 1


def insert(tx: Transaction, task_key: int, parts: Sequence[Packed], record_ids: Sequence[tuple[str, int]]) -> None:
    """Store segments and the ids of their records.

    Raises InvalidArgument (DUPLICATE_RECORD_ID) if careful; else the flush fails.
    """
    if record_ids:
        text = json.dumps(record_ids, ensure_ascii=False)
        if tx.careful:
            _check_ids(tx, task_key, record_ids, text)
        tx.add(_INSERT_IDS, (task_key, text))
    indexes = [index for _, index in record_ids]
    for part in parts:
        at = bisect_left(indexes, part.first)
        ids = at < len(indexes) and indexes[at] < part.first + part.records
        tx.add(_INSERT, (ids_of(task_key)[0] + part.first, part.records, ids, part.codec, part.size, part.blob))


def insert_many(tx: Transaction, new: Sequence[NewTask]) -> None:
    """The same for the records of new tasks."""
    rows: list[Row] = []
    for create in new:
        task_key = create.task.key
        if create.record_ids:
            insert(tx, task_key, pack(tx.compressor, create.segments), create.record_ids)
            continue
        base = task_key * _FIRSTS
        for part in create.segments:
            codec_used, packed = tx.compressor.pack(part.blob)
            rows.append((base + part.first, part.count, False, codec_used, len(part.blob), packed))
    tx.add_many(_INSERT, rows)


def check_new_ids(tx: Transaction, record_ids: Sequence[tuple[str, int]]) -> None:
    """Raise what `insert` raises for the records of a new task."""
    if tx.careful and record_ids:
        _check_ids(tx, 0, record_ids, "[]")


def _check_ids(tx: Transaction, task_key: int, record_ids: Sequence[tuple[str, int]], text: str) -> None:
    taken = [row[0] for row in tx.run(_TAKEN, (text, task_key))]
    taken += [record_id for record_id, count in Counter(record_id for record_id, _ in record_ids).items() if count > 1]
    if taken:
        raise InvalidArgument(
            "records", f"the record_id {taken[0]!r} is there already", reason=Reason.DUPLICATE_RECORD_ID
        )


class Stored:
    """Where a stored segment is: its row, records [first, end), size before compression, and whether it has ids."""

    __slots__ = ("end", "first", "ids", "row", "size")

    def __init__(self, row: int, count: int, size: int, ids: int) -> None:
        self.row = row
        self.first = row % _FIRSTS
        self.end = self.first + count
        self.size = size
        self.ids = bool(ids)

    @property
    def record_bytes(self) -> int:
        """Size of one of its records, on average."""
        return self.size // (self.end - self.first)


def between(reader: Reader, task_key: int, start: int, end: int) -> list[Stored]:
    """The segments that hold records of [start, end), in order. Reads no blob."""
    base, _ = ids_of(task_key)
    rows = reader.run(BETWEEN, (base + end, base, base + start, base))
    return [Stored(*row) for row in rows]


def blob(reader: Reader, row: int) -> bytes:
    """The RawInputs of a segment."""
    kind, data = reader.run("SELECT codec, blob FROM input_segment WHERE id = ?", (row,))[0]
    return reader.compressor.unpack(kind, data)


class Records:
    """The serialized RecordInputs of a task, read segment by segment as they are asked for in ascending order."""

    def __init__(self, reader: Reader, found: Sequence[Stored]) -> None:
        self._reader = reader
        self._found = found
        self._at = 0
        self._records: Sequence[bytes] = ()
        self._loaded = -1

    def has_id(self, index: int) -> bool:
        """Whether the record may have a record_id."""
        return self._seek(index).ids

    def get(self, index: int) -> bytes:
        """The record at `index`, which must not be below the one asked for before."""
        stored = self._seek(index)
        if self._loaded != stored.row:
            self._records = codec.split_inputs(blob(self._reader, stored.row))
            self._loaded = stored.row
        return self._records[index - stored.first]

    def _seek(self, index: int) -> Stored:
        while self._found[self._at].end <= index:
            self._at += 1
        return self._found[self._at]


class Recent:
    """Segments that came with a new task, by (task, first index), so that its first subtask needs no read.

    Filled by the writer's thread, read on the event loop: each access is one operation on a dict.
    """

    def __init__(self, most_bytes: int = 8 * 1024 * 1024) -> None:
        self._blobs: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._most = most_bytes
        self._bytes = 0

    def add(self, task_key: int, parts: Sequence[InputSegment]) -> None:
        """Remember the segments of a new task."""
        for part in parts:
            self._blobs[task_key, part.first] = part.blob
            self._bytes += len(part.blob) + _ENTRY_BYTES
        while self._bytes > self._most:
            self._bytes -= len(self._blobs.popitem(last=False)[1]) + _ENTRY_BYTES

    def get(self, task_key: int, first: int) -> bytes | None:
        """The segment that begins there, if it is remembered."""
        return self._blobs.get((task_key, first))


def take(
    ranges: Sequence[tuple[int, int]], found: Sequence[Stored], load: Callable[[Stored], bytes], max_bytes: int
) -> tuple[Ranges, bytes]:
    """See Store.inputs: the first records of `ranges`, out of the segments that hold them."""
    wanted = rg.count(ranges)
    taken: Ranges = []
    blobs: list[bytes] = []
    count = size = at = 0
    loaded: _Loaded | None = None
    for start, end in ranges:
        cursor = start
        while cursor < end:
            while at < len(found) and found[at].end <= cursor:
                at += 1
            if at == len(found):
                return taken, b"".join(blobs)
            segment = found[at]
            if loaded is None or loaded.segment is not segment:
                loaded = _Loaded(segment, load(segment))
            upto = min(end, segment.end)
            upto, part = _part(loaded, cursor, upto, max_bytes - size, first=not blobs)
            if upto == cursor:
                return taken, b"".join(blobs)
            blobs.append(part)
            count += upto - cursor
            size += len(part)
            if taken and taken[-1][1] == cursor:
                taken[-1] = (taken[-1][0], upto)
            else:
                taken.append((cursor, upto))
            cursor = upto
            if size >= max_bytes or (cursor == segment.end and 2 * count >= wanted):
                return taken, b"".join(blobs)
    return taken, b"".join(blobs)


class _Loaded:
    """A segment and its RawInputs, split when a part of it is wanted: of a scattered subtask it may be many parts."""

    def __init__(self, segment: Stored, whole: bytes) -> None:
        self.segment = segment
        self.whole = whole
        self._records: Sequence[bytes] = ()

    def records(self, start: int, end: int) -> Sequence[bytes]:
        """The serialized RecordInputs of [start, end)."""
        if not self._records:
            self._records = codec.split_inputs(self.whole)
        return self._records[start - self.segment.first : end - self.segment.first]


def _part(loaded: _Loaded, start: int, end: int, room: int, *, first: bool) -> tuple[int, bytes]:
    """As many records from `start` on as fit into `room`: (end of them, RawInputs). The first one always fits."""
    segment, whole = loaded.segment, loaded.whole
    if start == segment.first and end == segment.end and (len(whole) <= room or (first and end == start + 1)):
        return end, whole
    records = loaded.records(start, end)
    if len(whole) <= room:
        return end, codec.join_inputs(records)
    fitting = 0
    for record in records:
        room -= codec.framed(len(record))
        if room < 0 and not (first and fitting == 0):
            break
        fitting += 1
    return start + fitting, codec.join_inputs(records[:fitting])
