"""AppendRecords: one stream per task, pipelined.

    messages ─▶ reader ─▶ [≤ 16 messages, ≤ 8 MiB on their way to the disk] ─▶ acknowledgements, in order

The reader goes on while the store commits; when the bound is reached it stops reading, which gRPC's flow control passes
on to the client. So the server's memory does not depend on how much a client sends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from contextlib import contextmanager

from batchyard_server.codec.inputs import Append
from batchyard_server.engine.deps import Deps
from batchyard_server.model import limits
from batchyard_server.model.errors import Aborted, InvalidArgument, NotFound, Reason
from batchyard_server.model.names import TASK_TYPE, TaskName, parse_task
from batchyard_server.model.states import Event, after
from batchyard_server.model.task import InputSegment, Task

MOST_MESSAGES = 16
MOST_BYTES = 8 * limits.MIB
MOST_TOGETHER_BYTES = 24 * limits.MIB  # of all streams; beyond it each still has one message on its way


class OpenStreams:
    """Which tasks have an AppendRecords stream open. `bytes`: of all their messages on their way to the disk."""

    def __init__(self) -> None:
        self._claimed: set[tuple[TaskName, str]] = set()
        self.bytes = 0

    @contextmanager
    def claim(self, name: TaskName, uid: str) -> Generator[None]:
        """Hold the task's one stream. Raises Aborted (APPEND_IN_PROGRESS) if it is held.

        One that was left behind by a deleted task is not in the way of a new task of that name.
        """
        if (name, uid) in self._claimed:
            raise Aborted(
                Reason.APPEND_IN_PROGRESS,
                f"another AppendRecords stream is open on {name}",
                metadata={"batch_task": str(name)},
            )
        self._claimed.add((name, uid))
        try:
            yield
        finally:
            self._claimed.remove((name, uid))


async def append_records(
    deps: Deps, streams: OpenStreams, messages: AsyncIterator[Append]
) -> AsyncGenerator[int, None]:
    """Append each message's records; yield the next index once they are durable, in order of the messages.

    What was accepted before the stream broke is finished before the task's stream is free again, so a client that comes
    back is told an index that holds. Raises: NotFound, InvalidArgument, FailedPrecondition (ILLEGAL_STATE,
    TASK_COMPLETED), OutOfRange, Aborted (APPEND_IN_PROGRESS).
    """
    first = await anext(messages, None)
    if first is None:
        return
    name = parse_task(first.name)
    uid = (await deps.store.get_task(name)).uid
    with streams.claim(name, uid):
        task = await _the_same(deps, name, uid)  # as it is now that nobody else appends
        after(task.state, Event.APPEND)
        pipe = _Pipe(deps, streams, task)
        reader = asyncio.create_task(pipe.read(first, messages))
        try:
            async for next_index in pipe.acknowledgements():
                yield next_index
        finally:
            reader.cancel()
            await asyncio.wait((reader,))
            await pipe.settle()


async def _the_same(deps: Deps, name: TaskName, uid: str) -> Task:
    """The task, as long as it is that one. Raises NotFound."""
    task = await deps.store.get_task(name)
    if task.uid != uid:
        raise NotFound(TASK_TYPE, str(name))
    return task


class _Pipe:
    """Messages of one stream between the reader and the acknowledgements."""

    def __init__(self, deps: Deps, streams: OpenStreams, task: Task) -> None:
        self._deps = deps
        self._streams = streams
        self._task = task
        self._next = task.total
        self._commits: deque[tuple[asyncio.Task[int] | None, int]] = deque()  # None: a question; with the bytes held
        self._bytes = 0
        self._changed = asyncio.Event()
        self._end: Exception | None = None
        self._ended = False

    async def read(self, first: Append, messages: AsyncIterator[Append]) -> None:
        """Hand every message to the store until the client ends or errs."""
        try:
            await self._take(first)
            async for message in messages:
                await self._take(message)
        except Exception as error:  # noqa: BLE001 - raised by `acknowledgements`, after what came before was answered
            self._end = error
        finally:
            self._ended = True
            self._changed.set()

    async def _take(self, message: Append) -> None:
        if message.name and message.name != str(self._task.name):
            raise InvalidArgument("name", "must stay the same in one stream")
        while self._commits and self._is_full(message.size):
            self._changed.clear()
            await self._changed.wait()
        commit = None
        if message.first is not None:
            commit = asyncio.create_task(self._commit(message.first, message.segments, message.ids))
        self._commits.append((commit, message.size))
        self._hold(message.size)
        self._changed.set()

    def _is_full(self, size: int) -> bool:
        """Whether a message of so many bytes has to wait for one of this stream's own to be stored."""
        return (
            len(self._commits) >= MOST_MESSAGES
            or self._bytes + size > MOST_BYTES
            or self._streams.bytes + size > MOST_TOGETHER_BYTES
        )

    def _hold(self, size: int) -> None:
        self._bytes += size
        self._streams.bytes += size

    async def _commit(self, first: int, segments: Sequence[InputSegment], ids: Sequence[tuple[str, int]]) -> int:
        total = await self._deps.store.append_records(self._task.name, self._task.uid, first, segments, ids)
        self._deps.failpoints.hit("engine.append.after_store")
        return total

    async def acknowledgements(self) -> AsyncIterator[int]:
        """Yield the next index after each message; raise what broke the stream."""
        while True:
            while not self._commits:
                if self._ended:
                    if self._end is not None:
                        raise self._end
                    return
                self._changed.clear()
                await self._changed.wait()
            commit, size = self._commits[0]
            if commit is None:
                await _the_same(self._deps, self._task.name, self._task.uid)
            else:
                await asyncio.wait((commit,))  # not awaited itself: a cancelled client must not cancel a commit
                self._next = commit.result()
            self._commits.popleft()
            self._hold(-size)
            self._changed.set()
            yield self._next

    async def settle(self) -> None:
        """Wait for the commits whose answer nobody wants any more."""
        rest = [commit for commit, _ in self._commits if commit is not None]
        if rest:
            await asyncio.wait(rest)
            for commit in rest:
                commit.exception()  # looked at, so that the loop does not report it
        self._hold(-self._bytes)
