"""ReactivateBatchTask: who is refused and why, and what the next generation begins with."""

from __future__ import annotations

import asyncio
import pathlib
from typing import Any

import pytest
from google.longrunning import operations_pb2 as lro
from google.rpc.error_details_pb2 import ErrorInfo, PreconditionFailure

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.engine import stop
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.names import parse_task
from batchyard_server.model.task import Task
from tests.rpc import world
from tests.rpc.test_errors import fail
from tests.rpc.test_lifecycle import info, metadata, response
from tests.rpc.test_wait import start_wait, wait
from tests.rpc.world import PROJECT, create, fresh_request_id, name
from tests.support.clock import FakeClock
from tests.support.errors import Answer, provokes
from tests.support.server import SECONDS, Served, serving

State = BatchTaskInfo
Scope = service.ReactivateBatchTaskRequest
SCOPES = (Scope.SCOPE_UNSPECIFIED, Scope.FAILED_AND_UNFINISHED, Scope.ALL)
S, F, C, P = RecordInfo.SUCCEEDED, RecordInfo.FAILED, RecordInfo.CANCELLED, RecordInfo.PENDING


def request(task_id: str, **fields: Any) -> service.ReactivateBatchTaskRequest:
    return service.ReactivateBatchTaskRequest(name=name(task_id), **fields)


async def reactivate(server: Served, task_id: str = "t", **fields: Any) -> lro.Operation:
    return await server.tasks.ReactivateBatchTask(request(task_id, **fields))


async def operation(server: Served, operation_name: str) -> lro.Operation:
    return await server.operations.GetOperation(lro.GetOperationRequest(name=operation_name))


async def records(server: Served, task_id: str = "t", **fields: Any) -> list[RecordInfo]:
    """By index unless `fields` say otherwise."""
    asked = service.StreamRecordsRequest(parent=name(task_id), **fields)
    return [each async for page in server.tasks.StreamRecords(asked) for each in page.records]


async def states(server: Served, **fields: Any) -> list[RecordInfo.State]:
    return [each.state for each in await records(server, **fields)]


async def failed_task(server: Served, count: int = 4, failed: tuple[int, ...] = (1, 3)) -> lro.Operation:
    """The task `t`, final in generation 1, and its operation."""
    made = await server.tasks.CreateBatchTask(create("t", records=count))
    await server.finish(name("t"), failed=failed)
    return await operation(server, made.name)


# -- refusals -------------------------------------------------------------------------------------------------------


async def refused(server: Served, task_id: str, **fields: Any) -> Answer:
    """A reactivation that changes nothing."""
    before = await info(server, task_id)
    found = await fail(server, "ReactivateBatchTask", request(task_id, **fields))
    assert await info(server, task_id) == before
    return found


def check(found: Answer, reason: Reason, subject: str = "state", **details: str) -> None:
    assert (found.code, found.reason) == (Code.FAILED_PRECONDITION, reason)
    (violation,) = found.detail(PreconditionFailure).violations
    assert (violation.type, violation.subject) == (reason, subject)
    assert details.items() <= found.metadata.items()


@provokes(Reason.TASK_NOT_COMPLETED)
@pytest.mark.parametrize("scope", SCOPES)
async def test_what_has_not_ended_is_not_reactivated(server: Served, scope: int) -> None:
    await world.populate(server)
    await server.tasks.CreateBatchTask(create("paused"))
    await server.tasks.CreateBatchTask(create("pausing", records=2))
    await server.lease(name("pausing"), [0])
    for task_id in ("paused", "pausing"):
        await server.tasks.PauseBatchTask(service.PauseBatchTaskRequest(name=name(task_id)))
    # `empty` has no records either: the state comes first.
    for task_id in ("empty", "draft", "queued", "running", "cancelling", "paused", "pausing"):
        found = await refused(server, task_id, scope=scope)
        state = "DRAFT" if task_id == "empty" else task_id.upper()
        check(found, Reason.TASK_NOT_COMPLETED, state=state, verb="reactivate")


@provokes(Reason.NO_RECORDS)
@pytest.mark.parametrize("scope", SCOPES)
async def test_what_has_no_records_is_not_reactivated(server: Served, scope: int) -> None:
    await server.tasks.CreateBatchTask(create("t", records=0, start=False))
    await server.tasks.CancelBatchTask(service.CancelBatchTaskRequest(name=name("t")))
    check(await refused(server, "t", scope=scope), Reason.NO_RECORDS, "records")


