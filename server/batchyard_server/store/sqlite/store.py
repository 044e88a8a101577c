"""The Store on SQLite, put together: every method either queues a mutation for the writer or reads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from batchyard_server.model.errors import BatchyardError
from batchyard_server.model.filter import EVERYTHING
from batchyard_server.model.names import OperationName, TaskName
from batchyard_server.model.record import PastAttempt, RecordPage, RecordQuery
from batchyard_server.model.states import TaskState
from batchyard_server.model.subtask import COMPLETED, RETURNED, LeaseEnd
from batchyard_server.model.task import (
    Attempts,
    Flush,
    InputSegment,
    Lease,
    NewTask,
    Operation,
    RequestKey,
    Retries,
    Task,
)
from batchyard_server.model.task_query import TaskQuery
from batchyard_server.store.log_store import NO_LOGS
from batchyard_server.store.operation_store import OperationPage, OperationQuery
from batchyard_server.store.protocols import (
    Change,
    Decide,
    LiveTask,
    Subscriber,
    SubtaskPage,
    TaskEvent,
    TaskInfo,
    TaskPage,
)
from batchyard_server.store.sqlite import (
    bulk,
    counts,
    events,
    files,
    history,
    inputs,
    leasing,
    listing,
    merge,
    operation_search,
    operations,
    outcomes,
    records,
    requests,
    searching,
    submit,
    subtasks,
    sweep,
    tasks,
)
from batchyard_server.store.sqlite.log_reads import LogReads
from batchyard_server.store.sqlite.packing import Packer
from batchyard_server.store.sqlite.readers import Readers
from batchyard_server.store.sqlite.recall import ANY_TASK, Recall
from batchyard_server.store.sqlite.shelf import Shelf
from batchyard_server.store.sqlite.stopping import Stops
from batchyard_server.store.sqlite.transaction import Transaction
from batchyard_server.store.sqlite.writer import Ended, Writer

log = logging.getLogger(__name__)

_READ_HERE_ROWS = 128  # a list page up to this size: its rows were stored one after the other, so they are few pages
_EXPECTED = 64  # changes in one commit up to which those who made them may ask for their operations next
_READ_HERE_BYTES = 64 * 1024  # inputs up to this size are read on the event loop


class SqliteStore(LogReads, Shelf, Stops):
    """Implements store.protocols.Store. `commits` and `mutations` of the writer count since the start."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        directory: files.Directory,
        tx: Transaction,
        readers: Readers,
        event_log: events.Log,
    ) -> None:
        super().__init__(readers, event_log.last)
        self._directory = directory
        self._tx = tx
        self._keys = submit.Keys(tx)
        self._packer = Packer()
        self._records = records.RecordReader()
        self._recent = inputs.Recent()
        self._recall = Recall()
        self._sweeper = sweep.Sweeper(event_log)
        self._knows_debts = False
        self._closed = False
        self._subscribers: list[Subscriber] = []
        self._watchers = []
        meta = dict(tx.run("SELECT name, value FROM meta"))
        self._secret: bytes = meta["secret"]
        self._server_id: str = meta["server_id"].decode()
        self.writer = Writer(tx, loop, self._deliver)

    @property
    def secret(self) -> bytes:
        """See Store.secret."""
        return self._secret

    @property
    def server_id(self) -> str:
        """See Store.server_id."""
        return self._server_id

    @property
    def healthy(self) -> bool:
        """See Store.healthy."""
        return self.writer.healthy

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """See Store.subscribe."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber) if subscriber in self._subscribers else None

    async def close(self) -> None:
        """See Store.close. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._recall.clear()
        await self.writer.close()
        await self._readers.close()
        await self._packer.close()
        await asyncio.to_thread(files.close_writer, self._tx.connection, healthy=self.writer.healthy)
        self._directory.release()

    def _deliver(self, committed: Sequence[TaskEvent], ended: Sequence[Ended]) -> None:
        """On the loop, after a group: the subscribers first, then the callers."""
        if committed:
            self._recall.on_events(committed)
            if len(committed) <= _EXPECTED:
                self._expect(committed)
            self._on_logged(committed)
            for subscriber in list(self._subscribers):
                try:
                    subscriber(committed)
                except Exception:
                    log.exception("a subscriber failed")
        for future, result, error in ended:
            if future.done():  # its caller was cancelled
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    def _expect(self, committed: Sequence[TaskEvent]) -> None:
        """Who made a task waits for its operation next, and who waited may look at it again: both are known here.

        Of a task that changed more than once in the commit, as its last change left it.
        """
        for event in {event.task.key: event for event in committed}.values():
            task, operation = event.task, event.operation
            if event.change is Change.STATE and operation is None:
                operation = operations.first_of(task)
            if operation is not None:
                name = OperationName(task.project, operation.operation_id)
                size = len(operation.metadata) + len(operation.result) + len(task.fixed)
                self._recall.learn(("operation", name), (operation, task), task.key, size)

    # -- tasks and operations -----------------------------------------------------------------------------------

    async def create_task(self, new: NewTask, request: RequestKey | None) -> Task:
        """See Store.create_task."""
        size = sum(len(segment.blob) for segment in new.segments)
        call = partial(submit.create, keys=self._keys, recent=self._recent, new=new, request=request)
        return await self.writer.submit(call, size=size)

    async def new_keys(self, count: int) -> Sequence[int]:
        """See Store.new_keys."""
        return [self._keys.next() for _ in range(count)]

    async def create_tasks(
        self, creates: Sequence[tuple[NewTask, RequestKey | None]], request: RequestKey | None, *, atomic: bool
    ) -> Sequence[Task | BatchyardError]:
        """See Store.create_tasks."""
        size = sum(len(segment.blob) for new, _ in creates for segment in new.segments)
        call = partial(bulk.create, recent=self._recent, creates=creates, request=request, atomic=atomic)
        made = await self.writer.submit(call, size=size)
        if request is not None:
            self._sweeper.expect(self._tx.clock.now_us() + requests.KEPT_US)
        return made

    async def task_counts(self, project: str) -> Mapping[TaskState, int]:
        """See Store.task_counts."""
        return self._readers.now(lambda reader: counts.of_project(reader, project))

    async def append_records(
        self,
        name: TaskName,
        uid: str,
        first: int,
        segments: Sequence[InputSegment],
        record_ids: Sequence[tuple[str, int]],
    ) -> int:
        """See Store.append_records."""
        packed = await self._packer.pack(segments)
        size = sum(len(each.blob) for each in packed)
        return await self.writer.submit(
            lambda tx: submit.append(tx, name, uid, first, packed, record_ids), bulk=True, size=size
        )

    async def update_task(self, name: TaskName, decide: Decide, request: RequestKey | None) -> Task:
        """See Store.update_task."""
        return await self.writer.submit(lambda tx: submit.update(tx, name, decide, request))

    async def delete_task(
        self, name: TaskName, decide: Decide, request: RequestKey | None, *, allow_missing: bool = False
    ) -> None:
        """See Store.delete_task."""
        await self.writer.submit(lambda tx: submit.delete(tx, name, decide, request, allow_missing), direct=True)

    async def get_task(self, name: TaskName) -> Task:
        """See Store.get_task."""
        return self._readers.now(lambda reader: tasks.by_name(reader, name))

    async def get_info(self, name: TaskName) -> TaskInfo:
        """See Store.get_info."""
        return self._recall.get(
            ("info", name),
            lambda: self._readers.now(lambda reader: tasks.info(reader, name)),
            lambda it: (it.key, len(it.info)),
        )

    async def list_tasks(self, query: TaskQuery) -> TaskPage:
        """See Store.list_tasks."""
        if not query.is_usual:
            return await self._readers.page(partial(searching.page, query=query))
        read = partial(listing.page, query=query)
        if query.limit <= _READ_HERE_ROWS:
            return self._recall.get(
                ("tasks", query.project, query.after, query.limit, query.max_bytes),
                lambda: self._readers.now(lambda reader: reader.snapshot(read)),
                lambda it: (ANY_TASK, len(it.entries)),
            )
        return await self._readers.page(read)

    async def get_operation(self, name: OperationName) -> tuple[Operation, Task]:
        """See Store.get_operation."""
        return self._recall.get(
            ("operation", name),
            lambda: self._readers.now(lambda reader: operations.by_name(reader, name)),
            lambda it: (it[1].key, len(it[0].metadata) + len(it[0].result) + len(it[1].fixed)),
        )

    async def list_operations(
        self, project: str, after: tuple[int, str] | None, limit: int
    ) -> list[tuple[Operation, Task]]:
        """See Store.list_operations."""
        return await self._readers.page(lambda reader: operations.page(reader, project, after, limit))

    async def find_operations(self, query: OperationQuery) -> OperationPage:
        """See Store.find_operations."""
        return await self._readers.page(lambda reader: operation_search.find(reader, query))

    async def delete_operation(self, name: OperationName) -> None:
        """See Store.delete_operation."""
        await self.writer.submit(lambda tx: submit.delete_operation(tx, name), direct=True)
        self._recall.forget(("operation", name))

    async def failures(self, task_key: int, generation: int) -> list[tuple[int, bytes]]:
        """See Store.failures."""
        return self._readers.now(lambda reader: outcomes.failures(reader, task_key, generation))

    # -- records ------------------------------------------------------------------------------------------------

    async def record_page(self, query: RecordQuery) -> RecordPage:
        """See Store.record_page."""
        if query.max_records == 1 and query.filter == EVERYTHING:
            return self._readers.now(lambda reader: reader.snapshot(lambda same: self._records.page(same, query)))
        return await self._readers.page(lambda reader: self._records.page(reader, query))

    async def record_attempts(self, task_key: int, index: int) -> list[PastAttempt]:
        """See Store.record_attempts."""
        return await self._readers.page(lambda reader: history.of_record(reader, task_key, index))

    async def inputs(
        self, task_key: int, ranges: Sequence[tuple[int, int]], max_bytes: int
    ) -> tuple[list[tuple[int, int]], bytes]:
        """See Store.inputs."""
        start, end = ranges[0][0], ranges[-1][1]
        found = self._readers.now(lambda reader: inputs.between(reader, task_key, start, end))
        blobs = [self._recent.get(task_key, each.first) for each in found]
        if all(blob is not None for blob in blobs) or sum(each.size for each in found) <= _READ_HERE_BYTES:
            here = self._readers.here
            known = {each.row: blob for each, blob in zip(found, blobs, strict=True)}
            return self._readers.now(
                lambda _: inputs.take(
                    ranges, found, lambda each: known[each.row] or inputs.blob(here, each.row), max_bytes
                )
            )
        return await self._readers.page(
            lambda reader: inputs.take(ranges, found, lambda each: inputs.blob(reader, each.row), max_bytes)
        )

    # -- leases -------------------------------------------------------------------------------------------------

    async def grant(self, lease: Lease) -> Task:
        """See Store.grant."""
        asked_us = self._tx.clock.now_us()
        return await self.writer.submit(lambda tx: leasing.grant(tx, lease, asked_us), patient=True)

    async def record_outcomes(
        self, lease: Lease, flush: Flush, retries: Retries | None = None, *, end: LeaseEnd = COMPLETED
    ) -> Task:
        """See Store.record_outcomes."""
        size = len(flush.page) + sum(len(text) for _, text in flush.logs)
        return await self._telling(
            lambda tx, unnamed: leasing.record_outcomes(tx, lease, flush, retries, end, unnamed), size=size
        )

    async def release(
        self,
        lease: Lease,
        begun: Mapping[int, Attempts],
        unreaped: Sequence[int] = (),
        interrupted: Sequence[tuple[int, bytes]] = (),
        logs: Mapping[int, bytes] = NO_LOGS,
        *,
        ends_cancel: bool = True,
        end: LeaseEnd = RETURNED,
    ) -> Task | None:
        """See Store.release."""
        return await self.writer.submit(
            lambda tx: leasing.release(tx, lease, begun, unreaped, interrupted, logs, ends_cancel, end)
        )

    async def shrink(self, lease: Lease, ranges: Sequence[tuple[int, int]]) -> Task:
        """See Store.shrink."""
        return await self.writer.submit(lambda tx: leasing.shrink(tx, lease, ranges))

    async def recover(self) -> list[LiveTask]:
        """See Store.recover."""
        return await self.writer.submit(leasing.recover, direct=True)

    async def subtasks(self, task_key: int, before_epoch: int, limit: int, max_bytes: int) -> SubtaskPage:
        """See Store.subtasks."""
        return await self._readers.page(lambda reader: subtasks.page(reader, task_key, before_epoch, limit, max_bytes))

    async def unfinished(self, task: Task) -> LiveTask:
        """See Store.unfinished."""
        return await self._readers.page(lambda reader: leasing.unfinished(reader, task))

    # -- time ---------------------------------------------------------------------------------------------------

    async def due(self, now_us: int, most: int) -> list[Task]:
        """See Store.due."""
        return self._readers.now(lambda reader: tasks.due(reader, now_us, most))

    async def next_due_us(self) -> int:
        """See Store.next_due_us."""
        return self._readers.now(tasks.next_due_us)

    async def oldest_unfinished(self) -> Task | None:
        """See Store.oldest_unfinished."""
        return self._readers.now(tasks.oldest_unfinished)

    # -- maintenance --------------------------------------------------------------------------------------------

    async def merge(self) -> bool:
        """See Store.merge."""
        if not self._knows_debts:
            self._knows_debts = True
            found = await self._readers.page(merge.find_debts)
            if found:
                await self.writer.submit(lambda tx: merge.take_over(tx, found), bulk=True)
        if merge.is_due(self._tx):
            await self.writer.submit(merge.step, bulk=True, direct=True)
        return merge.is_due(self._tx)

    async def sweep(self) -> bool:
        """See Store.sweep."""
        if self._sweeper.is_due(self._tx):
            await self.writer.submit(self._sweeper.step, bulk=True, direct=True)
        return self._sweeper.is_due(self._tx)
