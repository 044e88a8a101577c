"""Real servers and workers: what runs when a task is paused ends, nothing else of it begins, and nothing is lost."""

from __future__ import annotations

import pathlib
import select
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from google.longrunning import operations_pb2 as lro
from google.protobuf.duration_pb2 import Duration

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, RecordCounts
from batchyard.v1.record_pb2 import RecordInfo
from tests.rpc.runs import Server, Stage, running, staged
from tests.support.eventually import eventually
from tests.support.server import SECONDS

pytestmark = pytest.mark.xdist_group("pause-running")
State, R = BatchTaskInfo, RecordInfo
WELL = {"do": "echo", "value": "well"}


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


def pause(server: Server, name: str) -> BatchTaskInfo:
    request = service.PauseBatchTaskRequest(name=name, request_id=str(uuid.uuid4()))
    return server.tasks.PauseBatchTask(request, timeout=SECONDS)


def resume(server: Server, name: str) -> BatchTaskInfo:
    request = service.ResumeBatchTaskRequest(name=name, request_id=str(uuid.uuid4()))
    return server.tasks.ResumeBatchTask(request, timeout=SECONDS)


def until(server: Server, name: str, state: BatchTaskInfo.State) -> BatchTaskInfo:
    return eventually(lambda: found if (found := server.info(name)).state == state else None, SECONDS)


def nobody_waits(stage: Stage) -> bool:
    """No record has begun that did not enter the stage."""
    return not select.select([stage._listener], [], [], 0)[0]


def by_attempt(records: list[RecordInfo]) -> dict[int, list[int]]:
    """The indexes that ended at each attempt."""
    found: dict[int, list[int]] = {}
    for record in records:
        assert record.state == R.SUCCEEDED
        found.setdefault(record.attempt, []).append(record.index)
    return found


def test_records_that_run_end_and_no_other_one_begins(tmp_path: pathlib.Path, stage: Stage) -> None:
    with running(tmp_path, workers=2) as server:
        name = server.submit("act", *[stage.record] * 8)
        actors = [stage.enter() for _ in range(2)]
        begun = {actor.index for actor in actors}
        before = server.info(name)
        paused = pause(server, name)
        assert paused.state == State.PAUSING
        assert paused.counts == RecordCounts(total=8, pending=6, running=2)
        assert {each.index for each in server.records(name) if each.state == R.RUNNING} == begun
        actors[0].go()
        other = server.run("act", *[WELL] * 20)  # the slot serves others meanwhile
        assert by_attempt(other.records) == {1: list(range(20))}
        assert (server.info(name).state, server.info(name).counts.running) == (State.PAUSING, 1)
        actors[1].go()
        paused = until(server, name, State.PAUSED)
        assert paused.counts == RecordCounts(total=8, pending=6, succeeded=2)
        assert (paused.start_time, paused.waiting_reason) == (before.start_time, State.WAITING_REASON_UNSPECIFIED)
        assert {each.index for each in server.records(name) if each.state == R.SUCCEEDED} == begun
        server.run("act", *[WELL] * 200)
        assert nobody_waits(stage)
        assert server.info(name) == paused
        assert resume(server, name).state in (State.QUEUED, State.RUNNING)
        for _ in range(6):
            actor = stage.enter()
            assert actor.attempt == 1
            begun.add(actor.index)
            actor.go()
        done = server.finish(name)
        assert (done.info.state, done.info.start_time) == (State.SUCCEEDED, before.start_time)
        assert begun == set(range(8))
        assert by_attempt(done.records) == {1: list(range(8))}


def test_resumed_before_what_runs_has_ended(tmp_path: pathlib.Path, stage: Stage) -> None:
    with running(tmp_path, workers=2) as server:
        name = server.submit("act", *[stage.record] * 5)
        first = [stage.enter() for _ in range(2)]
        assert pause(server, name).state == State.PAUSING
        first[0].go()
        eventually(lambda: server.info(name).counts.succeeded == 1)
        assert nobody_waits(stage)
        assert resume(server, name).state == State.RUNNING
        second = stage.enter()  # in the free slot, though the other record still runs
        assert server.info(name).counts.running == 2
        first[1].go()
        second.go()
        for _ in range(2):
            stage.enter().go()
        assert by_attempt(server.finish(name).records) == {1: list(range(5))}


