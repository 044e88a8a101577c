"""What does ListSubtasks show of the leases of a task, while they live and when they have ended?"""

from __future__ import annotations

import os
import pathlib
import signal
import socket
from collections.abc import Iterator

import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.subtask_pb2 import Subtask
from batchyard_server.model.errors import Code, Reason
from tests.rpc.runs import ACT, Server, Stage, metadata, running, seen, staged
from tests.support import processes
from tests.support.errors import Answer, provokes
from tests.support.eventually import eventually
from tests.support.server import SECONDS
from tests.support.subtasks import ranges

pytestmark = pytest.mark.xdist_group("subtasks")
WELL = {"do": "echo", "value": "well"}
LEVEL = ("--isolation", "subreaper")  # process ids are the same for everybody
S = Subtask


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("subtasks"), ACT, *LEVEL, workers=1) as server:
        yield server


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


def listed(server: Server, task: str, size: int = 0) -> list[Subtask]:
    """All of them, page by page; checks what holds for each."""
    found: list[Subtask] = []
    request = service.ListSubtasksRequest(parent=task, page_size=size)
    while True:
        page = server.tasks.ListSubtasks(request, timeout=SECONDS)
        found += page.subtasks
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert [each.epoch for each in found] == list(range(len(found), 0, -1))
    for each in found:
        assert each.name == f"{task}/subtasks/{each.epoch}"
        assert (each.worker, each.node) == ("worker-0", socket.gethostname())
        assert each.HasField("start_time")
        assert each.HasField("end_time") == (each.state != S.RUNNING)
        assert each.HasField("error") == (each.state in (S.LOST, S.KILLED))
        assert each.HasField("exit_code") == (each.state == S.LOST)
        if each.HasField("end_time"):
            assert each.start_time.ToNanoseconds() <= each.end_time.ToNanoseconds()
    return found


def check_count(server: Server, task: str, found: list[Subtask]) -> None:
    """The operation counts what is listed."""
    counted = metadata(server.operation(task))
    assert (counted.subtask_count, counted.live_subtask_count) == (
        len(found),
        sum(each.state == S.RUNNING for each in found),
    )


def newest(server: Server, task: str, state: Subtask.State) -> Subtask:
    """The newest one, once it is in this state."""

    def look() -> Subtask | None:
        found = listed(server, task)
        return found[0] if found and found[0].state == state else None

    subtask = eventually(look, what=f"the newest is {Subtask.State.Name(state)}")
    assert subtask is not None
    return subtask


def test_live_ones_and_those_that_completed(server: Server, stage: Stage) -> None:
    task = server.submit("act", stage.record, WELL, WELL)
    actor = stage.enter()
    live = newest(server, task, S.RUNNING)
    assert live.ranges[0].start == 0
    check_count(server, task, listed(server, task))
    actor.go(**WELL)
    run = server.finish(task)
    found = listed(server, task)
    check_count(server, task, found)
    assert {each.state for each in found} <= {S.COMPLETED, S.RETURNED}
    assert found[0].state == S.COMPLETED
    assert found[-1].start_time == live.start_time == run.info.start_time
    covered = {index for each in found for a, b in ranges(each) for index in range(a, b)}
    assert covered == {0, 1, 2}
    assert listed(server, task, size=1) == found


def test_a_draft_has_none(server: Server) -> None:
    assert listed(server, server.submit("act", WELL, start=False)) == []


def test_many_records_make_few_subtasks(server: Server) -> None:
    run = server.run("act", *[WELL] * 3000)
    found = listed(server, run.info.name)
    check_count(server, run.info.name, found)
    assert sum(b - a for each in found if each.state == S.COMPLETED for a, b in ranges(each)) <= 3000
    assert {index for each in found for a, b in ranges(each) for index in range(a, b)} == set(range(3000))
    for size in (1, 2, 1000):
        assert listed(server, run.info.name, size) == found


