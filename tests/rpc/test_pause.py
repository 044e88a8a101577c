"""PauseBatchTask and ResumeBatchTask in every state: what do they answer, what do they refuse, what stays?"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.longrunning import operations_pb2 as lro
from google.rpc.error_details_pb2 import PreconditionFailure

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.engine.live import NullLive
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.names import parse_task
from tests.rpc.stages import FINAL, OPEN, STATES, info, put
from tests.rpc.test_errors import fail
from tests.rpc.world import create, fresh_request_id, name
from tests.support.clock import FakeClock
from tests.support.errors import provokes
from tests.support.server import Served, serving

State = BatchTaskInfo
PAUSED = {"QUEUED": "PAUSED", "RUNNING": "PAUSING", "PAUSING": "PAUSING", "PAUSED": "PAUSED"}
RESUMED = {"PAUSING": "RUNNING", "PAUSED": "QUEUED", "QUEUED": "QUEUED", "RUNNING": "RUNNING"}
PAUSE, RESUME = "PauseBatchTask", "ResumeBatchTask"
REQUESTS: dict[str, Any] = {PAUSE: service.PauseBatchTaskRequest, RESUME: service.ResumeBatchTaskRequest}
VERBS = [(PAUSE, PAUSED), (RESUME, RESUMED)]
AFTER = [(verb, state, after) for verb, table in VERBS for state, after in table.items()]
REFUSED = [(verb, state) for verb, table in VERBS for state in OPEN if state not in table]


async def call(server: Served, verb: str, task_id: str = "t", **fields: Any) -> BatchTaskInfo:
    return await getattr(server.tasks, verb)(REQUESTS[verb](name=name(task_id), **fields))


def test_every_state_is_here() -> None:
    assert len(AFTER) + len(REFUSED) + 2 * len(FINAL) == 2 * len(STATES)


@pytest.mark.parametrize(("verb", "state", "after"), AFTER)
async def test_what_it_leads_to(tmp_path: pathlib.Path, verb: str, state: str, after: str) -> None:
    clock = FakeClock()
    async with serving(tmp_path, clock=clock) as server:
        before = await put(server, state)
        clock.advance(5)
        made = await call(server, verb)
        assert State.State.Name(made.state) == after
        assert made == await info(server)
        assert (made.etag, made.generation, made.operation) == (before.etag, 1, before.operation)
        assert (made.start_time, made.counts) == (before.start_time, before.counts)
        assert not made.HasField("end_time")
        assert not made.HasField("error")
        if state == after:
            assert made == before
        else:
            assert made.state_transition_time.ToMicroseconds() == made.update_time.ToMicroseconds() == clock.now_us()
        clock.advance(5)
        assert await call(server, verb) == made  # a verb that asks for what is there changes nothing
        operation = await server.operations.GetOperation(lro.GetOperationRequest(name=made.operation))
        assert not operation.done


@pytest.mark.parametrize(("verb", "state"), REFUSED)
@provokes(Reason.ILLEGAL_STATE)
async def test_what_has_not_begun_or_is_being_stopped(server: Served, verb: str, state: str) -> None:
    before = await put(server, state)
    found = await fail(server, verb, REQUESTS[verb](name=name("t")))
    assert (found.code, found.reason) == (Code.FAILED_PRECONDITION, Reason.ILLEGAL_STATE)
    assert found.metadata == {"state": state, "verb": "pause" if verb == PAUSE else "resume"}
    (violation,) = found.detail(PreconditionFailure).violations
    assert violation.subject == "state"
    assert await info(server) == before


@pytest.mark.parametrize("state", FINAL)
@pytest.mark.parametrize("verb", REQUESTS)
@provokes(Reason.TASK_COMPLETED)
async def test_what_has_ended(server: Served, verb: str, state: str) -> None:
    before = await put(server, state)
    found = await fail(server, verb, REQUESTS[verb](name=name("t")))
    assert (found.code, found.reason) == (Code.FAILED_PRECONDITION, Reason.TASK_COMPLETED)
    assert found.metadata == {"state": state, "verb": "pause" if verb == PAUSE else "resume"}
    assert await info(server) == before


@provokes(Reason.ETAG_MISMATCH)
async def test_an_old_etag(server: Served) -> None:
    before = await put(server, "RUNNING")
    found = await fail(server, PAUSE, service.PauseBatchTaskRequest(name=name("t"), etag=before.etag[:-1] + '0"'))
    assert (found.code, found.reason, found.metadata["etag"]) == (Code.ABORTED, Reason.ETAG_MISMATCH, before.etag)
    assert await info(server) == before
    assert (await call(server, PAUSE, etag=before.etag)).state == State.PAUSING
    found = await fail(server, RESUME, service.ResumeBatchTaskRequest(name=name("t"), etag="*"))
    assert found.reason is Reason.ETAG_MISMATCH
    # Neither verb changes the configuration, so the etag stays.
    assert (await call(server, RESUME, etag=before.etag)).etag == before.etag


@provokes(Reason.REQUEST_ID_REUSED)
async def test_a_repeated_call_changes_nothing_any_more(tmp_path: pathlib.Path) -> None:
    pause, resume = fresh_request_id(), fresh_request_id()
    async with serving(tmp_path) as server:
        await put(server, "RUNNING")
        assert (await call(server, PAUSE, request_id=pause)).state == State.PAUSING
        resumed = await call(server, RESUME, request_id=resume)
        assert resumed.state == State.RUNNING
        assert await call(server, PAUSE, request_id=pause) == resumed
        found = await fail(server, RESUME, service.ResumeBatchTaskRequest(name=name("t"), request_id=pause))
        assert (found.code, found.reason) == (Code.ALREADY_EXISTS, Reason.REQUEST_ID_REUSED)
    async with serving(tmp_path) as server:
        assert (await call(server, PAUSE, request_id=pause)).state == State.RUNNING
        await server.finish(name("t"))
        assert (await call(server, RESUME, request_id=resume)).state == State.SUCCEEDED


async def test_all_at_once(server: Served) -> None:
    await put(server, "RUNNING")
    made = await asyncio.gather(*(call(server, PAUSE) for _ in range(50)))
    assert {each.SerializeToString(deterministic=True) for each in made} == {
        (await info(server)).SerializeToString(deterministic=True)
    }


@pytest.mark.parametrize("end", ["outcome", "release"])
async def test_from_running_to_the_end_by_way_of_a_pause(server: Served, end: str) -> None:
    await server.tasks.CreateBatchTask(create("t", records=4))
    lease = await server.lease(name("t"), [0, 1])
    running = await info(server)
    await server.end(name("t"), lease, ok=[0])
    assert (await call(server, PAUSE)).state == State.PAUSING
    if end == "outcome":
        await server.end(name("t"), lease, failed=[1])
    else:
        await server.store.release(lease, {})
    paused = await info(server)
    assert (paused.state, paused.start_time) == (State.PAUSED, running.start_time)
    assert (paused.counts.succeeded, paused.counts.failed, paused.counts.cancelled) == (1, end == "outcome", 0)
    assert paused.counts.pending == 4 - 1 - paused.counts.failed
    (record,) = (await server.tasks.ListRecords(service.ListRecordsRequest(parent=name("t"), page_size=1))).records
    assert record.output.text == "0"  # what there is can be read
    assert (await call(server, RESUME)).state == State.QUEUED
    left = await server.lease(name("t"), [2, 3] if end == "outcome" else [1, 2, 3])
    assert (await info(server)).start_time == running.start_time
    await server.end(name("t"), left, ok=[2, 3] if end == "outcome" else [1, 2, 3])
    done = await info(server)
    assert (done.state, done.start_time) == (State.SUCCEEDED, running.start_time)
    assert done.counts.succeeded + done.counts.failed == 4


async def test_cancel_and_delete_of_what_is_paused(server: Served) -> None:
    for state in ("PAUSING", "PAUSED"):
        await put(server, state, state.lower())
        stopped = await server.tasks.CancelBatchTask(service.CancelBatchTaskRequest(name=name(state.lower())))
        assert stopped.state == (State.CANCELLING if state == "PAUSING" else State.CANCELLED)
        await put(server, state, f"{state.lower()}-2")
        delete = service.DeleteBatchTaskRequest(name=name(f"{state.lower()}-2"), force=True)
        await server.tasks.DeleteBatchTask(delete)
        found = await fail(server, PAUSE, service.PauseBatchTaskRequest(name=delete.name))
        assert found.code is Code.NOT_FOUND


class _Holding(NullLive):
    """A dispatcher that notes what it is asked to hold, and what was stored then."""

    def __init__(self) -> None:
        self.server: Served | None = None
        self.seen: list[tuple[int, str, str]] = []

    @contextlib.asynccontextmanager
    async def _held(self, task_key: int) -> AsyncIterator[None]:
        assert self.server is not None
        before = await self.server.store.get_task(parse_task(name("t")))
        yield
        after = await self.server.store.get_task(parse_task(name("t")))
        assert task_key == before.key
        self.seen.append((task_key, before.state.name, after.state.name))

    def hold(self, task_key: int) -> contextlib.AbstractAsyncContextManager[None]:
        return self._held(task_key)


async def test_the_dispatcher_holds_the_task_from_before_the_commit_until_after_it(tmp_path: pathlib.Path) -> None:
    live = _Holding()
    async with serving(tmp_path, live=live) as server:
        live.server = server
        await put(server, "RUNNING")
        key = (await server.store.get_task(parse_task(name("t")))).key
        live.seen.clear()
        await call(server, PAUSE)
        await call(server, RESUME)
        assert live.seen == [(key, "RUNNING", "PAUSING")]
