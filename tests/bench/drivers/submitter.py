"""Submits a batch through AppendRecords, from records that were made beforehand; says when, by the monotonic clock."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator
from typing import Any

import grpc
import orjson

from batchyard.v1 import batch_task_service_pb2
from tests.bench import api, records
from tests.bench.drivers import protocol

# Records in one message of AppendRecords: about a quarter of a MiB of 200-byte records.
MESSAGE_RECORDS = 1024


def fill_value(value: Any, item: Any) -> None:
    """Write a JSON value into a google.protobuf.Value."""
    if isinstance(item, str):
        value.string_value = item
    elif isinstance(item, bool):
        value.bool_value = item
    elif isinstance(item, int | float):
        value.number_value = item
    elif isinstance(item, dict):
        fields = value.struct_value.fields
        for key, member in item.items():
            fill_value(fields[key], member)
    elif isinstance(item, list):
        add = value.list_value.values.add
        for member in item:
            fill_value(add(), member)
    else:
        value.null_value = 0


class Submitter:
    """State of the driver: a channel, and the records of the next batch."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._records: list[Any] = []
        self._as_value = False
        self._service: Any = None
        self._request: Any = None

    def connect(self, address: str) -> dict[str, Any]:
        """Open the channel and wait until it is up."""
        self._stack.close()
        channel = self._stack.enter_context(api.connect(address))
        grpc.channel_ready_future(channel).result(timeout=30)
        self._service, _ = api.stubs(channel)
        return {}

    def prepare(self, count: int, kind: str, seed: int = 0) -> dict[str, Any]:
        """Make `count` records; kind `text`, `value` (the same, typed) or `small`."""
        gc.unfreeze()
        made = records.make_small(count) if kind == "small" else records.make(count, seed)
        digest = records.digest_of(made)
        self._as_value = kind == "value"
        self._records = [orjson.loads(record) for record in made] if self._as_value else made
        # What was made before the clock must not make the collector's passes longer within it.
        gc.freeze()
        return {"digest": digest, "bytes": sum(map(len, made))}

    def create(self, handler: str) -> dict[str, Any]:
        """Create the DRAFT: the clock starts here."""
        request = api.create_request(handler, start=False)
        began = time.monotonic()
        operation = self._service.CreateBatchTask(request)
        self._task = api.task_of(operation)
        return {"began": began, "operation": operation.name, "task": self._task}

    def upload(self) -> dict[str, Any]:
        """Append all records, wait for the last acknowledgement, start the task."""
        acknowledged = 0
        for answer in self._service.AppendRecords(self._messages()):
            acknowledged = answer.next_index
        if acknowledged != len(self._records):
            raise ValueError(f"acknowledged {acknowledged} of {len(self._records)} records")
        uploaded = time.monotonic()
        self._service.StartBatchTask(batch_task_service_pb2.StartBatchTaskRequest(name=self._task))
        return {"uploaded": uploaded, "started": time.monotonic()}

    def succeeded(self, task: str) -> dict[str, Any]:
        """How many records of a task have succeeded by now, and the number of all."""
        info = self._service.GetBatchTask(batch_task_service_pb2.GetBatchTaskRequest(name=task))
        return {"succeeded": info.counts.succeeded, "total": info.counts.total}

    def _messages(self) -> Iterator[Any]:
        for first in range(0, len(self._records), MESSAGE_RECORDS):
            message = batch_task_service_pb2.AppendRecordsRequest(first_index=first)
            if first == 0:
                message.name = self._task
            add = message.records.add
            if self._as_value:
                for record in self._records[first : first + MESSAGE_RECORDS]:
                    fill_value(add().payload.json, record)
            else:
                for record in self._records[first : first + MESSAGE_RECORDS]:
                    add().payload.text = record
            yield message


if __name__ == "__main__":
    driver = Submitter()
    protocol.serve(
        connect=driver.connect,
        prepare=driver.prepare,
        create=driver.create,
        upload=driver.upload,
        succeeded=driver.succeeded,
    )
