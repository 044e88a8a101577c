"""Watching over cuts, restarts and Ctrl-C; the command `watch`."""

from __future__ import annotations

import json
import re
import sys
import types
from typing import Any

import pytest

from batchyard import (
    Client,
    DeadlineExceededError,
    NotFoundError,
    ResumeTokenExpiredError,
    UnavailableError,
    _cli_watch,
)
from batchyard.v1 import batch_task_pb2, record_pb2
from batchyard.v1.operation_status_pb2 import OperationStatus
from tests.client.fake_operations import status_of
from tests.client.fake_server import FakeServer, State
from tests.client.test_interrupt import interrupt_when

PROJECT = "projects/default"
TASK = f"{PROJECT}/batchTasks/t000000"
OPERATION = f"{PROJECT}/operations/op-t000000"


def counts(succeeded: int, failed: int = 0, total: int = 3) -> batch_task_pb2.RecordCounts:
    return batch_task_pb2.RecordCounts(
        total=total, succeeded=succeeded, failed=failed, pending=total - succeeded - failed
    )


def life(server: FakeServer, watched: str = TASK, *, failed: int = 0) -> None:
    """A task's life as a watch tells it."""
    about: dict[str, Any] = {"name": OPERATION, "batch_task": TASK}
    server.tell(watched, **about, state=State.QUEUED, counts=counts(0))
    server.tell(watched, **about, state=State.RUNNING, counts=counts(0))
    server.tell(watched)
    record = record_pb2.RecordInfo(name=f"{TASK}/records/0", index=0, state=record_pb2.RecordInfo.SUCCEEDED)
    server.tell(watched, **about, records=[record])
    server.tell(watched, **about, state=State.RUNNING, counts=counts(1))
    server.tell(watched, **about, state=State.SUCCEEDED, done=True, counts=counts(3 - failed, failed))


def submit(client: Any) -> Any:
    return client.batch.run("echo", [1, 2, 3])


def test_a_task_is_watched_to_its_end(client: Any, server: FakeServer) -> None:
    operation = submit(client)
    life(server)
    assert list(operation.watch()) == [each for each in server.told[TASK] if not each.records]
    request = server.last["WatchBatchTask"]
    assert (request.name, request.include_records, request.view) == (TASK, False, 0)
    assert list(operation.watch(include_records=True, view="full")) == server.told[TASK]
    request = server.last["WatchBatchTask"]
    assert (request.include_records, request.view) == (True, record_pb2.RecordInfo.FULL)


def test_it_goes_on_over_cuts(client: Any, server: FakeServer) -> None:
    operation = submit(client)
    life(server)
    server.stream_cuts.extend([0, 2, 0, 1])
    assert list(operation.watch(include_records=True)) == server.told[TASK]
    assert server.calls["WatchBatchTask"] == 5
    rest = operation.watch(include_records=True, resume_token="4")
    assert list(rest) == server.told[TASK][4:]


def test_it_goes_on_over_a_restart(client: Any, server: FakeServer) -> None:
    operation = submit(client)
    server.tell(TASK, batch_task=TASK, state=State.QUEUED)
    messages = iter(operation.watch())
    assert next(messages).state == State.QUEUED
    server.restart()
    server.tell(TASK, batch_task=TASK, state=State.SUCCEEDED, done=True)
    assert [each.done for each in messages] == [True]


def test_a_server_that_stays_away_is_given_up(connect: Any, server: FakeServer) -> None:
    client = connect(server.target)
    operation = submit(client)
    server.tell(TASK, batch_task=TASK, state=State.QUEUED)
    messages = iter(operation.watch(timeout=0.5))
    next(messages)
    server.stop()
    with pytest.raises((UnavailableError, DeadlineExceededError)):
        next(messages)
    server.start()


def test_a_deleted_task_is_not_found(client: Any, server: FakeServer) -> None:
    operation = submit(client)
    server.tell(TASK, batch_task=TASK, state=State.QUEUED)
    server.tell(TASK, batch_task=TASK, deleted=True)
    messages = iter(operation.watch())
    next(messages)
    with pytest.raises(NotFoundError):
        next(messages)


def test_a_token_that_is_too_old(client: Any, server: FakeServer) -> None:
    server.fail_next("WatchBatchTasks", 11, reason="RESUME_TOKEN_EXPIRED")
    with pytest.raises(ResumeTokenExpiredError):
        next(iter(client.batch.watch(resume_token="1")))


def test_a_view_needs_records(client: Any) -> None:
    operation = submit(client)
    for watched in (operation, client.batch):
        with pytest.raises(ValueError, match="include_records"):
            list(watched.watch(view="full"))
        with pytest.raises(ValueError, match="one of"):
            list(watched.watch(view="all", include_records=True))


def test_a_project_is_watched_until_the_caller_stops(client: Any, server: FakeServer) -> None:
    life(server, PROJECT)
    server.tell(PROJECT, batch_task=TASK, deleted=True)
    server.stream_cuts.extend([3])
    messages = iter(client.batch.watch(include_records=True))
    told: list[OperationStatus] = [next(messages) for _ in range(7)]
    assert told == server.told[PROJECT]
    assert server.last["WatchBatchTasks"].parent == PROJECT
    messages.close()
    server.until(lambda: server.watching == 0)


