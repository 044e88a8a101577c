"""WaitOperation: a waiter costs one read when it comes, and nothing more until its operation ends.

    store event ─▶ {task key: entry} ─▶ every waiter of the entry wakes with the same bytes

Between its read and its turn a waiter hears of every commit: it is entered in the map before it reads a second time,
and the second read is needed only if something was committed during the first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from batchyard_server.codec import task_bytes
from batchyard_server.engine import show
from batchyard_server.engine.deps import Deps
from batchyard_server.model.errors import BatchyardError, NotFound
from batchyard_server.model.names import OPERATION_TYPE, OperationName
from batchyard_server.model.task import Operation, Task
from batchyard_server.store.protocols import Change, TaskEvent

_log = logging.getLogger(__name__)


class _Entry:
    """The waiters of one unfinished operation. `task` is as of the last commit; `result` is set when it has ended."""

    __slots__ = ("deleted", "operation", "result", "task", "waiters")

    def __init__(self, operation: Operation, task: Task) -> None:
        self.operation = operation
        self.task = task
        self.waiters: set[asyncio.Future[None]] = set()
        self.result = b""
        self.deleted = False

    def wake(self) -> None:
        """Let every waiter go on."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)


class Waits:
    """All waiters of this server."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._entries: dict[int, _Entry] = {}
        self._commits = 0
        self._closed = False
        self._finishing: set[asyncio.Task[None]] = set()
        self._unsubscribe = deps.store.subscribe(self._on_events)

    @property
    def count(self) -> int:
        """How many wait now."""
        return sum(len(entry.waiters) for entry in self._entries.values())

    def close(self) -> None:
        """Answer every waiter with the current state, and later ones at once."""
        self._closed = True
        for entry in self._entries.values():
            entry.wake()

    def stop(self) -> None:
        """Hear of no more commits."""
        self._unsubscribe()

    async def wait(self, name: OperationName, seconds: float) -> bytes:
        """Serialized Operation: when it is done, or as it is after `seconds`. Raises NotFound."""
        seen = self._commits
        operation, task = await self._deps.store.get_operation(name)
        if operation.done or seconds <= 0 or self._closed:
            return await show.operation(self._deps, operation, task)
        entry = self._entries.get(task.key)
        if entry is None or entry.operation.operation_id != operation.operation_id:
            entry = self._entries[task.key] = _Entry(operation, task)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry.waiters.add(waiter)
        try:
            if seen != self._commits:
                operation, task = await self._deps.store.get_operation(name)
                if operation.done:
                    return await show.operation(self._deps, operation, task)
            await self._until_woken(waiter, seconds)
        finally:
            entry.waiters.remove(waiter)
            if not entry.waiters and self._entries.get(task.key) is entry:
                del self._entries[task.key]
        if entry.deleted:
            raise NotFound(OPERATION_TYPE, str(name))
        if entry.result:
            return entry.result
        if entry.task.state.is_final:  # its bytes could not be made
            operation, task = await self._deps.store.get_operation(name)
            return await show.operation(self._deps, operation, task)
        return await show.operation(self._deps, entry.operation, entry.task)

    async def _until_woken(self, waiter: asyncio.Future[None], seconds: float) -> None:
        timer = asyncio.get_running_loop().call_later(seconds, _end, waiter)
        try:
            await waiter
        finally:
            timer.cancel()

    def _on_events(self, events: Sequence[TaskEvent]) -> None:
        self._commits += 1
        if not self._entries:
            return
        for event in events:
            entry = self._entries.get(event.task.key)
            if entry is None:
                continue
            entry.task = event.task
            if event.change is Change.DELETED:
                entry.deleted = True
                self._entries.pop(event.task.key).wake()
            elif event.task.state.is_final:
                self._finish(self._entries.pop(event.task.key), event.operation)

    def _finish(self, entry: _Entry, ended: Operation | None) -> None:
        """The operation has ended: make its bytes once for all who wait."""
        if ended is None or ended.operation_id != entry.operation.operation_id:
            entry.wake()  # each waiter reads for itself
            return
        entry.operation = ended
        if entry.task.failed:  # `failed_requests` must be read first
            job = asyncio.create_task(self._finish_with_failures(entry))
            self._finishing.add(job)
            job.add_done_callback(self._finishing.discard)
        else:
            entry.result = task_bytes.operation(entry.operation, entry.task)
            entry.wake()

    async def _finish_with_failures(self, entry: _Entry) -> None:
        try:
            failures = await self._deps.store.failures(entry.task.key, entry.operation.generation)
            entry.result = task_bytes.operation(entry.operation, entry.task, failures=failures)
        except BatchyardError as error:  # each waiter reads for itself, and is told if that fails too
            _log.warning("cannot read the failures of %s: %s", entry.task.name, error)
        finally:
            entry.wake()


def _end(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
