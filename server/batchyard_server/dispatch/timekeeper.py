"""What does time alone change? A max_wall_clock_time or the longest lifetime is over, or a task was kept long enough.

next moment of the store ─▶ sleep ─▶ look ─▶ stop or delete, after another look inside the transaction
                              ▲ an event brings an earlier moment; at most 10 s, since the wall clock may jump
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import partial

from batchyard_server.engine import stop
from batchyard_server.model.clock import Clock
from batchyard_server.model.errors import BatchyardError, NotFound
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Task
from batchyard_server.store.protocols import Change, Store, TaskEvent

log = logging.getLogger(__name__)
INTERVAL_SECONDS = 10.0
LEAST_SECONDS = 0.02  # a timer may be early
MOST = 64  # tasks that are read and changed at once
_NEVER = 1 << 63


class _Spared(Exception):
    """Raised inside a delete: since it was read, the task has become one whose time has not come."""


class Timekeeper:
    """Stops tasks whose time is over and deletes those that have been kept long enough; never before their time.

    Args:
        lifetime_us: how long a task may take from its creation to its end.
        interval_seconds: the longest sleep.
    """

    def __init__(
        self, store: Store, clock: Clock, *, lifetime_us: int, interval_seconds: float = INTERVAL_SECONDS
    ) -> None:
        self._store = store
        self._clock = clock
        self._lifetime_us = lifetime_us
        self._interval_seconds = interval_seconds
        self._next_us = _NEVER  # it wakes then without being told
        self._wake = asyncio.Event()
        self._ended = False
        self._failed = False
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Look now, and whenever a moment has come."""
        self._unsubscribe = self._store.subscribe(self._on_events)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Finish what was begun and end."""
        self._unsubscribe()
        self._ended = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def look(self) -> float:
        """Do what is due, some of it if it is much; return after how many seconds to look again.

        Raises nothing: what the store refuses is tried again then.
        """
        self._next_us = _NEVER
        now_us = self._clock.now_us()
        try:
            more = await self._end_due(now_us)
            more = await self._end_old(now_us) or more
            next_us = await self._next()
        except Exception as error:  # noqa: BLE001 - told in the log; the loop must live
            self._tell(error)
            return self._interval_seconds
        self._failed = False
        self._next_us = next_us
        if more:
            return 0.0
        return min(max(LEAST_SECONDS, (next_us - self._clock.now_us()) / 1e6), self._interval_seconds)

    async def _run(self) -> None:
        while not self._ended:
            self._wake.clear()
            seconds = await self.look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()

    def _on_events(self, events: Sequence[TaskEvent]) -> None:
        if any(event.change is not Change.DELETED and self._moment(event.task) < self._next_us for event in events):
            self._wake.set()

    def _moment(self, task: Task) -> int:
        """When time alone will change the task."""
        due_us = task.due_us or _NEVER
        if task.state.is_final or task.state is TaskState.CANCELLING:
            return due_us
        return min(due_us, task.create_us + self._lifetime_us)

    async def _next(self) -> int:
        oldest = await self._store.oldest_unfinished()
        due_us = await self._store.next_due_us() or _NEVER
        return due_us if oldest is None else min(due_us, oldest.create_us + self._lifetime_us)

    async def _end_due(self, now_us: int) -> bool:
        """Stop or delete the first tasks that are due; whether there may be more."""
        due = await self._store.due(now_us, MOST)
        ended = await asyncio.gather(*(self._end(task, now_us) for task in due), return_exceptions=True)
        for error in ended:
            if error is not None:
                raise error
        return len(due) == MOST

    async def _end(self, task: Task, now_us: int) -> None:
        with contextlib.suppress(NotFound, _Spared):
            if task.expire_us:
                await self._store.delete_task(task.name, partial(_expired, task, now_us), None)
            else:
                await self._store.update_task(task.name, partial(_out_of_time, task, now_us), None)

    async def _end_old(self, now_us: int) -> bool:
        """Stop the first tasks that are too old; whether there may be more."""
        for _ in range(MOST):
            task = await self._store.oldest_unfinished()
            if task is None or now_us < task.create_us + self._lifetime_us:
                return False
            with contextlib.suppress(NotFound):
                await self._store.update_task(task.name, partial(_too_old, task, self._lifetime_us, now_us), None)
        return True

    def _tell(self, error: Exception) -> None:
        """Once, until it works again."""
        if not self._failed:
            unknown = None if isinstance(error, BatchyardError) else error
            log.warning("cannot end tasks whose time is over, trying again: %s", error, exc_info=unknown)
        self._failed = True


def _expired(read: Task, now_us: int, task: Task) -> Task:
    """`decide` of a delete: not one that was reactivated or updated since it was read."""
    same = task.key == read.key and task.generation == read.generation and task.state is read.state
    if not same or not task.expire_us or now_us < task.expire_us:
        raise _Spared
    return task


def _out_of_time(read: Task, now_us: int, task: Task) -> Task:
    return stop.out_of_time(task, now_us) if task.key == read.key else task


def _too_old(read: Task, lifetime_us: int, now_us: int, task: Task) -> Task:
    return stop.too_old(task, lifetime_us, now_us) if task.key == read.key else task
