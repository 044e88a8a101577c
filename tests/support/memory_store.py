"""A store in memory whose commits the test makes: what is written when, and what fails, is its choice."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.codec import segments
from batchyard_server.model import ranges as rg
from batchyard_server.model.errors import StaleLease
from batchyard_server.model.states import Event, StopReason, SubtaskState, TaskState, after
from batchyard_server.model.subtask import COMPLETED, RETURNED, LeaseEnd
from batchyard_server.model.task import Attempts, Flush, Lease, NewTask, Task
from batchyard_server.store.protocols import Change, LiveTask, Store, Subscriber, TaskEvent

NOW = 5_000_000


@dataclass(slots=True)
class Held:
    """One task with everything it owns. `ended`: how each lease ended that did, by epoch; `nodes`: who had them."""

    task: Task
    inputs: list[bytes]
    leases: dict[int, rg.Ranges] = field(default_factory=dict[int, rg.Ranges])
    ended: dict[int, LeaseEnd] = field(default_factory=dict[int, LeaseEnd])
    nodes: set[str] = field(default_factory=set[str])
    outcomes: dict[int, RecordInfo] = field(default_factory=dict[int, RecordInfo])
    attempts: dict[int, Attempts] = field(default_factory=dict[int, Attempts])
    unreaped: list[int] = field(default_factory=list[int])


@dataclass(frozen=True, slots=True)
class Write:
    """A write that waits for its commit."""

    name: str
    apply: Callable[[], Any]
    future: asyncio.Future[Any]


class MemoryStore:
    """The lease part of `store.protocols.Store`, after the same rules as the drivers.

    Attributes:
        automatic: commit each write in the next turn of the loop; else when `commit` is called.
        slow_reads: `inputs` waits for `read`.
        fail: asked before each write (its name) and each read (`inputs`); what it returns is raised instead.
        on_final: called with a task when it becomes final, inside the commit.
    """

    def __init__(self) -> None:
        self.held: dict[int, Held] = {}
        self.waiting: deque[Write] = deque()
        self.reading: deque[asyncio.Future[None]] = deque()
        self.automatic = True
        self.slow_reads = False
        self.fail: Callable[[str], Exception | None] = lambda _: None
        self.on_final: Callable[[Task], None] = lambda _: None
        self.log: list[str] = []
        self._subscribers: list[Subscriber] = []
        self._events: list[TaskEvent] = []

    def as_store(self) -> Store:
        """For whoever uses the lease part only."""
        return cast(Store, self)

    # -- the test's side ------------------------------------------------------------------------------------------

    def create(self, new: NewTask) -> Task:
        """Store a task, at once."""
        key = len(self.held) + 1
        inputs = [record for segment in new.segments for record in segments.split_inputs(segment.blob)]
        self.held[key] = Held(replace(new.task, key=key), inputs)
        self._deliver(key, Change.STATE)
        return self.held[key].task

    def cancel(self, key: int) -> Task:
        """Cancel a task, at once."""
        task = self.held[key].task
        state = after(task.state, Event.CANCEL)
        self._put(replace(task, stop_reason=StopReason.CANCEL).enter(state, NOW))
        self._deliver(key, Change.STATE)
        return self.held[key].task

    def by_name(self, name: str) -> Held:
        """The task of this resource name."""
        return next(held for held in self.held.values() if str(held.task.name) == name)

    def commit(self, most: int = 1 << 30) -> int:
        """Apply the first writes that wait, each on its own; how many."""
        done = 0
        while self.waiting and done < most:
            write = self.waiting.popleft()
            done += 1
            error = self.fail(write.name)
            result = None
            if error is None:
                try:
                    result = write.apply()
                except StaleLease as stale:
                    error = stale
            self.log.append(f"{write.name}: {error or 'ok'}")
            for subscriber in list(self._subscribers) if self._events else ():
                subscriber(self._events)
            self._events = []
            if write.future.done():
                continue
            if error is None:
                write.future.set_result(result)
            else:
                write.future.set_exception(error)
        return done

    def read(self) -> None:
        """Let every read that waits go on."""
        while self.reading:
            self.reading.popleft().set_result(None)

    def live(self) -> list[LiveTask]:
        """What a server that starts now would take up: see Store.recover."""
        found: list[LiveTask] = []
        self._subscribers.clear()
        self.waiting.clear()
        self.reading.clear()
        for held in self.held.values():
            held.ended |= dict.fromkeys(held.leases, LeaseEnd(state=SubtaskState.KILLED))
            held.leases.clear()
            if held.task.state is TaskState.CANCELLING:
                held.task = held.task.enter(after(held.task.state, Event.REAPED_AFTER_CANCEL), NOW)
            if held.task.state in (TaskState.QUEUED, TaskState.RUNNING):
                recorded = rg.from_indexes(held.outcomes)
                pending = rg.subtract([(0, held.task.total)], recorded)
                found.append(LiveTask(task=held.task, pending=pending, attempts=dict(held.attempts)))
        return found

    # -- what the dispatcher uses ---------------------------------------------------------------------------------

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """See Store.subscribe."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    async def inputs(self, task_key: int, ranges: Sequence[tuple[int, int]], max_bytes: int) -> tuple[rg.Ranges, bytes]:
        """See Store.inputs."""
        if self.slow_reads:
            self.reading.append(asyncio.get_running_loop().create_future())
            await self.reading[-1]
        if (error := self.fail("inputs")) is not None:
            raise error
        taken: list[int] = []
        size = 0
        for index in (index for start, end in ranges for index in range(start, end)):
            size += len(self.held[task_key].inputs[index])
            if taken and size > max_bytes:
                break
            taken.append(index)
        records = [self.held[task_key].inputs[index] for index in taken]
        return rg.from_indexes(taken), segments.join_inputs(records)

    async def grant(self, lease: Lease) -> Task:
        """See Store.grant."""
        return await self._submit("grant", lambda: self._grant(lease))

    async def record_outcomes(self, lease: Lease, flush: Flush, end: LeaseEnd = COMPLETED) -> Task:
        """See Store.record_outcomes."""
        return await self._submit("outcomes", lambda: self._record(lease, flush, end))

    async def release(
        self,
        lease: Lease,
        begun: Mapping[int, Attempts],
        unreaped: Sequence[int] = (),
        *,
        ends_cancel: bool = True,
        end: LeaseEnd = RETURNED,
    ) -> Task | None:
        """See Store.release."""
        return await self._submit("release", lambda: self._release(lease, begun, unreaped, ends_cancel, end))

    async def shrink(self, lease: Lease, ranges: Sequence[tuple[int, int]]) -> Task:
        """See Store.shrink."""
        return await self._submit("shrink", lambda: self._trim(lease, ranges))

    async def _submit(self, name: str, apply: Callable[[], Any]) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.append(Write(name, apply, future))
        if self.automatic:
            asyncio.get_running_loop().call_soon(self.commit, 1)
        return await future

    def _grant(self, lease: Lease) -> Task:
        held = self.held[lease.task_key]
        task = held.task
        if task.state not in (TaskState.QUEUED, TaskState.RUNNING):
            raise StaleLease(f"{task.name} is {task.state.name}")
        taken = rg.normalize([*rg.from_indexes(held.outcomes), *(r for open_ in held.leases.values() for r in open_)])
        assert rg.subtract(lease.ranges, taken) == lease.ranges, "a record is given out twice"
        held.leases[task.next_epoch] = list(lease.ranges)
        held.nodes.add(lease.node)
        lease.epoch = task.next_epoch
        entered = task.enter(after(task.state, Event.LEASE), NOW)
        return self._put(replace(entered, next_epoch=task.next_epoch + 1, subtasks=task.subtasks + 1))

    def _record(self, lease: Lease, flush: Flush, end: LeaseEnd) -> Task:
        held = self.held[lease.task_key]
        task = held.task
        if not rg.contains_all(held.leases.get(lease.epoch, []), flush.ranges):
            raise StaleLease(f"lease {lease.epoch} of {task.name} does not hold {flush.ranges}")
        assert flush.count == rg.count(flush.ranges) > 0
        indexes = [index for start, end in flush.ranges for index in range(start, end)]
        for index, record in zip(indexes, segments.split_page(flush.page), strict=True):
            assert index not in held.outcomes, "a record has two outcomes"
            held.outcomes[index] = RecordInfo.FromString(record)
            held.attempts.pop(index, None)
        self._shrink(held, lease.epoch, flush.ranges, end)
        failed = len(flush.failed)
        task = replace(task, succeeded=task.succeeded + flush.count - failed, failed=task.failed + failed)
        if task.state is TaskState.RUNNING and task.ended == task.total:
            event = Event.ALL_FAILED if task.failed == task.total else Event.ALL_SUCCEEDED_OR_SOME_FAILED
            task = task.enter(after(task.state, event), NOW)
        return self._put(task)

    def _release(
        self, lease: Lease, begun: Mapping[int, Attempts], unreaped: Sequence[int], ends_cancel: bool, end: LeaseEnd
    ) -> Task | None:
        held = self.held[lease.task_key]
        open_ = held.leases.get(lease.epoch, [])
        if open_:
            self._shrink(held, lease.epoch, open_, end)
        held.attempts.update(
            {index: each for index, each in begun.items() if rg.contains_all(open_, [(index, index + 1)])}
        )
        task = held.task
        if task.state is TaskState.CANCELLING:
            held.unreaped += unreaped
            if ends_cancel and not held.leases:
                task = task.enter(after(task.state, Event.REAPED_AFTER_CANCEL), NOW)
        return self._put(task)

    def _trim(self, lease: Lease, ranges: Sequence[tuple[int, int]]) -> Task:
        held = self.held[lease.task_key]
        if not rg.contains_all(held.leases.get(lease.epoch, []), ranges):
            raise StaleLease(f"lease {lease.epoch} of {held.task.name} does not hold {ranges}")
        self._shrink(held, lease.epoch, ranges, RETURNED)
        return held.task

    def _shrink(self, held: Held, epoch: int, done: Sequence[tuple[int, int]], end: LeaseEnd) -> None:
        left = rg.subtract(held.leases[epoch], done)
        if left:
            held.leases[epoch] = left
        else:
            del held.leases[epoch]
            assert epoch not in held.ended, "a lease ends twice"
            held.ended[epoch] = end

    def _put(self, task: Task) -> Task:
        held = self.held[task.key]
        before, held.task = held.task, task
        self._events.append(TaskEvent(task, Change.STATE if task.state is not before.state else Change.COUNTS))
        if task.state.is_final and not before.state.is_final:
            self.on_final(task)
        return task

    def _deliver(self, key: int, change: Change) -> None:
        events, self._events = [*self._events, TaskEvent(self.held[key].task, change)], []
        for subscriber in list(self._subscribers):
            subscriber(events)
