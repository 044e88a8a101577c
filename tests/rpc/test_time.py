"""What do callers see of a task that time stops or deletes? The clock is the test's, and it plays the workers."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncGenerator, Sequence

import pytest
from google.longrunning import operations_pb2 as lro

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata, RecordCounts
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.dispatch.timekeeper import Timekeeper
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.settings import DAY_US
from tests.rpc import world
from tests.rpc.runs import seen
from tests.rpc.stages import RECORDS, info, put
from tests.rpc.test_errors import fail
from tests.rpc.world import PROJECT, create, name
from tests.support.clock import FakeClock
from tests.support.errors import Answer, provokes
from tests.support.eventually import eventually_in_loop
from tests.support.server import Served, serving

State = BatchTaskInfo
LIMIT = {"max_wall_clock_time": {"seconds": 10}}
LIFETIME_US = 180 * DAY_US


class Timed:
    """A server with a clock in the test's hand, and who keeps the time in it."""

    def __init__(self, server: Served, clock: FakeClock) -> None:
        self.server = server
        self.clock = clock
        self.keeper = Timekeeper(server.store, clock, lifetime_us=LIFETIME_US)

    async def look(self, seconds: float = 0.0) -> None:
        """Time passes; then it is looked what that means."""
        self.clock.advance(seconds)
        await self.keeper.look()


@contextlib.asynccontextmanager
async def timed(folder: pathlib.Path, clock: FakeClock | None = None) -> AsyncGenerator[Timed]:
    clock = clock or FakeClock()
    async with serving(folder, clock=clock) as server:
        yield Timed(server, clock)


async def records(server: Served, task_id: str = "t") -> list[RecordInfo.State]:
    page = await server.tasks.ListRecords(service.ListRecordsRequest(parent=name(task_id)))
    return [each.state for each in page.records]


def failures(error: Answer) -> dict[int, int]:
    """The first failures in the details of a task's error: index to code."""
    details = error.detail(BatchTaskMetadata)
    return {index: status.code for index, status in details.failed_requests.items()}


# -- too long ---------------------------------------------------------------------------------------------------------


@provokes(Reason.WALL_CLOCK_EXCEEDED)
async def test_a_deadline_while_records_run(tmp_path: pathlib.Path) -> None:
    async with timed(tmp_path) as time:
        server = time.server
        created = create("t", records=4)
        created.batch_task.MergeFrom(BatchTaskInfo(constraints=LIMIT))
        operation = await server.tasks.CreateBatchTask(created)
        lease = await server.lease(name("t"), [0, 1, 2])
        await server.end(name("t"), lease, ok=[0], failed=[1])
        await time.look(9.999)
        assert (await info(server)).state == State.RUNNING
        await time.look(0.001)
        stopping = await info(server)
        assert (stopping.state, stopping.stop_reason) == (State.CANCELLING, State.DEADLINE)
        assert not stopping.HasField("error")
        assert not (await server.operations.GetOperation(lro.GetOperationRequest(name=operation.name))).done
        await server.end(name("t"), lease, ok=[2])  # it came in time to be kept
        await server.store.release(lease, {})
        ended = await info(server)
        assert (ended.state, ended.stop_reason) == (State.FAILED, State.DEADLINE)
        assert ended.counts == RecordCounts(total=4, succeeded=2, failed=1, cancelled=1)
        assert await records(server) == [
            RecordInfo.SUCCEEDED, RecordInfo.FAILED, RecordInfo.SUCCEEDED, RecordInfo.CANCELLED,
        ]  # fmt: skip
        found = seen(Answer(ended.error), Reason.WALL_CLOCK_EXCEEDED)
        assert (found.code, found.metadata) == (Code.DEADLINE_EXCEEDED, {"max_wall_clock_time": "10s"})
        assert failures(found) == {1: 3}
        done = await server.operations.GetOperation(lro.GetOperationRequest(name=operation.name))
        assert done.done
        assert done.error == ended.error
        assert ended.expire_time.ToMicroseconds() == ended.end_time.ToMicroseconds() + 30 * DAY_US


async def test_what_has_not_begun_has_no_deadline(tmp_path: pathlib.Path) -> None:
    async with timed(tmp_path) as time:
        for state in ("DRAFT", "QUEUED", "PAUSED"):
            await put(time.server, state, state.lower(), constraints=LIMIT)
        await time.look(3600)
        for state in ("DRAFT", "QUEUED", "PAUSED"):
            assert State.State.Name((await info(time.server, state.lower())).state) == state


async def test_a_deadline_while_it_pauses(tmp_path: pathlib.Path) -> None:
    async with timed(tmp_path) as time:
        await put(time.server, "PAUSING", constraints=LIMIT)
        await time.look(10)
        found = await info(time.server)
        assert (found.state, found.stop_reason) == (State.CANCELLING, State.DEADLINE)
    async with timed(tmp_path, time.clock) as time:
        assert (await info(time.server)).state == State.FAILED


