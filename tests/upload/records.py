"""Records that cannot be told from noise, written down as they are handed over and compared when they are read back."""

from __future__ import annotations

import hashlib
import json
import random
import zlib
from array import array
from collections.abc import Iterator, Sequence

from batchyard.v1.record_pb2 import RecordInfo

LEAST_BYTES = 480
_MOST_BYTES = 544  # lengths differ, so that cuts and segments never fall on a grid


class Source:
    """Yields records, each once.

    Attributes:
        sums: CRC-32 of every record handed over.
        digest: SHA-256 of all of them in order.
    """

    def __init__(self, seed: int, count: int) -> None:
        self._chance = random.Random(seed)
        self._count = count
        self._hash = hashlib.sha256()
        self.sums = array("L")

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        chance, update, add = self._chance, self._hash.update, self.sums.append
        for _ in range(self._count):
            record = chance.randbytes(chance.randint(LEAST_BYTES, _MOST_BYTES))
            update(record)
            add(zlib.crc32(record))
            yield record


class ByIndex:
    """Takes pages in order of index, view FULL: every record as it was handed over, with the output that is its own."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self._next = 0

    def take(self, records: Sequence[RecordInfo]) -> None:
        """The next page."""
        update, sums = self._hash.update, self._source.sums
        for at, record in enumerate(records, self._next):
            assert record.index == at, f"{record.index} where {at} belongs"
            assert record.state == RecordInfo.SUCCEEDED, record
            assert json.loads(record.output.text) == [at, sums[at]], record
            update(record.input.data)
        self._next += len(records)

    def check(self) -> None:
        """That was all."""
        assert self._next == len(self._source.sums)
        assert self._hash.hexdigest() == self._source.digest


class ByCompletion:
    """Takes pages in order of completion: every record once, with the output that is its own."""

    def __init__(self, source: Source) -> None:
        self._sums = source.sums
        self._seen = bytearray(len(source.sums))

    def take(self, records: Sequence[RecordInfo]) -> None:
        """The next page."""
        for record in records:
            index = record.index
            assert not self._seen[index], f"record {index} came twice"
            self._seen[index] = 1
            assert json.loads(record.output.text) == [index, self._sums[index]], record

    def check(self) -> None:
        """That was all."""
        missing = self._seen.count(0)
        assert not missing, f"{missing} records are missing, the first is {self._seen.index(0)}"