def test_ctrl_c_ends_it_and_leaves_nothing(server: FakeServer) -> None:
    with Client(server.target) as client:
        operation = submit(client)
        thread = interrupt_when(server, lambda: server.watching == 1)
        with pytest.raises(KeyboardInterrupt):
            list(operation.watch())
        thread.join()
        server.until(lambda: server.watching == 0)


# -- the command ----------------------------------------------------------------------------------------------------


def submitted(server: FakeServer) -> None:
    with Client(server.target) as client:
        submit(client)


@pytest.mark.parametrize(("failed", "code"), [(0, 0), (1, 3)])
def test_lines_and_the_exit_code(run: Any, server: FakeServer, failed: int, code: int) -> None:
    submitted(server)
    life(server, failed=failed)
    got, out, err = run("watch", "t000000")
    assert (got, err) == (code, "")
    lines = [line.split("\t") for line in out.splitlines()]
    assert [line[1:] for line in lines] == [
        ["t000000", "QUEUED", "0", "3", "0", "0"],
        ["t000000", "RUNNING", "0", "3", "0", "0"],
        ["t000000", "RUNNING", "1", "3", "0", "0"],
        ["t000000", "SUCCEEDED", "3", "3", str(failed), "0"],
    ]
    assert all(re.fullmatch(r"[-\d]{10}T[:\d]{8}\.\d{3}Z", line[0]) for line in lines)


def test_records_are_lines_too(run: Any, server: FakeServer) -> None:
    submitted(server)
    life(server)
    _, out, _ = run("watch", TASK, "--records")
    assert out.splitlines()[2] == "\t0\t\tSUCCEEDED\t"
    assert server.last["WatchBatchTask"].include_records


def test_json_lines_and_going_on(run: Any, server: FakeServer) -> None:
    submitted(server)
    life(server)
    code, out, _ = run("watch", "t000000", "--json", "--resume-token", "2")
    assert code == 0
    found = [json.loads(line) for line in out.splitlines()]
    assert [each["resume_token"] for each in found] == ["3", "5", "6"]
    assert (found[-1]["done"], found[-1]["state"], found[-1]["counts"]["succeeded"]) == (True, "SUCCEEDED", 3)


@pytest.mark.parametrize(("state", "verb"), [(State.FAILED, "failed"), (State.CANCELLED, "was cancelled")])
def test_a_task_that_failed(run: Any, server: FakeServer, state: int, verb: str) -> None:
    submitted(server)
    server.tell(TASK, batch_task=TASK, state=state, done=True, error=status_of(10, "why"))
    code, _, err = run("watch", "t000000")
    assert (code, err) == (1, f"batchyard: the task {verb}: why (code 10)\n")


def test_going_on_after_the_last_message(run: Any, server: FakeServer) -> None:
    submitted(server)
    life(server)
    server.told[TASK].append(OperationStatus(done=True))  # the scripted server ends a watch with a message only
    server.complete(TASK, 0, error=status_of(3, "bad"))
    server.end(TASK, State.SUCCEEDED)
    assert run("watch", "t000000", "--resume-token", "6") == (3, "", "")


def test_wrong_usage_and_a_task_that_is_gone(run: Any, server: FakeServer) -> None:
    for arguments in ((), ("t000000", "--all")):
        with pytest.raises(SystemExit) as caught:
            run("watch", *arguments)
        assert caught.value.code == 2
    submitted(server)
    server.tell(TASK, batch_task=TASK, deleted=True)
    assert run("watch", "t000000")[0] == 1


def test_ctrl_c_of_the_command(run: Any, server: FakeServer) -> None:
    submitted(server)
    life(server, PROJECT)
    thread = interrupt_when(server, lambda: server.watching == 1)
    code, out, err = run("watch", "--all")
    thread.join()
    assert (code, err) == (130, "batchyard: interrupted\n")
    assert "Traceback" not in out
    server.until(lambda: server.watching == 0)


def test_a_terminal_gets_a_table_of_the_last_changes(
    run: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    submitted(server)
    life(server)
    code, out, _ = run("watch", "t000000")
    assert code == 0
    assert "state" in out
    assert "SUCCEEDED" in out
    monkeypatch.setitem(sys.modules, "rich.live", types.ModuleType("rich.live"))  # without rich
    assert len(run("watch", "t000000")[1].splitlines()) == 4


def test_the_table_shows_what_fits() -> None:
    table = vars(_cli_watch)["_Table"]()
    for number in range(2000):
        table.show(OperationStatus(batch_task=f"{PROJECT}/batchTasks/t{number}", state=State.RUNNING))
    table.show(OperationStatus(batch_task=f"{PROJECT}/batchTasks/t1999", deleted=True))
    table.show(OperationStatus(resume_token="x"))
    shown = table.render()
    assert 1 <= shown.row_count < 500
    assert list(shown.columns[1].cells)[:2] == ["t1999", "t1998"]
    assert list(shown.columns[2].cells)[:2] == ["DELETED", "RUNNING"]
