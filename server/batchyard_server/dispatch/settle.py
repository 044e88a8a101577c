"""What is written when outcomes come, or a worker is lost? The rules of attempts, WORKER_LOST and record_timeout."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from batchyard_server.codec import outcomes
from batchyard_server.dispatch.protocols import Cause, Loss, Subtask
from batchyard_server.model import ranges as rg
from batchyard_server.model.errors import Code, Reason, ResourceExhausted, StaleLease, Unavailable
from batchyard_server.model.failpoints import Failpoints
from batchyard_server.model.task import Attempts, Flush, Lease
from batchyard_server.store.protocols import LeaseStore

log = logging.getLogger(__name__)
T = TypeVar("T")
RETRY_SECONDS = 0.5  # between two tries of a write that the store could not take
NONE = Attempts(begun=0, lost=0)


class Settler:
    """Writes what became of leases, and keeps trying while the store cannot take it (nothing is lost on a full disk)."""

    def __init__(self, store: LeaseStore, *, max_worker_lost: int, failpoints: Failpoints) -> None:
        self._store = store
        self._max_worker_lost = max_worker_lost
        self._failpoints = failpoints

    async def store_outcomes(self, subtask: Subtask, flush: Flush) -> bool:
        """Make outcomes durable and take them off `subtask.open`. False if the lease did not hold them any more."""
        self._failpoints.hit("dispatch.before_outcomes")
        try:
            await self._until_taken(lambda: self._store.record_outcomes(subtask.lease, flush))
        except StaleLease:
            log.info("outcomes under a stale lease of %s dropped", subtask.task.name)
            return False
        self._failpoints.hit("dispatch.after_outcomes")
        subtask.open = rg.subtract(subtask.open, rg.normalize(flush.ranges))
        return True

    async def release(self, lease: Lease, begun: Mapping[int, Attempts], unreaped: Sequence[int] = ()) -> None:
        """End a lease; its open indexes are pending again."""
        self._failpoints.hit("dispatch.before_release")
        await self._until_taken(lambda: self._store.release(lease, begun, unreaped))

    async def settle(self, subtask: Subtask, loss: Loss) -> dict[int, Attempts]:
        """After a loss: write the outcome of the running record if it has one, and return what began.

        The crash counts against the record that was running, alone. Records of the subtask that had finished but were
        not durable ran too: they go back with their execution counted.
        """
        begun_ranges, _ = rg.take(subtask.lease.ranges, loss.begun_to)
        began = rg.subtract(subtask.open, rg.subtract(subtask.open, begun_ranges))
        begun: dict[int, Attempts] = {}
        for start, end in began:
            for index in range(start, end):
                before = subtask.attempts.get(index, NONE)
                lost = before.lost + (loss.cause is Cause.CRASH and index == loss.index)
                begun[index] = Attempts(begun=before.begun + 1, lost=lost)
        if loss.index is not None and loss.index in begun:
            flush = self._verdict(subtask, loss, begun[loss.index])
            if flush is not None and await self.store_outcomes(subtask, flush):
                del begun[loss.index]
        return begun

    def _verdict(self, subtask: Subtask, loss: Loss, attempts: Attempts) -> Flush | None:
        """The outcome of the record that was running, or None if it is to run again."""
        assert loss.index is not None
        if loss.cause is Cause.TIMEOUT:
            seconds = subtask.task.record_timeout_us / 1e6
            code, reason, metadata = Code.DEADLINE_EXCEEDED, Reason.RECORD_TIMEOUT, {"record_timeout": f"{seconds:g}s"}
            message = f"the record ran longer than its record_timeout of {seconds:g} s"
        elif loss.cause is Cause.CRASH and attempts.lost > self._max_worker_lost:
            code, reason, metadata = Code.ABORTED, Reason.WORKER_LOST, {"exit": loss.exit}
            message = f"the worker died under this record {attempts.lost} times, last by {loss.exit}"
        else:
            return None
        return outcomes.failed_record(
            subtask.task,
            loss.index,
            inputs=subtask.inputs,
            position=rg.count(rg.subtract(subtask.lease.ranges, [(loss.index, subtask.lease.ranges[-1][1])])),
            attempt=attempts.begun,
            code=code,
            reason=reason,
            message=message,
            metadata=metadata,
            start_us=loss.started_us,
            end_us=loss.ended_us,
        )

    async def _until_taken(self, write: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await write()
            except (ResourceExhausted, Unavailable) as error:
                log.warning("the store cannot take a write, trying again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
