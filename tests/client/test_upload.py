"""Uploads over connections that break: the list is identical, nothing is lost or doubled."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from google.rpc import code_pb2

import batchyard
from batchyard._records import WINDOW_BYTES
from tests.client.fake_server import FakeServer
from tests.support.proxy import Budget, CutProxy

SEEDS = [1, 2, 3, 4]


def values(count: int, size: int) -> Iterator[dict[str, Any]]:
    for index in range(count):
        yield {"i": index, "filler": "x" * size}


def digest(server: FakeServer) -> str:
    (task,) = server.tasks.values()
    seen = hashlib.sha256()
    for record in task.inputs:
        seen.update(record.SerializeToString(deterministic=True))
    return seen.hexdigest()


@pytest.fixture(scope="module")
def expected() -> str:
    with FakeServer() as server, batchyard.Client(server.target) as client:
        client.batch.run("echo", values(20_000, 500))
        return digest(server)


@pytest.mark.parametrize("seed", SEEDS)
def test_connections_cut_at_random_bytes(connect: Any, server: FakeServer, expected: str, seed: int) -> None:
    chance = random.Random(seed)
    budgets = [Budget(up=int(chance.expovariate(1 / 1_500_000))) for _ in range(20)]
    with CutProxy(server.target, budgets) as proxy:
        connect(proxy.target).batch.run("echo", values(20_000, 500))
    assert proxy.cuts["up"] > 3
    assert digest(server) == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_streams_cut_after_the_commit_and_before_the_answer(client: Any, server: FakeServer, seed: int) -> None:
    chance = random.Random(seed)
    server.append_cuts.extend(chance.randrange(4) for _ in range(15))
    client.batch.run("echo", values(20_000, 100))
    (task,) = server.tasks.values()
    assert len(server.append_cuts) < 12
    assert [record.payload.text for record in task.inputs][::1000] == [
        f'{{"i":{i},"filler":"{"x" * 100}"}}' for i in range(0, 20_000, 1000)
    ]
    assert len(task.inputs) == 20_000


def test_a_server_restart_in_the_middle(connect: Any, server: FakeServer, expected: str) -> None:
    client = connect(server.target)

    def interrupted() -> Iterator[dict[str, Any]]:
        for value in values(20_000, 500):
            if value["i"] in {5_000, 12_000}:
                server.restart()
            yield value

    client.batch.run("echo", interrupted())
    assert digest(server) == expected


def test_part_of_a_message_may_be_durable(client: Any, server: FakeServer) -> None:
    """A resume that lands inside a message sends only the rest of it."""
    operation = client.batch.run("echo", range(10), start=False)
    assert operation.append(range(3_000), skip_appended=True) == 3_000
    (task,) = server.tasks.values()
    assert [int(record.payload.text) for record in task.inputs] == list(range(3_000))


def test_a_draft_that_holds_more_than_is_given(client: Any) -> None:
    operation = client.batch.run("echo", range(10), start=False)
    with pytest.raises(ValueError, match="holds 10 records already, but 5 were given"):
        operation.append(range(5), skip_appended=True)


def test_no_progress_ends_the_upload(client: Any, server: FakeServer) -> None:
    server.fail_next("AppendRecords", code_pb2.UNAVAILABLE, times=1000)
    with pytest.raises(batchyard.UnavailableError):
        client.batch.run("echo", range(5000), timeout=0.5)
    assert all(task.deleted for task in server.tasks.values())


def test_a_frozen_server_ends_the_upload(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", range(10), start=False)
    with server.lock, pytest.raises(batchyard.DeadlineExceededError):  # whoever holds the lock freezes the server
        operation.append(range(5000), timeout=0.5)


def test_progress_keeps_an_upload_alive_beyond_its_timeout(client: Any, server: FakeServer) -> None:
    """`timeout` bounds the time without progress, not the whole; the stream's own deadline is no cut that counts."""
    pulled = threading.Event()

    def slow() -> Iterator[int]:
        for index in range(5000):
            if index in {2000, 4999}:
                pulled.wait(1.2)
            yield index

    client.batch.run("echo", slow(), timeout=1.5)
    (task,) = server.tasks.values()
    assert [int(record.payload.text) for record in task.inputs] == list(range(5000))


def test_a_refusal_is_final(client: Any, server: FakeServer) -> None:
    server.fail_next("AppendRecords", code_pb2.INVALID_ARGUMENT, "twice", "DUPLICATE_RECORD_ID")
    with pytest.raises(batchyard.DuplicateRecordIdError):
        client.batch.run("echo", range(5000), record_ids=["same"] * 5000)
    assert server.calls["AppendRecords"] == 1


def test_what_waits_for_an_answer_is_bounded(client: Any, server: FakeServer) -> None:
    """Memory stays flat: the source is not read on while the server does not acknowledge."""
    pulled = 0
    most = 0

    def source() -> Iterator[bytes]:
        nonlocal pulled, most
        for _ in range(100):
            pulled += 1
            (task,) = server.tasks.values() or (None,)
            most = max(most, pulled - (len(task.inputs) if task else 0))
            yield b"x" * 900_000

    client.batch.run("echo", source())
    assert most <= WINDOW_BYTES // 900_000 + 3
