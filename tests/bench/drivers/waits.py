"""Holds waits and watches open on tasks that do not end.

A WaitOperation that is answered is made again, as a client would; a watch is read, which tells it where it is.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any

import grpc.aio
from google.longrunning import operations_pb2
from google.protobuf import duration_pb2

from batchyard.v1 import batch_task_pb2, batch_task_service_pb2
from tests.bench import api
from tests.bench.drivers import protocol


class Waits:
    """State of the driver: a loop in a thread that holds the calls."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._waiting: list[asyncio.Task[None]] = []

    def open(self, address: str, count: int) -> dict[str, Any]:
        """Make `count` DRAFTs, and wait for and watch each."""
        asyncio.run_coroutine_threadsafe(self._open(address, count), self._loop).result(120)
        return {}

    def held(self) -> dict[str, Any]:
        """How many calls are being held; an error of any of them is an error here."""
        failed = [task for task in self._waiting if task.done()]
        if failed:
            raise RuntimeError(f"{len(failed)} waits ended: {failed[0].exception()}")
        return {"held": len(self._waiting)}

    async def _open(self, address: str, count: int) -> None:
        # Four connections: on one the server lets a thousand calls be open, and refuses one that comes while it still
        # counts the call that it follows.
        options = (*api.OPTIONS, ("grpc.use_local_subchannel_pool", 1))
        channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(4)]
        create = channels[0].unary_unary(api.SERVICE + "CreateBatchTask")
        waits = [channel.unary_unary("/google.longrunning.Operations/WaitOperation") for channel in channels]
        watches = [channel.unary_stream(api.SERVICE + "WatchBatchTask") for channel in channels]
        names, tasks = [], []
        for _ in range(count):
            answer = await create(api.create_request("bench_noop", start=False).SerializeToString(), timeout=30)
            operation = operations_pb2.Operation.FromString(answer)
            metadata = batch_task_pb2.BatchTaskMetadata()
            operation.metadata.Unpack(metadata)
            names.append(operation.name)
            tasks.append(metadata.batch_task)
        pairs = zip(itertools.cycle(waits), names, strict=False)
        self._waiting = [asyncio.create_task(self._hold(wait, name)) for wait, name in pairs]
        pairs = zip(itertools.cycle(watches), tasks, strict=False)
        self._waiting += [asyncio.create_task(self._watch(watch, name)) for watch, name in pairs]

    async def _hold(self, wait: Any, name: str) -> None:
        timeout = duration_pb2.Duration(seconds=api.WAIT_SECONDS)
        body = operations_pb2.WaitOperationRequest(name=name, timeout=timeout).SerializeToString()
        while True:
            answer = operations_pb2.Operation.FromString(await wait(body, timeout=api.WAIT_SECONDS + 10))
            if answer.done:
                raise RuntimeError(f"{name} is done")

    async def _watch(self, watch: Any, name: str) -> None:
        body = batch_task_service_pb2.WatchBatchTaskRequest(name=name).SerializeToString()
        async for _ in watch(body):
            pass
        raise RuntimeError(f"the watch of {name} ended")


if __name__ == "__main__":
    driver = Waits()
    protocol.serve(open=driver.open, held=driver.held)
