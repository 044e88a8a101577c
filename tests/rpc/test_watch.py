"""Does a watch of one task tell everything once, in order, and end when it must?"""

from __future__ import annotations

import pathlib

import pytest
from google.longrunning.operations_pb2 import DeleteOperationRequest, GetOperationRequest
from google.protobuf.timestamp_pb2 import Timestamp

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, RecordCounts
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.engine.live import NullLive
from batchyard_server.model.errors import Code, Reason
from tests.rpc.stages import FINAL, info, put
from tests.rpc.test_lifecycle import metadata, response
from tests.rpc.watching import Watcher, is_event, watching
from tests.rpc.world import create, name
from tests.support.clock import MovedClock
from tests.support.errors import answer, provokes
from tests.support.server import Served, serving

State = BatchTaskInfo.State


async def test_a_snapshot_then_every_change_to_the_end(server: Served) -> None:
    operation = await server.tasks.CreateBatchTask(create("t", records=3))
    watcher = Watcher(server, "t")
    snapshot = await watcher.next()
    assert snapshot is not None
    assert (snapshot.name, snapshot.batch_task, snapshot.state) == (operation.name, name("t"), State.QUEUED)
    assert snapshot.counts == RecordCounts(total=3, pending=3)
    assert snapshot.metadata == metadata(operation)
    await watching(server, 1)
    lease = await server.lease(name("t"), [0, 1, 2])
    await server.end(name("t"), lease, ok=[0])
    await watcher.until(lambda each: each.counts.succeeded == 1)
    await server.tasks.PauseBatchTask(service.PauseBatchTaskRequest(name=name("t")))
    await server.tasks.ResumeBatchTask(service.ResumeBatchTaskRequest(name=name("t")))
    await server.end(name("t"), lease, ok=[1], failed=[2])
    await watcher.to_end()
    assert watcher.states == ["QUEUED", "RUNNING", "PAUSING", "RUNNING", "SUCCEEDED"]
    last = watcher.messages[-1]
    done = await server.operations.GetOperation(GetOperationRequest(name=operation.name))
    assert last.done
    assert last.response == response(done)
    full = metadata(done)
    full.ClearField("failed_requests")
    full.ClearField("failed_requests_truncated")
    assert last.metadata == full
    assert last.counts == RecordCounts(total=3, succeeded=2, failed=1)
    between = watcher.messages[1:-1]
    assert not any(each.HasField("metadata") or each.HasField("response") or each.done for each in between)
    assert not watcher.records
    times = [(each.event_time.seconds, each.event_time.nanos) for each in watcher.messages]
    assert times == sorted(times)
    assert times[-1] >= _pair(last.response.end_time)


def _pair(time: Timestamp) -> tuple[int, int]:
    return time.seconds, time.nanos


@pytest.mark.parametrize("state", FINAL)
@pytest.mark.parametrize("include", [False, True])
async def test_a_task_that_has_ended(server: Served, state: str, include: bool) -> None:
    task = await put(server, state)
    watcher = await Watcher(server, "t", include_records=include).to_end()
    snapshot = watcher.messages[0]
    assert (snapshot.done, snapshot.state, snapshot.counts) == (True, task.state, task.counts)
    assert snapshot.error == task.error
    assert snapshot.HasField("response") == (state == "SUCCEEDED")
    assert snapshot.metadata.end_time == task.end_time
    assert watcher.states == [state]
    assert watcher.indexes == ([0, 1, 2] if include and state != "CANCELLED" else [])
    again = await Watcher(server, "t", token=watcher.token, include_records=include).to_end()
    assert again.messages == []


async def test_outcomes_come_before_the_change_that_counts_them(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("t", records=40))
    lease = await server.lease(name("t"), range(40))
    order = [7, 3, 30, 12, 0]
    for index in order:
        await server.end(name("t"), lease, ok=[index])
    watcher = Watcher(server, "t", include_records=True, view=RecordInfo.FULL)
    await watcher.until(lambda _: len(watcher.records) == 5)
    assert watcher.indexes == order
    assert is_event(watcher.messages[0])
    await watching(server, 1)
    for index in (39, 20, 21, 22):
        await server.end(name("t"), lease, failed=[index])
    rest = [index for index in range(40) if index not in {*order, 39, 20, 21, 22}]
    await server.end(name("t"), lease, ok=rest)
    await watcher.to_end()
    assert watcher.indexes == [*order, 39, 20, 21, 22, *rest]
    assert [each.input.text for each in watcher.records] == [str(index) for index in watcher.indexes]
    told = 0
    for message in watcher.messages:
        told += len(message.records)
        if is_event(message) and message is not watcher.messages[0]:
            assert message.counts.succeeded + message.counts.failed <= told
    listed = service.StreamRecordsRequest(parent=name("t"), order=RecordInfo.COMPLETION, view=RecordInfo.FULL)
    assert watcher.records == [each async for page in server.tasks.StreamRecords(listed) for each in page.records]