def test_a_task_that_never_began(tmp_path: pathlib.Path, stage: Stage) -> None:
    with running(tmp_path, workers=1) as server:
        busy = server.submit("act", stage.record)
        actor = stage.enter()
        name = server.submit("act", *[WELL] * 5)
        assert server.info(name).waiting_reason == State.NO_SLOT
        paused = pause(server, name)
        assert (paused.state, paused.waiting_reason) == (State.PAUSED, State.WAITING_REASON_UNSPECIFIED)
        assert not paused.HasField("start_time")
        actor.go()
        server.finish(busy)
        server.run("act", WELL)
        assert server.info(name) == paused
        resume(server, name)
        assert by_attempt(server.finish(name).records) == {1: list(range(5))}


def test_every_record_ends_while_it_is_pausing(tmp_path: pathlib.Path, stage: Stage) -> None:
    with running(tmp_path, workers=2) as server:
        name = server.submit("act", *[stage.record] * 2)
        actors = [stage.enter() for _ in range(2)]
        assert pause(server, name).state == State.PAUSING
        for actor in actors:
            actor.go()
        assert server.finish(name).info.state == State.SUCCEEDED


def test_a_waiter_waits_through_a_pause(tmp_path: pathlib.Path, stage: Stage) -> None:
    with running(tmp_path, workers=1) as server:
        name = server.submit("act", *[stage.record] * 2)
        actor = stage.enter()
        wait = lro.WaitOperationRequest(name=server.info(name).operation, timeout=Duration(seconds=SECONDS))
        answer = server.operations.WaitOperation.future(wait, timeout=SECONDS + 1)
        pause(server, name)
        actor.go()
        until(server, name, State.PAUSED)
        assert not answer.done()
        resume(server, name)
        stage.enter().go()
        assert answer.result().done


def test_a_worker_that_dies_while_it_is_pausing(tmp_path: pathlib.Path, stage: Stage) -> None:
    """Its record waits; it is tried again after the resume."""
    with running(tmp_path, workers=1) as server:
        name = server.submit("act", stage.record, WELL)
        actor = stage.enter()
        assert pause(server, name).state == State.PAUSING
        actor.go(do="die", number=int(signal.SIGSEGV))
        paused = until(server, name, State.PAUSED)
        assert paused.counts == RecordCounts(total=2, pending=2)
        server.run("act", WELL)
        assert nobody_waits(stage)
        resume(server, name)
        actor = stage.enter()
        assert actor.attempt == 2
        actor.go()
        assert by_attempt(server.finish(name).records) == {2: [0], 1: [1]}


@pytest.mark.parametrize("paused", [False, True], ids=["pausing", "paused"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_pause_outlives_the_server(
    tmp_path: pathlib.Path, stage: Stage, number: signal.Signals, paused: bool
) -> None:
    with running(tmp_path, workers=1) as server:
        name = server.submit("act", *[stage.record] * 3)
        actor = stage.enter()
        start = server.info(name).start_time
        assert pause(server, name).state == State.PAUSING
        if paused:
            actor.go()
            until(server, name, State.PAUSED)
        server.process.signal(number)
        server.process.wait()
    with running(tmp_path, workers=1) as server:
        info = server.info(name)
        assert (info.state, info.start_time) == (State.PAUSED, start)
        ended = int(paused)
        assert info.counts == RecordCounts(total=3, pending=3 - ended, succeeded=ended)
        server.run("act", WELL)
        assert nobody_waits(stage)
        resume(server, name)
        for _ in range(3 - ended):
            stage.enter().go()
        done = server.finish(name)
        again = {2: [0], 1: [1, 2]} if not paused and number is signal.SIGTERM else {1: [0, 1, 2]}
        assert by_attempt(done.records) == again or number is signal.SIGKILL
        assert done.info.start_time == start


def values(count: int) -> list[Any]:
    return [{"do": "echo", "value": number} for number in range(count)]


def test_reactivated_after_it_was_cancelled_in_a_pause(tmp_path: pathlib.Path, stage: Stage) -> None:
    with running(tmp_path, workers=2) as server:
        name = server.submit("act", *values(3), stage.record)
        actor = stage.enter()
        eventually(lambda: server.info(name).counts.succeeded == 3)
        pause(server, name)
        assert server.cancel(name).state == State.CANCELLING
        assert actor.is_gone()
        assert server.finish(name).info.state == State.CANCELLED
        server.tasks.ReactivateBatchTask(service.ReactivateBatchTaskRequest(name=name), timeout=SECONDS)
        actor = stage.enter()
        assert actor.attempt == 1
        actor.go()
        done = server.finish(name)
        assert (done.info.state, done.info.generation) == (State.SUCCEEDED, 2)
        assert [record.generation for record in done.records] == [1, 1, 1, 2]
