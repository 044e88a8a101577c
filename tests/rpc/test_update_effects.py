"""What follows from an UpdateBatchTask: another expire_time, or an end because its time was over already."""

from __future__ import annotations

import pathlib

import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.settings import DAY_US
from tests.rpc.runs import seen
from tests.rpc.stages import FINAL, OPEN, info, put
from tests.rpc.test_update import update
from tests.rpc.world import name
from tests.support.clock import FakeClock
from tests.support.errors import Answer, provokes
from tests.support.server import Served, serving

State = BatchTaskInfo


@pytest.mark.parametrize("state", FINAL)
async def test_another_retention_time_moves_the_expire_time(tmp_path: pathlib.Path, state: str) -> None:
    clock = FakeClock()
    async with serving(tmp_path, clock=clock) as server:
        ended = await put(server, state)
        assert ended.expire_time.ToMicroseconds() == ended.end_time.ToMicroseconds() + 30 * DAY_US
        after = await update(server, "constraints.retention_time", constraints={"retention_time": {"seconds": 5}})
        assert after.expire_time.ToMicroseconds() == ended.end_time.ToMicroseconds() + 5_000_000
        after = await update(server, "constraints.retention_time")
        assert after.expire_time == ended.expire_time
    async with serving(tmp_path, clock=clock) as server:
        assert await info(server) == after
        if state != "SUCCEEDED":
            await server.tasks.ReactivateBatchTask(service.ReactivateBatchTaskRequest(name=name("t")))
            assert not (await info(server)).HasField("expire_time")


@pytest.mark.parametrize("state", OPEN)
async def test_a_retention_time_shows_nothing_before_the_end(server: Served, state: str) -> None:
    before = await put(server, state)
    after = await update(server, constraints={"retention_time": {"seconds": 5}})
    assert after.HasField("expire_time") == (state == "DRAFT")
    assert after.expire_time == before.expire_time


@pytest.mark.parametrize("state", OPEN)
async def test_a_wall_clock_that_is_over_stops_the_task_now(tmp_path: pathlib.Path, state: str) -> None:
    clock = FakeClock()
    async with serving(tmp_path, clock=clock) as server:
        before = await put(server, state)
        began = before.HasField("start_time")
        clock.advance(10)
        after = await update(server, constraints={"max_wall_clock_time": {"seconds": 11}})
        assert after.state == before.state
        after = await update(server, constraints={"max_wall_clock_time": {"seconds": 10}})
        if state in ("RUNNING", "PAUSING"):
            assert began
            assert (after.state, after.stop_reason) == (State.CANCELLING, State.DEADLINE)
            assert not after.HasField("error")
        else:
            assert after.state == before.state


@provokes(Reason.WALL_CLOCK_EXCEEDED)
async def test_a_wall_clock_that_is_over_ends_a_paused_task_now(tmp_path: pathlib.Path) -> None:
    clock = FakeClock()
    async with serving(tmp_path, clock=clock) as server:
        await put(server, "RUNNING")
        await server.tasks.PauseBatchTask(service.PauseBatchTaskRequest(name=name("t")))
    async with serving(tmp_path, clock=clock) as server:  # the lease ends with its server
        assert (await info(server)).state == State.PAUSED
        clock.advance(10)
        after = await update(server, constraints={"max_wall_clock_time": {"seconds": 3}})
        assert (after.state, after.stop_reason) == (State.FAILED, State.DEADLINE)
        assert after.end_time.ToMicroseconds() == clock.now_us()
        assert after.counts.cancelled == after.counts.total == 3
        assert after.expire_time.ToMicroseconds() == clock.now_us() + 30 * DAY_US
        found = seen(Answer(after.error), Reason.WALL_CLOCK_EXCEEDED)
        assert (found.code, found.metadata) == (Code.DEADLINE_EXCEEDED, {"max_wall_clock_time": "3s"})