async def test_without_view_the_inputs_are_left_out(server: Served) -> None:
    await put(server, "SUCCEEDED")
    watcher = await Watcher(server, "t", include_records=True).to_end()
    assert len(watcher.records) == 3
    assert not any(each.HasField("input") for each in watcher.records)


async def test_it_goes_on_after_what_was_listed(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("t", records=6))
    lease = await server.lease(name("t"), range(6))
    await server.end(name("t"), lease, ok=[0, 1, 2])
    listed = await server.tasks.ListRecords(
        service.ListRecordsRequest(parent=name("t"), order=RecordInfo.COMPLETION, page_size=2)
    )
    watcher = Watcher(server, "t", include_records=True, token=listed.resume_token)
    await watcher.until(lambda _: watcher.indexes == [2])
    assert watcher.messages[0].HasField("metadata")
    await server.end(name("t"), lease, ok=[3, 4, 5])
    assert (await watcher.to_end()).indexes == [2, 3, 4, 5]


async def test_counts_come_five_times_a_second_at_most(tmp_path: pathlib.Path) -> None:
    async with serving(tmp_path) as server:
        await server.tasks.CreateBatchTask(create("t", records=400))
        watcher = Watcher(server, "t")
        await watcher.next()
        await watching(server, 1)
        lease = await server.lease(name("t"), range(400))
        for index in range(399):
            await server.end(name("t"), lease, ok=[index])
        last = await watcher.until(lambda each: each.counts.succeeded == 399)
        counted = [each for each in watcher.messages if each.counts.succeeded]
        took = last.event_time.ToMicroseconds() - counted[0].event_time.ToMicroseconds()
        assert len(counted) <= took / 1e6 * 5 + 2
        succeeded = [each.counts.succeeded for each in watcher.messages]
        assert succeeded == sorted(set(succeeded)) or succeeded[:2] == [0, 0]
        await watcher.close()


class Busy(NullLive):
    """So many records of every task run."""

    records = 0

    def running(self, task_key: int) -> frozenset[int]:
        """See Live.running."""
        return frozenset(range(self.records))


async def test_it_tells_how_many_records_run(tmp_path: pathlib.Path) -> None:
    """Without anything being committed, and without an end of the order."""
    live = Busy()
    async with serving(tmp_path, live=live) as server:
        await server.tasks.CreateBatchTask(create("t", records=3))
        lease = await server.lease(name("t"), [0, 1, 2])
        watchers = [Watcher(server, "t", include_records=True), Watcher(server, include_records=True)]
        for watcher in watchers:
            await watcher.next()
        await watchers[1].next()
        await watching(server, 2)
        live.records = 2
        for watcher in watchers:
            told = await watcher.until(lambda each: each.counts.running == 2)
            assert (told.state, told.counts.pending, told.done) == (State.RUNNING, 1, False)
            await watcher.close()
        await server.end(name("t"), lease, ok=[1, 2])
        rest = [
            Watcher(server, "t", include_records=True, token=watchers[0].token),
            Watcher(server, include_records=True, token=watchers[1].token),
        ]
        for watcher in rest:
            await watcher.until(lambda each: each.counts.succeeded == 2)
            assert watcher.indexes == [1, 2]
            await watcher.close()


async def test_a_change_of_the_configuration_is_told(server: Served) -> None:
    await put(server, "RUNNING")
    watcher = Watcher(server, "t")
    await watcher.next()
    await watching(server, 1)
    update = service.UpdateBatchTaskRequest(batch_task=BatchTaskInfo(name=name("t"), display_name="new"))
    await server.tasks.UpdateBatchTask(update)
    told = await watcher.next()
    assert told is not None
    assert told.state == State.RUNNING
    assert (await info(server)).display_name == "new"


async def test_a_generation_is_followed_to_its_own_end(server: Served) -> None:
    await put(server, "RUNNING")
    watcher = Watcher(server, "t", include_records=True)
    await watcher.next()
    await watcher.close()
    await server.store.recover()  # ends the lease
    await server.finish(name("t"), failed=[1])
    await server.tasks.ReactivateBatchTask(service.ReactivateBatchTaskRequest(name=name("t")))
    await server.finish(name("t"))
    first = await Watcher(server, "t", token=watcher.token, include_records=True).to_end()
    assert first.states[-1] == "SUCCEEDED"
    assert first.indexes == [0, 1, 2]
    assert first.messages[-1].response.generation == 1
    assert {each.name for each in first.messages} == {watcher.messages[0].name}
    second = await Watcher(server, "t", include_records=True).to_end()
    assert second.indexes == [1]
    assert second.messages[0].response.generation == 2


