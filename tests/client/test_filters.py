"""Filters of watches and operations, and tasks that are stopped by one: both clients and the command line."""

from __future__ import annotations

import itertools
import json
import uuid
from typing import Any

import grpc
import pytest

from batchyard import CancelledTasks, InvalidArgumentError
from tests.client.fake_server import FakeServer, State

PROJECT = "projects/default"


def made(client: Any, count: int) -> list[str]:
    """So many QUEUED tasks; their names, the newest first."""
    return [client.batch.run("echo", [1]).task_name for _ in range(count)][::-1]


def states(server: FakeServer) -> set[int]:
    return {task.info.state for task in server.tasks.values()}


def test_every_page_is_stopped(client: Any, server: FakeServer) -> None:
    names = made(client, 5)
    counted = client.batch.cancel_many("*", validate_only=True)
    assert states(server) == {State.QUEUED}
    assert client.batch.cancel_many("state=QUEUED", reason="late") == counted == CancelledTasks(5, tuple(names))
    assert states(server) == {State.CANCELLED}
    assert {task.info.error.message for task in server.tasks.values()} == {"cancelled: late"}
    assert server.calls["CancelBatchTasks"] == 6
    assert client.batch.cancel_many("*") == CancelledTasks(0, ())


def test_not_more_than_a_hundred_names(client: Any, server: FakeServer) -> None:
    server.most_cancelled = 60
    names = made(client, 130)
    assert client.batch.cancel_many("*") == CancelledTasks(130, tuple(names[:100]))


def test_a_whole_that_is_repeated_is_told_again(client: Any, server: FakeServer) -> None:
    made(client, 5)
    request_id = str(uuid.uuid4())
    first = client.batch.cancel_many("*", request_id=request_id)
    made(client, 1)
    assert client.batch.cancel_many("*", request_id=request_id) == first
    assert server.last["CancelBatchTasks"].request_id != request_id
    assert states(server) == {State.CANCELLED, State.QUEUED}


def test_a_call_that_breaks_off_is_repeated_with_its_id(client: Any, server: FakeServer) -> None:
    made(client, 3)
    server.fail_next("CancelBatchTasks", grpc.StatusCode.UNAVAILABLE.value[0], times=2)
    assert client.batch.cancel_many("*").count == 3


def test_a_filter_that_cannot_be_read(client: Any, run: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        client.batch.cancel_many("")
    assert (caught.value.reason, caught.value.detail.metadata["position"]) == ("INVALID_FILTER", "0")
    code, out, err = run("cancel", "--filter", "colour=red")
    assert (code, out) == (1, "")
    assert "filter: at character 0 (INVALID_ARGUMENT / INVALID_FILTER)" in err


def test_operations_by_a_filter(client: Any, server: FakeServer) -> None:
    made(client, 5)
    for name in list(server.tasks)[:2]:
        server.end(name, State.SUCCEEDED)
    assert [each.id for each in client.operations.list(filter="done=true", page_size=2)] == [
        "op-t000001",
        "op-t000000",
    ]
    assert len(list(client.operations.list(filter="done=false"))) == 3


def test_a_watch_carries_its_filter(client: Any, server: FakeServer) -> None:
    for _ in range(3):
        server.tell(PROJECT, batch_task="x", state=State.RUNNING)
    server.stream_cuts.extend([1, -1])
    assert len(list(itertools.islice(client.batch.watch(filter="state=RUNNING"), 3))) == 3
    request = server.last["WatchBatchTasks"]
    assert (request.filter, request.resume_token) == ("state=RUNNING", "1")


def test_the_command(run: Any, client: Any, server: FakeServer) -> None:
    ids = [name.rpartition("/")[2] for name in made(client, 3)]
    listed = "\n".join(ids) + "\n"
    assert run("cancel", "--filter", "*", "--dry-run") == (0, listed, "3 would be cancelled\n")
    assert states(server) == {State.QUEUED}
    assert run("cancel", "--filter", "state=QUEUED") == (0, listed, "3 cancelled\n")
    made(client, 1)
    code, out, err = run("cancel", "--filter", "*", "--json")
    assert (code, json.loads(out), err) == (0, {"count": 1, "tasks": [f"{PROJECT}/batchTasks/t000003"]}, "")
    server.most_cancelled = 200
    made(client, 101)
    code, out, err = run("cancel", "--filter", "*")
    assert (code, len(out.splitlines()), err) == (0, 100, "101 cancelled, of which the newest are named\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["cancel"], "either a task or --filter is needed"),
        (["cancel", "t", "--filter", "*"], "either a task or --filter is needed"),
        (["cancel", "t", "--dry-run"], "--dry-run goes with --filter"),
        (["watch", "t", "--filter", "*"], "--filter goes with --all"),
    ],
)
def test_wrong_usage(run: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    assert text in capsys.readouterr().err
