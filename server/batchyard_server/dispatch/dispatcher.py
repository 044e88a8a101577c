"""Who runs next, and what became of it? The one place that grants leases and settles them.

    store event ─▶ TaskQueue ─▶ pump: slot free? ─▶ cut ─▶ grant (durable) ‖ send ─▶ worker
    worker ─▶ outcomes ─▶ store ─▶ ack            worker gone ─▶ settle ─▶ release ─▶ pending again

The grant is queued to the store and the subtask sent to the worker at the same moment: the store takes writes in order,
so an outcome can never become durable before its lease, and a refused grant withdraws the subtask.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from batchyard_server.dispatch.protocols import Executor, Loss, Slot, Subtask
from batchyard_server.dispatch.queue import Ready, TaskQueue
from batchyard_server.dispatch.settle import Settler
from batchyard_server.dispatch.sizing import Pace
from batchyard_server.model import limits
from batchyard_server.model import ranges as rg
from batchyard_server.model.errors import BatchyardError, StaleLease
from batchyard_server.model.failpoints import Failpoints
from batchyard_server.model.states import TaskState, WaitingReason
from batchyard_server.model.task import Attempts, Flush, Lease, Task
from batchyard_server.store.protocols import Change, LiveTask, Store, TaskEvent

log = logging.getLogger(__name__)
RETRY_SECONDS = 0.5  # between two tries of what the store could not do
STOP_SECONDS = 10.0  # longest wait for the last writes


class Dispatcher:
    """Feeds an executor from a store. Implements `Reports` for the executor and `Live` for the engine."""

    def __init__(
        self, store: Store, executor: Executor, *, slots: int, max_worker_lost: int, failpoints: Failpoints
    ) -> None:
        self._store = store
        self._executor = executor
        self._slots = slots
        self._failpoints = failpoints
        self._queues: dict[int, TaskQueue] = {}
        self._ready = Ready()
        self._paces: dict[str, Pace] = {}  # by handler, for tasks that are new
        self._jobs: set[asyncio.Task[None]] = set()
        self._draining = False
        self._settler = Settler(store, max_worker_lost=max_worker_lost, failpoints=failpoints)
        self._idle = asyncio.Event()
        self._unsubscribe: Callable[[], None] = lambda: None

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self, live: Sequence[LiveTask]) -> None:
        """Take up what `Store.recover` returned, and every change from now on."""
        self._unsubscribe = self._store.subscribe(self._on_events)
        for each in live:
            self._admit(each.task, list(each.pending), dict(each.attempts))
        self.pump()

    async def drain(self, timeout_seconds: float) -> None:
        """Start nothing more and wait until what runs has ended, at most `timeout_seconds`."""
        self._draining = True
        for queue in self._queues.values():
            for subtask in list(queue.subtasks):
                self._executor.withdraw(subtask, kill=False)
        self._check_idle()
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_seconds)
        except TimeoutError:
            log.warning("drain timeout: killing what still runs")

    async def stop(self) -> None:
        """Kill every worker, give back what they had, and finish every write that was begun."""
        self._draining = True
        await self._executor.stop()
        if self._jobs:
            _, unfinished = await asyncio.wait(set(self._jobs), timeout=STOP_SECONDS)
            for job in unfinished:  # the store takes nothing; what it missed is run again after the next start
                job.cancel()
        self._unsubscribe()

    # -- Live: what the engine asks -----------------------------------------------------------------------------

    def running(self, task_key: int) -> frozenset[int]:
        """Indexes of the task whose handler runs now."""
        if task_key not in self._queues:
            return frozenset()
        return frozenset(index for subtask, index in self._executor.running() if subtask.task.key == task_key)

    def waiting(self, task_key: int) -> WaitingReason:
        """Why the task does not move."""
        queue = self._queues.get(task_key)
        if queue is None or queue.subtasks or not queue.pending_count:
            return WaitingReason.NONE
        if not self._executor.is_available(queue.task.handler):
            return WaitingReason.HANDLER_UNAVAILABLE
        return WaitingReason.NO_SLOT

    def is_live(self, task_key: int) -> bool:
        """Whether the task is known here at all."""
        return task_key in self._queues

    # -- store events -------------------------------------------------------------------------------------------

    def _on_events(self, events: Sequence[TaskEvent]) -> None:
        for event in events:
            task = event.task
            queue = self._queues.get(task.key)
            if event.change is Change.DELETED or task.state.is_final:
                self._queues.pop(task.key, None)
                if queue is not None:
                    self._forget(queue)
            elif queue is not None:
                queue.task = task
                if task.state is TaskState.CANCELLING:
                    self._forget(queue)
                    self._end_cancel(queue)
            elif task.state in (TaskState.QUEUED, TaskState.RUNNING):
                self._admit(task, [(0, task.total)], {})
        self.pump()

    def _admit(self, task: Task, pending: rg.Ranges, attempts: dict[int, Attempts]) -> None:
        known = self._paces.get(task.handler)
        pace = Pace(known.record_ns if known else None)
        queue = self._queues[task.key] = TaskQueue(task, pending, attempts, pace)
        self._ready.add(queue)

    def _forget(self, queue: TaskQueue) -> None:
        queue.forget_pending()
        for subtask in list(queue.subtasks):
            self._executor.withdraw(subtask, kill=True)

    def _end_cancel(self, queue: TaskQueue) -> None:
        """Tell the store that nothing of a CANCELLING task lives any more, once that is so."""
        if queue.task.state is TaskState.CANCELLING and queue.is_idle() and queue.task.key in self._queues:
            nothing = Lease(task_key=queue.task.key, generation=queue.task.generation, ranges=[], worker="")
            self._spawn(self._settler.release(nothing, {}))

    # -- giving out work ----------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Give work to slots until there is no slot or no work. Cheap when there is nothing to do."""
        progress = not self._draining
        while progress:
            progress = False
            for handler in self._ready.handlers():
                queue = self._ready.peek(handler)
                if queue is None or not self._executor.is_available(handler):
                    continue
                size = queue.pace.size(queue.pending_count, self._slots)
                estimate = queue.pace.estimate_ns(size)
                slot = self._executor.slot_for(handler, estimate)
                if slot is None:
                    continue
                slot.reserve(estimate)
                queue.cutting += 1
                self._spawn(self._give(queue, slot, queue.take(size), estimate))
                self._ready.rotate(handler)
                progress = True

    async def _give(self, queue: TaskQueue, slot: Slot, wanted: rg.Ranges, estimate: int | None) -> None:
        """Read the inputs, queue the grant, and send the subtask without waiting for the grant."""
        task = queue.task
        try:
            taken, inputs = await self._store.inputs(task.key, wanted, limits.SEGMENT_BYTES)
        except BatchyardError as error:
            log.warning("cannot read the inputs of %s, trying again: %s", task.name, error)
            await asyncio.sleep(RETRY_SECONDS)
            taken, inputs = [], b""
        queue.cutting -= 1
        if taken != wanted:
            self._requeue(queue, rg.subtract(wanted, taken))
        if not taken or self._draining or not self._runs(queue):
            slot.unreserve(estimate)
            self._requeue(queue, taken)
            self._end_cancel(queue)
            self.pump()
            return
        lease = Lease(task_key=task.key, generation=task.generation, ranges=taken, worker=slot.name)
        attempts = queue.attempts_of(taken)
        subtask = Subtask(
            task=task, lease=lease, inputs=inputs, attempts=attempts, estimate_ns=estimate, open=list(taken)
        )
        queue.subtasks.add(subtask)
        queue.pace.last_size = subtask.count
        self._spawn(self._grant(subtask))
        slot.run(subtask)

    def _runs(self, queue: TaskQueue) -> bool:
        """Whether records of the queue may start."""
        state = queue.task.state
        return self._queues.get(queue.task.key) is queue and state in (TaskState.QUEUED, TaskState.RUNNING)

    def _requeue(self, queue: TaskQueue, ranges: rg.Ranges) -> None:
        if ranges and self._runs(queue):
            queue.give_back(ranges)
            self._ready.add(queue)

    async def _grant(self, subtask: Subtask) -> None:
        self._failpoints.hit("dispatch.before_grant")
        try:
            await self._store.grant(subtask.lease)
        except StaleLease:  # the task was stopped or deleted in between
            self._executor.withdraw(subtask, kill=True)
        except BatchyardError as error:
            log.warning("the store cannot take a grant, trying again: %s", error)
            await asyncio.sleep(RETRY_SECONDS)
            self._executor.withdraw(subtask, kill=True)
        self._failpoints.hit("dispatch.after_grant")

    # -- Reports: what the executor tells -----------------------------------------------------------------------

    def outcomes(
        self, subtask: Subtask, flush: Flush, *, last: bool, work_ns: int, ack: Callable[[], None]
    ) -> None:
        """See Reports.outcomes."""
        queue = self._queues.get(subtask.task.key)
        if queue is not None:
            queue.pace.learn(flush.count, work_ns)
            pace = self._paces.setdefault(subtask.task.handler, Pace())
            pace.record_ns = queue.pace.record_ns
        subtask.commits += 1
        self._spawn(self._commit(subtask, flush, last, ack))

    def returned(self, subtask: Subtask) -> None:
        """See Reports.returned."""
        self._spawn(self._give_back(subtask, {}, ()))

    def lost(self, subtask: Subtask, loss: Loss) -> None:
        """See Reports.lost."""
        self._spawn(self._lose(subtask, loss))

    def capacity(self) -> None:
        """See Reports.capacity."""
        self.pump()

    # -- settling -----------------------------------------------------------------------------------------------

    async def _commit(self, subtask: Subtask, flush: Flush, last: bool, ack: Callable[[], None]) -> None:
        stored = await self._settler.store_outcomes(subtask, flush)
        subtask.commits -= 1
        ack()
        queue = self._queues.get(subtask.task.key)
        if stored and queue is not None:
            queue.forget_attempts(flush.ranges)
        if subtask.ended is not None and subtask.commits == 0:
            subtask.ended()
        elif last and not subtask.open:
            self._close(subtask)
        elif last:  # the time budget ran out; all flushes of a worker commit in order, so nothing else is under way
            await self._give_back(subtask, {}, ())

    async def _lose(self, subtask: Subtask, loss: Loss) -> None:
        await self._settled(subtask)
        if not subtask.open:
            self._close(subtask)
            return
        begun = await self._settler.settle(subtask, loss)
        await self._give_back(subtask, begun, loss.unreaped)

    async def _settled(self, subtask: Subtask) -> None:
        """Wait until every flush of the subtask that arrived has been committed."""
        if subtask.commits:
            done = asyncio.get_running_loop().create_future()
            subtask.ended = lambda: done.done() or done.set_result(None)
            await done
            subtask.ended = None

    async def _give_back(self, subtask: Subtask, begun: dict[int, Attempts], unreaped: tuple[int, ...]) -> None:
        await self._settled(subtask)
        await self._settler.release(subtask.lease, begun, unreaped)
        queue = self._queues.get(subtask.task.key)
        if queue is not None and queue.task.generation == subtask.lease.generation:
            queue.attempts.update(begun)
            self._requeue(queue, subtask.open)
        self._close(subtask)

    def _close(self, subtask: Subtask) -> None:
        queue = self._queues.get(subtask.task.key)
        if queue is not None:
            queue.subtasks.discard(subtask)
            self._end_cancel(queue)
        self._check_idle()
        self.pump()

    def _check_idle(self) -> None:
        if self._draining and not any(queue.subtasks for queue in self._queues.values()):
            self._idle.set()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        job = asyncio.get_running_loop().create_task(coroutine)
        self._jobs.add(job)
        job.add_done_callback(self._finished)

    def _finished(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        if not job.cancelled() and job.exception() is not None:
            log.error("dispatch failed", exc_info=job.exception())