async def test_outcomes_that_were_due_when_the_next_generation_began(server: Served) -> None:
    await put(server, "SUCCEEDED")
    watcher = Watcher(server, "t", include_records=True)
    await watcher.next()
    await watcher.close()
    await server.tasks.ReactivateBatchTask(service.ReactivateBatchTaskRequest(name=name("t")))
    rest = await Watcher(server, "t", token=watcher.token, include_records=True).to_end()
    assert rest.indexes == [0, 1, 2]
    assert [each.name for each in rest.messages] == [watcher.messages[0].name]


@provokes(Reason.RESOURCE_NOT_FOUND)
async def test_a_delete_ends_it(server: Served) -> None:
    await put(server, "RUNNING")
    watcher = Watcher(server, "t")
    await watcher.next()
    await watching(server, 1)
    await server.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=name("t"), force=True))
    found = answer(await watcher.fails())
    assert found.code is Code.NOT_FOUND
    await server.tasks.CreateBatchTask(create("t"))
    again = answer(await Watcher(server, "t", token=watcher.token).fails())
    assert again.code is Code.NOT_FOUND, "another task has its name now"


async def test_a_forgotten_operation_has_no_name(server: Served) -> None:
    task = await put(server, "SUCCEEDED")
    await server.operations.DeleteOperation(DeleteOperationRequest(name=task.operation))
    watcher = await Watcher(server, "t").to_end()
    [snapshot] = watcher.messages
    assert (snapshot.name, snapshot.done, snapshot.state) == ("", True, State.SUCCEEDED)
    assert not snapshot.HasField("response")


@provokes(Reason.INVALID_TOKEN)
async def test_tokens_are_for_one_watch(server: Served) -> None:
    await put(server, "RUNNING")
    await put(server, "RUNNING", "u")
    watchers = [Watcher(server, "t"), Watcher(server, "t", include_records=True), Watcher(server)]
    for watcher in watchers:
        await watcher.next()
    plain, with_records, project = (each.token for each in watchers)
    for task_id, token, include in (
        ("t", plain, True),
        ("t", with_records, False),
        ("u", plain, False),
        ("t", project, False),
        (None, plain, False),
        (None, project, True),
    ):
        refused = answer(await Watcher(server, task_id, token=token, include_records=include).fails())
        assert (refused.code, refused.field) == (Code.INVALID_ARGUMENT, "resume_token")
    listed = await server.tasks.ListRecords(service.ListRecordsRequest(parent=name("t")))
    refused = answer(await Watcher(server, "t", token=listed.resume_token, include_records=True).fails())
    assert refused.reason is Reason.INVALID_TOKEN, "that list was in order of index"


@provokes(Reason.RESUME_TOKEN_EXPIRED)
async def test_a_token_that_is_too_old(tmp_path: pathlib.Path) -> None:
    async with serving(tmp_path, kept_events=10) as server:
        await put(server, "RUNNING")
        watchers = [Watcher(server, "t"), Watcher(server), Watcher(server, include_records=True)]
        for watcher in watchers:
            await watcher.next()
            await watcher.close()
        for number in range(30):
            await server.tasks.CreateBatchTask(create(f"n{number}"))
        while await server.store.sweep():
            pass
        for task_id, watcher, include in (
            ("t", watchers[0], False),
            (None, watchers[1], False),
            (None, watchers[2], True),
        ):
            found = answer(await Watcher(server, task_id, token=watcher.token, include_records=include).fails())
            assert (found.code, found.reason) == (Code.OUT_OF_RANGE, Reason.RESUME_TOKEN_EXPIRED)
        fresh = Watcher(server, "t")
        assert await fresh.next()
        await fresh.close()


async def test_a_quiet_watch_tells_where_to_go_on(tmp_path: pathlib.Path) -> None:
    """So its token does not grow old while other tasks change."""
    clock = MovedMonotonic()
    async with serving(tmp_path, clock=clock, kept_events=10) as server:
        await put(server, "RUNNING")
        one, project = Watcher(server, "t"), Watcher(server)
        await one.next()
        await project.next()
        await project.next()
        await watching(server, 2)
        for number in range(30):
            await server.tasks.CreateBatchTask(create(f"n{number}"))
        while await server.store.sweep():
            pass
        await project.until(lambda each: each.batch_task == name("n29"))
        await watching(server, 2)
        clock.ahead_ns += int(12e9)
        server.rpc.hub.look()
        assert server.rpc.hub.waiting == 2, "it is not quiet for long enough"
        clock.ahead_ns += int(2e9)
        server.rpc.hub.look()
        for watcher in (one, project):
            quiet = await watcher.next()
            assert quiet is not None
            assert not quiet.batch_task
            await watcher.close()
        again = Watcher(server, "t", token=one.token)
        await server.store.recover()
        await server.finish(name("t"))
        assert (await again.to_end()).states[-1] == "SUCCEEDED"


class MovedMonotonic(MovedClock):
    """The machine's clocks; the monotonic one is `ahead_ns` further."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_ns = 0

    def monotonic_ns(self) -> int:
        """See Clock.monotonic_ns."""
        return super().monotonic_ns() + self.ahead_ns