@provokes(Reason.TASK_SUCCEEDED)
@pytest.mark.parametrize("scope", SCOPES)
async def test_what_succeeded_is_not_reactivated(server: Served, scope: int) -> None:
    await world.populate(server)
    found = await refused(server, "succeeded", scope=scope)
    check(found, Reason.TASK_SUCCEEDED, state="SUCCEEDED", verb="reactivate")


@provokes(Reason.INVALID_FIELD, Reason.RESOURCE_NOT_FOUND, Reason.REQUEST_ID_REUSED)
async def test_a_request_that_makes_no_sense(server: Served) -> None:
    await world.populate(server)
    for wrong, field in (
        (service.ReactivateBatchTaskRequest(name="failed"), "name"),
        (request("failed", scope=3), "scope"),
        (request("failed", scope=-1), "scope"),
        (request("failed", request_id="1"), "request_id"),
    ):
        found = await fail(server, "ReactivateBatchTask", wrong)
        assert (found.code, found.reason, found.field) == (Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, field)
    assert (await fail(server, "ReactivateBatchTask", request("nowhere"))).code is Code.NOT_FOUND
    found = await refused(server, "failed", request_id=world.REQUEST_ID)
    assert (found.code, found.reason) == (Code.ALREADY_EXISTS, Reason.REQUEST_ID_REUSED)


@provokes(Reason.ETAG_MISMATCH)
async def test_an_etag_must_be_the_present_one(server: Served) -> None:
    await world.populate(server)
    for task_id in ("failed", "running", "succeeded"):  # before anything else is looked at
        etag = (await info(server, task_id)).etag
        found = await refused(server, task_id, etag=f'{etag[:-2]}9"')
        assert (found.code, found.metadata["etag"]) == (Code.ABORTED, etag)
    begun = metadata(await reactivate(server, "failed", etag=(await info(server, "failed")).etag))
    assert (begun.generation, begun.state) == (2, State.QUEUED)


# -- the next generation --------------------------------------------------------------------------------------------


async def test_what_failed_is_run_again(tmp_path: pathlib.Path) -> None:
    clock = FakeClock()
    async with serving(tmp_path, clock=clock) as server:
        first = await failed_task(server)
        ended = await info(server, "t")
        assert ended.HasField("expire_time")
        before = await records(server)
        clock.advance(60)
        second = await reactivate(server)
        assert second.name.startswith(f"{PROJECT}/operations/")
        assert second.name != first.name
        assert not second.done
        found = metadata(second)
        assert (found.generation, found.state, found.subtask_count, found.live_subtask_count) == (2, State.QUEUED, 0, 0)
        assert found.counts == type(found.counts)(total=4, pending=2, succeeded=2)
        assert found.create_time.ToMicroseconds() == clock.now_us()
        assert not found.failed_requests
        begun = await info(server, "t")
        wanted = BatchTaskInfo()
        wanted.CopyFrom(ended)
        for field in ("start_time", "end_time", "expire_time"):
            wanted.ClearField(field)
        wanted.state, wanted.generation, wanted.operation = State.QUEUED, 2, second.name
        wanted.counts.pending, wanted.counts.failed = 2, 0
        wanted.update_time.FromMicroseconds(clock.now_us())
        wanted.state_transition_time.FromMicroseconds(clock.now_us())
        assert begun == wanted
        assert await states(server) == [S, P, S, P]
        assert await server.left(name("t")) == [1, 3]
        clock.advance(5)
        await server.finish(name("t"), failed=[3])
        done = await operation(server, second.name)
        final = response(done)
        assert final == await info(server, "t")
        assert (final.state, final.counts.succeeded, final.counts.failed) == (State.SUCCEEDED, 3, 1)
        assert final.start_time.ToMicroseconds() == clock.now_us()
        assert final.expire_time.seconds == clock.now_us() // 1_000_000 + 30 * 86400
        assert list(metadata(done).failed_requests) == [3]
        assert metadata(done).subtask_count == 1
        after = await records(server)
        assert [each.generation for each in after] == [1, 2, 1, 2]
        assert [each.attempt for each in after] == [1, 1, 1, 1]
        assert (after[0], after[2]) == (before[0], before[2])


