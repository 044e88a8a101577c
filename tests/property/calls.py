"""How is a method called without gRPC? With what it sees of its call, and what its end looks like then."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NoReturn

import grpc
from google.rpc.status_pb2 import Status

from batchyard_server.rpc.interceptors.errors import DETAILS_KEY


class Refused(Exception):
    """The call failed with this status."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


class Pending:
    """A call that is not answered yet, as far as is known."""

    def __init__(self, task: asyncio.Task[bytes]) -> None:
        self._task = task

    @property
    def is_answered(self) -> bool:
        """Whether it is."""
        return self._task.done()

    def answer(self) -> bytes:
        """The answer, which is there. Raises Refused."""
        return self._task.result()


class Following:
    """A stream that is being read; it may have ended."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def take(self) -> list[bytes]:
        """The messages since the last call."""
        written, self._context.written = self._context.written, []
        return written


class Context:
    """What a method sees of its call: no deadline; what it writes is kept."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def time_remaining(self) -> None:
        """No deadline."""

    async def write(self, message: bytes) -> None:
        """Of a stream."""
        self.written.append(message)

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing_metadata: Sequence[tuple[str, bytes]]
    ) -> NoReturn:
        """The end of a call that fails."""
        ((key, raw),) = trailing_metadata
        status = Status.FromString(raw)
        assert key == DETAILS_KEY
        assert (code.value[0], details) == (status.code, status.message)
        raise Refused(status)