@provokes(Reason.WORKER_KILLED)
def test_killed_by_a_cancel(server: Server, stage: Stage) -> None:
    task = server.submit("act", stage.record, WELL)
    actor = stage.enter()
    newest(server, task, S.RUNNING)
    server.cancel(task)
    assert actor.is_gone()
    server.finish(task)
    found = listed(server, task)
    check_count(server, task, found)
    [killed] = [each for each in found if each.state == S.KILLED]
    why = seen(Answer(killed.error), Reason.WORKER_KILLED)
    assert why.code is Code.CANCELLED
    assert why.metadata == {"cause": "task_stopped", "stop_reason": "CANCEL"}
    assert why.status.message == "the worker was killed: the batch task was cancelled"


@provokes(Reason.WORKER_LOST)
def test_lost_by_a_kill_of_its_worker(server: Server, stage: Stage) -> None:
    task = server.submit("act", stage.record)
    os.kill(stage.enter().pid, signal.SIGKILL)
    stage.enter().go(**WELL)
    assert server.finish(task).info.state == BatchTaskInfo.SUCCEEDED
    second, first = listed(server, task)
    check_count(server, task, [second, first])
    assert (second.state, first.state) == (S.COMPLETED, S.LOST)
    assert first.exit_code == -signal.SIGKILL
    why = seen(Answer(first.error), Reason.WORKER_LOST)
    assert (why.code, why.metadata) == (Code.ABORTED, {"exit": "signal 9 (SIGKILL)"})


@provokes(Reason.WORKER_LOST)
def test_lost_by_its_own_exit_until_the_record_failed(server: Server) -> None:
    run = server.run("act", {"do": "die", "code": 7})
    found = listed(server, run.info.name)
    check_count(server, run.info.name, found)
    assert [(each.state, each.exit_code) for each in found] == [(S.LOST, 7)] * 3
    for each in found:
        assert seen(Answer(each.error), Reason.WORKER_LOST).metadata == {"exit": "exit code 7"}


@provokes(Reason.RECORD_TIMEOUT)
@pytest.mark.parametrize("others", [0, 4])
def test_killed_for_a_record_that_took_too_long(server: Server, others: int) -> None:
    run = server.run("act", {"do": "hang"}, *[WELL] * others, timeout=0.3)
    assert (run.info.counts.failed, run.info.counts.succeeded) == (1, others)
    found = listed(server, run.info.name)
    check_count(server, run.info.name, found)
    [killed] = [each for each in found if each.state == S.KILLED]
    assert killed.ranges[0].start == 0
    why = seen(Answer(killed.error), Reason.RECORD_TIMEOUT)
    assert (why.code, why.metadata) == (Code.DEADLINE_EXCEEDED, {"record_timeout": "0.3s"})


@provokes(Reason.WORKER_KILLED)
def test_killed_with_the_server_and_when_it_is_shut_down(tmp_path: pathlib.Path, stage: Stage) -> None:
    with running(tmp_path, ACT, workers=1) as server:
        task = server.submit("act", stage.record)
        actor = stage.enter()
        newest(server, task, S.RUNNING)
        server.process.popen.kill()
        assert actor.is_gone()
    with running(tmp_path, ACT, workers=1) as server:
        stage.enter()
        second, first = listed(server, task)
        assert (second.state, first.state) == (S.RUNNING, S.KILLED)
        why = seen(Answer(first.error), Reason.WORKER_KILLED)
        assert (why.code, why.metadata) == (Code.CANCELLED, {"cause": "server_killed"})
        server.process.popen.terminate()
        assert server.process.wait() == 0
    with running(tmp_path, ACT, workers=1) as server:
        stage.enter().go(**WELL)
        server.finish(task)
        third, second, again = listed(server, task)
        check_count(server, task, [third, second, again])
        assert again == first
        assert (third.state, second.state) == (S.COMPLETED, S.KILLED)
        why = seen(Answer(second.error), Reason.WORKER_KILLED)
        assert (why.code, why.metadata) == (Code.CANCELLED, {"cause": "server_shut_down"})
    assert processes.marked(processes.server_id(tmp_path / "data")) == []
