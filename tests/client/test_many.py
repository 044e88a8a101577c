"""`run_many`: any number of tasks, in few calls, each of them once. And how many there are."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from google.rpc import code_pb2

import batchyard
from batchyard import NewTask, Record, RecordValueError
from batchyard._aio import many
from batchyard.v1 import batch_task_service_pb2 as service
from tests.client.fake_server import FakeServer, State


def tasks(count: int, **more: Any) -> Iterator[NewTask]:
    """That many, one record each."""
    return (NewTask("echo", [{"n": n}], task_id=f"t{n}", **more) for n in range(count))


def ids(server: FakeServer) -> list[str]:
    """Ids of the tasks that the server has, in the order of their creation."""
    return [name.rpartition("/")[2] for name in server.tasks]


def test_many_tasks_travel_in_few_calls_and_come_back_in_order(client: Any, server: FakeServer) -> None:
    made = list(client.batch.run_many(tasks(2500, labels={"team": "x"}, priority=2)))
    assert [each.index for each in made] == list(range(2500))
    assert [each.get().task_id for each in made] == [f"t{n}" for n in range(2500)]
    assert all(each.error is None for each in made)
    assert [count for count, _ in server.batches] == [1000, 1000, 500]
    assert dict(server.calls)["BatchCreateBatchTasks"] == 3
    task = server.tasks["projects/default/batchTasks/t7"]
    assert (task.info.labels["team"], task.info.priority, task.info.state) == ("x", 2, State.QUEUED)
    assert task.inputs[0].payload.text == '{"n":7}'
    server.echo("projects/default/batchTasks/t7")
    assert list(made[7].get().wait().outputs()) == [{"n": 7}]


def test_a_call_stops_by_bytes_too(client: Any, server: FakeServer) -> None:
    big = (NewTask("echo", ["x" * 500_000], task_id=f"t{n}") for n in range(9))
    assert [each.get().task_id for each in client.batch.run_many(big)] == [f"t{n}" for n in range(9)]
    assert [count for count, _ in server.batches] == [4, 4, 1]
    assert max(size for _, size in server.batches) <= many.CALL_BYTES


def test_nothing_is_read_ahead_of_what_goes_into_one_call(client: Any, server: FakeServer) -> None:
    read: list[int] = []

    def endless() -> Iterator[NewTask]:
        for number in range(10**9):
            read.append(number)
            yield NewTask("echo", ["x"])

    assert len(list(islice(client.batch.run_many(endless()), 1500))) == 1500
    assert len(server.batches) == 2
    assert len(read) <= 2002


def test_one_that_is_refused_stops_no_other(client: Any, server: FakeServer) -> None:
    list(client.batch.run_many(tasks(1)))
    given = [
        NewTask("echo", [1], task_id="a"),
        NewTask("echo", [2], task_id="t0"),
        NewTask("missing", [3]),
        NewTask("echo", [float("nan")]),
        NewTask("echo", []),
        NewTask("echo", [1, 2], record_ids=["one"]),
        NewTask("echo", [], start=False, task_id="draft"),
        service.CreateBatchTaskRequest(batch_task={"handler": "echo"}, batch_task_id="raw", records=[{}]),
    ]
    made = list(client.batch.run_many(given))
    kinds = [type(each.error) for each in made]
    assert kinds[:3] == [type(None), batchyard.ResourceExistsError, batchyard.ResourceNotFoundError]
    assert kinds[3] is RecordValueError
    assert issubclass(kinds[4], batchyard.NoRecordsError)
    assert kinds[5:] == [RecordValueError, type(None), type(None)]
    assert made[4].error.detail.field_violations[0].field == "records"
    assert [each.operation is None for each in made] == [each.error is not None for each in made]
    with pytest.raises(batchyard.ResourceExistsError, match="taken"):
        made[1].get()
    assert ids(server) == ["t0", "a", "draft", "raw"]


@pytest.mark.parametrize(
    "code", [code_pb2.UNAVAILABLE, code_pb2.ABORTED, code_pb2.RESOURCE_EXHAUSTED], ids=code_pb2.Code.Name
)
def test_what_passes_is_tried_again_alone(client: Any, server: FakeServer, code: int) -> None:
    server.refusals["t1"].extend([(code, "later", "")] * 2)
    server.refusals["t3"].append((code, "later", ""))
    made = list(client.batch.run_many(tasks(5)))
    assert [each.get().task_id for each in made] == [f"t{n}" for n in range(5)]
    assert [count for count, _ in server.batches] == [5, 2, 1]


def test_it_is_not_tried_for_ever(client: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "MOST_TRIES", 3)
    monkeypatch.setattr(batchyard._sync.many, "MOST_TRIES", 3)
    server.refusals["t1"].extend([(code_pb2.UNAVAILABLE, "later", "STORE_UNAVAILABLE")] * 50)
    made = list(client.batch.run_many(tasks(3)))
    assert [each.error is None for each in made] == [True, False, True]
    assert isinstance(made[1].error, batchyard.StoreUnavailableError)
    assert [count for count, _ in server.batches] == [3, 1, 1]


def test_a_call_that_failed_as_a_whole_is_made_again(client: Any, server: FakeServer) -> None:
    server.fail_next("BatchCreateBatchTasks", code_pb2.UNAVAILABLE)
    server.fail_next("BatchCreateBatchTasks", code_pb2.RESOURCE_EXHAUSTED, reason="DISK_FULL")
    server.lost_answers = 1
    made = list(client.batch.run_many(tasks(3)))
    assert [each.get().task_id for each in made] == ["t0", "t1", "t2"]
    assert ids(server) == ["t0", "t1", "t2"]
    assert server.calls["BatchCreateBatchTasks"] == 4


def test_a_call_that_is_refused_as_a_whole_is_an_error(client: Any, server: FakeServer) -> None:
    server.fail_next("BatchCreateBatchTasks", code_pb2.PERMISSION_DENIED)
    with pytest.raises(batchyard.PermissionDeniedError):
        list(client.batch.run_many(tasks(3)))


def test_a_message_that_is_too_large_is_not_sent_again_and_again(client: Any, server: FakeServer) -> None:
    request = service.CreateBatchTaskRequest(batch_task={"handler": "echo"}, records=[{"payload": {"text": "x"}}])
    request.records[0].payload.text = "x" * 5 * 1024 * 1024
    with pytest.raises(batchyard.ResourceExhaustedError):
        list(client.batch.run_many([request]))
    assert server.batches == []


def test_the_same_request_id_makes_the_same_tasks_once(
    connect: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = str(uuid.uuid4())

    def given() -> list[NewTask]:
        return [NewTask("echo", [n]) for n in range(7)]

    first = connect(server.target).batch.run_many(given(), request_id=request_id)
    stopped = [each.get().id for each in islice(first, 3)]
    for module in (many, batchyard._sync.many):  # split otherwise, as another version might
        monkeypatch.setattr(module, "CALL_TASKS", 2)
    again = [each.get().id for each in connect(server.target).batch.run_many(given(), request_id=request_id)]
    assert again[:3] == stopped
    assert len(server.tasks) == 7
    other = [each.get().id for each in connect(server.target).batch.run_many(given(), request_id=str(uuid.uuid4()))]
    assert set(other).isdisjoint(again)


def test_a_task_of_many_records_is_streamed_in_its_turn(client: Any, server: FakeServer) -> None:
    given = [
        NewTask("echo", [1], task_id="a"),
        NewTask("echo", ({"n": n} for n in range(5000)), task_id="large"),
        NewTask("echo", (Record(n) for n in range(3000)), task_id="draft", start=False),
        NewTask("missing", (Record(n) for n in range(3000))),
        NewTask("echo", [2], task_id="b"),
    ]
    made = list(client.batch.run_many(given))
    assert [each.operation is None for each in made] == [False, False, False, True, False]
    assert isinstance(made[3].error, batchyard.ResourceNotFoundError)
    assert ids(server) == ["a", "large", "draft", "b"]
    large, draft = (server.tasks[f"projects/default/batchTasks/{task}"] for task in ("large", "draft"))
    assert (len(large.inputs), large.info.state) == (5000, State.QUEUED)
    assert (len(draft.inputs), draft.info.state) == (3000, State.DRAFT)


def test_settings_are_checked_where_the_task_is_made() -> None:
    with pytest.raises(TypeError, match="colour"):
        NewTask("echo", [1], colour="red")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        NewTask("echo", "one str")
    assert repr(NewTask("echo", [1], task_id="t")) == "<NewTask t handler=echo>"


def test_counts(client: Any, server: FakeServer) -> None:
    assert client.batch.counts().queued == 0
    list(client.batch.run_many(tasks(3)))
    list(client.batch.run_many([NewTask("echo", [], start=False)]))
    server.end("projects/default/batchTasks/t1", State.FAILED)
    counts = client.batch.counts()
    assert (counts.draft, counts.queued, counts.failed, counts.succeeded) == (1, 2, 1, 0)
