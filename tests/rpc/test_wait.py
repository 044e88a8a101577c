"""Does WaitOperation answer when it must: at the end, at the timeout, before the deadline, at once?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import grpc
import pytest
from google.longrunning import operations_pb2 as lro

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.model.errors import Code, Reason
from tests.rpc import world
from tests.rpc.test_lifecycle import metadata, response
from tests.rpc.world import create, name
from tests.support.errors import answer, provokes
from tests.support.server import SECONDS, Served


def wait(operation: str, seconds: float | None = None) -> lro.WaitOperationRequest:
    request = lro.WaitOperationRequest(name=operation)
    if seconds is not None:
        request.timeout.FromMilliseconds(round(seconds * 1000))
    return request


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition`."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0)


async def waiting(server: Served, count: int) -> None:
    await until(lambda: server.rpc.waiting == count)


async def start_wait(server: Served, operation: str) -> asyncio.Future[lro.Operation]:
    """A wait that the server has accepted."""
    before = server.rpc.waiting
    call = asyncio.ensure_future(_call(server, operation))
    await waiting(server, before + 1)
    return call


async def _call(server: Served, operation: str) -> lro.Operation:
    return await server.operations.WaitOperation(wait(operation))


async def test_it_answers_at_the_end(server: Served) -> None:
    operation = await server.tasks.CreateBatchTask(create("t", records=2))
    call = await start_wait(server, operation.name)
    lease = await server.lease(name("t"), [0, 1])
    await server.end(name("t"), lease, ok=[0])
    assert not call.done()
    await server.end(name("t"), lease, failed=[1])
    done = await asyncio.wait_for(call, SECONDS)
    assert response(done).counts.failed == 1
    assert done == await server.operations.GetOperation(lro.GetOperationRequest(name=operation.name))
    assert 1 in metadata(done).failed_requests
    await waiting(server, 0)


async def test_it_answers_at_once_when_done(server: Served) -> None:
    operations = await world.populate(server)
    for state in ("succeeded", "failed", "cancelled"):
        done = await server.operations.WaitOperation(wait(operations[state].name))
        assert done.done
        assert done == await server.operations.GetOperation(lro.GetOperationRequest(name=operations[state].name))


@pytest.mark.parametrize("state", ["draft", "queued", "running", "cancelling"])
async def test_at_the_timeout_it_answers_the_current_state(server: Served, state: str) -> None:
    operations = await world.populate(server)
    begun = time.monotonic()
    for seconds in (0, 0.05):
        found = await server.operations.WaitOperation(wait(operations[state].name, seconds))
        assert not found.done
        assert found == await server.operations.GetOperation(lro.GetOperationRequest(name=operations[state].name))
    assert time.monotonic() - begun >= 0.05


async def test_it_answers_before_the_callers_deadline(server: Served) -> None:
    operation = await server.tasks.CreateBatchTask(create("t"))
    begun = time.monotonic()
    found = await server.operations.WaitOperation(wait(operation.name, 30), timeout=0.6)
    assert not found.done
    assert 0.2 <= time.monotonic() - begun < 0.6
    assert not (await server.operations.WaitOperation(wait(operation.name), timeout=0.15)).done


async def test_what_was_committed_while_it_waited_is_shown_at_the_timeout(server: Served) -> None:
    operation = await server.tasks.CreateBatchTask(create("t", records=3))
    call = asyncio.ensure_future(server.operations.WaitOperation(wait(operation.name), timeout=1.2))
    await waiting(server, 1)
    lease = await server.lease(name("t"), [0, 1, 2])
    await server.end(name("t"), lease, ok=[1], failed=[2])
    found = metadata(await asyncio.wait_for(call, SECONDS))
    assert (found.state, found.counts.succeeded, found.counts.failed) == (BatchTaskInfo.RUNNING, 1, 1)
    assert 2 in found.failed_requests


async def test_many_waiters_wake_together(server: Served) -> None:
    operation = await server.tasks.CreateBatchTask(create("t"))
    calls = [asyncio.ensure_future(_call(server, operation.name)) for _ in range(300)]
    await waiting(server, 300)
    await server.finish(name("t"))
    answers = await asyncio.wait_for(asyncio.gather(*calls), SECONDS)
    assert all(each == answers[0] and each.done for each in answers)


async def test_waiters_of_many_operations(server: Served) -> None:
    operations = [await server.tasks.CreateBatchTask(create(f"t{i}")) for i in range(50)]
    calls = [asyncio.ensure_future(_call(server, each.name)) for each in operations]
    await waiting(server, 50)
    for number in reversed(range(50)):
        await server.finish(name(f"t{number}"))
    answers = await asyncio.wait_for(asyncio.gather(*calls), SECONDS)
    assert [each.name for each in answers] == [each.name for each in operations]
    assert all(each.done for each in answers)


async def test_a_cancel_wakes_it(server: Served) -> None:
    operation = await server.tasks.CreateBatchTask(create("t"))
    call = await start_wait(server, operation.name)
    await server.operations.CancelOperation(lro.CancelOperationRequest(name=operation.name))
    assert (await asyncio.wait_for(call, SECONDS)).error.code == Code.CANCELLED


@provokes(Reason.RESOURCE_NOT_FOUND)
async def test_a_draft_that_is_deleted_meanwhile(server: Served) -> None:
    operation = await server.tasks.CreateBatchTask(create("t", start=False))
    call = await start_wait(server, operation.name)
    await server.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=name("t")))
    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.wait_for(call, SECONDS)
    assert answer(caught.value).code is Code.NOT_FOUND


async def test_a_waiter_that_leaves_is_forgotten(server: Served) -> None:
    operation = await server.tasks.CreateBatchTask(create("t"))
    calls = [server.operations.WaitOperation(wait(operation.name)) for _ in range(3)]
    await waiting(server, 3)
    for call in calls:
        call.cancel()
    await waiting(server, 0)
