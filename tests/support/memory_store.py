"""A store in memory whose commits the test makes: what is written when, and what fails, is its choice."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from batchyard.v1.record_pb2 import RecordAttempt, RecordInfo
from batchyard_server.codec import segments
from batchyard_server.dispatch.settle import Begun
from batchyard_server.model import ranges as rg
from batchyard_server.model.errors import NotFound, StaleLease
from batchyard_server.model.names import TASK_TYPE, OperationName, TaskName
from batchyard_server.model.states import Event, StopReason, SubtaskState, TaskState, after
from batchyard_server.model.subtask import COMPLETED, RETURNED, LeaseEnd
from batchyard_server.model.task import Attempts, Flush, Lease, NewTask, Operation, RequestKey, Retries, Task
from batchyard_server.store.protocols import Change, Decide, LiveTask, Store, Subscriber, TaskEvent

NOW = 5_000_000


@dataclass(slots=True)
class Held:
    """One task with everything it owns, in its present generation.

    `ended`: how each lease ended that did, by epoch; `nodes`: who had them.
    """

    task: Task
    inputs: list[bytes]
    leases: dict[int, rg.Ranges] = field(default_factory=dict[int, rg.Ranges])
    ended: dict[int, LeaseEnd] = field(default_factory=dict[int, LeaseEnd])
    nodes: set[str] = field(default_factory=set[str])
    outcomes: dict[int, RecordInfo] = field(default_factory=dict[int, RecordInfo])
    attempts: dict[int, Attempts] = field(default_factory=dict[int, Attempts])
    history: dict[int, list[RecordAttempt]] = field(default_factory=dict[int, list[RecordAttempt]])
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
        slow_reads: `inputs` and `unfinished` wait for `read`.
        fail: asked before each write and each of these reads (its name); what it returns is raised instead.
        on_final: called with a task, before and after, when it becomes final, inside the commit.
        on_generation: called with a task when it begins another generation, inside the commit.
        created: how many tasks were.
    """

    def __init__(self) -> None:
        self.held: dict[int, Held] = {}
        self.waiting: deque[Write] = deque()
        self.reading: deque[asyncio.Future[None]] = deque()
        self.automatic = True
        self.slow_reads = False
        self.fail: Callable[[str], Exception | None] = lambda _: None
        self.on_final: Callable[[Task, Task], None] = lambda _before, _task: None
        self.on_generation: Callable[[Task], None] = lambda _: None
        self.log: list[str] = []
        self._subscribers: list[Subscriber] = []
        self._events: list[TaskEvent] = []
        self.created = 0

    def as_store(self) -> Store:
        """For whoever uses the lease part only."""
        return cast(Store, self)

    # -- the test's side ------------------------------------------------------------------------------------------

    def create(self, new: NewTask) -> Task:
        """Store a task, at once."""
        self.created += 1
        key = self.created
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

    def delete(self, key: int) -> None:
        """Delete a task, at once."""
        task = self.held.pop(key).task
        self._tell([*self._events, TaskEvent(task, Change.DELETED)])

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
                except Exception as refused:  # noqa: BLE001 - whatever it is, the caller gets it
                    error = refused
            self.log.append(f"{write.name}: {error or 'ok'}")
            self._tell(self._events)
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
        for future in [*(write.future for write in self.waiting), *self.reading]:
            future.cancel()
        self.waiting.clear()
        self.reading.clear()
        for held in self.held.values():
            held.ended |= dict.fromkeys(held.leases, LeaseEnd(state=SubtaskState.KILLED))
            held.leases.clear()
            held.task = replace(held.task, live_subtasks=0)
            if held.task.state is TaskState.CANCELLING:
                held.task = self._reaped(held.task)
            held.task = self._settled(held, held.task)
            if held.task.state.may_start_records:
                found.append(self._left(held))
        return found

    def _left(self, held: Held) -> LiveTask:
        pending = rg.subtract([(0, held.task.total)], rg.from_indexes(held.outcomes))
        return LiveTask(task=held.task, pending=pending, attempts=dict(held.attempts))

    # -- what the dispatcher uses ---------------------------------------------------------------------------------

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """See Store.subscribe."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    async def inputs(self, task_key: int, ranges: Sequence[tuple[int, int]], max_bytes: int) -> tuple[rg.Ranges, bytes]:
        """See Store.inputs."""
        await self._read("inputs")
        taken: list[int] = []
        size = 0
        for index in (index for start, end in ranges for index in range(start, end)):
            size += len(self._held(task_key).inputs[index])
            if taken and size > max_bytes:
                break
            taken.append(index)
        records = [self._held(task_key).inputs[index] for index in taken]
        return rg.from_indexes(taken), segments.join_inputs(records)

    async def unfinished(self, task: Task) -> LiveTask:
        """See Store.unfinished."""
        await self._read("unfinished")
        return self._left(self._held(task.key))

    async def _read(self, name: str) -> None:
        if self.slow_reads:
            self.reading.append(asyncio.get_running_loop().create_future())
            await self.reading[-1]
        if (error := self.fail(name)) is not None:
            raise error

    async def get_task(self, name: TaskName) -> Task:
        """See Store.get_task."""
        found = [held.task for held in self.held.values() if held.task.name == name]
        if not found:
            raise NotFound(TASK_TYPE, str(name))
        return found[0]

    async def get_operation(self, name: OperationName) -> tuple[Operation, Task]:
        """See Store.get_operation; only that of the present generation."""
        task = next(held.task for held in self.held.values() if held.task.operation == name.operation)
        operation = Operation(
            operation_id=name.operation,
            project=name.project,
            task_key=task.key,
            generation=task.generation,
            create_us=NOW,
        )
        return operation, task

    async def update_task(self, name: TaskName, decide: Decide, request: RequestKey | None) -> Task:
        """See Store.update_task."""
        assert request is None
        task = await self.get_task(name)
        return await self._submit("update", lambda: self._update(task.key, decide))

    async def grant(self, lease: Lease) -> Task:
        """See Store.grant."""
        return await self._submit("grant", lambda: self._grant(lease))

    async def record_outcomes(
        self, lease: Lease, flush: Flush, retries: Retries | None = None, *, end: LeaseEnd = COMPLETED
    ) -> Task:
        """See Store.record_outcomes."""
        return await self._submit("outcomes", lambda: self._record(lease, flush, retries, end))

    async def release(
        self,
        lease: Lease,
        begun: Mapping[int, Attempts],
        unreaped: Sequence[int] = (),
        interrupted: Sequence[tuple[int, bytes]] = (),
        *,
        ends_cancel: bool = True,
        end: LeaseEnd = RETURNED,
    ) -> Task | None:
        """See Store.release."""
        return await self._submit(
            "release", lambda: self._release(lease, Begun(begun, interrupted), unreaped, ends_cancel, end)
        )

    async def shrink(self, lease: Lease, ranges: Sequence[tuple[int, int]]) -> Task:
        """See Store.shrink."""
        return await self._submit("shrink", lambda: self._trim(lease, ranges))

    async def _submit(self, name: str, apply: Callable[[], Any]) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.append(Write(name, apply, future))
        if self.automatic:
            asyncio.get_running_loop().call_soon(self.commit, 1)
        return await future

    def _held(self, key: int) -> Held:
        if key not in self.held:
            raise StaleLease(f"task {key} is gone")
        return self.held[key]

    def _update(self, key: int, decide: Decide) -> Task:
        held = self._held(key)
        task = decide(held.task)
        if task.generation != held.task.generation:
            assert not held.leases, "a generation begins while leases of the one before it live"
            kept = {} if task.base_generation == task.generation else held.outcomes
            held.outcomes = {index: each for index, each in kept.items() if each.state == RecordInfo.SUCCEEDED}
            held.attempts.clear()
            held.history.clear()
            self.on_generation(task)
        return task if task == held.task else self._put(task)

    def _grant(self, lease: Lease) -> Task:
        held = self._held(lease.task_key)
        task = held.task
        if lease.generation != task.generation or not task.state.may_start_records:
            raise StaleLease(f"{task.name} is {task.state.name} in generation {task.generation}")
        taken = rg.normalize([*rg.from_indexes(held.outcomes), *(r for open_ in held.leases.values() for r in open_)])
        assert rg.subtract(lease.ranges, taken) == lease.ranges, "a record is given out twice"
        held.leases[task.next_epoch] = list(lease.ranges)
        held.nodes.add(lease.node)
        lease.epoch = task.next_epoch
        entered = task.enter(after(task.state, Event.LEASE), NOW)
        entered = replace(entered, next_epoch=task.next_epoch + 1, subtasks=task.subtasks + 1)
        return self._put(replace(entered, live_subtasks=len(held.leases)))

    def _record(self, lease: Lease, flush: Flush, retries: Retries | None, end: LeaseEnd) -> Task:
        held = self._held(lease.task_key)
        task = held.task
        if not rg.contains_all(held.leases.get(lease.epoch, []), flush.ranges):
            raise StaleLease(f"lease {lease.epoch} of {task.name} does not hold {flush.ranges}")
        assert flush.count == rg.count(flush.ranges) > 0
        self._shrink(held, lease.epoch, flush.ranges, end)
        if retries is not None and task.state is not TaskState.CANCELLING:
            taken = rg.from_indexes(retries.attempts)
            assert rg.normalize([*retries.rest.ranges, *taken]) == rg.normalize(flush.ranges)
            assert retries.rest.count + rg.count(taken) == flush.count
            held.attempts.update(retries.attempts)
            self._remember(held, retries.attempts, retries.history)
            flush = retries.rest
        indexes = [index for start, end in flush.ranges for index in range(start, end)]
        for index, record in zip(indexes, segments.split_page(flush.page), strict=True):
            assert index not in held.outcomes, "a record has two outcomes"
            held.outcomes[index] = RecordInfo.FromString(record)
            held.attempts.pop(index, None)
        failed = len(flush.failed)
        task = replace(task, succeeded=task.succeeded + flush.count - failed, failed=task.failed + failed)
        task = replace(task, next_sequence=task.next_sequence + flush.count)
        return self._put(self._settled(held, task))

    def _settled(self, held: Held, task: Task) -> Task:
        """The state that follows now that records of it ended or a lease did."""
        task = replace(task, live_subtasks=len(held.leases))
        if task.state not in (TaskState.RUNNING, TaskState.PAUSING):
            return task
        if task.ended == task.total:
            event = Event.ALL_FAILED if task.failed == task.total else Event.ALL_SUCCEEDED_OR_SOME_FAILED
            return task.enter(after(task.state, event), NOW)
        if not task.settings.allows(task.failed, task.total):
            return replace(task.enter(after(task.state, Event.STOP), NOW), stop_reason=StopReason.FAILURE_POLICY)
        if task.state is TaskState.PAUSING and not held.leases:
            return task.enter(after(task.state, Event.NOTHING_RUNS), NOW)
        return task

    def _remember(self, held: Held, attempts: Mapping[int, Attempts], history: Sequence[tuple[int, bytes]]) -> None:
        for index, info in history:
            attempt = RecordAttempt.FromString(info)
            assert attempt.attempt == attempts[index].begun
            held.history.setdefault(index, []).append(attempt)

    def _release(
        self, lease: Lease, begun: Begun, unreaped: Sequence[int], ends_cancel: bool, end: LeaseEnd
    ) -> Task | None:
        held = self.held.get(lease.task_key)
        if held is None:
            return None
        open_ = held.leases.get(lease.epoch, [])
        if open_:
            self._shrink(held, lease.epoch, open_, end)
        kept = {index: each for index, each in begun.attempts.items() if rg.contains_all(open_, [(index, index + 1)])}
        held.attempts.update(kept)
        self._remember(held, kept, [each for each in begun.interrupted if each[0] in kept])
        task = self._settled(held, held.task)
        if task.state is TaskState.CANCELLING and lease.generation == task.generation:
            held.unreaped += unreaped
            if ends_cancel and not held.leases:
                task = self._reaped(task)
        return task if task == held.task else self._put(task)

    def _reaped(self, task: Task) -> Task:
        cancelled = task.stop_reason is StopReason.CANCEL
        event = Event.REAPED_AFTER_CANCEL if cancelled else Event.REAPED_AFTER_STOP
        return task.enter(after(task.state, event), NOW)

    def _trim(self, lease: Lease, ranges: Sequence[tuple[int, int]]) -> Task:
        held = self._held(lease.task_key)
        if not rg.contains_all(held.leases.get(lease.epoch, []), ranges):
            raise StaleLease(f"lease {lease.epoch} of {held.task.name} does not hold {ranges}")
        self._shrink(held, lease.epoch, ranges, RETURNED)
        task = self._settled(held, held.task)
        return task if task == held.task else self._put(task)

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
        same = (before.state, before.generation, before.revision) == (task.state, task.generation, task.revision)
        self._events.append(TaskEvent(task, Change.COUNTS if same else Change.STATE))
        if task.state.is_final and not before.state.is_final:
            self.on_final(before, task)
        return task

    def _deliver(self, key: int, change: Change) -> None:
        self._tell([*self._events, TaskEvent(self.held[key].task, change)])

    def _tell(self, events: list[TaskEvent]) -> None:
        self._events = []
        for subscriber in list(self._subscribers) if events else ():
            subscriber(events)