async def test_a_deadline_while_it_is_paused_counts_from_the_start(tmp_path: pathlib.Path) -> None:
    async with timed(tmp_path) as time:
        server = time.server
        await put(server, "QUEUED", constraints=LIMIT)
        lease = await server.lease(name("t"), [0])
        time.clock.advance(4)
        await server.end(name("t"), lease, ok=[0])
        await server.tasks.PauseBatchTask(service.PauseBatchTaskRequest(name=name("t")))
        await time.look(5.9)
        assert (await info(server)).state == State.PAUSED
        await time.look(0.1)
        found = await info(server)
        assert (found.state, found.stop_reason) == (State.FAILED, State.DEADLINE)
        assert found.end_time.ToMicroseconds() == time.clock.now_us()
        assert await records(server) == [RecordInfo.SUCCEEDED] + [RecordInfo.CANCELLED] * (RECORDS - 1)


@provokes(Reason.TASK_CANCELLED)
async def test_a_deadline_while_it_is_cancelled_changes_nothing(tmp_path: pathlib.Path) -> None:
    async with timed(tmp_path) as time:
        before = await put(time.server, "CANCELLING", constraints=LIMIT)
        await time.look(3600)
        assert await info(time.server) == before
    async with timed(tmp_path, time.clock) as time:
        ended = await info(time.server)
        assert (ended.state, ended.stop_reason) == (State.CANCELLED, State.CANCEL)
        seen(Answer(ended.error), Reason.TASK_CANCELLED)


async def test_a_new_generation_has_a_deadline_of_its_own(tmp_path: pathlib.Path) -> None:
    async with timed(tmp_path) as time:
        server = time.server
        await put(server, "FAILED", constraints=LIMIT)
        time.clock.advance(60)
        await server.tasks.ReactivateBatchTask(service.ReactivateBatchTaskRequest(name=name("t")))
        time.clock.advance(60)
        await server.lease(name("t"), [0])
        await time.look(9)
        assert (await info(server)).state == State.RUNNING
        await time.look(1)
        assert (await info(server)).stop_reason == State.DEADLINE


@provokes(Reason.TASK_LIFETIME_EXCEEDED)
@pytest.mark.parametrize("state", ["DRAFT", "QUEUED", "RUNNING", "PAUSING", "PAUSED"])
async def test_the_longest_lifetime(tmp_path: pathlib.Path, state: str) -> None:
    clock = FakeClock()
    async with timed(tmp_path, clock) as time:
        first = await put(time.server, state)
        if state == "DRAFT":  # only an append a week keeps it so long
            for day in range(0, 179, 6):
                clock.us = first.create_time.ToMicroseconds() + day * DAY_US
                append = service.AppendRecordsRequest(
                    name=name("t"), first_index=RECORDS + day // 6, records=[world.record()]
                )
                assert [answer async for answer in time.server.tasks.AppendRecords(iter([append]))]
                await time.look()
        await put(time.server, "SUCCEEDED", "ended", constraints={"retention_time": {"seconds": 3650 * 86_400}})
        clock.us = first.create_time.ToMicroseconds() + LIFETIME_US - 1
        await time.look()
        assert State.State.Name((await info(time.server)).state) == state
        clock.us += 1
        await time.look()
        assert (await info(time.server)).stop_reason == State.TASK_LIFETIME
        assert (await info(time.server, "ended")).state == State.SUCCEEDED
    async with timed(tmp_path, clock) as time:
        ended = await info(time.server)
        assert ended.state == State.FAILED
        assert ended.counts.cancelled == ended.counts.total >= RECORDS
        found = seen(Answer(ended.error), Reason.TASK_LIFETIME_EXCEEDED)
        assert (found.code, found.metadata) == (Code.DEADLINE_EXCEEDED, {"max_task_lifetime": "15552000s"})


# -- kept long enough -------------------------------------------------------------------------------------------------


async def gone(server: Served, *task_ids: str) -> None:
    """They are not there, in no way to read them."""
    for task_id in task_ids:
        for method, request in (
            ("GetBatchTask", service.GetBatchTaskRequest(name=name(task_id))),
            ("ListRecords", service.ListRecordsRequest(parent=name(task_id))),
            ("GetRecord", service.GetRecordRequest(name=f"{name(task_id)}/records/0")),
        ):
            assert (await fail(server, method, request)).code is Code.NOT_FOUND
    listed = await server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT))
    assert not {each.name for each in listed.batch_tasks} & set(map(name, task_ids))


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELLED"])
async def test_a_task_is_kept_until_its_expire_time(tmp_path: pathlib.Path, state: str) -> None:
    async with timed(tmp_path) as time:
        by_default = await put(time.server, state, "by-default")
        short = await put(time.server, state, "short", constraints={"retention_time": {"seconds": 60}})
        assert by_default.expire_time.ToMicroseconds() == time.clock.now_us() + 30 * DAY_US
        assert short.expire_time.ToMicroseconds() == time.clock.now_us() + 60_000_000
        await time.look(59)
        assert await info(time.server, "short") == short
        await time.look(1)
        await gone(time.server, "short")
        await time.look(30 * 86_400 - 61)
        assert await info(time.server, "by-default") == by_default
        await time.look(1)
        await gone(time.server, "by-default")


