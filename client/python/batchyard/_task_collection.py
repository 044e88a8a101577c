"""How are many tasks added? In requests of bounded size, halved where one is too large, tried again where it may pass.

given   0 … 99 | 100 … 199 | 200 … 249        requests of at most 100, in the order given
too large:       100 … 149, 150 … 199         and so on down to one, which then has an error of its own
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc

from batchyard._error_map import status_error
from batchyard._errors import RpcError
from batchyard._names import last_id
from batchyard._records import INLINE_RECORDS, MessageBuilder, RecordValueError
from batchyard._retry import Backoff, now
from batchyard._sync.call import call
from batchyard._sync.operation import metadata_of
from batchyard._task_errors import TOO_LARGE, BatchError, ErrorMessage, is_too_large, translated
from batchyard._task_results import TaskAddResult, TaskAddStatus
from batchyard._transport_sync import Source, sleep
from batchyard.v1 import batch_task_service_pb2

if TYPE_CHECKING:
    from batchyard._new_task import NewTask
    from batchyard._task_calls import JobCall
    from batchyard._task_parameters import TaskAddParameter
    from batchyard.v1.batch_task_service_pb2 import CreateBatchTaskRequest

MOST_TASKS: Final = 100
# What the server takes is 4 MiB; the rest is for what surrounds the requests.
MOST_BYTES: Final = 4 * 1024 * 1024 - 64 * 1024
# How often a request, or a task in it, is tried that fails for what may pass.
MOST_TRIES: Final = 5
_Code = grpc.StatusCode
_PASSING: Final = {_Code.UNAVAILABLE, _Code.INTERNAL, _Code.UNKNOWN, _Code.ABORTED, _Code.RESOURCE_EXHAUSTED}


class _TooLargeError(Exception):
    """A request that nobody takes as it is."""


@dataclass(slots=True)
class _Item:
    """One task on its way. `request_id` makes it safe to send again; `result`: what became of it, None: nothing yet."""

    task: TaskAddParameter
    new: NewTask
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    result: TaskAddResult | None = None


class Addition:
    """Adds tasks of one collection.

    Args:
        job: the call.
        tasks: what was given, with what each becomes.

    Attributes:
        errors: of the requests that failed as a whole; the first one stops everything.
    """

    def __init__(self, job: JobCall, tasks: Sequence[tuple[TaskAddParameter, NewTask]]) -> None:
        self.errors: list[Exception] = []
        self._job = job
        self._items = [_Item(task, new) for task, new in tasks]
        self._next = 0
        self._most = MOST_TASKS
        self._stopped = False
        self._lock = threading.Lock()

    @property
    def results(self) -> list[TaskAddResult]:
        """What is known of tasks, in the order given."""
        return [item.result for item in self._items if item.result is not None]

    @property
    def pending(self) -> list[TaskAddParameter]:
        """Tasks of which nothing is known, in the order given."""
        return [item.task for item in self._items if item.result is None]

    def run(self, threads: int) -> None:
        """Send everything, from so many threads; from this one if 0."""
        if not threads:
            self._work()
            return
        workers = [threading.Thread(target=self._work, name="batchyard-add") for _ in range(threads)]
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        finally:
            self._stopped = True
            for worker in workers:
                if worker.ident is not None:
                    worker.join()

    def _work(self) -> None:
        try:
            while items := self._take():
                self._send(items)
        except RpcError as error:
            known = translated(error)
            known.__cause__ = error
            self._fail(known)
        except Exception as error:  # noqa: BLE001 - told to the caller, in whose thread this need not be
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        with self._lock:
            self.errors.append(error)
            self._stopped = True

    def _take(self) -> Sequence[_Item]:
        """Return the next tasks for one request, none at the end."""
        with self._lock:
            if self._stopped:
                return ()
            items = self._items[self._next : self._next + self._most]
            self._next += len(items)
            return items

    def _send(self, items: Sequence[_Item]) -> None:
        """Settle tasks, in one request if it is not too large."""
        small: list[tuple[_Item, CreateBatchTaskRequest]] = []
        for item in items:
            try:
                request = self._request(item)
            except ValueError as error:
                too_large = isinstance(error, RecordValueError) and error.__cause__ is None  # has a form, but no room
                self._refused(item, TOO_LARGE[1] if too_large else "InvalidPropertyValue", str(error))
                continue
            if request is None:
                self._stream(item)
            else:
                small.append((item, request))
        self._halve(small)

    def _halve(self, items: Sequence[tuple[_Item, CreateBatchTaskRequest]]) -> None:
        if not items:
            return
        try:
            self._settle(items)
        except _TooLargeError as error:
            if len(items) == 1:
                self._refused(items[0][0], TOO_LARGE[1], str(error))
                return
            with self._lock:
                self._most = min(self._most, len(items) // 2)
            while items:
                most = self._most  # less than before once a part is too large, too
                self._halve(items[:most])
                items = items[most:]

    def _settle(self, items: Sequence[tuple[_Item, CreateBatchTaskRequest]]) -> None:
        """Send tasks in one request, and again those that failed for what may pass, a few times."""
        backoff, deadline, left = Backoff(), now() + self._job.timeout, items
        for tries in range(1, MOST_TRIES + 1):
            whole: RpcError | None = None
            try:
                left = self._note(left, self._call([request for _, request in left], deadline))
            except RpcError as error:
                if is_too_large(error):
                    raise _TooLargeError(error.message) from error
                if error.code not in _PASSING:
                    raise
                whole = error
            delay = backoff.delay(whole)
            if not left:
                return
            if tries == MOST_TRIES or now() + delay >= deadline:
                if whole is not None:
                    raise whole
                return
            sleep(delay)

    def _call(self, requests: Sequence[CreateBatchTaskRequest], deadline: float) -> Sequence[Any]:
        request = batch_task_service_pb2.BatchCreateBatchTasksRequest(parent=self._job.parent, requests=requests)
        if (size := request.ByteSize()) > MOST_BYTES:
            raise _TooLargeError(f"a request of {size} bytes; at most {MOST_BYTES} can be sent")
        timeout = max(deadline - now(), 0.0)
        return call(self._job.connection.service.BatchCreateBatchTasks, request, timeout).results

    def _note(
        self, items: Sequence[tuple[_Item, CreateBatchTaskRequest]], results: Sequence[Any]
    ) -> Sequence[tuple[_Item, CreateBatchTaskRequest]]:
        """Keep what became of each; return those that are worth another try."""
        again: list[tuple[_Item, CreateBatchTaskRequest]] = []
        for pair, result in zip(items, results, strict=True):
            if result.WhichOneof("result") == "operation":
                pair[0].result = self._added(metadata_of(result.operation).batch_task)
            elif self._failed(pair[0], status_error(result.status)):
                again.append(pair)
        return again

    def _request(self, item: _Item) -> CreateBatchTaskRequest | None:
        """Return the request that creates a task; None if its records may not fit into one.

        Raises:
            ValueError: a record has no form on the wire, or is too large.
        """
        new = item.new
        if not isinstance(new.records, Sequence):  # of a serializer that has them come one by one
            return None
        request = batch_task_service_pb2.CreateBatchTaskRequest(
            batch_task=new.message, batch_task_id=new.task_id or "", start=new.start, request_id=item.request_id
        )
        source, builder = Source(new.records), MessageBuilder(new.record_ids)
        builder.most_records = INLINE_RECORDS
        first = source.next_message(builder)
        if not source.exhausted:
            return None
        builder.finish()
        if first is not None:
            request.records.MergeFrom(first.records)
        return request

    def _stream(self, item: _Item) -> None:
        """Add a task of many records, alone."""
        (made,) = self._job.batch.run_many([item.new], request_id=item.request_id, timeout=self._job.timeout)
        if made.operation is not None:
            item.result = self._added(made.operation.task_name)
        elif isinstance(made.error, RpcError):
            self._failed(item, made.error)
        else:
            self._refused(item, "InvalidPropertyValue", str(made.error))

    def _added(self, name: str) -> TaskAddResult:
        task_id, job = last_id(name), self._job
        return TaskAddResult(task_id, TaskAddStatus.success, location=name, read=lambda: job.info(task_id))

    def _failed(self, item: _Item, error: RpcError) -> bool:
        """Keep why a task was refused; return whether it is worth another try."""
        passing = error.code in _PASSING
        status = TaskAddStatus.server_error if passing else TaskAddStatus.client_error
        item.result = TaskAddResult(item.task.id, status, translated(error).error)
        return passing

    def _refused(self, item: _Item, code: str, text: str) -> None:
        item.result = TaskAddResult(item.task.id, TaskAddStatus.client_error, BatchError(code, ErrorMessage(text)))
