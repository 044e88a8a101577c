"""How do many small writes become few fsyncs? One thread that commits whatever is waiting as one group.

    loop: submit ─▶ queue ─▶ writer thread: BEGIN; mutation, mutation, …; COMMIT (fsync) ─▶ loop: events, then callers

A group takes what is there and never waits for more, with two exceptions: if the group before had many callers, they
are probably on their way back, and up to 1 ms is given to them; and a patient mutation waits some milliseconds for
another one to share a commit with. Control mutations go before bulk ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from batchyard_server.model.errors import BatchyardError, Reason, ResourceExhausted, Unavailable
from batchyard_server.model.failpoints import Injected
from batchyard_server.store.protocols import TaskEvent
from batchyard_server.store.sqlite.transaction import Transaction

log = logging.getLogger(__name__)

GROUP_NS = 10_000_000
GROUP_BYTES = 8 * 1024 * 1024
LINGER_NS = 1_000_000
PATIENCE_SECONDS = 0.005
FEW_CALLERS = 2  # a lone task's grant and outcome may share a commit; that is not a crowd, and nobody waits for it
CHECKPOINT_BYTES = 8 * 1024 * 1024  # so much log: then it is moved into the file
LOG_BYTES = 64 * 1024 * 1024  # so much: then readers are waited for, so that the log begins anew

_FSYNC_ERRORS = {
    apsw.mapping_extended_result_codes[name]
    for name in ("SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC", "SQLITE_IOERR_DATA", "SQLITE_IOERR_CORRUPTFS")
}
_DAMAGE = (apsw.CorruptError, apsw.NotADBError)
_TROUBLE = (
    *_DAMAGE,
    *(apsw.BusyError, apsw.LockedError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.ProtocolError),
    *(apsw.NoMemError, apsw.InterruptError),
)


@dataclass(slots=True, eq=False)
class Mutation:
    """One call and who waits for it. `direct`: it also writes by itself. `size`: bytes that it writes, about."""

    call: Callable[[Transaction], Any]
    future: asyncio.Future[Any]
    bulk: bool
    direct: bool
    size: int


Ended = tuple[asyncio.Future[Any], Any, BaseException | None]
Deliver = Callable[[Sequence[TaskEvent], Sequence[Ended]], None]


def translate(error: BaseException) -> BaseException:
    """An error of SQLite (or an injected one) as the caller sees it; others as they are."""
    if isinstance(error, Injected):
        if error.kind == "disk_full":
            return _disk_full()
        return _unavailable("the store could not write")
    if isinstance(error, apsw.FullError):
        return _disk_full()
    if isinstance(error, _TROUBLE):
        log.error("store: %s", error, exc_info=error)
        return _unavailable("the store cannot read or write now")
    return error


def _disk_full() -> BatchyardError:
    return ResourceExhausted(Reason.DISK_FULL, "the disk that holds the data directory is full", subject="disk")


def _unavailable(message: str) -> BatchyardError:
    return Unavailable(Reason.STORE_UNAVAILABLE, message)


class Writer:
    """The writer thread. `commits` and `mutations` count since the start."""

    def __init__(self, tx: Transaction, loop: asyncio.AbstractEventLoop, deliver: Deliver) -> None:
        self._tx = tx
        self.connection = tx.connection
        self._loop = loop
        self._deliver = deliver
        self._queue: deque[Mutation] = deque()
        self._patient: list[Mutation] = []  # not in the queue yet
        self._wanted = 0  # as many in the queue wake the writer; 0 = it does not sleep
        self._gate = threading.Lock()
        self._gate.acquire()
        self._control: deque[Mutation] = deque()
        self._bulk: deque[Mutation] = deque()
        self._closing = False
        self._callers = 0  # in the group before
        self._page_bytes = tx.connection.pragma("page_size")
        self._log_pages = 0
        self._moved_pages = 0
        self.healthy = True
        self.commits = 0
        self.mutations = 0
        tx.connection.set_wal_hook(self._on_commit)
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    async def submit(
        self,
        call: Callable[[Transaction], Any],
        *,
        bulk: bool = False,
        direct: bool = False,
        patient: bool = False,
        size: int = 0,
    ) -> Any:
        """Run `call` in the writer's transaction; return its result once it is durable. Cancelling undoes nothing.

        It may be run twice, if the first run was undone. `direct`: it executes statements that write; all others only
        change entries and add rows. `patient`: it may wait for the next one, at most PATIENCE_SECONDS; the order stays.
        """
        if self._closing:
            raise _unavailable("the store is closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        mutation = Mutation(call, future, bulk, direct, size)
        if patient:
            if not self._patient:
                self._loop.call_later(PATIENCE_SECONDS, self._hurry)
            self._patient.append(mutation)
        else:
            self._hurry(mutation)
        return await future

    def _hurry(self, *mutations: Mutation) -> None:
        """Queue what was patient, then these."""
        self._queue.extend((*self._patient, *mutations))
        self._patient.clear()
        self._wake_if(len(self._queue))

    async def close(self) -> None:
        """Finish what was submitted and end the thread. Idempotent."""
        if not self._closing:
            self._closing = True
            self._hurry()
            self._wake_if(self._wanted)
        await asyncio.to_thread(self._thread.join)

    def _wake_if(self, waiting: int) -> None:
        """Wake the writer if it sleeps and as many wait as it wants."""
        if 0 < self._wanted <= waiting:
            self._wanted = 0
            with contextlib.suppress(RuntimeError):  # woken already, and has not gone to sleep since
                self._gate.release()

    # -- writer thread ------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while self._gather():
            ended: list[Ended] = []
            try:
                self._group(ended)
            except Exception as error:
                log.critical("the store's writer failed, nothing more is acknowledged", exc_info=error)
                self.healthy = False
                self._tell([], [(future, None, own or error) for future, _, own in ended])

    def _gather(self) -> bool:
        """Move what is queued into the lanes; sleep while there is nothing. False once all is done and it is closed."""
        self._drain()
        while not self._control and not self._bulk:
            if self._closing and not self._queue:
                return False
            self._sleep(1, -1)
            self._drain()
        missing = self._callers - len(self._control)
        if self._callers > FEW_CALLERS and self._control and missing > 0 and not self._closing:
            self._sleep(missing, LINGER_NS / 1e9)
            self._drain()
        return True

    def _sleep(self, wanted: int, seconds: float) -> None:
        """Sleep until so many wait in the queue, or the time is over (−1: no limit), or the store is being closed.

        One waking for a whole crowd: each one would have to win the interpreter back from the event loop.
        """
        self._wanted = wanted
        if len(self._queue) < wanted and not self._closing:
            self._gate.acquire(timeout=seconds)
        self._wanted = 0

    def _drain(self) -> None:
        while self._queue:
            mutation = self._queue.popleft()
            (self._bulk if mutation.bulk else self._control).append(mutation)

    def _group(self, ended: list[Ended]) -> None:
        """Run one group and answer its callers; those whose mutation has run are in `ended`."""
        if not self.healthy:
            self._refuse_all(_unavailable("the store lost a write and takes no more until the server is started again"))
            return
        done: list[Mutation] = []
        try:
            written = self._run_group(done, ended)
            self._tx.failpoints.hit("store.before_commit")
            self._tx.run("COMMIT")
        except Exception as error:  # noqa: BLE001 - the thread must live, and every caller gets an answer
            self._fail(done, ended, error)
            return
        self.commits += written
        self.mutations += len(done)
        self._callers = len(done)
        events = self._tx.end(committed=True)
        try:
            self._tx.failpoints.hit("store.after_commit")
        except Injected as error:  # durable, but the callers do not learn it: as if the answer was lost
            ended[:] = [(future, None, own or translate(error)) for future, _, own in ended]
        self._tell(events, ended)
        self._checkpoint()

    def _run_group(self, done: list[Mutation], ended: list[Ended]) -> bool:
        """Begin a transaction and run mutations in it until the group is full; whether anything was written.

        As a rule they are run in memory and written all at once. If something that they write is there already (a
        repeated call, a taken id), everything is undone and they are run again one by one, each carefully.
        """
        tx = self._tx
        changes = tx.connection.total_changes()
        tx.careful = False
        tx.run("BEGIN IMMEDIATE")
        try:
            self._run_lanes(done, ended)
            tx.flush()
        except apsw.ConstraintError:
            tx.run("ROLLBACK")
            tx.end(committed=False)
            ended.clear()
            tx.careful = True
            changes = tx.connection.total_changes()
            tx.run("BEGIN IMMEDIATE")
            ended.extend(map(self._run, done))
        tx.log()
        return tx.connection.total_changes() != changes

    def _run_lanes(self, done: list[Mutation], ended: list[Ended]) -> None:
        """Run mutations until the group is full."""
        deadline = self._tx.clock.monotonic_ns() + GROUP_NS
        size = 0
        bulk_due = bool(self._bulk)
        while self._control or self._bulk:
            full = size >= GROUP_BYTES or (done and self._tx.clock.monotonic_ns() >= deadline)
            if full and not bulk_due:
                break
            if self._control and not full:
                mutation = self._control.popleft()
            elif self._bulk:  # one at least in every group, so that control never starves it
                mutation = self._bulk.popleft()
                bulk_due = False
            else:
                break
            size += mutation.size
            done.append(mutation)
            ended.append(self._run(mutation))

    def _run(self, mutation: Mutation) -> Ended:
        """Run one mutation so that its failure undoes it alone. Raises what ends the whole group."""
        tx = self._tx
        at_once = mutation.direct or tx.careful
        if at_once:
            tx.flush()
            tx.run("SAVEPOINT mutation")
        tx.start()
        try:
            result = mutation.call(tx)
            if at_once:
                tx.flush()
        except Exception as error:
            if not tx.connection.in_transaction or isinstance(error, _DAMAGE):
                raise  # SQLite itself rolled everything back, or nothing can be relied on
            if isinstance(error, apsw.ConstraintError) and not tx.careful:
                raise
            tx.undo()
            if at_once:
                tx.run("ROLLBACK TO mutation")
                tx.run("RELEASE mutation")
            return mutation.future, None, translate(error)
        if at_once:
            tx.run("RELEASE mutation")
        return mutation.future, result, None

    def _fail(self, done: list[Mutation], ended: list[Ended], error: Exception) -> None:
        """Nothing of the group was stored: tell every caller why."""
        if _is_lost_write(error):
            self.healthy = False
            log.critical("a write could not be made durable, nothing more is acknowledged: %s", error)
        try:
            if self._tx.connection.in_transaction:
                self._tx.run("ROLLBACK")
        except apsw.Error:
            self.healthy = False
            log.exception("rollback failed")
        self._tx.end(committed=False)
        seen = translate(error)
        if not done:  # not even BEGIN was possible
            self._refuse_all(seen)
        self._callers = 0
        own = {future: each for future, _, each in ended}  # one that failed by itself has its own error
        self._tell([], [(each.future, None, own.get(each.future) or seen) for each in done])

    def _refuse_all(self, error: BaseException) -> None:
        waiting = [*self._control, *self._bulk]
        self._control.clear()
        self._bulk.clear()
        self._tell([], [(each.future, None, error) for each in waiting])

    def _tell(self, events: Sequence[TaskEvent], ended: Sequence[Ended]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._deliver, events, ended)
        except RuntimeError:
            log.warning("the event loop ended before the store was closed")

    def _on_commit(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        """Move the log into the file when it has grown."""
        if self._log_pages < self._moved_pages:
            self._moved_pages = 0  # the log began anew
        long = self._log_pages * self._page_bytes >= LOG_BYTES
        if not long and (self._log_pages - self._moved_pages) * self._page_bytes < CHECKPOINT_BYTES:
            return
        mode = apsw.SQLITE_CHECKPOINT_RESTART if long else apsw.SQLITE_CHECKPOINT_PASSIVE
        try:
            _, self._moved_pages = self._tx.connection.wal_checkpoint(None, mode)
        except apsw.BusyError:
            log.debug("a reader holds on to the log; the next commit tries again")
        except apsw.Error as error:
            if _is_lost_write(error):
                self.healthy = False
                log.critical("a checkpoint failed, nothing more is acknowledged: %s", error)
            else:
                log.warning("checkpoint: %s", error)


def _is_lost_write(error: BaseException) -> bool:
    if isinstance(error, Injected):
        return error.kind == "io_error"
    return isinstance(error, _DAMAGE) or (
        isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) in _FSYNC_ERRORS
    )