async def test_a_reactivation_clears_the_expire_time(tmp_path: pathlib.Path) -> None:
    async with timed(tmp_path) as time:
        await put(time.server, "FAILED", constraints={"retention_time": {"seconds": 60}})
        time.clock.advance(59)
        await time.server.tasks.ReactivateBatchTask(service.ReactivateBatchTaskRequest(name=name("t")))
        assert not (await info(time.server)).HasField("expire_time")
        await time.look(3600)
        assert (await info(time.server)).state == State.QUEUED
        await time.server.finish(name("t"))
        assert (await info(time.server)).expire_time.ToMicroseconds() == time.clock.now_us() + 60_000_000
        await time.look(60)
        await gone(time.server, "t")


async def test_a_shorter_retention_time_that_is_over_deletes(tmp_path: pathlib.Path) -> None:
    async with timed(tmp_path) as time:
        await put(time.server, "SUCCEEDED")
        time.clock.advance(60)
        update = service.UpdateBatchTaskRequest(
            batch_task=BatchTaskInfo(name=name("t"), constraints={"retention_time": {"seconds": 59}})
        )
        time.keeper.start()
        await time.server.tasks.UpdateBatchTask(update)
        await eventually_gone(time.server, "t")
        await time.keeper.stop()


async def eventually_gone(server: Served, task_id: str) -> None:
    heard = asyncio.Event()
    stop = server.store.subscribe(lambda _: heard.set())
    while name(task_id) in {
        each.name
        for each in (await server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT))).batch_tasks
    }:
        await asyncio.wait_for(heard.wait(), 30)
        heard.clear()
    stop()
    await gone(server, task_id)


async def test_a_draft_shows_when_it_expires(tmp_path: pathlib.Path) -> None:
    async with timed(tmp_path) as time:
        draft = await put(time.server, "DRAFT")
        assert draft.expire_time.ToMicroseconds() == draft.create_time.ToMicroseconds() + 7 * DAY_US
        time.clock.advance(3600)
        append = service.AppendRecordsRequest(name=name("t"), first_index=RECORDS, records=[world.record()])
        assert [answer async for answer in time.server.tasks.AppendRecords(iter([append]))]
        moved = await info(time.server)
        assert moved.expire_time.ToMicroseconds() == time.clock.now_us() + 7 * DAY_US
        assert moved.update_time == draft.update_time
        again = service.AppendRecordsRequest(name=name("t"))  # asks only
        assert [answer async for answer in time.server.tasks.AppendRecords(iter([again]))]
        assert await info(time.server) == moved
        await time.look(7 * 86_400 - 1)
        assert await info(time.server) == moved
        await time.look(1)
        await gone(time.server, "t")
    async with timed(tmp_path, time.clock) as time:
        await put(time.server, "DRAFT")
        started = service.StartBatchTaskRequest(name=name("t"))
        await time.server.tasks.StartBatchTask(started)
        assert not (await info(time.server)).HasField("expire_time")


@pytest.mark.parametrize("failed", [[], [0], [0, 1, 2]], ids=["none", "one", "all"])
async def test_whoever_waits_is_told_the_end_of_a_task_that_is_kept_for_no_time(
    tmp_path: pathlib.Path, failed: Sequence[int]
) -> None:
    async with timed(tmp_path) as time:
        server = time.server
        time.keeper.start()
        task = await put(server, "QUEUED", constraints={"retention_time": {}})
        waits = [
            asyncio.ensure_future(server.operations.WaitOperation(lro.WaitOperationRequest(name=task.operation)))
            for _ in range(20)
        ]
        await eventually_in_loop(lambda: server.rpc.waiting == len(waits))
        await server.finish(name("t"), failed=failed)
        answers = await asyncio.gather(*waits)
        assert all(answer == answers[0] for answer in answers)
        assert answers[0].done
        assert answers[0].WhichOneof("result") == ("error" if len(failed) == RECORDS else "response")
        metadata = BatchTaskMetadata()
        assert answers[0].metadata.Unpack(metadata)
        assert sorted(metadata.failed_requests) == failed
        await eventually_gone(server, "t")
        again = lro.WaitOperationRequest(name=task.operation)
        assert (await fail(server, "WaitOperation", again)).code is Code.NOT_FOUND
        await time.keeper.stop()
