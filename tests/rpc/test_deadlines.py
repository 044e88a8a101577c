"""Real servers and workers: does time stop what runs, with all its processes, also across a restart?"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import time
import uuid
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2 as lro

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1 import batch_task_service_pb2_grpc
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata, RecordCounts
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.app import App
from batchyard_server.config import handlers_file
from batchyard_server.config.settings import Config, parse_address
from batchyard_server.model.errors import Code, Reason
from tests.rpc.runs import ACT, HANDLERS, Run, Server, Stage, as_record, metadata, running, seen, staged
from tests.rpc.world import PROJECT
from tests.support import processes
from tests.support.clock import MovedClock
from tests.support.errors import Answer, answer, provokes
from tests.support.eventually import eventually
from tests.support.server import SECONDS

pytestmark = pytest.mark.xdist_group("deadlines")
State, R = BatchTaskInfo, RecordInfo
WELL = {"do": "echo", "value": "well"}
BAD = {"do": "refuse"}
OTHER = f"""\
[handlers.other]
kind = "python"
callable = "acting:act"
path = ["{HANDLERS}"]
kill_grace = "100ms"
"""
TOML = ACT + 'kill_grace = "100ms"\n' + OTHER


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("deadlines"), TOML) as server:
        yield server


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


def creation(*records: Any, handler: str = "act", start: bool = True, **fields: Any) -> service.CreateBatchTaskRequest:
    """A create with these records; `fields` of BatchTaskInfo."""
    return service.CreateBatchTaskRequest(
        parent=PROJECT,
        batch_task=BatchTaskInfo(handler=handler, **fields),
        records=[as_record(each) for each in records],
        start=start,
        request_id=str(uuid.uuid4()),
    )


def submit(server: Server, *records: Any, **fields: Any) -> str:
    """Create a task and return its name."""
    return metadata(server.tasks.CreateBatchTask(creation(*records, **fields), timeout=SECONDS)).batch_task


def check_stopped(run: Run, reason: Reason, stop_reason: BatchTaskInfo.StopReason) -> Answer:
    """It FAILED for this reason, and its operation says the same."""
    assert (run.info.state, run.info.stop_reason) == (State.FAILED, stop_reason)
    assert run.operation.error == run.info.error
    found = seen(Answer(run.info.error), reason)
    assert found.code == Code.DEADLINE_EXCEEDED
    return found


@provokes(Reason.WALL_CLOCK_EXCEEDED)
def test_what_runs_is_killed_and_what_finished_stays(server: Server, stage: Stage) -> None:
    stubborn = stage.record | {"stubborn": True}
    name = submit(server, WELL, BAD, stubborn, stubborn, *[WELL] * 20)
    actors = [stage.enter() for _ in range(2)]
    eventually(lambda: server.info(name).counts.failed == 1)
    # A deadline that is not over yet: the loop that sleeps has to hear of it.
    took = time.time_ns() - server.info(name).start_time.ToNanoseconds()
    limit = BatchTaskInfo(name=name)
    limit.constraints.max_wall_clock_time.FromNanoseconds(took + 2_000_000_000)
    changed = server.tasks.UpdateBatchTask(service.UpdateBatchTaskRequest(batch_task=limit), timeout=SECONDS)
    assert changed.state == State.RUNNING
    run = server.finish(name)
    found = check_stopped(run, Reason.WALL_CLOCK_EXCEEDED, State.DEADLINE)
    details = found.detail(BatchTaskMetadata)
    assert {index: each.code for index, each in details.failed_requests.items()} == {1: Code.NOT_FOUND}
    assert all(actor.is_gone() for actor in actors)
    assert run.records[0].state == R.SUCCEEDED
    assert run.records[1].state == R.FAILED
    assert [each.state for each in run.records[2:4]] == [R.CANCELLED] * 2
    ended = [each for each in run.records[4:] if each.state == R.SUCCEEDED]
    assert all(each.state in (R.SUCCEEDED, R.CANCELLED) for each in run.records[4:])
    cancelled = 22 - len(ended)
    assert run.info.counts == RecordCounts(total=24, succeeded=1 + len(ended), failed=1, cancelled=cancelled)
    limit_ns = limit.constraints.max_wall_clock_time.ToNanoseconds()
    assert run.info.end_time.ToNanoseconds() >= run.info.start_time.ToNanoseconds() + limit_ns


@provokes(Reason.WALL_CLOCK_EXCEEDED)
def test_a_deadline_from_the_start(server: Server) -> None:
    name = submit(server, {"do": "hang", "stubborn": True}, constraints={"max_wall_clock_time": {"nanos": 300_000_000}})
    run = server.finish(name)
    found = check_stopped(run, Reason.WALL_CLOCK_EXCEEDED, State.DEADLINE)
    assert found.metadata == {"max_wall_clock_time": "0.3s"}
    assert run.only.state == R.CANCELLED
    assert server.run("act", WELL).info.state == State.SUCCEEDED, "the slot is used again"


def test_a_task_that_is_kept_for_no_time_is_gone_after_its_end(server: Server, stage: Stage) -> None:
    name = submit(server, stage.record, BAD, constraints={"retention_time": {}})
    operation = server.info(name).operation
    waiting = server.operations.WaitOperation.future(lro.WaitOperationRequest(name=operation), timeout=SECONDS)
    stage.enter().go(**WELL)
    done = waiting.result()
    assert done.done
    found = BatchTaskInfo()
    assert done.response.Unpack(found)
    assert found.counts == RecordCounts(total=2, succeeded=1, failed=1)
    assert found.expire_time == found.end_time

    def is_gone() -> bool:
        try:
            server.info(name)
        except grpc.RpcError as error:
            return answer(error).code is Code.NOT_FOUND
        return False

    eventually(is_gone)


@provokes(Reason.TASK_LIFETIME_EXCEEDED)
def test_the_longest_lifetime_is_a_setting(tmp_path: pathlib.Path, stage: Stage) -> None:
    with running(tmp_path, TOML, "--max-task-lifetime", "2s", workers=1) as server:
        ended = server.run("act", WELL)
        names = [submit(server, WELL, start=False), submit(server, stage.record), submit(server, WELL, handler="other")]
        for name in names:
            found = check_stopped(server.finish(name), Reason.TASK_LIFETIME_EXCEEDED, State.TASK_LIFETIME)
            assert found.metadata == {"max_task_lifetime": "2s"}
            info = server.info(name)
            assert info.end_time.ToNanoseconds() >= info.create_time.ToNanoseconds() + 2_000_000_000
        assert server.info(ended.info.name) == ended.info
        server_id = processes.server_id(tmp_path / "data")
    assert not processes.marked(server_id)


@contextlib.asynccontextmanager
async def app(
    folder: pathlib.Path, clock: MovedClock
) -> AsyncGenerator[batch_task_service_pb2_grpc.BatchTaskServiceStub]:
    """The whole server inside the test, with a wall clock that the test moves."""
    handlers = folder / "handlers.toml"
    handlers.write_text(TOML)
    config = Config(
        data=folder / "data",
        listen=parse_address("127.0.0.1:0"),
        handlers=handlers_file.load(handlers),
        workers=1,
        drain_timeout_seconds=0,
    )
    made = App(config, clock=clock)
    await made.start()
    try:
        async with grpc.aio.insecure_channel(str(made.address)) as channel:
            yield batch_task_service_pb2_grpc.BatchTaskServiceStub(channel)
    finally:
        await made.stop()


@provokes(Reason.WALL_CLOCK_EXCEEDED)
async def test_a_deadline_that_passes_while_no_server_runs(tmp_path: pathlib.Path, stage: Stage) -> None:
    clock = MovedClock()
    limits = {"max_wall_clock_time": {"seconds": 3600}}
    async with app(tmp_path, clock) as tasks:
        name = metadata(await tasks.CreateBatchTask(creation(WELL, stage.record, constraints=limits))).batch_task
        actor = await asyncio.to_thread(stage.enter)
        assert actor.attempt == 1
        draft = metadata(await tasks.CreateBatchTask(creation(WELL, start=False))).batch_task
    assert await asyncio.to_thread(actor.is_gone)
    clock.move(3600)
    async with app(tmp_path, clock) as tasks:
        info = await tasks.GetBatchTask(service.GetBatchTaskRequest(name=name))
        assert (info.state, info.stop_reason) == (State.FAILED, State.DEADLINE), "before anything of it began again"
        assert info.counts == RecordCounts(total=2, succeeded=1, cancelled=1)
        seen(Answer(info.error), Reason.WALL_CLOCK_EXCEEDED)
        assert (await tasks.GetBatchTask(service.GetBatchTaskRequest(name=draft))).state == State.DRAFT
    clock.move(8 * 86_400)
    async with app(tmp_path, clock) as tasks:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await tasks.GetBatchTask(service.GetBatchTaskRequest(name=draft))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert (await tasks.GetBatchTask(service.GetBatchTaskRequest(name=name))) == info
