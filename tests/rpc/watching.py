"""A client that watches over raw stubs: what it was told, and the token with which it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.operation_status_pb2 import OperationStatus
from batchyard.v1.record_pb2 import RecordInfo
from tests.rpc.test_wait import until
from tests.rpc.world import PROJECT, name
from tests.support.server import SECONDS, Served


def is_event(message: OperationStatus) -> bool:
    """Whether it tells of a change or shows a task."""
    return bool(message.batch_task) and not message.records


def only_token(message: OperationStatus) -> bool:
    """Whether it has nothing but a token."""
    bare = OperationStatus(resume_token=message.resume_token, event_time=message.event_time)
    return message == bare and bool(message.resume_token)


class Watcher:
    """One watch: of a task by id, or of the project.

    Attributes:
        messages: all that came.
    """

    def __init__(self, server: Served, task_id: str | None = None, *, token: str = "", **fields: Any) -> None:
        self.messages: list[OperationStatus] = []
        if task_id is None:
            tasks = service.WatchBatchTasksRequest(parent=PROJECT, resume_token=token, **fields)
            self._call = server.tasks.WatchBatchTasks(tasks)
        else:
            task = service.WatchBatchTaskRequest(name=name(task_id), resume_token=token, **fields)
            self._call = server.tasks.WatchBatchTask(task)

    @property
    def token(self) -> str:
        """Where it goes on."""
        return self.messages[-1].resume_token

    @property
    def records(self) -> list[RecordInfo]:
        """The outcomes that came."""
        return [record for message in self.messages for record in message.records]

    @property
    def indexes(self) -> list[int]:
        """Their indexes."""
        return [record.index for record in self.records]

    @property
    def states(self) -> list[str]:
        """The states of the task that were told of, without repetitions; DELETED for the end of it."""
        names = [
            "DELETED" if each.deleted else BatchTaskInfo.State.Name(each.state)
            for each in self.messages
            if is_event(each)
        ]
        return [each for at, each in enumerate(names) if at == 0 or names[at - 1] != each]

    async def next(self) -> OperationStatus | None:
        """The next message; None at the end. Raises what the call failed with."""
        async with asyncio.timeout(SECONDS):  # wait_for of Python 3.11 may lose a timeout of the caller's
            message = await self._call.read()
        if message is grpc.aio.EOF:
            return None
        assert isinstance(message, OperationStatus)
        assert message.resume_token
        assert message.HasField("event_time")
        self.messages.append(message)
        return message

    async def until(self, condition: Callable[[OperationStatus], bool]) -> OperationStatus:
        """Read up to the first message of which that is true."""
        while True:
            message = await self.next()
            assert message is not None, f"it ended after {self.states}"
            if condition(message):
                return message

    async def to_end(self) -> Watcher:
        """Read to the end."""
        while await self.next() is not None:
            pass
        return self

    async def fails(self) -> grpc.RpcError:
        """Read until the call fails."""
        try:
            await self.to_end()
        except grpc.RpcError as error:
            return error
        raise AssertionError("it ended with OK")

    async def close(self) -> None:
        """Leave."""
        self._call.cancel()


async def watching(server: Served, count: int) -> None:
    """Wait until so many watchers have seen everything."""
    await until(lambda: server.rpc.hub.waiting == count)
