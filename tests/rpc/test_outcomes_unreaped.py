"""A process that not even SIGKILL ends: nothing waits for it beyond the reap bound, and its slot is not used again.

The bound is 10 s, which cannot be shortened from outside; so all cases wait for it at the same time, in one group.
"""

from __future__ import annotations

import contextlib
import pathlib
import time
from collections.abc import Iterator

import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo

from batchyard.v1.batch_task_pb2 import BatchTaskInfo, RecordCounts
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.model.errors import DOMAIN, Code, Reason
from batchyard_worker import isolation
from tests.rpc.runs import ACT, Run, Server, failure, running, staged
from tests.rpc.unkillable import Way, ways
from tests.support import errors, processes
from tests.support.errors import provokes
from tests.support.eventually import eventually

pytestmark = [pytest.mark.xdist_group("outcomes-unreaped"), pytest.mark.timeout(180)]
LEVELS = ("cgroup", "pid_namespace", "subreaper")
TIMEOUT = "record_timeout"
GRACE_SECONDS = 0.2
REAP_SECONDS = 10.0
LATE_SECONDS = 20.0  # the supervisor's report, and what a busy machine takes
TOML = ACT + f'kill_grace = "{GRACE_SECONDS}s"\n'
WELL = {"do": "echo", "value": "well"}


class Stuck:
    """A server of two slots, in one of which a record runs that cannot be killed.

    Attributes:
        pid: of its process, by the machine's numbers; inside: by its own.
        run, took: its task after the end, and seconds from the kill until then.
    """

    def __init__(self, server: Server, level: str, timeout: float, others: int) -> None:
        self.server = server
        self.level = level
        self.server_id = processes.server_id(server.folder / "data")
        with staged() as stage:
            self.name = server.submit("act", stage.record | {"stuck": True}, *[WELL] * others, timeout=timeout)
            self.pid = self.inside = stage.enter().pid
        if level == "pid_namespace":
            (self.pid,) = (each.pid for each in processes.marked(self.server_id) if each.is_worker)
        self.run: Run
        self.took = 0.0


@contextlib.contextmanager
def stuck(folder: pathlib.Path, level: str, way: Way, timeout: float = 0.0) -> Iterator[Stuck]:
    """From the start of its server to its end; the process is let go before that."""
    with running(folder, TOML, "--isolation", level, workers=2) as server:
        case = Stuck(server, level, timeout, 3 if timeout else 0)
        with way(case.pid):
            yield case
        eventually(lambda: processes.see(case.pid) is None, what="it has ended at last")
        server.process.popen.terminate()
        assert server.process.wait() == 0
    assert processes.marked(case.server_id) == []
    group = isolation.cgroup_parent(case.server_id)
    assert group is None or not pathlib.Path(group).exists()


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Stuck]]:
    """Every case after its task's end, its process still there."""
    folder, found = tmp_path_factory.mktemp("unreaped"), ways()
    with contextlib.ExitStack() as stack:
        cases: dict[str, Stuck] = {}
        for number, key in enumerate((*LEVELS, TIMEOUT)):
            level, timeout = (key, 0.0) if key in LEVELS else ("subreaper", 2.0)
            cases[key] = stack.enter_context(stuck(folder / key, level, found[number % len(found)], timeout))
        began = time.monotonic()
        for key in LEVELS:
            case = cases[key]
            assert case.server.cancel(case.name, "no patience").state == BatchTaskInfo.CANCELLING
            assert case.server.run("act", WELL).info.state == BatchTaskInfo.SUCCEEDED, "others work meanwhile"
            assert case.server.info(case.name).state == BatchTaskInfo.CANCELLING
        for case in cases.values():
            case.run = case.server.finish(case.name)
            case.took = time.monotonic() - began
        yield cases


def infos(error: Message) -> list[ErrorInfo]:
    """Every ErrorInfo of a Status."""
    found: list[ErrorInfo] = []
    for detail in error.details:  # type: ignore[attr-defined]
        found.append(ErrorInfo())
        assert detail.Unpack(found[-1])
        assert found[-1].domain == DOMAIN
    return found


def check_slots(case: Stuck) -> None:
    """One slot is left: while a record holds it there is none for others."""
    server = case.server
    with staged() as stage:
        first = server.submit("act", stage.record)
        actor = stage.enter()
        second = server.submit("echo", 1)
        eventually(lambda: server.info(second).waiting_reason == BatchTaskInfo.NO_SLOT)
        assert server.info(second).state == BatchTaskInfo.QUEUED
        actor.go()
        assert server.finish(first).info.state == server.finish(second).info.state == BatchTaskInfo.SUCCEEDED
    assert "the slot is not used again" in server.process.log.read_text()
    assert processes.see(case.pid) is not None, "it was there all the time"


@provokes(Reason.PROCESS_NOT_REAPED)
@pytest.mark.parametrize("level", LEVELS)
def test_a_cancel_ends_without_it_and_says_so(cases: dict[str, Stuck], level: str) -> None:
    case = cases[level]
    info = case.run.info
    assert REAP_SECONDS <= case.took < GRACE_SECONDS + REAP_SECONDS + LATE_SECONDS
    assert (info.state, info.stop_reason) == (BatchTaskInfo.CANCELLED, BatchTaskInfo.CANCEL)
    assert info.counts == RecordCounts(total=1, cancelled=1)
    assert case.run.only.state == RecordInfo.CANCELLED
    assert info.error == case.run.operation.error
    assert (info.error.code, info.error.message) == (Code.CANCELLED, "the batch task was cancelled: no patience")
    (unreaped,) = infos(info.error)
    errors.seen.append(Reason(unreaped.reason))
    assert unreaped.reason == "PROCESS_NOT_REAPED"
    pids = set(map(int, unreaped.metadata["process_ids"].split(",")))
    assert case.pid in pids or (level == "pid_namespace" and case.inside in pids)
    check_slots(case)


@provokes(Reason.RECORD_TIMEOUT)
def test_a_record_that_takes_too_long_fails_without_it(cases: dict[str, Stuck]) -> None:
    case = cases[TIMEOUT]
    assert case.run.info.state == BatchTaskInfo.SUCCEEDED
    assert case.run.info.counts == RecordCounts(total=4, succeeded=3, failed=1)
    assert failure(case.run.records[0], Reason.RECORD_TIMEOUT).code is Code.DEADLINE_EXCEEDED
    check_slots(case)
