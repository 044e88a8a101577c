"""How are records packed for the store, and pages put together from what is stored?

A stored segment is a serialized message with one repeated field, RawInputs or RawRecordPage, so segments put one after
the other are a valid message: whole segments are passed on unparsed, and only the cut ones are split into records.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import zstandard

from batchyard.v1 import record_pb2
from batchyard_server.codec.parts import varint
from batchyard_server.codec.v1 import shadow_pb2
from batchyard_server.model import limits
from batchyard_server.model.names import TaskName
from batchyard_server.model.states import RecordState
from batchyard_server.model.task import InputSegment

PLAIN = 0
ZSTD = 1
_WORTH_TRYING = 512  # bytes; smaller ones save next to nothing
_MOST_KEPT = 0.8  # of the bytes: compression must save more than a fifth

_LARGE = 1024  # bytes of a record that is put into a segment by hand: a message would copy it once more
_INPUTS_TAG = b"\x1a"  # RawInputs.records = 3
_INPUT_TAG = b"\x2a"  # RecordInfo.input = 5


class Compressor:
    """Compresses and expands segments. For one thread: zstd's contexts are not shared."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdCompressor(level=1, write_checksum=False)
        self._expand = zstandard.ZstdDecompressor()

    def pack(self, blob: bytes) -> tuple[int, bytes]:
        """(codec, bytes to store): compressed only if that saves more than a fifth."""
        if len(blob) >= _WORTH_TRYING:
            small = self._zstd.compress(blob)
            if len(small) < len(blob) * _MOST_KEPT:
                return ZSTD, small
        return PLAIN, blob

    def unpack(self, codec: int, blob: bytes) -> bytes:
        """The reverse of `pack`."""
        return self._expand.decompress(blob) if codec == ZSTD else blob


def cut_inputs(records: Sequence[bytes], first: int) -> list[InputSegment]:
    """Pack serialized RecordInputs into segments from index `first` on.

    A segment holds at most limits.SEGMENT_RECORDS and limits.SEGMENT_BYTES, but never less than one record.
    """
    if len(records) == 1:
        return [InputSegment(first=first, count=1, blob=join_inputs(records))]
    segments: list[InputSegment] = []
    if 0 < len(records) <= limits.SEGMENT_RECORDS and sum(map(len, records)) <= limits.SEGMENT_BYTES:
        blob = join_inputs(records)
        if len(blob) <= limits.SEGMENT_BYTES:
            return [InputSegment(first=first, count=len(records), blob=blob)]
    batch: list[bytes] = []
    size = 0
    for record in records:
        whole = framed(len(record))
        if batch and (size + whole > limits.SEGMENT_BYTES or len(batch) == limits.SEGMENT_RECORDS):
            segments.append(InputSegment(first=first, count=len(batch), blob=join_inputs(batch)))
            first += len(batch)
            batch, size = [], 0
        batch.append(record)
        size += whole
    if batch:
        segments.append(InputSegment(first=first, count=len(batch), blob=join_inputs(batch)))
    return segments


def split_inputs(blob: bytes) -> Sequence[bytes]:
    """The serialized RecordInputs of a RawInputs."""
    return shadow_pb2.RawInputs.FromString(blob).records


def join_inputs(records: Sequence[bytes]) -> bytes:
    """A serialized RawInputs of these records."""
    if records and len(records[0]) >= _LARGE:
        return b"".join([part for record in records for part in (_INPUTS_TAG, varint(len(record)), record)])
    return shadow_pb2.RawInputs(records=records).SerializeToString()


def split_page(blob: bytes) -> Sequence[bytes]:
    """The serialized RecordInfos of a RawRecordPage."""
    return shadow_pb2.RawRecordPage.FromString(blob).records


def join_page(records: Iterable[bytes]) -> bytes:
    """A serialized RawRecordPage of these records."""
    return shadow_pb2.RawRecordPage(records=records).SerializeToString()


def framed(size: int) -> int:
    """Bytes that a record of `size` bytes takes in a page or segment."""
    return size + 1 + max(1, (size.bit_length() + 6) // 7)


def with_input(record: bytes, record_input: bytes) -> bytes:
    """A serialized RecordInfo in view FULL: `record` and the payload of the serialized RecordInput."""
    raw = shadow_pb2.RawInput.FromString(record_input)
    if not raw.HasField("payload"):
        return record
    return record + _INPUT_TAG + varint(len(raw.payload)) + raw.payload


def record_id_of(record_input: bytes) -> str:
    """The record_id in a serialized RecordInput."""
    return shadow_pb2.RecordInputHead.FromString(record_input).record_id


class Placeholders:
    """Makes the RecordInfo of records without an outcome."""

    def __init__(self, name: TaskName, generation: int) -> None:
        self._prefix = f"{name}/records/"
        self._generation = generation
        self._head = shadow_pb2.RecordInputHead()

    def make(self, index: int, state: RecordState, record_input: bytes | None, attempt: int) -> bytes:
        """Serialized RecordInfo, without `input`; `record_input` (serialized RecordInput) gives its record_id.

        `attempt`: executions that are known to have begun.
        """
        record_id = ""
        if record_input is not None:
            self._head.ParseFromString(record_input)
            record_id = self._head.record_id
        return record_pb2.RecordInfo(
            name=f"{self._prefix}{index}",
            index=index,
            record_id=record_id,
            state=state.value,  # pyright: ignore[reportArgumentType] - the enums have the same numbers
            attempt=attempt,
            generation=self._generation,
        ).SerializeToString()
