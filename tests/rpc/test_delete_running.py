"""Real servers and workers: is what a deleted task runs killed, whatever it does against it, and also after a crash?"""

from __future__ import annotations

import contextlib
import pathlib
import signal
import uuid
from collections.abc import Iterator

import apsw
import grpc
import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.model.errors import Code
from tests.rpc.runs import ACT, Server, Stage, running, staged
from tests.rpc.world import PROJECT
from tests.support import processes
from tests.support.errors import answer
from tests.support.eventually import eventually
from tests.support.server import SECONDS

pytestmark = pytest.mark.xdist_group("delete-running")
State = BatchTaskInfo
WELL = {"do": "echo", "value": "well"}
# Neither it nor what it starts ends by SIGTERM; the number is looked for in the list of processes.
SLEEPS = f"3{uuid.uuid4().int % 10**8:08d}"
TOML = f"""{ACT}kill_grace = "100ms"
[handlers.family]
kind = "command"
argv = ["sh", "-c", "trap '' TERM; sleep {SLEEPS} & sleep {SLEEPS} & touch $0; wait; wait", "{{begun}}"]
kill_grace = "100ms"
"""


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


def delete(server: Server, name: str, *, force: bool = True) -> None:
    request = service.DeleteBatchTaskRequest(name=name, force=force, request_id=str(uuid.uuid4()))
    server.tasks.DeleteBatchTask(request, timeout=SECONDS)


def is_gone(server: Server, name: str) -> bool:
    try:
        server.info(name)
    except grpc.RpcError as error:
        return answer(error).code is Code.NOT_FOUND
    return False


def sleepers() -> list[int]:
    """Processes that a record of `family` started and that live."""
    pids = [int(folder.name) for folder in pathlib.Path("/proc").iterdir() if folder.name.isdigit()]
    return [pid for pid in pids if (seen := processes.see(pid)) is not None and SLEEPS in seen.command]


def check_log(server: Server) -> None:
    """Nothing in it that a delete must not cause."""
    log = server.process.log.read_text()
    assert not [line for line in log.splitlines() if " ERROR " in line or "Traceback" in line]


@pytest.mark.parametrize("state", ["RUNNING", "CANCELLING", "PAUSING"])
def test_handlers_that_ignore_sigterm_are_killed(tmp_path: pathlib.Path, stage: Stage, state: str) -> None:
    with running(tmp_path, TOML) as server:
        stubborn = stage.record | {"stubborn": True}
        name = server.submit("act", WELL, stubborn, stubborn, *[WELL] * 50)
        actors = [stage.enter() for _ in range(2)]
        waiting = server.submit("act", WELL)
        if state == "CANCELLING":
            server.cancel(name)
        if state == "PAUSING":
            server.tasks.PauseBatchTask(service.PauseBatchTaskRequest(name=name), timeout=SECONDS)
        assert State.State.Name(server.info(name).state) == state
        delete(server, name)
        assert is_gone(server, name)
        assert all(actor.is_gone() for actor in actors)
        assert server.finish(waiting).info.state == State.SUCCEEDED, "the slots are free again"
        assert server.run("act", WELL, WELL).info.counts.succeeded == 2
        check_log(server)
        server_id = processes.server_id(tmp_path / "data")
    assert processes.marked(server_id) == []


def test_a_whole_family_of_processes_is_killed(tmp_path: pathlib.Path) -> None:
    with running(tmp_path, TOML, workers=1) as server:
        begun = tmp_path / "begun"
        name = server.submit("family", {"begun": str(begun)})
        eventually(begun.exists)
        assert len(sleepers()) == 3, "the shell and what it started"
        delete(server, name)
        eventually(lambda: not sleepers())
        assert server.run("act", WELL).info.state == State.SUCCEEDED
        check_log(server)


def test_what_waits_is_never_begun(tmp_path: pathlib.Path, stage: Stage) -> None:
    with running(tmp_path, TOML, workers=1) as server:
        busy = server.submit("act", stage.record)
        actor = stage.enter()
        name = server.submit("act", *[stage.record] * 5)
        delete(server, name)
        actor.go(**WELL)
        assert server.finish(busy).info.state == State.SUCCEEDED
        last = server.submit("act", stage.record)
        actor = stage.enter()
        actor.go(**WELL)
        assert server.finish(last).info.counts.succeeded == 1, "whoever came is of this task"
        check_log(server)


def test_a_server_that_is_killed_at_once_has_a_successor(tmp_path: pathlib.Path, stage: Stage) -> None:
    with running(tmp_path, TOML) as server:
        name = server.submit("act", stage.record | {"stubborn": True}, WELL)
        actor = stage.enter()
        delete(server, name)
        server.process.signal(signal.SIGKILL)
        server.process.popen.wait(SECONDS)
    with running(tmp_path, TOML) as server:
        assert is_gone(server, name)
        assert actor.is_gone()
        listed = server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT), timeout=SECONDS)
        assert not listed.batch_tasks
        assert server.run("act", WELL).info.counts.succeeded == 1
        check_log(server)


def test_sweeping_goes_on_after_a_kill(tmp_path: pathlib.Path) -> None:
    with running(tmp_path, TOML, environment={"BATCHYARD_FAILPOINTS": "store.sweep=kill@2"}) as server:
        record = service.AppendRecordsRequest().records.add()
        record.payload.text = '"' + "x" * 1_000 + '"'
        name = server.submit("act", start=False)
        appends = (
            service.AppendRecordsRequest(name=name, first_index=at, records=[record] * 2_000)
            for at in range(0, 20_000, 2_000)
        )
        assert [each.next_index for each in server.tasks.AppendRecords(appends, timeout=SECONDS)][-1] == 20_000
        with contextlib.suppress(grpc.RpcError):  # it may be killed before it answers
            delete(server, name, force=False)
        assert server.process.wait() == -signal.SIGKILL
    assert _segments(tmp_path) > 0
    with running(tmp_path, TOML) as server:
        assert is_gone(server, name)
        eventually(lambda: _segments(tmp_path) == 0)


def _segments(folder: pathlib.Path) -> int:
    connection = apsw.Connection(str(folder / "data" / "store.sqlite3"), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        count = connection.execute("SELECT count(*) FROM input_segment").fetchall()[0][0]
    finally:
        connection.close()
    assert isinstance(count, int)
    return count
