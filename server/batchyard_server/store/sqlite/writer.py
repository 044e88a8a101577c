"""How do many small writes become few fsyncs? One thread that commits whatever is waiting as one group.

    loop: submit ─▶ queue ─▶ writer thread: BEGIN; mutation, mutation, …; COMMIT (fsync) ─▶ loop: events, then callers

A group takes what is there and never waits for more, with one exception: if the group before had many callers, they are
probably on their way back, and up to 1 ms is given to them. Control mutations go before bulk ones.
"""

from __future__ import annotations

import asyncio
import logging
import queue
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
FEW_CALLERS = 2  # a lone task's grant and outcome may share a commit; that is not a crowd, and nobody waits for it
CHECKPOINT_PAGES = 1024  # 8 MiB of log: then it is moved into the file
LOG_PAGES = 8192  # 64 MiB: then readers are waited for, so that the log begins anew

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
    """One call and who waits for it. `size`: bytes that it writes, about."""

    call: Callable[[Transaction], Any]
    future: asyncio.Future[Any]
    bulk: bool
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
        self._queue: queue.SimpleQueue[Mutation | None] = queue.SimpleQueue()
        self._control: deque[Mutation] = deque()
        self._bulk: deque[Mutation] = deque()
        self._closing = False
        self._callers = 0  # in the group before
        self._log_pages = 0
        self._moved_pages = 0
        self.healthy = True
        self.commits = 0
        self.mutations = 0
        tx.connection.set_wal_hook(self._on_commit)
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    async def submit(self, call: Callable[[Transaction], Any], *, bulk: bool = False, size: int = 0) -> Any:
        """Run `call` in the writer's transaction; return its result once it is durable. Cancelling undoes nothing."""
        if self._closing:
            raise _unavailable("the store is closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put(Mutation(call, future, bulk, size))
        return await future

    async def close(self) -> None:
        """Finish what was submitted and end the thread. Idempotent."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    # -- writer thread ------------------------------------------------------------------------------------------

    def _work(self) -> None:
        open_ = True
        while open_ or self._control or self._bulk:
            open_ = self._gather() and open_
            if self._control or self._bulk:
                ended: list[Ended] = []
                try:
                    self._group(ended)
                except Exception as error:
                    log.critical("the store's writer failed, nothing more is acknowledged", exc_info=error)
                    self.healthy = False
                    self._tell([], [(future, None, own or error) for future, _, own in ended])

    def _gather(self) -> bool:
        """Move what is queued into the lanes; block if there is nothing. False once the queue is closed."""
        open_ = True
        if not self._control and not self._bulk:
            open_ = self._file(self._queue.get())
        open_ = self._drain() and open_
        if open_ and self._callers > FEW_CALLERS and self._control:
            deadline = self._tx.clock.monotonic_ns() + LINGER_NS
            while open_ and len(self._control) < self._callers:
                left = deadline - self._tx.clock.monotonic_ns()
                if left <= 0:
                    break
                try:
                    open_ = self._file(self._queue.get(timeout=left / 1e9))
                except queue.Empty:
                    break
        return open_

    def _drain(self) -> bool:
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return True
            if not self._file(item):
                return False

    def _file(self, item: Mutation | None) -> bool:
        if item is None:
            return False
        (self._bulk if item.bulk else self._control).append(item)
        return True

    def _group(self, ended: list[Ended]) -> None:
        """Run one group and answer its callers; those whose mutation has run are in `ended`."""
        if not self.healthy:
            self._refuse_all(_unavailable("the store lost a write and takes no more until the server is started again"))
            return
        try:
            self._tx.run("BEGIN IMMEDIATE")
            written = self._run_lanes(ended)
            self._tx.failpoints.hit("store.before_commit")
            self._tx.run("COMMIT")
        except Exception as error:  # noqa: BLE001 - the thread must live, and every caller gets an answer
            self._fail(ended, error)
            return
        self.commits += written
        self._callers = len(ended)
        events = self._tx.end(committed=True)
        try:
            self._tx.failpoints.hit("store.after_commit")
        except Injected as error:  # durable, but the callers do not learn it: as if the answer was lost
            ended[:] = [(future, None, own or translate(error)) for future, _, own in ended]
        self._tell(events, ended)
        self._checkpoint()

    def _run_lanes(self, ended: list[Ended]) -> bool:
        """Run mutations until the group is full; whether anything was written."""
        changes = self._tx.connection.total_changes()
        deadline = self._tx.clock.monotonic_ns() + GROUP_NS
        size = 0
        bulk_due = bool(self._bulk)
        while self._control or self._bulk:
            full = size >= GROUP_BYTES or (ended and self._tx.clock.monotonic_ns() >= deadline)
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
            try:
                ended.append(self._run(mutation, first=not ended))
            except Exception as error:
                ended.append((mutation.future, None, translate(error)))
                raise
        return self._tx.connection.total_changes() != changes

    def _run(self, mutation: Mutation, *, first: bool) -> Ended:
        """Run one mutation so that its failure undoes it alone; the first of a group needs no savepoint for that."""
        tx = self._tx
        self.mutations += 1
        tx.start()
        if not first:
            tx.run("SAVEPOINT mutation")
        changes = tx.connection.total_changes()
        try:
            result = mutation.call(tx)
        except Exception as error:
            if not tx.connection.in_transaction or isinstance(error, _DAMAGE):
                raise  # SQLite itself rolled everything back, or nothing can be relied on: the group is lost
            if first and tx.connection.total_changes() != changes:
                tx.run("ROLLBACK")
                tx.run("BEGIN IMMEDIATE")
            elif not first:
                tx.run("ROLLBACK TO mutation")
                tx.run("RELEASE mutation")
            tx.undo()
            return mutation.future, None, translate(error)
        if not first:
            tx.run("RELEASE mutation")
        return mutation.future, result, None

    def _fail(self, ended: list[Ended], error: Exception) -> None:
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
        self._tx.undo()
        self._tx.end(committed=False)
        seen = translate(error)
        if not ended:  # not even BEGIN was possible
            self._refuse_all(seen)
        self._callers = 0
        self._tell([], [(future, None, own or seen) for future, _, own in ended])

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
        if self._log_pages - self._moved_pages < CHECKPOINT_PAGES and self._log_pages < LOG_PAGES:
            return
        mode = apsw.SQLITE_CHECKPOINT_PASSIVE if self._log_pages < LOG_PAGES else apsw.SQLITE_CHECKPOINT_RESTART
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
