"""Which tasks are at work here, and what of them is to be run? Follows the store's events.

    QUEUED ─▶ new: all its records; resumed or reactivated: what the store says is left ─▶ TaskQueue
    PAUSING ─▶ what has not begun comes back      PAUSED, and nothing at workers ─▶ forgotten
    CANCELLING ─▶ killed                          final, deleted ─▶ dropped, and killed unless every record has ended

A change of settings takes back what has not begun, too: it is cut anew, by the new ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any

from batchyard_server.dispatch.pause import Pause
from batchyard_server.dispatch.protocols import Executor, Subtask
from batchyard_server.dispatch.queue import TaskQueue
from batchyard_server.dispatch.retries import Retrier
from batchyard_server.dispatch.settle import Settler
from batchyard_server.dispatch.turns import Turns
from batchyard_server.model.errors import BatchyardError
from batchyard_server.model.states import StopReason, TaskState
from batchyard_server.model.task import Task
from batchyard_server.store.protocols import Change, LiveTask, Store, TaskEvent

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.001  # within which a worker looks whether it is to begin its next record; it takes microseconds
GRANT_SECONDS = 2.0  # longest wait of a pause for leases that are being granted; a store that works takes some ms


class Admission:
    """The queues of the live tasks.

    Attributes:
        queues: by task key; one of a task at most, of its present generation.
    """

    def __init__(
        self,
        store: Store,
        executor: Executor,
        settler: Settler,
        retrier: Retrier,
        ready: Turns,
        *,
        pause: Pause,
        look_seconds: float,
        retry_seconds: float,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        pump: Callable[[], None],
    ) -> None:
        self._store = store
        self._executor = executor
        self._settler = settler
        self._retrier = retrier
        self._ready = ready
        self._pause = pause
        self._look_seconds = look_seconds
        self._retry_seconds = retry_seconds
        self._spawn = spawn
        self._pump = pump
        self.queues: dict[int, TaskQueue] = {}
        self._leaving: dict[int, TaskQueue] = {}  # dropped, but workers have records of them
        self._holds: Counter[int] = Counter()

    def take_up(self, live: LiveTask) -> None:
        """Take up a task of which it is known what is left."""
        self._admit(live.task)
        self._fill(self.queues[live.task.key], live)

    def on_events(self, events: Sequence[TaskEvent]) -> None:
        """Follow what was committed."""
        for event in events:
            task, queue = event.task, self.queues.get(event.task.key)
            if event.change is Change.DELETED or task.state.is_final:
                if queue is not None:
                    queue.task = task
                    self._end(queue, kill=event.change is Change.DELETED or task.stop_reason is not StopReason.NONE)
            elif queue is not None:
                self._follow(queue, task)
            elif task.state is TaskState.QUEUED:
                self._admit(task)
                self._learn(self.queues[task.key])
        if any(event.change is not Change.COUNTS for event in events):
            self._pump()

    def _follow(self, queue: TaskQueue, task: Task) -> None:
        before, queue.task = queue.task, task
        if before.state is task.state and before.revision == task.revision:
            return
        self._ready.add(queue)
        if queue.is_cancelling:
            queue.forget_pending()
            self.withdraw(queue, kill=True)
        elif before.settings != task.settings or not task.state.may_start_records:
            self.withdraw(queue, kill=False)
        self.left(queue)

    def withdraw(self, queue: TaskQueue, *, kill: bool) -> None:
        """Take back what workers have of the queue, see Executor.withdraw."""
        for subtask in list(queue.subtasks):
            self._executor.withdraw(subtask, kill=kill)

    # -- the beginning --------------------------------------------------------------------------------------------

    def _admit(self, task: Task) -> None:
        queue = self.queues[task.key] = TaskQueue(task, [], {})
        queue.barred = task.key in self._holds

    def _learn(self, queue: TaskQueue) -> None:
        """Find out what is left of a task that has become QUEUED."""
        task = queue.task
        if task.generation == 1 and not task.subtasks and not task.next_sequence:
            self._fill(queue, LiveTask(task=task, pending=[(0, task.total)], attempts={}))
        elif task.key not in self._leaving:  # else once that is gone: two generations are never at workers at once
            self._spawn(self._read(queue))

    async def _read(self, queue: TaskQueue) -> None:
        """Ask the store for it, until it can say, or the queue is dropped: paused again, stopped, deleted."""
        while not queue.dropped:
            try:
                found = await self._store.unfinished(queue.task)
            except Exception as error:
                unknown = None if isinstance(error, BatchyardError) else error
                log.warning("cannot read what is left of %s: %s", queue.task.name, error, exc_info=unknown)
                await self._pause(self._retry_seconds)
                if self._pause.ended:
                    return
                continue
            if not queue.dropped:
                self._fill(queue, found)
                self._pump()
            return

    def _fill(self, queue: TaskQueue, live: LiveTask) -> None:
        queue.give_back(list(live.pending))
        queue.attempts.update(live.attempts)
        self._retrier.admit(queue)
        self._ready.add(queue)

    # -- a pause --------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def hold(self, task_key: int) -> AsyncGenerator[None]:
        """See Live.hold."""
        self._holds[task_key] += 1
        try:
            queue = self.queues.get(task_key)
            if queue is not None:
                queue.barred = True
                self.withdraw(queue, kill=False)
                await self._until_nothing_begins(queue)
            yield
        finally:
            self._holds[task_key] -= 1
            if not self._holds[task_key]:
                del self._holds[task_key]
                self._go_on(task_key)

    async def _until_nothing_begins(self, queue: TaskQueue) -> None:
        """Wait until what its workers run is all that they will, and is leased.

        Asked again after a moment, since a worker may just have been about to begin its next subtask.
        """
        granting = [subtask.granted for subtask in queue.subtasks if not subtask.granted.done()]
        if granting:
            await asyncio.wait(granting, timeout=GRANT_SECONDS)
        if queue.subtasks:
            await self._pause(self._look_seconds)
            self.withdraw(queue, kill=False)
            await self._pause(self._look_seconds)

    def _go_on(self, task_key: int) -> None:
        queue = self.queues.get(task_key)
        if queue is not None:
            queue.barred = False
            self._ready.add(queue)
            self._pump()

    # -- the end --------------------------------------------------------------------------------------------------

    def ended(self, subtask: Subtask) -> bool:
        """A subtask has ended; whether its queue may perhaps have another slot instead of that one now."""
        queue = self.queues.get(subtask.task.key)
        if queue is None or subtask not in queue.subtasks:
            queue = self._leaving[subtask.task.key]
        was_bounded = queue.within is not None
        del queue.subtasks[subtask]
        queue.leave(subtask.lease.worker)
        self.left(queue)
        return was_bounded

    def left(self, queue: TaskQueue) -> None:
        """See to what follows when no worker has, or is about to get, records of the queue any more.

        Not with its last lease: a worker may also run a subtask whose lease was refused.
        """
        if not queue.is_idle:
            return
        if queue.dropped:
            if self._leaving.pop(queue.task.key, None) is not None and queue.task.key in self.queues:
                self._learn(self.queues[queue.task.key])
        elif queue.is_cancelling:
            if not queue.ending:
                queue.ending = True
                self._spawn(self._settler.end_cancel(queue.task))
        elif queue.task.state is TaskState.PAUSED:
            self._drop(queue)

    def _end(self, queue: TaskQueue, *, kill: bool) -> None:
        """The task is final or gone. Without `kill` every record has ended, and the last worker may be kept."""
        self._drop(queue)
        if kill:
            self.withdraw(queue, kill=True)

    def _drop(self, queue: TaskQueue) -> None:
        del self.queues[queue.task.key]
        queue.dropped = True
        queue.forget_pending()
        self._ready.remove(queue)
        if not queue.is_idle:
            self._leaving[queue.task.key] = queue
