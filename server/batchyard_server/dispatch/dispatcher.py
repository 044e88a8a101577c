"""Who runs next, and what became of it? The one place that grants leases and settles them.

    store event ─▶ TaskQueue ─▶ pump: slot free? ─▶ cut ─▶ grant (durable) ‖ send ─▶ worker
    worker ─▶ outcomes ─▶ store ─▶ ack            worker gone ─▶ settle ─▶ release ─▶ pending again

The grant is queued to the store and the subtask sent to the worker at the same moment: the store takes writes in order,
so an outcome can never become durable before its lease, and a refused grant withdraws the subtask.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from batchyard_server.dispatch import ends
from batchyard_server.dispatch.pause import Pause
from batchyard_server.dispatch.protocols import Executor, Loss, Slot, Subtask
from batchyard_server.dispatch.queue import Ready, TaskQueue
from batchyard_server.dispatch.settle import RETRY_SECONDS, Settler
from batchyard_server.dispatch.sizing import Pace
from batchyard_server.model import limits
from batchyard_server.model import ranges as rg
from batchyard_server.model.errors import BatchyardError, ResourceExhausted, Unavailable
from batchyard_server.model.failpoints import Failpoints
from batchyard_server.model.states import StopReason, TaskState, WaitingReason
from batchyard_server.model.subtask import RETURNED, LeaseEnd
from batchyard_server.model.task import Attempts, Flush, Lease, Task
from batchyard_server.store.protocols import Change, LiveTask, Store, TaskEvent

log = logging.getLogger(__name__)
STOP_SECONDS = 10.0  # longest wait for the last writes


class Dispatcher:
    """Feeds an executor from a store. Implements `Reports` for the executor and `Live` for the engine.

    Each record of a live task is in exactly one place: pending in its TaskQueue, being cut, or open in a subtask. A
    subtask ends in exactly one way: its last outcomes are durable, or it is given back (untouched, lost, budget over).
    Before that some of its records may be trimmed: they leave it and are pending again once the store knows.
    """

    def __init__(
        self,
        store: Store,
        executor: Executor,
        *,
        slots: int,
        node: str,
        max_worker_lost: int,
        failpoints: Failpoints,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._store = store
        self._executor = executor
        self._slots = slots
        self._node = node
        self._retry_seconds = retry_seconds
        self._queues: dict[int, TaskQueue] = {}
        self._ready = Ready()
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)  # by handler, for tasks that are new
        self._jobs: set[asyncio.Task[None]] = set()
        self._draining = False
        self._idle = asyncio.Event()
        self._pause = Pause()
        self._settler = Settler(
            store,
            max_worker_lost=max_worker_lost,
            failpoints=failpoints,
            pause=self._pause,
            retry_seconds=retry_seconds,
        )
        self._unsubscribe: Callable[[], None] = lambda: None

    # -- life -----------------------------------------------------------------------------------------------------

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
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            log.warning("drain timeout: killing what still runs")

    async def stop(self) -> None:
        """Kill every worker, give back what they had, and finish every write that was begun.

        A store that takes no writes is not waited for: what it missed is run again after the next start.
        """
        self._draining = True
        await self._executor.stop()
        self._pause.end()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                while self._jobs:
                    await asyncio.wait(set(self._jobs))
        except TimeoutError:
            log.warning("%d writes did not end", len(self._jobs))
            for job in self._jobs:
                job.cancel()
        self._unsubscribe()

    # -- Live: what the engine asks -------------------------------------------------------------------------------

    def running(self, task_key: int) -> frozenset[int]:
        """Indexes of the task whose handler runs now."""
        if task_key not in self._queues:
            return frozenset()
        return frozenset(index for subtask, index in self._executor.running() if subtask.task.key == task_key)

    def waiting(self, task_key: int) -> WaitingReason:
        """Why the task does not move."""
        queue = self._queues.get(task_key)
        if queue is None or not queue.is_idle or not queue.pending_count:
            return WaitingReason.NONE
        if not self._executor.is_available(queue.task.handler):
            return WaitingReason.HANDLER_UNAVAILABLE
        return WaitingReason.NO_SLOT

    def is_live(self, task_key: int) -> bool:
        """Whether the task is known here at all."""
        return task_key in self._queues

    # -- store events ---------------------------------------------------------------------------------------------

    def _on_events(self, events: Sequence[TaskEvent]) -> None:
        for event in events:
            task = event.task
            queue = self._queues.get(task.key)
            if queue is None:
                if task.state is TaskState.QUEUED and event.change is not Change.DELETED:
                    self._admit(task, [(0, task.total)], {})
                continue
            queue.task = task
            if event.change is Change.DELETED or task.state.is_final:
                del self._queues[task.key]
                queue.forget_pending()
                if event.change is Change.DELETED or task.stop_reason is not StopReason.NONE:
                    self._kill(queue)  # else every record has ended, and its last worker may be kept
            elif queue.is_cancelling:
                queue.forget_pending()
                self._kill(queue)
                self._end_cancel(queue)
        if any(event.change is not Change.COUNTS for event in events):
            self.pump()

    def _admit(self, task: Task, pending: rg.Ranges, attempts: dict[int, Attempts]) -> None:
        queue = self._queues[task.key] = TaskQueue(task, pending, attempts)
        self._ready.add(queue)

    def _kill(self, queue: TaskQueue) -> None:
        for subtask in list(queue.subtasks):
            self._executor.withdraw(subtask, kill=True)

    def _end_cancel(self, queue: TaskQueue) -> None:
        """Let a CANCELLING task become CANCELLED, once its last worker is gone.

        Not with its last lease: a worker may also run a subtask whose lease was refused.
        """
        if queue.is_cancelling and queue.is_idle and not queue.ending:
            queue.ending = True
            self._spawn(self._settler.end_cancel(queue.task))

    # -- giving out work ------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Give work to slots until there is no slot or no work. Cheap when there is nothing to do."""
        progress = not self._draining
        while progress:
            progress = False
            rivals = self._ready.handlers()
            for handler in rivals:
                progress = self._serve(handler, rivals) or progress

    def _serve(self, handler: str, rivals: Sequence[str]) -> bool:
        """Cut one subtask of the handler if there is a slot for it."""
        queue = self._ready.peek(handler)
        if queue is None:
            return False
        if queue.pace.record_ns is None:
            queue.pace.record_ns = self._paces[handler].record_ns
        size = queue.pace.size(queue.pending_count, self._slots)
        estimate = queue.pace.estimate_ns(size)
        slot = self._executor.slot_for(handler, estimate, rivals)
        if slot is None:
            return False
        slot.reserve(estimate)
        queue.cutting = True
        self._spawn(self._give(queue, slot, queue.take(size), estimate))
        self._ready.rotate(handler)
        return True

    async def _give(self, queue: TaskQueue, slot: Slot, wanted: rg.Ranges, estimate: int | None) -> None:
        """Read the inputs, queue the grant, and send the subtask without waiting for the grant."""
        taken, inputs = await self._read(queue, wanted)
        queue.cutting = False
        if not taken or self._draining or not self._runs(queue):
            slot.unreserve(estimate)
            self._requeue(queue, wanted)
            self._end_cancel(queue)
            self._check_idle()
            return
        subtask = Subtask(
            task=queue.task,
            lease=Lease(
                task_key=queue.task.key,
                generation=queue.task.generation,
                ranges=taken,
                worker=slot.name,
                node=self._node,
            ),
            inputs=inputs,
            attempts=queue.attempts_of(taken),
            estimate_ns=estimate,
            open=taken,
            granted=asyncio.get_running_loop().create_future(),
        )
        queue.subtasks.add(subtask)
        queue.pace.last_size = subtask.count
        self._spawn(self._grant(queue, subtask))
        slot.run(subtask)
        if taken != wanted:
            queue.give_back(rg.subtract(wanted, taken))
        if queue.pending_count:
            self._ready.add(queue)
            self.pump()

    async def _read(self, queue: TaskQueue, wanted: rg.Ranges) -> tuple[rg.Ranges, bytes]:
        """The inputs of the first of these records; of none if they cannot be read now."""
        try:
            return await self._store.inputs(queue.task.key, wanted, limits.SEGMENT_BYTES)
        except Exception as error:
            unknown = None if isinstance(error, BatchyardError) else error
            log.warning("cannot read inputs of %s, trying again: %s", queue.task.name, error, exc_info=unknown)
            self._rest(queue)
            return [], b""

    def _rest(self, queue: TaskQueue) -> None:
        """Cut nothing of it for a while."""
        if not queue.resting:
            queue.resting = True
            self._spawn(self._wake(queue))

    async def _wake(self, queue: TaskQueue) -> None:
        await self._pause(self._retry_seconds)
        queue.resting = False
        self._ready.add(queue)
        self.pump()

    def _runs(self, queue: TaskQueue) -> bool:
        """Whether records of the queue may start."""
        return self._queues.get(queue.task.key) is queue and queue.task.state.may_start_records

    def _requeue(self, queue: TaskQueue, ranges: rg.Ranges) -> None:
        if ranges and self._runs(queue):
            queue.give_back(ranges)
            self._ready.add(queue)

    async def _grant(self, queue: TaskQueue, subtask: Subtask) -> None:
        granted = False
        try:
            granted = await self._settler.grant(subtask.lease)
        finally:
            subtask.granted.set_result(granted)
        if not granted:
            if self._runs(queue):  # cannot be; but should it, not again and again
                self._rest(queue)
            self._executor.withdraw(subtask, kill=True)

    # -- Reports: what the executor tells -------------------------------------------------------------------------

    def outcomes(self, subtask: Subtask, flush: Flush, *, last: bool, work_ns: int, ack: Callable[[], None]) -> None:
        """See Reports.outcomes."""
        queue = self._queues.get(subtask.task.key)
        if queue is not None:
            queue.pace.learn(flush.count, work_ns)
            self._paces[subtask.task.handler].record_ns = queue.pace.record_ns
        subtask.commits += 1
        self._spawn(self._commit(subtask, flush, last, ack))

    def returned(self, subtask: Subtask) -> None:
        """See Reports.returned."""
        self._spawn(self._give_back(subtask, {}, ()))

    def trimmed(self, subtask: Subtask, ranges: rg.Ranges) -> None:
        """See Reports.trimmed."""
        subtask.commits += 1
        self._spawn(self._trim(subtask, ranges))

    def lost(self, subtask: Subtask, loss: Loss) -> None:
        """See Reports.lost."""
        self._spawn(self._lose(subtask, loss))

    def capacity(self) -> None:
        """See Reports.capacity."""
        self.pump()

    # -- settling -------------------------------------------------------------------------------------------------

    async def _commit(self, subtask: Subtask, flush: Flush, last: bool, ack: Callable[[], None]) -> None:
        try:
            stored = bool(flush.count) and await self._settler.store_outcomes(subtask, flush)
        finally:
            self._written(subtask)
        ack()
        queue = self._queues.get(subtask.task.key)
        if stored and queue is not None:
            queue.forget_attempts(flush.ranges)
        if last:
            await self._settled(subtask)
            await self._give_back(subtask, {}, ())

    async def _trim(self, subtask: Subtask, ranges: rg.Ranges) -> None:
        """What never begins there may run elsewhere, now."""
        try:
            stored = await self._settler.shrink(subtask, ranges)
        finally:
            self._written(subtask)
        queue = self._queues.get(subtask.task.key)
        if stored and queue is not None:
            self._requeue(queue, ranges)
            self.pump()

    def _written(self, subtask: Subtask) -> None:
        subtask.commits -= 1
        if subtask.settled is not None and not subtask.commits:
            subtask.settled.set_result(None)

    async def _lose(self, subtask: Subtask, loss: Loss) -> None:
        await self._settled(subtask)
        queue = self._queues.get(subtask.task.key)
        end = ends.of_loss(loss, subtask, queue.task if queue is not None else None, shuts_down=self._draining)
        begun = await self._settler.settle(subtask, loss, end) if subtask.open else {}
        await self._give_back(subtask, begun, loss.unreaped, end)

    async def _settled(self, subtask: Subtask) -> None:
        """Wait until every flush and trim of the subtask that arrived has been written."""
        if subtask.commits:
            subtask.settled = asyncio.get_running_loop().create_future()
            await subtask.settled
            subtask.settled = None

    async def _give_back(
        self, subtask: Subtask, begun: dict[int, Attempts], unreaped: tuple[int, ...], end: LeaseEnd = RETURNED
    ) -> None:
        """The end of a subtask; what is open of it becomes pending again."""
        await subtask.granted
        if subtask.open or unreaped:
            await self._settler.release(subtask.lease, begun, unreaped, end)
        queue = self._queues.get(subtask.task.key)
        if queue is not None:
            queue.attempts.update(begun)
            self._requeue(queue, subtask.open)
            queue.subtasks.discard(subtask)
            self._end_cancel(queue)
        self._check_idle()
        if subtask.open:
            self.pump()

    def _check_idle(self) -> None:
        if self._draining and all(queue.is_idle for queue in self._queues.values()):
            self._idle.set()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        job = asyncio.get_running_loop().create_task(coroutine)
        self._jobs.add(job)
        job.add_done_callback(self._finished)

    def _finished(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        if job.cancelled() or (error := job.exception()) is None:
            return
        if self._pause.ended and isinstance(error, ResourceExhausted | Unavailable):
            log.warning("not written before the end, so it is run again after the next start: %s", error)
        else:
            log.error("dispatch failed", exc_info=error)
