"""SIGTERM: what runs may finish, what does not is killed, nothing else is touched, and the end is orderly."""

from __future__ import annotations

import pathlib
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from google.longrunning import operations_pb2 as lro
from google.protobuf.duration_pb2 import Duration

from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata
from batchyard.v1.record_pb2 import RecordInfo
from tests.live.served import HANDLERS, Live, living
from tests.support import processes
from tests.support.eventually import eventually
from tests.support.server import SECONDS

WAITERS = 20
KILLED_WITHIN = 1.0 + 1.0 + 5.0  # drain_timeout, kill_grace, and what a busy machine takes
SLOW_TO_LOAD = f"""\
[handlers.slow_to_load]
kind = "python"
callable = "slow_to_load:run"
path = ["{HANDLERS}"]
env = ["LIVE_FOLDER"]
"""


def start_waiting(live: Live, name: str, pool: ThreadPoolExecutor) -> list[Future[lro.Operation]]:
    """Open waits on the task's operation."""
    request = lro.WaitOperationRequest(name=live.info(name).operation, timeout=Duration(seconds=50))
    return [pool.submit(live.operations.WaitOperation, request, timeout=SECONDS) for _ in range(WAITERS)]


def check_answers(answers: list[Future[lro.Operation]]) -> None:
    """Every wait says how the task is now: not done."""
    for answer in answers:
        operation = answer.result(10)
        metadata = BatchTaskMetadata()
        operation.metadata.Unpack(metadata)
        assert not operation.done
        assert metadata.state == BatchTaskInfo.RUNNING


def check_gone(folder: pathlib.Path) -> None:
    """No process of the server is left."""
    assert processes.marked(processes.server_id(folder / "data")) == []


def by_state(live: Live, name: str) -> dict[RecordInfo.State, list[int]]:
    """Indexes by state; what has begun must have done so once."""
    found: dict[RecordInfo.State, list[int]] = {}
    for record in live.records(name):
        found.setdefault(record.state, []).append(record.index)
        assert record.attempt == (record.state in (RecordInfo.SUCCEEDED, RecordInfo.RUNNING)), record
    return found


def test_running_records_finish_and_the_others_wait_untouched(tmp_path: pathlib.Path) -> None:
    with living(tmp_path, workers=2) as live, ThreadPoolExecutor(WAITERS) as pool:
        name = live.submit([{"gate": "first"}] * 2 + [{"gate": "later"}] * 30)
        eventually(lambda: live.running() == {0, 1})
        answers = start_waiting(live, name, pool)
        live.server.signal(signal.SIGTERM)
        check_answers(answers)
        assert live.server.popen.poll() is None
        assert live.running() == {0, 1}
        live.open("first")
        assert live.server.wait() == 0
        assert sorted(index for index, _, _ in live.ended()) == [0, 1]
        check_gone(tmp_path)
    with living(tmp_path, workers=2) as live:
        eventually(lambda: live.running() == {2, 3})
        states = by_state(live, name)
        assert states == {
            RecordInfo.SUCCEEDED: [0, 1],
            RecordInfo.RUNNING: [2, 3],
            RecordInfo.PENDING: list(range(4, 32)),
        }
        live.open("later")
        assert live.finish(name).counts.succeeded == 32
        assert by_state(live, name) == {RecordInfo.SUCCEEDED: list(range(32))}
        assert sorted(live.ended())[-1][:2] == (31, 1)
        assert len(live.ended()) == 32


def test_in_the_middle_of_a_large_lease(tmp_path: pathlib.Path) -> None:
    with living(tmp_path, workers=1) as live, ThreadPoolExecutor(WAITERS) as pool:
        name = live.submit([{}] * 3000 + [{"gate": "first"}] + [{}] * 2000)
        eventually(lambda: live.running() == {3000})
        answers = start_waiting(live, name, pool)
        live.server.signal(signal.SIGTERM)
        check_answers(answers)
        live.open("first")
        assert live.server.wait() == 0
        first = len(live.ended())
        assert first >= 3001
    with living(tmp_path, workers=1) as live:
        assert live.finish(name).counts.succeeded == 5001
        assert by_state(live, name) == {RecordInfo.SUCCEEDED: list(range(5001))}
        assert sorted(index for index, _, _ in live.ended()) == list(range(5001))


def test_what_outlasts_the_drain_is_killed_and_never_counts_as_lost(tmp_path: pathlib.Path) -> None:
    """With --max-worker-lost 0 a single loss that counted would be the record's end."""
    arguments = ("--drain-timeout", "1s", "--max-worker-lost", "0")
    names: list[str] = []
    for _ in range(2):
        with living(tmp_path, *arguments, workers=1) as live:
            if not names:
                names.append(live.submit([{"gate": "opened after 60 s"}] + [{}] * 10))
            eventually(live.running)
            began = time.monotonic()
            live.server.signal(signal.SIGTERM)
            assert live.server.wait() == 0
            assert 1.0 <= time.monotonic() - began < KILLED_WITHIN
            check_gone(tmp_path)
            assert live.ended() == []
            live.forget_running()
    with living(tmp_path, *arguments, workers=1) as live:
        [name] = names
        eventually(live.running)
        counts = live.counts(name)
        assert (counts.running, counts.pending, counts.failed) == (1, 10, 0)
        live.open("opened after 60 s")
        info = live.finish(name)
        assert (info.state, info.counts.succeeded) == (BatchTaskInfo.SUCCEEDED, 11)
        assert [each.attempt for each in live.records(name)] == [3] + [1] * 10


def test_while_a_handler_is_being_loaded(tmp_path: pathlib.Path) -> None:
    with living(tmp_path, workers=1, toml=SLOW_TO_LOAD) as live:
        name = live.submit([{}] * 3, "slow_to_load")
        eventually((live.folder / "loading").exists)
        began = time.monotonic()
        live.server.signal(signal.SIGTERM)
        assert live.server.wait() == 0
        assert time.monotonic() - began < KILLED_WITHIN
        check_gone(tmp_path)
    with living(tmp_path, workers=1, toml=SLOW_TO_LOAD) as live:
        live.open("load")
        assert live.finish(name).counts.succeeded == 3
        assert [each.output.text for each in live.records(name)] == ["1", "1", "1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once(tmp_path: pathlib.Path, number: signal.Signals) -> None:
    with living(tmp_path) as live:
        assert live.finish(live.submit([{}] * 3)).counts.succeeded == 3
        began = time.monotonic()
        live.server.signal(number)
        assert live.server.wait() == 0
        assert time.monotonic() - began < KILLED_WITHIN
        check_gone(tmp_path)