async def test_the_operation_before_stays_as_it_was(tmp_path: pathlib.Path) -> None:
    async with serving(tmp_path) as server:
        first = await failed_task(server, 3, (0, 1, 2))
        assert first.error.code == Code.ABORTED
        assert set(metadata(first).failed_requests) == {0, 1, 2}
        second = await reactivate(server)
        assert (await info(server, "t")).error.code == Code.OK
        raw = first.SerializeToString(deterministic=True)

        async def is_as_it_was() -> None:
            for found in (
                await operation(server, first.name),
                await server.operations.WaitOperation(wait(first.name)),
            ):
                assert found.SerializeToString(deterministic=True) == raw

        await is_as_it_was()
        await server.operations.CancelOperation(lro.CancelOperationRequest(name=first.name))
        assert (await info(server, "t")).state == State.QUEUED
        await server.finish(name("t"), failed=[1])
        await is_as_it_was()
        listed = (await server.operations.ListOperations(lro.ListOperationsRequest(name=PROJECT))).operations
        assert [each.name for each in listed] == [second.name, first.name]
        assert response(listed[0]) == await info(server, "t")
        assert listed[1].error == first.error
    async with serving(tmp_path) as server:
        await is_as_it_was()
        await server.operations.DeleteOperation(lro.DeleteOperationRequest(name=first.name))
        assert (await fail(server, "GetOperation", lro.GetOperationRequest(name=first.name))).code is Code.NOT_FOUND
        assert (await info(server, "t")).operation == second.name
        assert await states(server, generation=1) == [F, F, F]


async def test_all_are_run_again(server: Served) -> None:
    await failed_task(server)
    begun = metadata(await reactivate(server, scope=Scope.ALL))
    assert begun.counts == type(begun.counts)(total=4, pending=4)
    assert await server.left(name("t")) == [0, 1, 2, 3]
    assert await states(server) == [P] * 4
    await server.finish(name("t"), failed=[0])
    assert [(each.state, each.generation) for each in await records(server)] == [(F, 2), (S, 2), (S, 2), (S, 2)]


@pytest.mark.parametrize("scope", [Scope.FAILED_AND_UNFINISHED, Scope.ALL])
async def test_a_stopped_task_goes_on_where_it_was(server: Served, scope: int) -> None:
    made = await server.tasks.CreateBatchTask(create("t", records=6))
    lease = await server.lease(name("t"), range(5))
    await server.end(name("t"), lease, ok=[0, 3], failed=[2])
    await server.tasks.CancelBatchTask(service.CancelBatchTaskRequest(name=name("t"), reason="enough"))
    await server.store.release(lease, {})
    first = await operation(server, made.name)
    assert (first.error.code, (await info(server, "t")).stop_reason) == (Code.CANCELLED, State.CANCEL)
    assert await states(server) == [S, C, F, S, C, C]
    second = await reactivate(server, scope=scope)
    begun = await info(server, "t")
    everything = scope == Scope.ALL
    assert (begun.state, begun.stop_reason, begun.HasField("error")) == (State.QUEUED, 0, False)
    assert (begun.counts.succeeded, begun.counts.cancelled) == (0 if everything else 2, 0)
    assert await server.left(name("t")) == (list(range(6)) if everything else [1, 2, 4, 5])
    assert await states(server, generation=1) == [S, C, F, S, C, C]
    await server.finish(name("t"))
    assert response(await operation(server, second.name)).counts.succeeded == 6
    assert [each.generation for each in await records(server)] == ([2] * 6 if everything else [1, 2, 2, 1, 2, 2])
    assert await operation(server, made.name) == first


async def test_a_cancelled_draft_runs_its_records(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("t", records=2, start=False))
    await server.tasks.CancelBatchTask(service.CancelBatchTaskRequest(name=name("t")))
    assert metadata(await reactivate(server)).state == State.QUEUED
    await server.finish(name("t"))
    assert [(each.state, each.generation) for each in await records(server)] == [(S, 2), (S, 2)]
    assert await states(server, generation=1) == [C, C]


def grown_too_old(task: Task) -> Task:
    """`decide` of what ends tasks that are too old."""
    return stop.too_old(task, 0, task.create_us)


@pytest.mark.parametrize("end", [State.CANCELLED, State.FAILED])
async def test_with_nothing_to_run_it_has_succeeded_at_once(server: Served, end: int) -> None:
    made = await server.tasks.CreateBatchTask(create("t", records=2))
    lease = await server.lease(name("t"), [0, 1])
    if end == State.CANCELLED:
        await server.tasks.CancelBatchTask(service.CancelBatchTaskRequest(name=name("t")))
    else:
        await server.store.update_task(parse_task(name("t")), grown_too_old, None)
    await server.end(name("t"), lease, ok=[0, 1])
    await server.store.release(lease, {})
    stopped = await info(server, "t")
    assert (stopped.state, stopped.counts.succeeded) == (end, 2)
    second = await reactivate(server)
    assert second.done
    final = response(second)
    assert final == await info(server, "t")
    assert (final.state, final.generation, final.stop_reason, final.HasField("error")) == (State.SUCCEEDED, 2, 0, False)
    assert not final.HasField("start_time")
    assert final.end_time == final.state_transition_time
    assert final.HasField("expire_time")
    assert (final.counts.succeeded, final.counts.cancelled) == (2, 0)
    assert metadata(second).create_time == final.end_time
    assert await server.operations.WaitOperation(wait(second.name)) == second
    assert (await operation(server, made.name)).error == stopped.error
    assert [each.generation for each in await records(server)] == [1, 1]


