"""What clients do while their server is being killed, over and over: every verb that there is."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
from google.longrunning.operations_pb2 import GetOperationRequest, Operation, WaitOperationRequest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2

from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata
from batchyard.v1.batch_task_service_pb2 import (
    AppendRecordsRequest,
    BatchCreateBatchTasksRequest,
    BatchCreateBatchTasksResponse,
    CancelBatchTaskRequest,
    CreateBatchTaskRequest,
    DeleteBatchTaskRequest,
    GetBatchTaskRequest,
    ListBatchTasksRequest,
    ListRecordAttemptsRequest,
    ListRecordAttemptsResponse,
    PauseBatchTaskRequest,
    ReactivateBatchTaskRequest,
    ResumeBatchTaskRequest,
    StartBatchTaskRequest,
    StreamRecordsRequest,
    UpdateBatchTaskRequest,
)
from batchyard.v1.payload_pb2 import Payload
from batchyard.v1.record_pb2 import RecordInfo, RecordInput
from tests.crash.served import Session, Stubs
from tests.support.ledger import FAIL, FINAL, LABEL, OK, Entry, Ledger, Mark, check_attempts, check_outcomes
from tests.support.sidelog import SideLog

PARENT = "projects/default"
POLL = Duration(nanos=200_000_000)


def record(letter: str = OK, nap: float = 0.0, **do: object) -> RecordInput:
    """A record whose handler naps, does what it is told, and ends as the letter of the plan says."""
    if letter == FAIL:
        do["fail"] = True
    return RecordInput(payload=Payload(text=json.dumps({"nap": nap, "do": do})))


async def list_tasks(stubs: Stubs) -> list[BatchTaskInfo]:
    """Every task of the project, page by page."""
    found: list[BatchTaskInfo] = []
    token = ""
    while True:
        request = ListBatchTasksRequest(parent=PARENT, page_size=1000, page_token=token)
        answer = await stubs.tasks.ListBatchTasks(request, timeout=30)
        found += answer.batch_tasks
        token = answer.next_page_token
        if not token:
            return found


async def check_gone(stubs: Stubs, entry: Entry) -> None:
    """AssertionError unless the task and its operation are NOT_FOUND."""
    for method, request in (
        (stubs.tasks.GetBatchTask, GetBatchTaskRequest(name=entry.name)),
        (stubs.operations.GetOperation, GetOperationRequest(name=entry.operation)),
    ):
        try:
            found = await method(request, timeout=30)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
        else:
            raise AssertionError(f"{entry.label} was deleted, and there is {found}")


class Clients:
    """All of them, in one event loop, with one ledger."""

    def __init__(self, session: Session, ledger: Ledger, side: SideLog, chance: random.Random, *, bulk: int) -> None:
        self.stop = asyncio.Event()
        self.cancels = 0
        self.finished = 0
        self._session = session
        self._ledger = ledger
        self._side = side
        self._chance = chance
        self._bulk = bulk
        self._numbers = itertools.count(1)

    def loops(self) -> list[Awaitable[None]]:
        """What runs until `stop` is set, each to the end of what it has begun."""
        return [self._repeat(job) for job in (self.bulk, self.slow, self.mixed, self.mixed)]

    async def _repeat(self, job: Callable[[], Awaitable[None]]) -> None:
        while not self.stop.is_set():
            await job()

    def _open(self, kind: str, plan: str, *, draft: bool = False) -> Entry:
        return self._ledger.open(f"{kind}-{next(self._numbers)}", plan, draft=draft)

    # -- what they do -------------------------------------------------------------------------------------------

    async def bulk(self) -> None:
        """Many fast records, uploaded into a DRAFT."""
        plan = "".join(FAIL if index % 97 == 0 else OK for index in range(self._bulk))
        entry = self._open("bulk", plan, draft=True)
        await self.create(entry, [])
        half = len(plan) // 2
        await self.append(entry, [record(each, 0.0 if i < half else 0.0002) for i, each in enumerate(plan)], 1000)
        await self.start(entry)
        await self.finish(entry)

    async def mixed(self) -> None:
        """One of the short ones. A cancel costs a worker, so these are few."""
        jobs = (self.small, self.several, self.reactivated, self.retried, self.paused, self.cancelled, self.dropped)
        await self._chance.choices(jobs, (5, 2, 2, 2, 1, 1, 1))[0]()

    async def small(self) -> None:
        """A few records inline; sometimes all of them fail."""
        size = self._chance.randint(1, 60)
        letters = self._chance.choice((OK, OK + OK + OK + FAIL, FAIL))
        plan = "".join(self._chance.choice(letters) for _ in range(size))
        draft = self._chance.random() < 0.25
        entry = self._open("small", plan, draft=draft)
        records = [record(each, self._chance.choice((0.0, 0.001))) for each in plan]
        await self.create(entry, [] if draft else records)
        if draft:
            await self.append(entry, records, self._chance.randint(1, 20))
            await self.start(entry)
        await self.finish(entry)

    async def several(self) -> None:
        """Some tasks of a few records, made in one call."""
        entries = [self._open("several", OK * self._chance.randint(1, 5)) for _ in range(self._chance.randint(2, 20))]
        request = BatchCreateBatchTasksRequest(parent=PARENT, atomic=self._chance.random() < 0.5)
        for entry in entries:
            request.requests.append(self._create_request(entry, [record(each, 0.0) for each in entry.plan]))
        if self._chance.random() < 0.5:  # one id for all of them
            request.request_id = str(uuid.uuid4())
            for each in request.requests:
                each.request_id = ""
        response: BatchCreateBatchTasksResponse = await self._session.unary("BatchCreateBatchTasks", request)
        for entry, result in zip(entries, response.results, strict=True):
            self._created(entry, result.operation, len(entry.plan))
        for entry in entries:
            await self.finish(entry)

    async def slow(self) -> None:
        """Records that are stored one by one, so that there is something to merge."""
        entry = self._open("slow", OK * 40)
        await self.create(entry, [record(each, 0.025) for each in entry.plan])
        await self.finish(entry)

    async def reactivated(self) -> None:
        """A task whose failed records are run again, and fail again."""
        entry = self._open("reactivated", "".join(self._chance.choice(OK + OK + FAIL) for _ in range(60)) + FAIL)
        await self.create(entry, [record(each, 0.001) for each in entry.plan])
        await self.finish(entry, keep=True)
        await self.reactivate(entry)
        await self.finish(entry)

    async def retried(self) -> None:
        """A task whose failed records are tried again twice, at once or a little later, and fail again."""
        entry = self._open("retried", "".join(self._chance.choice(OK + FAIL) for _ in range(30)) + FAIL + OK)
        entry.retries = 2
        await self.create(entry, [record(each, 0.002) for each in entry.plan])
        await self.finish(entry)

    async def paused(self) -> None:
        """A task that is paused in the middle, renamed, and resumed."""
        entry = self._open("paused", OK * 200)
        await self.create(entry, [record(each, 0.002) for each in entry.plan])
        for _ in range(self._chance.randint(1, 2)):
            await self.look(entry)
        await self.pause(entry)
        await self.resume(entry)
        await self.finish(entry)

    async def cancelled(self) -> None:
        """A task that leaves a process behind, and is cancelled in the middle."""
        entry = self._open("cancelled", OK * 400)
        records = [record(each, 0.005, **({"leave": True} if i == 3 else {})) for i, each in enumerate(entry.plan)]
        await self.create(entry, records)
        for _ in range(self._chance.randint(1, 3)):
            await self.look(entry)
        await self.cancel(entry)
        await self.finish(entry)

    async def dropped(self) -> None:
        """A DRAFT that is thrown away."""
        entry = self._open("dropped", OK * 50, draft=True)
        await self.create(entry, [])
        await self.append(entry, [record(each) for each in entry.plan], 25)
        await self.delete(entry)

    # -- calls, each with its lines in the ledger ---------------------------------------------------------------

    async def create(self, entry: Entry, records: Sequence[RecordInput]) -> None:
        """CreateBatchTask."""
        request = self._create_request(entry, records)
        self._created(entry, await self._session.unary("CreateBatchTask", request), len(records))

    def _create_request(self, entry: Entry, records: Sequence[RecordInput]) -> CreateBatchTaskRequest:
        """With the server's choice of id."""
        task = BatchTaskInfo(
            handler="noted",
            labels={LABEL: entry.label},
            parameters=Payload(text=json.dumps({"job": entry.label})),
        )
        if entry.retries:
            task.constraints.max_retry_count = entry.retries
            task.retry_policy.retryable_codes.append(code_pb2.INVALID_ARGUMENT)
            task.retry_policy.initial_backoff.FromMilliseconds(self._chance.choice((0, 200)))
        return CreateBatchTaskRequest(
            parent=PARENT,
            batch_task=task,
            records=records,
            start=not entry.draft,
            request_id=entry.ask("create"),
        )

    def _created(self, entry: Entry, operation: Operation, records: int) -> None:
        """The answer came."""
        metadata = BatchTaskMetadata()
        assert operation.metadata.Unpack(metadata)
        entry.name, entry.operation = metadata.batch_task, operation.name
        entry.ack("create")
        entry.did_append(records)

    async def append(self, entry: Entry, records: Sequence[RecordInput], size: int) -> None:
        """AppendRecords in messages of `size` records, again from where the server is after a break."""
        bounds = [*range(0, len(records), size), len(records)]
        for bound in bounds:
            entry.may_append(bound)

        async def upload(stubs: Stubs) -> None:
            call = stubs.tasks.AppendRecords(timeout=60)
            await _write(call, AppendRecordsRequest(name=entry.name))
            entry.did_append((await call.read()).next_index)
            at = entry.appended
            for first, end in itertools.pairwise(bound for bound in bounds if bound >= at):
                await _write(call, AppendRecordsRequest(first_index=first, records=records[first:end]))
                entry.did_append((await call.read()).next_index)
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF

        await self._session.call(upload)
        assert entry.appended == len(records)

    async def start(self, entry: Entry) -> None:
        """StartBatchTask: the same operation."""
        request = StartBatchTaskRequest(name=entry.name, request_id=entry.ask("start"))
        operation: Operation = await self._session.unary("StartBatchTask", request)
        assert operation.name == entry.operation
        entry.ack("start")

    async def pause(self, entry: Entry) -> None:
        """PauseBatchTask, and a new name while nothing starts; a task that has ended meanwhile says so."""
        if await self._if_not_ended(
            "PauseBatchTask", PauseBatchTaskRequest(name=entry.name, request_id=entry.ask("pause"))
        ):
            entry.ack("pause")
        renamed = BatchTaskInfo(name=entry.name, display_name=f"{entry.label}, paused")
        update = UpdateBatchTaskRequest(batch_task=renamed, request_id=entry.ask("update"))
        info: BatchTaskInfo = await self._session.unary("UpdateBatchTask", update)
        assert info.display_name == renamed.display_name

    async def resume(self, entry: Entry) -> None:
        """ResumeBatchTask."""
        request = ResumeBatchTaskRequest(name=entry.name, request_id=entry.ask("resume"))
        if await self._if_not_ended("ResumeBatchTask", request):
            entry.ack("resume")

    async def _if_not_ended(self, method: str, request: Any) -> bool:
        """Call; False if the task has ended."""
        try:
            await self._session.unary(method, request)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
            return False
        return True

    async def reactivate(self, entry: Entry) -> None:
        """ReactivateBatchTask: another operation; what succeeded is not run again."""
        request = ReactivateBatchTaskRequest(name=entry.name, request_id=entry.ask("reactivate"))
        entry.reactivates()
        operation: Operation = await self._session.unary("ReactivateBatchTask", request)
        assert operation.name != entry.operation
        entry.operation = operation.name
        entry.ack("reactivate")

    async def cancel(self, entry: Entry) -> None:
        """CancelBatchTask; a task that has ended meanwhile says so, and was not cancelled."""
        request = CancelBatchTaskRequest(name=entry.name, request_id=entry.ask("cancel"))
        try:
            info: BatchTaskInfo = await self._session.unary("CancelBatchTask", request)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
            entry.marks["cancel"] = Mark.NO
            return
        assert info.state in (BatchTaskInfo.CANCELLING, BatchTaskInfo.CANCELLED), info
        entry.ack("cancel")
        self.cancels += 1

    async def delete(self, entry: Entry) -> None:
        """DeleteBatchTask; every name of the task is unknown from then on."""
        request = DeleteBatchTaskRequest(name=entry.name, request_id=entry.ask("delete"))
        await self._session.unary("DeleteBatchTask", request)
        entry.ack("delete")
        await self._session.call(lambda stubs: check_gone(stubs, entry))

    async def look(self, entry: Entry) -> BatchTaskInfo:
        """Read what came since the last look; the task as it was before that. Waits a little if it is not final."""
        info: BatchTaskInfo = await self._session.unary("GetBatchTask", GetBatchTaskRequest(name=entry.name))

        async def read(stubs: Stubs) -> None:
            request = StreamRecordsRequest(parent=entry.name, order=RecordInfo.COMPLETION, resume_token=entry.token)
            async for page in stubs.tasks.StreamRecords(request, timeout=60):
                entry.saw(page.records)
                entry.token = page.resume_token

        await self._session.call(read)
        if info.state not in FINAL:
            await self._session.unary("WaitOperation", WaitOperationRequest(name=entry.operation, timeout=POLL))
        return info

    async def finish(self, entry: Entry, *, keep: bool = False) -> None:
        """Follow the task to its end, check it whole, and delete it or leave it to later audits (`keep`: leave)."""
        while (info := await self.look(entry)).state not in FINAL:
            pass
        operation: Operation = await self._session.unary("GetOperation", GetOperationRequest(name=entry.operation))
        assert operation.done, f"{entry.label} is final, its operation is not: {operation}"
        records: list[RecordInfo] = []

        async def read(stubs: Stubs) -> None:
            records.clear()
            async for page in _pages(stubs, entry.name):
                records.extend(page)

        await self._session.call(read)
        check_outcomes(entry, info, records)
        ran = [each for each in records if each.generation == entry.generation]
        failed: dict[int, set[int]] = {}
        for each in records if entry.retries else ():
            if each.state == RecordInfo.FAILED:
                request = ListRecordAttemptsRequest(parent=each.name)
                answer: ListRecordAttemptsResponse = await self._session.unary("ListRecordAttempts", request)
                failed[each.index] = check_attempts(entry, each, answer.attempts)
        self._side.settle(entry.job, ran, cancelled=info.state == BatchTaskInfo.CANCELLED, failed=failed)
        entry.final = info.SerializeToString()
        entry.seen.clear()
        self.finished += 1
        if not keep and self._chance.random() < 0.5:
            await self.delete(entry)


async def _write(call: Any, message: AppendRecordsRequest) -> None:
    """Send one message; a stream that has ended raises its status."""
    try:
        await call.write(message)
    except asyncio.InvalidStateError:
        await call.read()
        raise


async def _pages(stubs: Stubs, parent: str) -> AsyncIterator[Sequence[RecordInfo]]:
    request = StreamRecordsRequest(parent=parent, order=RecordInfo.INDEX)
    async for page in stubs.tasks.StreamRecords(request, timeout=60):
        yield page.records
