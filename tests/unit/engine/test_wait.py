"""Does a waiter miss nothing, whenever the end is committed, and read no more than it must?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from google.longrunning.operations_pb2 import Operation as Message

from batchyard.v1.batch_task_pb2 import BatchTaskMetadata
from batchyard_server.codec import task_bytes
from batchyard_server.codec.tokens import Tokens
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.live import NullLive
from batchyard_server.engine.wait import Waits
from batchyard_server.execution.handlers import HandlerBook
from batchyard_server.model.errors import NotFound, Reason, Unavailable
from batchyard_server.model.failpoints import OFF
from batchyard_server.model.handler import Isolation
from batchyard_server.model.names import OperationName
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Operation, Task
from batchyard_server.store.protocols import Change, Subscriber, TaskEvent
from tests.support.artifacts import NO_FILES
from tests.support.clock import FakeClock, SeededRandomness

NAME = OperationName("p", "o")
FOREVER = 1000.0


class Store:
    """One operation. `during_read` is called once while it is read, after the snapshot was taken."""

    def __init__(self) -> None:
        self.task = Task(
            key=1, project="p", task_id="t", uid="u", operation="o", handler="echo", state=TaskState.RUNNING, fixed=b"",
            create_us=1, update_us=1, transition_us=1, total=3,
        )  # fmt: skip
        self.operation = Operation(operation_id="o", project="p", task_key=1, generation=1, create_us=1)
        self.subscribers: list[Subscriber] = []
        self.reads = 0
        self.failures_read = 0
        self.during_read: Callable[[], None] = lambda: None
        self.broken = False

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        self.subscribers.append(subscriber)
        return lambda: self.subscribers.remove(subscriber)

    async def get_operation(self, name: OperationName) -> tuple[Operation, Task]:
        assert name == NAME
        self.reads += 1
        found = self.operation, self.task
        during, self.during_read = self.during_read, lambda: None
        during()
        await asyncio.sleep(0)
        return found

    async def failures(self, task_key: int, generation: int) -> Sequence[tuple[int, bytes]]:
        self.failures_read += 1
        if self.broken:
            raise Unavailable(Reason.STORE_UNAVAILABLE, "not now")
        return [(2, b"\x08\x03")]

    def commit(self, change: Change = Change.COUNTS, **fields: object) -> None:
        """Change the task and tell the subscribers."""
        self.task = replace(self.task, **fields)  # pyright: ignore[reportArgumentType]
        if self.task.state.is_final:
            self.operation = replace(
                self.operation,
                metadata=task_bytes.metadata(self.task, create_us=1),
                result=task_bytes.final_result(self.task),
            )
        for subscriber in self.subscribers:
            subscriber([TaskEvent(self.task, change, self.operation if self.task.state.is_final else None)])

    def end(self, failed: int = 0) -> None:
        """The task SUCCEEDED."""
        self.commit(Change.STATE, state=TaskState.SUCCEEDED, succeeded=3 - failed, failed=failed, end_us=2)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def waits(store: Store) -> Waits:
    return Waits(
        Deps(
            store=store,  # pyright: ignore[reportArgumentType]
            clock=FakeClock(),
            randomness=SeededRandomness(),
            live=NullLive(),
            handlers=HandlerBook({}, Isolation.SUBREAPER),
            failpoints=OFF,
            tokens=Tokens(b"key"),
            files=NO_FILES,
        )
    )


async def started(waits: Waits, count: int = 1) -> list[asyncio.Task[bytes]]:
    calls = [asyncio.create_task(waits.wait(NAME, FOREVER)) for _ in range(count)]
    while waits.count < count:  # noqa: ASYNC110 - nothing tells when a waiter has come
        await asyncio.sleep(0)
    return calls


async def test_the_end_is_not_missed_while_it_reads(store: Store, waits: Waits) -> None:
    store.during_read = store.end
    assert Message.FromString(await waits.wait(NAME, FOREVER)).done
    assert store.reads == 2
    assert waits.count == 0


async def test_the_end_is_not_missed_while_it_reads_again(store: Store, waits: Waits) -> None:
    def other_commit() -> None:
        store.commit(succeeded=1)
        store.during_read = store.end

    store.during_read = other_commit
    assert Message.FromString(await waits.wait(NAME, FOREVER)).done


async def test_a_thousand_waiters_cost_a_read_each_and_nothing_at_the_end(store: Store, waits: Waits) -> None:
    calls = await started(waits, 1000)
    for succeeded in range(3):
        store.commit(succeeded=succeeded)
    store.end(failed=1)
    answers = await asyncio.gather(*calls)
    assert store.reads == 1000
    assert store.failures_read == 1
    assert len(set(answers)) == 1
    done = Message.FromString(answers[0])
    found = BatchTaskMetadata()
    done.metadata.Unpack(found)
    assert dict(found.failed_requests)[2].code == 3


async def test_a_failed_read_at_the_end_is_an_error_of_the_call(store: Store, waits: Waits) -> None:
    store.broken = True
    (call,) = await started(waits)
    store.end(failed=1)
    with pytest.raises(Unavailable):
        await call


async def test_closing_answers_all_with_the_last_commit(store: Store, waits: Waits) -> None:
    calls = await started(waits, 3)
    store.commit(succeeded=2)
    waits.close()
    for raw in [*await asyncio.gather(*calls), await waits.wait(NAME, FOREVER)]:
        operation = Message.FromString(raw)
        found = BatchTaskMetadata()
        operation.metadata.Unpack(found)
        assert not operation.done
        assert found.counts.succeeded == 2


async def test_a_deleted_task_is_not_found(store: Store, waits: Waits) -> None:
    (call,) = await started(waits)
    store.commit(Change.DELETED)
    with pytest.raises(NotFound):
        await call


async def test_nothing_is_kept_of_those_who_left(store: Store, waits: Waits) -> None:
    calls = await started(waits, 3)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert waits.count == 0
    waits.stop()
    assert store.subscribers == []