async def test_again_and_again(server: Served) -> None:
    names = [(await failed_task(server, 3, (0, 1, 2))).name]
    assert (await info(server, "t")).state == State.FAILED
    for generation, failed in ((2, (0, 1)), (3, (1,)), (4, ())):
        names.append((await reactivate(server)).name)
        await server.finish(name("t"), failed=failed)
        final = await info(server, "t")
        assert (final.generation, final.state) == (generation, State.SUCCEEDED)
        assert (final.counts.succeeded, final.counts.failed) == (3 - len(failed), len(failed))
    assert len(set(names)) == 4
    seen = [metadata(await operation(server, each)) for each in names]
    assert [(each.generation, each.counts.failed) for each in seen] == [(1, 3), (2, 2), (3, 1), (4, 0)]
    assert [sorted(each.failed_requests) for each in seen] == [[0, 1, 2], [0, 1], [1], []]
    for generation, wanted in ((1, [F, F, F]), (2, [F, F, S]), (3, [S, F, S]), (4, [S, S, S]), (0, [S, S, S])):
        assert await states(server, generation=generation) == wanted
    assert [each.generation for each in await records(server)] == [3, 4, 2]


async def test_a_stopped_generation_is_reactivated_too(server: Served) -> None:
    await failed_task(server)
    await reactivate(server)
    lease = await server.lease(name("t"), [1])
    await server.end(name("t"), lease, failed=[1])
    stopped = await server.tasks.CancelBatchTask(service.CancelBatchTaskRequest(name=name("t")))
    await server.store.release(lease, {})
    assert stopped.generation == 2
    assert await states(server) == [S, F, S, C]
    counts = (await info(server, "t")).counts
    assert (counts.succeeded, counts.failed, counts.cancelled) == (2, 1, 1)
    await reactivate(server)
    assert await states(server, generation=2) == [S, F, S, C]
    assert await server.left(name("t")) == [1, 3]


async def test_who_waits_hears_of_the_generation_that_he_waits_for(server: Served) -> None:
    first = await failed_task(server)
    second = await reactivate(server)
    call = await start_wait(server, second.name)
    assert await server.operations.WaitOperation(wait(first.name)) == first
    assert not call.done()
    await server.finish(name("t"))
    done = await asyncio.wait_for(call, SECONDS)
    assert (done.name, response(done).generation) == (second.name, 2)


async def test_a_repeated_call_answers_with_the_current_operation(tmp_path: pathlib.Path) -> None:
    request_id = fresh_request_id()
    async with serving(tmp_path) as server:
        await failed_task(server)
        made = await asyncio.gather(*(reactivate(server, request_id=request_id) for _ in range(10)))
        assert len({each.name for each in made}) == 1
        assert (await info(server, "t")).generation == 2
        await server.finish(name("t"), failed=[3])
    async with serving(tmp_path) as server:
        again = await reactivate(server, request_id=request_id)
        assert (again.name, again.done) == (made[0].name, True)
        third = await reactivate(server, request_id=fresh_request_id())
        assert third == await reactivate(server, request_id=request_id)
        assert third.name != made[0].name


@provokes(Reason.RESOURCE_NOT_FOUND)
async def test_a_repeated_call_whose_operation_was_deleted(server: Served) -> None:
    request_id = fresh_request_id()
    await failed_task(server)
    second = await reactivate(server, request_id=request_id)
    await server.finish(name("t"), failed=[3])
    await server.operations.DeleteOperation(lro.DeleteOperationRequest(name=second.name))
    found = await fail(server, "ReactivateBatchTask", request("t", request_id=request_id))
    assert found.code is Code.NOT_FOUND
    assert (await info(server, "t")).generation == 2
    assert (await reactivate(server)).name


async def test_a_record_of_its_own_code_is_no_longer_the_error(server: Served) -> None:
    """A task of one record has that record's error; in the next generation it has none, and its own if it fails."""
    first = await failed_task(server, 1, (0,))
    assert not any(detail.Is(ErrorInfo.DESCRIPTOR) for detail in first.error.details)
    second = await reactivate(server)
    assert not (await info(server, "t")).HasField("error")
    await server.finish(name("t"), failed=[0])
    assert (await operation(server, second.name)).error == first.error
