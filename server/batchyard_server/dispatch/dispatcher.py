"""Who runs next, and what became of it? The one place that grants leases and settles them.

    store event ─▶ Admission: TaskQueue ─▶ pump: Chooser ─▶ cut ─▶ grant (durable) ‖ send ─▶ worker
    worker ─▶ outcomes ─▶ store ─▶ ack            worker gone ─▶ settle ─▶ release ─▶ pending again

The grant is queued to the store and the subtask sent to the worker at the same moment: the store takes writes in order,
so an outcome can never become durable before its lease, and a refused grant withdraws the subtask.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType

from batchyard_server.dispatch import ends
from batchyard_server.dispatch.admission import LOOK_SECONDS, Admission
from batchyard_server.dispatch.chooser import Chooser, Cut
from batchyard_server.dispatch.gates import Gates
from batchyard_server.dispatch.jobs import Jobs
from batchyard_server.dispatch.pause import Pause
from batchyard_server.dispatch.protocols import Executor, Loss, Subtask
from batchyard_server.dispatch.queue import TaskQueue
from batchyard_server.dispatch.retries import Retrier
from batchyard_server.dispatch.settle import NOTHING, RETRY_SECONDS, Begun, Settler
from batchyard_server.dispatch.shares import Shares
from batchyard_server.dispatch.staging import NoStaging, Staging
from batchyard_server.dispatch.turns import Turns
from batchyard_server.model import limits
from batchyard_server.model import ranges as rg
from batchyard_server.model.clock import Clock, Randomness
from batchyard_server.model.errors import BatchyardError
from batchyard_server.model.failpoints import Failpoints
from batchyard_server.model.handler import HandlerSpec
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

    Args:
        handlers: by id, for their limits.
        weight_of: how much more worker time than one of weight 1 a project gets while both have work.
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
        staging: Staging | None = None,
        handlers: Mapping[str, HandlerSpec] = MappingProxyType({}),
        weight_of: Callable[[str], float] = lambda _project: 1.0,
        look_seconds: float = LOOK_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._store = store
        self._executor = executor
        self._node = node
        self._retry_seconds = retry_seconds
        self._gates = Gates(handlers, clock, self.pump)
        shares = Shares(weight_of)
        self._ready = Turns(shares, self._gates)
        self._chooser = Chooser(executor, self._ready, shares, self._gates, slots=slots)
        self._draining = False
        self._idle = asyncio.Event()
        self._pause = Pause()
        self._jobs = Jobs(self._pause)
        self._spawn = self._jobs.spawn
        self._retrier = Retrier(clock=clock, randomness=randomness, find=self._queue_of, due=self._retry)
        self._staging = staging or NoStaging()
        self._settler = Settler(
            store,
            retrier=self._retrier,
            max_worker_lost=max_worker_lost,
            staging=self._staging,
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
        self._gates.stop()
        self._unsubscribe()

    # -- Live: what the engine asks -------------------------------------------------------------------------------

    def running(self, task_key: int) -> frozenset[int]:
        """Indexes of the task whose handler runs now."""
        queue = self._queues.get(task_key)
        if queue is None:
            return frozenset()
        return frozenset(index for subtask, index in self._executor.running() if subtask in queue.subtasks)

    def all_running(self) -> Mapping[int, int]:
        """How many records' handlers run now, by key of the task."""
        found = {(subtask.task.key, index) for subtask, index in self._executor.running() if self._has(subtask)}
        return Counter(key for key, _ in found)

    def _has(self, subtask: Subtask) -> bool:
        queue = self._queues.get(subtask.task.key)
        return queue is not None and subtask in queue.subtasks

    def waiting(self, task_key: int) -> WaitingReason:
        """Why the task does not move."""
        queue = self._queues.get(task_key)
        if queue is None or not queue.is_idle or not queue.pending_count or not queue.task.state.may_start_records:
            return WaitingReason.NONE
        if not self._executor.is_available(queue.task.handler):
            return WaitingReason.HANDLER_UNAVAILABLE
        return WaitingReason.LIMITED if self._gates.is_limited(queue.task.handler) else WaitingReason.NO_SLOT

    def is_live(self, task_key: int) -> bool:
        """Whether the task is known here at all."""
        return task_key in self._queues

    def hold(self, task_key: int) -> AbstractAsyncContextManager[None]:
        """See Live.hold."""
        return self._admission.hold(task_key)

    # -- giving out work ------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Give work to slots until there is no slot or no work. Cheap when there is nothing to do."""
        while not self._draining and (cut := self._chooser.next()) is not None:
            self._spawn(self._give(cut))

    async def _give(self, cut: Cut) -> None:
        """Read the inputs, queue the grant, and send the subtask without waiting for the grant."""
        queue, slot, wanted = cut.queue, cut.slot, cut.wanted
        taken, inputs = await self._read(queue, wanted)
        queue.cutting -= 1
        if not taken or self._draining or not queue.may_start:
            cut.ticket.end()
            cut.ticket.gate.leave(slot.name)
            queue.leave(slot.name)
            self._requeue(queue, wanted)
            slot.unreserve(cut.estimate_ns)
            self._admission.left(queue)
            self._check_idle()
            return
        stage, location = self._staging.begin(queue.task)
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
            estimate_ns=cut.estimate_ns,
            ticket=cut.ticket,
            open=taken,
            granted=asyncio.get_running_loop().create_future(),
            stage=stage,
            location=location,
        )
        queue.subtasks[subtask] = None
        queue.pace.last_size = subtask.count
        self._chooser.sent(subtask)
        self._spawn(self._grant(queue, subtask))
        slot.run(subtask)
        if taken != wanted:
            cut.ticket.give_back(rg.count(wanted) - subtask.count)
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
            self._chooser.paces[subtask.task.handler].record_ns = queue.pace.record_ns
        subtask.ticket.ran(flush.count, work_ns)
        if last:
            self._chooser.over(subtask)
        subtask.commits += 1
        self._spawn(self._commit(subtask, flush, last, ack))

    def runs(self, subtask: Subtask, ran_ns: int) -> None:
        """See Reports.runs."""
        subtask.ticket.runs(ran_ns)

    def returned(self, subtask: Subtask) -> None:
        """See Reports.returned."""
        self._chooser.over(subtask)
        self._spawn(self._give_back(subtask, NOTHING, ()))

    def trimmed(self, subtask: Subtask, ranges: rg.Ranges) -> None:
        """See Reports.trimmed."""
        subtask.ticket.give_back(rg.count(ranges))
        subtask.commits += 1
        self._spawn(self._trim(subtask, ranges))

    def lost(self, subtask: Subtask, loss: Loss) -> None:
        """See Reports.lost."""
        ran_us = loss.ended_us - loss.started_us if loss.index is not None else 0
        subtask.ticket.lose(loss.begun_to, ran_us * 1000)
        self._chooser.over(subtask)
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
        subtask.left_files = True  # of records that began, which nobody told of
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
        self._staging.ended(subtask)
        bounded = self._admission.ended(subtask)
        bounded = subtask.ticket.gate.leave(subtask.lease.worker) or bounded
        self._check_idle()
        if subtask.open or bounded:
            self.pump()

    def _check_idle(self) -> None:
        if self._draining and all(queue.is_idle for queue in self._queues.values()):
            self._idle.set()
