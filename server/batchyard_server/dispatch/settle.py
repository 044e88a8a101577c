"""What is written when outcomes come, or a worker is lost? The rules of attempts, WORKER_LOST and record_timeout."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from batchyard_server.artifacts import Collection
from batchyard_server.codec import artifacts, logs, outcomes
from batchyard_server.codec import attempts as codec
from batchyard_server.dispatch.pause import Pause
from batchyard_server.dispatch.protocols import Cause, Loss, Subtask
from batchyard_server.dispatch.retries import Retrier
from batchyard_server.dispatch.staging import Staging
from batchyard_server.model import ranges as rg
from batchyard_server.model.errors import Code, Reason, ResourceExhausted, StaleLease, Unavailable
from batchyard_server.model.failpoints import Failpoints, Injected
from batchyard_server.model.subtask import COMPLETED, LeaseEnd
from batchyard_server.model.task import NO_ATTEMPTS, Attempts, Flush, Lease, Retries, Task
from batchyard_server.store.protocols import LeaseStore

log = logging.getLogger(__name__)
T = TypeVar("T")
RETRY_SECONDS = 0.5  # between two tries of a write that the store could not take


class Begun(NamedTuple):
    """Records that began under a lease and have no outcome: what is known of them, and of those executions.

    `interrupted`: (index, serialized RecordAttempt). `logs`: what they wrote, by index.
    """

    attempts: Mapping[int, Attempts]
    interrupted: Sequence[tuple[int, bytes]]
    logs: Mapping[int, bytes]


NOTHING = Begun({}, (), {})


class Settler:
    """Writes what becomes of leases, and keeps trying while the store cannot take it: nothing is lost on a full disk.

    Once `pause` has ended, a write that fails raises instead.
    """

    def __init__(
        self,
        store: LeaseStore,
        *,
        retrier: Retrier,
        max_worker_lost: int,
        staging: Staging,
        failpoints: Failpoints,
        pause: Pause,
        retry_seconds: float,
    ) -> None:
        self._store = store
        self._retrier = retrier
        self._max_worker_lost = max_worker_lost
        self._staging = staging
        self._failpoints = failpoints
        self._pause = pause
        self._retry_seconds = retry_seconds
        self._failing = False

    async def grant(self, lease: Lease) -> bool:
        """Make a lease durable. False if its task was stopped or is gone."""
        try:
            await self._until_taken("dispatch.before_grant", lambda: self._store.grant(lease))
        except StaleLease as error:
            log.info("a lease was refused: %s", error)
            return False
        self._passed("dispatch.after_grant")
        return True

    async def store_outcomes(
        self, subtask: Subtask, flush: Flush, end: LeaseEnd = COMPLETED, *, retry: bool = True
    ) -> bool:
        """Make outcomes, or with `retry` what follows from failures, durable and take them off `subtask.open`.

        `end`: how the lease ends if they are its last ones. False if the lease does not hold them.
        """
        retries = self._retrier.plan(subtask, flush) if retry else None
        if flush.staged:
            flush, retries = await self._collect(subtask, flush, retries)
        if logs.any_long(flush.logs):
            flush, retries = await self._keep_logs(subtask, flush, retries)
        stored = await self._store_outcomes(subtask, flush, retries, end)
        if stored:
            self._retrier.stored(subtask, flush, retries)
        else:
            self._staging.refused(subtask, flush.artifacts)
        return stored

    async def _collect(self, subtask: Subtask, flush: Flush, retries: Retries | None) -> tuple[Flush, Retries | None]:
        """The same with the artifacts of the records that are not tried again; of those that are nothing is kept."""
        again = retries.attempts if retries is not None else {}
        indexes = sorted({index for index in flush.staged if index not in again})
        if len(indexes) < len(flush.staged):
            subtask.left_files = True
        found = await self._until_taken(None, lambda: self._staging.collect(subtask, indexes))
        if retries is not None:
            retries = replace(retries, rest=_with(retries.rest, found))
        return _with(flush, found), retries

    async def _keep_logs(self, subtask: Subtask, flush: Flush, retries: Retries | None) -> tuple[Flush, Retries | None]:
        """The same with the long logs in files, but for those of records that are tried again."""
        again = retries.attempts if retries is not None else {}
        texts = logs.long_ones(flush.logs, again)
        kept = await self._staging.keep_logs(subtask, texts) if texts else ()
        if retries is not None:
            retries = replace(retries, rest=logs.with_files(retries.rest, kept))
        return logs.with_files(flush, kept), retries

    async def _store_outcomes(self, subtask: Subtask, flush: Flush, retries: Retries | None, end: LeaseEnd) -> bool:
        """The write of `store_outcomes`.

        Called before the grant has returned, since the store takes both in this order; only when the grant had to be
        tried again can it come after the outcomes, which are then tried again too.
        """
        grant_was_known = subtask.granted.done()
        try:
            await self._until_taken(
                "dispatch.before_outcomes", lambda: self._store.record_outcomes(subtask.lease, flush, retries, end=end)
            )
        except StaleLease as error:
            if not grant_was_known and await subtask.granted:
                return await self._store_outcomes(subtask, flush, retries, end)
            log.info("outcomes were refused: %s", error)
            return False
        self._passed("dispatch.after_outcomes")
        subtask.open = rg.subtract(subtask.open, rg.normalize(flush.ranges))
        return True

    async def shrink(self, subtask: Subtask, ranges: rg.Ranges) -> bool:
        """Take records that have not begun off the lease and `subtask.open`. False if the lease does not hold them.

        As `store_outcomes` it may have to wait for a grant that is tried again.
        """
        grant_was_known = subtask.granted.done()
        try:
            await self._until_taken("dispatch.before_release", lambda: self._store.shrink(subtask.lease, ranges))
        except StaleLease as error:
            if not grant_was_known and await subtask.granted:
                return await self.shrink(subtask, ranges)
            log.info("a trim was refused: %s", error)
            return False
        subtask.open = rg.subtract(subtask.open, ranges)
        return True

    async def release(self, lease: Lease, begun: Begun, unreaped: Sequence[int], end: LeaseEnd) -> None:
        """End a lease; its open indexes are pending again."""
        await self._until_taken(
            "dispatch.before_release",
            lambda: self._store.release(
                lease, begun.attempts, unreaped, begun.interrupted, begun.logs, ends_cancel=False, end=end
            ),
        )

    async def end_cancel(self, task: Task) -> None:
        """No worker has records of this CANCELLING task any more: it becomes CANCELLED."""
        nothing = Lease(task_key=task.key, generation=task.generation, ranges=[], worker="")
        await self._until_taken("dispatch.before_release", lambda: self._store.release(nothing, {}))

    async def settle(self, subtask: Subtask, loss: Loss, lease_end: LeaseEnd) -> Begun:
        """After a loss: write the outcome of the running record if it has one, and return what else began.

        `lease_end`: how the lease ends if nothing else is open in it.

        The crash counts against the record that was running, alone. Records of the subtask that had finished but were
        not durable ran too: they go back with their execution counted.
        """
        begun_ranges, _ = rg.take(subtask.lease.ranges, loss.begun_to)
        began = rg.subtract(subtask.open, rg.subtract(subtask.open, begun_ranges))
        begun: dict[int, Attempts] = {}
        for index in rg.indexes(began):
            before = subtask.attempts.get(index, NO_ATTEMPTS)
            lost = before.lost + (loss.cause is Cause.CRASH and index == loss.index)
            begun[index] = Attempts(begun=before.begun + 1, lost=lost, failures=before.failures)
        if loss.index is not None and loss.index in begun:
            flush = self._verdict(subtask, loss, begun[loss.index])
            # That a worker dies under a record is counted apart, and its last time is no failure to be retried.
            retry = loss.cause is Cause.TIMEOUT
            if flush is not None and await self.store_outcomes(subtask, flush, lease_end, retry=retry):
                del begun[loss.index]
        error = lease_end.error
        interrupted = [(at, _interrupted(subtask, loss, at, known.begun, error)) for at, known in begun.items()]
        return Begun(begun, interrupted, logs.of_attempts(list(loss.logs.items()), begun))

    def _verdict(self, subtask: Subtask, loss: Loss, attempts: Attempts) -> Flush | None:
        """The outcome of the record that was running, or None if it is to run again."""
        assert loss.index is not None
        if loss.cause is Cause.TIMEOUT:
            seconds = subtask.task.settings.record_timeout_us / 1e6
            code, reason, metadata = Code.DEADLINE_EXCEEDED, Reason.RECORD_TIMEOUT, {"record_timeout": f"{seconds:g}s"}
            message = f"the record ran longer than its record_timeout of {seconds:g} s"
        elif loss.cause is Cause.CRASH and attempts.lost > self._max_worker_lost:
            code, reason, metadata = Code.ABORTED, Reason.WORKER_LOST, {"exit": loss.exit}
            message = f"the worker died under this record {attempts.lost} times, last by {loss.exit}"
        else:
            return None
        flush = outcomes.failed_record(
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
        staged = (loss.index,) if subtask.stage is not None else ()
        return replace(flush, logs=logs.only(list(loss.logs.items()), (loss.index,)), staged=staged)

    async def _until_taken(self, point: str | None, write: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                if point is not None:
                    self._failpoints.hit(point)
                result = await write()
            except StaleLease:
                raise
            except Exception as error:
                if self._pause.ended:
                    raise
                self._note(error)
            else:
                self._note(None)
                return result
            await self._pause(self._retry_seconds)

    def _passed(self, point: str) -> None:
        """Here a test may kill the server; an error would come too late, for what is written is written."""
        with contextlib.suppress(Injected):
            self._failpoints.hit(point)

    def _note(self, error: Exception | None) -> None:
        """Log what changes, not every try."""
        if error is not None and not isinstance(error, ResourceExhausted | Unavailable | Injected):
            log.error("a write failed and is tried again", exc_info=error)
        elif error is not None and not self._failing:
            log.warning("the store cannot take a write, trying again until it can: %s", error)
        elif error is None and self._failing:
            log.warning("the store takes writes again")
        self._failing = error is not None


def _with(flush: Flush, found: Collection) -> Flush:
    """The flush with what its records left; what of it is not kept is told in their logs."""
    warnings = [(index, f"of what this record left {text}") for index, text in found.warnings]
    return logs.with_warnings(artifacts.with_artifacts(flush, found.artifacts), warnings)


def _interrupted(subtask: Subtask, loss: Loss, index: int, attempt: int, error: bytes) -> bytes:
    """The RecordAttempt of an execution that the loss of its worker cut short, or whose outcome is lost with it."""
    ran = index == loss.index
    return codec.interrupted(
        subtask.lease.generation,
        attempt,
        error=error,
        worker=subtask.lease.worker,
        start_us=loss.started_us if ran else 0,
        end_us=loss.ended_us if ran else 0,
    )
