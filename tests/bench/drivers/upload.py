"""Uploads records that were serialized beforehand, to us or to a bare stream; the clock stops at the last answer."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

from batchyard.v1 import batch_task_service_pb2
from tests.bench import api
from tests.bench.drivers import protocol


class Upload:
    """State of the driver: the messages."""

    def __init__(self) -> None:
        self._messages: list[bytes] = []
        self._payload = 0
        self._total = 0

    def prepare(self, record_bytes: int, records_per_message: int, megabytes: int) -> dict[str, Any]:
        """Make messages of random bytes, which nothing can compress."""
        source = random.Random(record_bytes)
        self._payload = record_bytes * records_per_message
        self._total = max(1, megabytes * 2**20 // self._payload)
        self._messages = []
        for turn in range(self._total):
            message = batch_task_service_pb2.AppendRecordsRequest(first_index=turn * records_per_message)
            for _ in range(records_per_message):
                message.records.add().payload.data = source.randbytes(record_bytes)
            self._messages.append(message.SerializeToString())
        self._records = self._total * records_per_message
        return {"messages": self._total, "bytes": self._total * self._payload}

    def run(self, address: str) -> dict[str, Any]:
        """Into a new DRAFT of ours: seconds from the first message to the acknowledgement of the last record."""
        with api.connect(address) as channel:
            service, _ = api.stubs(channel)
            task = api.task_of(service.CreateBatchTask(api.create_request("bench_noop", start=False)))
            head = batch_task_service_pb2.AppendRecordsRequest(name=task).SerializeToString()
            call = channel.stream_stream(api.SERVICE + "AppendRecords")
            began = time.monotonic()
            last = b""
            for answer in call(self._stream(head)):
                last = answer
            seconds = time.monotonic() - began
        acknowledged = batch_task_service_pb2.AppendRecordsResponse.FromString(last).next_index
        if acknowledged != self._records:
            raise ValueError(f"acknowledged {acknowledged} of {self._records} records")
        return self._rate(seconds)

    def run_bare(self, address: str) -> dict[str, Any]:
        """The same messages to a server that drops them and answers each."""
        with api.connect(address) as channel:
            call = channel.stream_stream("/Bare/Drop")
            began = time.monotonic()
            answers = sum(1 for _ in call(iter(self._messages)))
            seconds = time.monotonic() - began
        if answers != self._total:
            raise ValueError(f"{answers} answers came instead of {self._total}")
        return self._rate(seconds)

    def _stream(self, head: bytes) -> Iterator[bytes]:
        # Concatenated messages merge: the first one gets its name without being serialized again.
        yield head + self._messages[0]
        yield from self._messages[1:]

    def _rate(self, seconds: float) -> dict[str, Any]:
        return {"mb_per_s": self._total * self._payload / seconds / 1e6}


if __name__ == "__main__":
    driver = Upload()
    protocol.serve(prepare=driver.prepare, run=driver.run, run_bare=driver.run_bare)
