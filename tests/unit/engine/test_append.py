"""Does an append hold no more than it may, and leave no commit behind, when the store is slow or the client gone?"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from batchyard_server.codec.inputs import Append
from batchyard_server.codec.tokens import Tokens
from batchyard_server.engine.append import (
    MOST_BYTES,
    MOST_MESSAGES,
    MOST_TOGETHER_BYTES,
    OpenStreams,
    append_records,
)
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.live import NullLive
from batchyard_server.execution.handlers import HandlerBook
from batchyard_server.model.errors import Aborted, Reason, Unavailable
from batchyard_server.model.failpoints import OFF
from batchyard_server.model.handler import Isolation
from batchyard_server.model.names import TaskName
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Task
from tests.support.artifacts import NO_FILES
from tests.support.clock import FakeClock, SeededRandomness

NAME = TaskName("p", "t")


class SlowStore:
    """Commits one append for each `permit`, in order; `error` is raised instead if set."""

    def __init__(self) -> None:
        self.begun = 0
        self.done = 0
        self.error: Exception | None = None
        self.permit = asyncio.Semaphore(0)

    async def get_task(self, name: TaskName) -> Task:
        return Task(
            key=1, project="p", task_id=name.task, uid="u", operation="o", handler="echo", state=TaskState.DRAFT,
            fixed=b"", create_us=1, update_us=1, transition_us=1,
        )  # fmt: skip

    async def append_records(self, name: TaskName, uid: str, first: int, segments: Any, record_ids: Any) -> int:
        assert (name.project, uid) == (NAME.project, "u")
        assert first == self.begun
        self.begun += 1
        await self.permit.acquire()
        if self.error is not None:
            raise self.error
        self.done += 1
        return first + 1


def deps(store: Any) -> Deps:
    return Deps(
        store=store,
        clock=FakeClock(),
        randomness=SeededRandomness(),
        live=NullLive(),
        handlers=HandlerBook({}, Isolation.SUBREAPER),
        failpoints=OFF,
        tokens=Tokens(b"key"),
        files=NO_FILES,
    )


class Client:
    """Sends messages of one record of `size` bytes without end; `sent` counts those that were taken."""

    def __init__(self, size: int, name: TaskName = NAME) -> None:
        self.size = size
        self.name = name
        self.sent = 0

    async def messages(self) -> AsyncIterator[Append]:
        while True:
            yield Append(name=str(self.name), first=self.sent, segments=(), ids=(), size=self.size)
            self.sent += 1


async def settled() -> None:
    """Let everything that can go on go on."""
    for _ in range(100):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("size", "held"), [(10, MOST_MESSAGES), (4 << 20, 2), (3 << 20, 2), (5 << 20, 1)])
async def test_the_reader_stops_at_its_bound(size: int, held: int) -> None:
    store, client = SlowStore(), Client(size)
    acks = append_records(deps(store), OpenStreams(), client.messages())
    reading = asyncio.ensure_future(anext(acks))
    await settled()
    assert store.begun == held
    assert client.sent == held  # one more was received and waits for room
    assert held * size <= max(MOST_BYTES, size)
    for expected in (1, 2, 3):
        store.permit.release()
        assert await reading == expected
        reading = asyncio.ensure_future(anext(acks))
        await settled()
        assert store.begun == held + expected
    reading.cancel()
    await settled()
    for _ in range(held):
        store.permit.release()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_all_streams_share_a_bound_and_each_gets_on() -> None:
    streams, size = OpenStreams(), 4 << 20
    stores = [SlowStore() for _ in range(8)]
    calls = [
        asyncio.ensure_future(
            _all(append_records(deps(store), streams, Client(size, TaskName("p", f"t{number}")).messages()))
        )
        for number, store in enumerate(stores)
    ]
    await settled()
    assert [store.begun for store in stores] == [2, 2, 2, 1, 1, 1, 1, 1]
    assert streams.bytes == 11 * size
    for store in stores:
        store.permit.release()
    await settled()
    assert streams.bytes <= MOST_TOGETHER_BYTES + len(stores) * size
    assert all(store.begun > 1 for store in stores), "each goes on when one of its own is stored"
    for call, store in zip(calls, stores, strict=True):
        call.cancel()
        for _ in range(4):
            store.permit.release()
    await asyncio.wait(calls)
    assert streams.bytes == 0


async def test_a_client_that_leaves_waits_for_no_answer_but_its_commits_are_finished() -> None:
    store, streams = SlowStore(), OpenStreams()
    call = asyncio.ensure_future(_all(append_records(deps(store), streams, Client(10).messages())))
    await settled()
    call.cancel()
    await settled()
    with pytest.raises(Aborted) as caught, streams.claim(NAME, "u"):
        pass
    assert caught.value.reason is Reason.APPEND_IN_PROGRESS
    for _ in range(MOST_MESSAGES):
        store.permit.release()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert store.done == store.begun == MOST_MESSAGES
    with streams.claim(NAME, "u"):
        pass


async def test_the_first_error_ends_the_stream() -> None:
    store, streams = SlowStore(), OpenStreams()
    call = asyncio.ensure_future(_all(append_records(deps(store), streams, Client(10).messages())))
    await settled()
    store.error = Unavailable(Reason.STORE_UNAVAILABLE, "not now")
    for _ in range(MOST_MESSAGES + 1):
        store.permit.release()
    with pytest.raises(Unavailable):
        await call
    assert store.done == 0
    with streams.claim(NAME, "u"):
        pass


async def _all(acks: AsyncGenerator[int, None]) -> None:
    async with contextlib.aclosing(acks):
        async for _ in acks:
            pass
