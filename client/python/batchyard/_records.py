"""Records on their way out: values packed into messages of bounded size, in order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from batchyard import _payload
from batchyard._errors import BatchyardError
from batchyard.v1 import batch_task_service_pb2, record_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Bounds of one message: far below the server's 4 MiB, large enough that the cost of a message disappears.
MESSAGE_BYTES: Final = 1024 * 1024
MESSAGE_RECORDS: Final = 4096
# Up to this many records (and MESSAGE_BYTES) travel inside CreateBatchTask itself.
INLINE_RECORDS: Final = 1000
# Bytes sent and not acknowledged. Two group commits of the server (8 MiB each) keep it busy; memory stays flat.
WINDOW_BYTES: Final = 16 * 1024 * 1024
# The server's bound on one record.
RECORD_BYTES: Final = 1024 * 1024
# Tags and lengths around one payload.
_OVERHEAD: Final = 16


class RecordValueError(BatchyardError, ValueError):
    """A record has no form on the wire, e.g. because it holds a NaN. Nothing of it was sent.

    Attributes:
        index: its position in the records given.
    """

    def __init__(self, index: int, why: object) -> None:
        self.index = index
        super().__init__(f"record {index}: {why}")


@dataclass(frozen=True, slots=True)
class Record:
    """A value with an id or a content_type of its own; plain values need no wrapper.

    Attributes:
        value: what the handler receives.
        record_id: the caller's own id, unique in the task, at most 256 bytes. Empty: none.
        content_type: media type, e.g. `application/json` for a str that is JSON text already. Empty: by the value.
    """

    value: Any
    record_id: str = ""
    content_type: str = ""


class MessageBuilder:
    """Packs values into `AppendRecordsRequest`s, each within MESSAGE_BYTES (unless one record alone is larger).

    Args:
        record_ids: one id per value, in the same order; None: ids only where a `Record` brings one.
    """

    def __init__(self, record_ids: Iterable[str] | None = None) -> None:
        self._ids = None if record_ids is None else iter(record_ids)
        self._request = batch_task_service_pb2.AppendRecordsRequest(first_index=0)
        self._size = 0
        self._carried: record_pb2.RecordInput | None = None
        self._next_index = 0
        self.most_records = MESSAGE_RECORDS

    def begin_at(self, index: int) -> None:
        """Give the first record this index; before anything is filled in."""
        self._next_index = self._request.first_index = index

    def fill(self, values: Iterator[object]) -> bool:
        """Take values until the message is full; return whether it is (False: the values ended).

        Raises:
            RecordValueError: a value has no form on the wire, or is too large.
        """
        records = self._request.records
        room = self.most_records - len(records)
        if self._size >= MESSAGE_BYTES or room <= 0:  # the record carried over fills a message alone
            return True
        add, dump_json, ids, size, added = records.add, _payload.dump_json, self._ids, self._size, 0
        for value in islice(values, room):
            record = add()
            kind = type(value)
            try:
                if kind is dict or kind is list:  # by far the most: the short way
                    record.payload.text = text = dump_json(value)
                    added = (len(text) if text.isascii() else len(text.encode())) + _OVERHEAD
                else:
                    added = _encode(value, record)
                if ids is not None:
                    added += _set_id(record, ids)
            except (ValueError, TypeError) as error:
                raise RecordValueError(self._next_index + len(records) - 1, error) from error
            size += added
            if size >= MESSAGE_BYTES:
                break
        self._size = size
        if size >= MESSAGE_BYTES:
            self._overflow(added)
            return True
        return len(records) >= self.most_records

    def take(self) -> batch_task_service_pb2.AppendRecordsRequest | None:
        """Return the message and start the next one; None if it holds no record."""
        request = self._request
        if not request.records:
            return None
        self._next_index += len(request.records)
        self._request = batch_task_service_pb2.AppendRecordsRequest(first_index=self._next_index)
        self._size = 0
        if self._carried is not None:
            self._request.records.append(self._carried)
            self._size = self._carried.ByteSize()
            self._carried = None
        return request

    def finish(self) -> None:
        """Check that no record_id is left over.

        Raises:
            ValueError: there are more ids than records.
        """
        if self._ids is not None and next(self._ids, None) is not None:
            raise ValueError("record_ids has more entries than records")

    def _overflow(self, added: int) -> None:
        """Move the last record, of `added` bytes, to the next message if it pushed this one over the bound."""
        records = self._request.records
        if added > RECORD_BYTES + _OVERHEAD:
            index = self._next_index + len(records) - 1
            raise RecordValueError(index, f"takes {added} bytes; at most {RECORD_BYTES} are possible")
        if self._size > MESSAGE_BYTES and len(records) > 1:
            self._carried = record_pb2.RecordInput()
            self._carried.CopyFrom(records[-1])
            del records[-1]


def _set_id(record: record_pb2.RecordInput, ids: Iterator[str]) -> int:
    """Give the record the next id; return about how many bytes it takes."""
    value = next(ids, None)
    if value is None:
        raise ValueError("record_ids has fewer entries than records")
    record.record_id = value
    return len(value)


def _encode(value: object, record: record_pb2.RecordInput) -> int:
    """Fill `record`; return about how many bytes it takes."""
    if isinstance(value, Record):
        record.record_id = value.record_id
        return _payload.encode(value.value, record.payload, value.content_type) + len(value.record_id) + _OVERHEAD
    if isinstance(value, record_pb2.RecordInput):
        record.CopyFrom(value)
        return value.ByteSize() + _OVERHEAD
    return _payload.encode(value, record.payload) + _OVERHEAD


def check_records(records: object) -> None:
    """Refuse what is iterable by accident.

    Raises:
        TypeError: a str, bytes or mapping was given where records belong.
    """
    if isinstance(records, (str, bytes, bytearray, memoryview, dict, Record, record_pb2.RecordInput)):
        raise TypeError(f"records must be an iterable of records, not one {type(records).__name__}")
