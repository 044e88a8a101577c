"""Who runs next, and what became of it? The one place that grants leases and settles them.

    store event ─▶ Admission: TaskQueue ─▶ pump: slot free? ─▶ cut ─▶ grant (durable) ‖ send ─▶ worker
    worker ─▶ outcomes ─▶ store ─▶ ack            worker gone ─▶ settle ─▶ release ─▶ pending again

The grant is queued to the store and the subtask sent to the worker at the same moment: the store takes writes in order,
so an outcome can never become durable before its lease, and a refused grant withdraws the subtask.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from batchyard_server.dispatch import ends
from batchyard_server.dispatch.admission import LOOK_SECONDS, Admission
from batchyard_server.dispatch.jobs import Jobs
from batchyard_server.dispatch.pause import Pause
from batchyard_server.dispatch.protocols import Executor, Loss, Slot, Subtask
from batchyard_server.dispatch.queue import Ready, TaskQueue
from batchyard_server.dispatch.retries import Retrier
from batchyard_server.dispatch.settle import NOTHING, RETRY_SECONDS, Begun, Settler
from batchyard_server.dispatch.sizing import Pace
from batchyard_server.model import limits
from batchyard_server.model import ranges as rg
from batchyard_server.model.clock import Clock, Randomness
from batchyard_server.model.errors import BatchyardError
from batchyard_server.model.failpoints import Failpoints
from batchyard_server.model.states import WaitingReason
from batchyard_server.model.subtask import RETURNED, LeaseEnd
from batchyard_server.model.task import Flush, Lease
from batchyard_server.store.protocols import LiveTask, Store

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
        clock: Clock,
        randomness: Randomness,
        failpoints: Failpoints,
        look_seconds: float = LOOK_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._store = store
        self._executor = executor
        self._slots = slots
        self._node = node
        self._retry_seconds = retry_seconds
        self._ready = Ready()
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)  # by handler, for tasks that are new
        self._draining = False
        self._idle = asyncio.Event()
        self._pause = Pause()
        self._jobs = Jobs(self._pause)
        self._spawn = self._jobs.spawn
        self._retrier = Retrier(clock=clock, randomness=randomness, find=self._queue_of, due=self._retry)
        self._settler = Settler(
            store,
            retrier=self._retrier,
            max_worker_lost=max_worker_lost,
            failpoints=failpoints,
            pause=self._pause,
            retry_seconds=retry_seconds,
        )
        self._admission = Admission(
            store,
            executor,
            self._settler,
            self._retrier,
            self._ready,
            pause=self._pause,
            look_seconds=look_seconds,
            retry_seconds=retry_seconds,
            spawn=self._spawn,
            pump=self.pump,
        )
        self._queues = self._admission.queues
        self._unsubscribe: Callable[[], None] = lambda: None

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self, live: Sequence[LiveTask]) -> None:
        """Take up what `Store.recover` returned, and every change from now on."""
        self._unsubscribe = self._store.subscribe(self._admission.on_events)
        for each in live:
            self._admission.take_up(each)
        self.pump()

    async def drain(self, timeout_seconds: float) -> None:
        """Start nothing more and wait until what runs has ended, at most `timeout_seconds`."""
        self._draining = True
        for queue in self._queues.values():
            self._admission.withdraw(queue, kill=False)
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
        await self._jobs.finish(STOP_SECONDS)
        self._retrier.stop()
        self._unsubscribe()

    # -- Live: what the engine asks -------------------------------------------------------------------------------

    def running(self, task_key: int) -> frozenset[int]:
        """Indexes of the task whose handler runs now."""
        queue = self._queues.get(task_key)
        if queue is None:
            return frozenset()
        return frozenset(index for subtask, index in self._executor.running() if subtask in queue.subtasks)

    def waiting(self, task_key: int) -> WaitingReason:
        """Why the task does not move."""
        queue = self._queues.get(task_key)
        if queue is None or not queue.is_idle or not queue.pending_count or not queue.task.state.may_start_records:
            return WaitingReason.NONE
        if not self._executor.is_available(queue.task.handler):
            return WaitingReason.HANDLER_UNAVAILABLE
        return WaitingReason.NO_SLOT

    def is_live(self, task_key: int) -> bool:
        """Whether the task is known here at all."""
        return task_key in self._queues

    def hold(self, task_key: int) -> AbstractAsyncContextManager[None]:
        """See Live.hold."""
        return self._admission.hold(task_key)

    # -- giving out work ------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Give work to slots until there is no slot or no work. Cheap when there is nothing to do."""
        while not self._draining and self._serve():
            pass

    def _serve(self) -> bool:
        """Cut one subtask of each handler that gets a slot, of the highest priority that gets one; whether any did.

        A slot for which a task waits is kept free for it: it goes to no task of a lower priority. A task of which a
        subtask is being cut may want the next slot, too.
        """
        for ready in self._ready.classes():
            rivals = {handler: any(queue.within is None for queue in queues) for handler, queues in ready.items()}
            served = [handler for handler, queues in ready.items() if any(self._cut(queue, rivals) for queue in queues)]
            if served:
                return True
            if any(waits and self._executor.can_start(handler) for handler, waits in rivals.items()):
                return False
            if any(queue.is_busy for queues in ready.values() for queue in queues):
                return False
        return False

    def _cut(self, queue: TaskQueue, rivals: Mapping[str, bool]) -> bool:
        """Cut one subtask of the queue if there is a slot for it."""
        if queue.is_busy:
            return False
        handler, settings = queue.task.handler, queue.task.settings
        if queue.pace.record_ns is None:
            queue.pace.record_ns = self._paces[handler].record_ns
        size = queue.pace.size(queue.pending_count, min(self._slots, settings.parallel_count or self._slots))
        estimate = queue.pace.estimate_ns(size)
        slot = self._executor.slot_for(handler, estimate, rivals, queue.within)
        if slot is None:
            return False
        slot.reserve(estimate)
        queue.slots[slot.name] += 1
        queue.cutting += 1
        self._ready.rotate(queue)
        self._spawn(self._give(queue, slot, queue.take(size), estimate))
        return True

    async def _give(self, queue: TaskQueue, slot: Slot, wanted: rg.Ranges, estimate: int | None) -> None:
        """Read the inputs, queue the grant, and send the subtask without waiting for the grant."""
        taken, inputs = await self._read(queue, wanted)
        queue.cutting -= 1
        if not taken or self._draining or not queue.may_start:
            queue.leave(slot.name)
            self._requeue(queue, wanted)
            slot.unreserve(estimate)
            self._admission.left(queue)
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
        queue.subtasks[subtask] = None
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
        if not queue.dropped:
            self._ready.add(queue)
            self.pump()

    def _requeue(self, queue: TaskQueue, ranges: rg.Ranges) -> None:
        if ranges and not queue.dropped and not queue.is_cancelling:
            queue.give_back(ranges)
            self._ready.add(queue)

    async def _grant(self, queue: TaskQueue, subtask: Subtask) -> None:
        granted = False
        try:
            granted = await self._settler.grant(subtask.lease)
        finally:
            subtask.granted.set_result(granted)
        if not granted:
            if queue.may_start:  # cannot be; but should it, not again and again
                self._rest(queue)
            # A record that a pause met here may end, as all do; but it is run again.
            self._executor.withdraw(subtask, kill=queue.dropped or queue.is_cancelling)

    # -- Reports: what the executor tells -------------------------------------------------------------------------

    def outcomes(self, subtask: Subtask, flush: Flush, *, last: bool, work_ns: int, ack: Callable[[], None]) -> None:
        """See Reports.outcomes."""
        queue = self._queue_of(subtask)
        if queue is not None:
            queue.pace.learn(flush.count, work_ns)
            self._paces[subtask.task.handler].record_ns = queue.pace.record_ns
        subtask.commits += 1
        self._spawn(self._commit(subtask, flush, last, ack))

    def returned(self, subtask: Subtask) -> None:
        """See Reports.returned."""
        self._spawn(self._give_back(subtask, NOTHING, ()))

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
            if flush.count:
                await self._settler.store_outcomes(subtask, flush)
        finally:
            self._written(subtask)
        ack()
        if last:
            await self._settled(subtask)
            await self._give_back(subtask, NOTHING, ())

    async def _trim(self, subtask: Subtask, ranges: rg.Ranges) -> None:
        """What never begins there may run elsewhere, now."""
        try:
            stored = await self._settler.shrink(subtask, ranges)
        finally:
            self._written(subtask)
        queue = self._queue_of(subtask)
        if stored and queue is not None:
            self._requeue(queue, ranges)
            self.pump()

    def _queue_of(self, subtask: Subtask) -> TaskQueue | None:
        """The queue that has this subtask; None if its task, or the generation, is not live any more."""
        queue = self._queues.get(subtask.task.key)
        return queue if queue is not None and subtask in queue.subtasks else None

    def _retry(self, due: Mapping[TaskQueue, rg.Ranges]) -> None:
        """The time has come for these records to be tried again."""
        for queue, ranges in due.items():
            queue.give_back(ranges)
            self._ready.add(queue)
        self.pump()

    def _written(self, subtask: Subtask) -> None:
        subtask.commits -= 1
        if subtask.settled is not None and not subtask.commits:
            subtask.settled.set_result(None)

    async def _lose(self, subtask: Subtask, loss: Loss) -> None:
        await self._settled(subtask)
        queue = self._queues.get(subtask.task.key)
        end = ends.of_loss(loss, subtask, queue.task if queue is not None else None, shuts_down=self._draining)
        begun = await self._settler.settle(subtask, loss, end) if subtask.open else NOTHING
        await self._give_back(subtask, begun, loss.unreaped, end)

    async def _settled(self, subtask: Subtask) -> None:
        """Wait until every flush and trim of the subtask that arrived has been written."""
        if subtask.commits:
            subtask.settled = asyncio.get_running_loop().create_future()
            await subtask.settled
            subtask.settled = None

    async def _give_back(
        self, subtask: Subtask, begun: Begun, unreaped: tuple[int, ...], end: LeaseEnd = RETURNED
    ) -> None:
        """The end of a subtask; what is open of it becomes pending again."""
        await subtask.granted
        if subtask.open or unreaped:
            await self._settler.release(subtask.lease, begun, unreaped, end)
        queue = self._queue_of(subtask)
        if queue is not None:
            queue.attempts.update(begun.attempts)
            self._requeue(queue, subtask.open)
        bounded = self._admission.ended(subtask)
        self._check_idle()
        if subtask.open or bounded:
            self.pump()

    def _check_idle(self) -> None:
        if self._draining and all(queue.is_idle for queue in self._queues.values()):
            self._idle.set()
