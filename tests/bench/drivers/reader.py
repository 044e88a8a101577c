"""The other client: connected beforehand, it waits for an operation and reads every outcome of its task back."""

from __future__ import annotations

import contextlib
import hashlib
import time
from typing import Any

import grpc
import orjson

from batchyard.v1 import batch_task_service_pb2
from tests.bench import api
from tests.bench.drivers import protocol


def canonical(text: str) -> bytes:
    """JSON text with its members in alphabetical order: a Value does not keep the order."""
    return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS)


class Reader:
    """State of the driver: a channel."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._service: Any = None
        self._operations: Any = None

    def connect(self, address: str) -> dict[str, Any]:
        """Open the channel and wait until it is up."""
        self._stack.close()
        channel = self._stack.enter_context(api.connect(address))
        grpc.channel_ready_future(channel).result(timeout=30)
        self._service, self._operations = api.stubs(channel)
        return {}

    def wait(self, operation: str) -> dict[str, Any]:
        """Wait for the end."""
        api.wait(self._operations, operation)
        return {"done": time.monotonic()}

    def read(self, operation: str, *, typed: bool = False) -> dict[str, Any]:
        """Wait, read all outcomes in the order of their indexes, and give the SHA-256 of their outputs.

        A record that has not succeeded has no output, so the sum of all of them would be another one; indexes are
        checked to be dense.
        """
        done = api.wait(self._operations, operation)
        ended = time.monotonic()
        request = batch_task_service_pb2.StreamRecordsRequest(parent=api.task_of(done))
        total, count = hashlib.sha256(), 0
        for page in self._service.StreamRecords(request):
            found = page.records
            if not found:
                continue
            if found[0].index != count or found[-1].index != count + len(found) - 1:
                raise ValueError(f"records {found[0].index} to {found[-1].index} came at {count}")
            count += len(found)
            if typed:
                total.update(b"".join([canonical(record.output.text) for record in found]))
            else:
                total.update("".join([record.output.text for record in found]).encode())
        return {"done": ended, "read": time.monotonic(), "digest": total.hexdigest(), "count": count}


if __name__ == "__main__":
    driver = Reader()
    protocol.serve(connect=driver.connect, wait=driver.wait, read=driver.read)
