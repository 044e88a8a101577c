"""The log of a record, by both clients and by the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import batchyard
from tests.client.fake_server import FakeServer

TEXT = "== attempt 1 of generation 1, SUCCEEDED ==\nhello\nwörld\n"


@pytest.fixture
def operation(client: Any, server: FakeServer) -> Any:
    """A task of two records, of which the second has a log."""
    made = client.batch.run("echo", [1, 2], task_id="t")
    server.leave(made.task_name, 1, ".batchyard/log.txt", TEXT.encode())
    return made


def test_a_log(operation: Any, server: FakeServer) -> None:
    assert operation.log(1) == TEXT
    assert operation.log(0) == ""
    server.echo(operation.task_name)
    assert operation.wait().log(1) == TEXT


def test_bytes_that_are_no_text(operation: Any, server: FakeServer) -> None:
    server.leave(operation.task_name, 1, ".batchyard/log.txt", b"a\xffb")
    assert operation.log(1) == "a\\xffb"


def test_no_such_record_and_no_such_task(operation: Any, client: Any) -> None:
    with pytest.raises(batchyard.NotFoundError, match="records/2 not found"):
        operation.log(2)
    operation.delete(force=True)
    with pytest.raises(batchyard.NotFoundError, match="batchTasks/t not found"):
        operation.log(1)


@pytest.mark.parametrize("cuts", [[0], [1], [2, 0, 1]])
def test_a_cut_stream_goes_on(operation: Any, server: FakeServer, cuts: list[int]) -> None:
    server.read_cuts.extend(cuts)
    assert operation.log(1) == TEXT
    assert not server.read_cuts


def test_a_log_that_grows_while_it_is_read(operation: Any, server: FakeServer) -> None:
    longer = TEXT + "== attempt 2 of generation 1, SUCCEEDED ==\n"
    server.read_cuts.append(1)
    server.on_cut = lambda: server.leave(operation.task_name, 1, ".batchyard/log.txt", longer.encode())
    assert operation.log(1) == longer


def test_a_log_that_changes_again_and_again(operation: Any, server: FakeServer) -> None:
    texts = iter(range(1000))
    server.read_cuts.extend([1] * 100)
    server.on_cut = lambda: server.leave(operation.task_name, 1, ".batchyard/log.txt", str(next(texts)).encode() * 9)
    with pytest.raises(batchyard.BatchyardError):
        operation.log(1)


def test_not_for_ever(operation: Any, server: FakeServer) -> None:
    server.read_cuts.extend([0] * 1000)
    with pytest.raises(batchyard.UnavailableError):
        operation.log(1, timeout=0.5)


def test_the_command(run: Callable[..., tuple[int, str, str]], operation: Any) -> None:
    assert run("log", "t", "1") == (0, TEXT, "")
    assert run("log", "t", "0") == (0, "", "")
    code, out, err = run("log", "t", "1", "--json")
    assert (code, json.loads(out), err) == (0, {"index": 1, "log": TEXT}, "")
    assert run("log", "t", "2")[0] == 1
