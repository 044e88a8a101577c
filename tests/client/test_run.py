"""`run`: what travels, in how many calls, and that nothing is doubled."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf import wrappers_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2

import batchyard
from batchyard import BatchTaskStatus, Record, RecordValueError
from batchyard.v1 import payload_pb2, record_pb2
from tests.client.fake_server import FakeServer, FakeTask, State


def only(server: FakeServer) -> FakeTask:
    (task,) = server.tasks.values()
    return task


def test_a_small_batch_is_one_call(client: Any, server: FakeServer) -> None:
    operation = client.batch.run(
        "echo",
        [{"a": 1}],
        parameters={"k": [1]},
        labels={"team": "x"},
        display_name="d",
        task_id="mine",
        record_timeout=1.5,
    )
    assert dict(server.calls) == {"CreateBatchTask": 1}
    assert operation.task_name == "projects/default/batchTasks/mine"
    assert (operation.task_id, operation.id) == ("mine", "op-mine")
    assert operation.name == "projects/default/operations/op-mine"
    info = operation.get_task_info()
    assert (info.handler, info.display_name, info.labels) == ("echo", "d", {"team": "x"})
    assert info.parameters == {"k": [1]}
    assert info.record_timeout == timedelta(seconds=1.5)
    assert info.create_time.tzinfo is not None
    assert info.end_time is None
    assert info.state is batchyard.BatchTaskState.QUEUED
    assert operation.get_status() is BatchTaskStatus.PENDING


def test_values_reach_the_handler_as_they_are_and_come_back(client: Any, server: FakeServer) -> None:
    big = 2**80 + 1
    message = wrappers_pb2.StringValue(value="inner")
    values = [{"a": [1, None, 2.5]}, [], "text", b"\x00\xff", 7, big, True, None, 1.5, "", b"", message, "é\ud7ff"]
    operation = client.batch.run("echo", values)
    server.echo(operation.task_name)
    assert list(operation.wait().outputs()) == values
    kinds = [r.payload.WhichOneof("kind") for r in only(server).inputs]
    assert kinds == ["text", "text", "text", "data", *["text"] * 6, "data", "message", "text"]
    assert only(server).inputs[2].payload.content_type == "text/plain"
    assert only(server).inputs[0].payload.content_type == ""


def test_records_that_were_made_elsewhere_pass(client: Any, server: FakeServer) -> None:
    unknown = AnyMessage(type_url="type.googleapis.com/no.such.Type", value=b"x")
    ready = record_pb2.RecordInput(record_id="r", payload=payload_pb2.Payload(data=b"q", content_type="image/png"))
    operation = client.batch.run(
        "echo",
        [
            ready,
            Record('{"n": 1}', record_id="j", content_type="application/json"),
            Record({"n": 2}, "k"),
            payload_pb2.Payload(data=b"z"),
            unknown,
        ],
    )
    inputs = only(server).inputs
    assert inputs[0] == ready
    assert inputs[1].payload.content_type == "application/json"
    server.echo(operation.task_name)
    assert list(operation.wait().outputs()) == [b"q", {"n": 1}, {"n": 2}, b"z", unknown]
    assert [record.record_id for record in operation.records()] == ["r", "j", "k", "", ""]


def test_a_large_batch_is_streamed(client: Any, server: FakeServer) -> None:
    seen: list[int] = []
    operation = client.batch.run(
        "echo", ({"i": i} for i in range(10_000)), progress=lambda counts: seen.append(counts.total)
    )
    assert server.calls["CreateBatchTask"] == server.calls["AppendRecords"] == server.calls["StartBatchTask"] == 1
    assert seen == sorted(seen)
    assert seen[-1] == 10_000
    assert only(server).info.state == State.QUEUED
    server.echo(operation.task_name)
    assert list(operation.wait().outputs()) == [{"i": i} for i in range(10_000)]


def test_large_records_are_split_by_size(client: Any, server: FakeServer) -> None:
    values = [bytes([i]) * 700_000 for i in range(5)]
    operation = client.batch.run("echo", iter(values))
    server.echo(operation.task_name)
    assert list(operation.wait().outputs()) == values


def test_record_ids_go_with_their_records(client: Any, server: FakeServer) -> None:
    ids = [f"r{i}" for i in range(3000)]
    client.batch.run("echo", range(3000), record_ids=iter(ids))
    assert [record.record_id for record in only(server).inputs] == ids


@pytest.mark.parametrize("count", [3, 3000])
@pytest.mark.parametrize("off", [-1, 1])
def test_record_ids_must_match(client: Any, server: FakeServer, count: int, off: int) -> None:
    with pytest.raises(ValueError, match="record_ids has"):
        client.batch.run("echo", range(count), record_ids=[f"r{i}" for i in range(count + off)])
    assert all(task.deleted for task in server.tasks.values())


@pytest.mark.parametrize("value", [float("nan"), {"deep": [{"x": float("inf")}]}, object(), {"s": {1, 2}}])
@pytest.mark.parametrize("at", [2, 2500])
def test_a_value_without_a_form_names_its_index(client: Any, server: FakeServer, value: object, at: int) -> None:
    values = [{"i": i} for i in range(3000)]
    values[at] = value  # type: ignore[assignment]
    with pytest.raises(RecordValueError, match=f"record {at}: ") as caught:
        client.batch.run("echo", iter(values))
    assert caught.value.index == at
    assert all(task.deleted for task in server.tasks.values()), "a draft that nobody can find was left behind"


def test_a_record_beyond_the_bound_is_refused_here(client: Any) -> None:
    with pytest.raises(RecordValueError, match="record 1: takes"):
        client.batch.run("echo", [b"", b"x" * (1024 * 1024 + 100)])


def test_an_error_of_the_callers_own_iterable_passes_unchanged(client: Any, server: FakeServer) -> None:
    def broken() -> Any:
        yield from range(2000)
        raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$"):
        client.batch.run("echo", broken())
    assert only(server).deleted


@pytest.mark.parametrize("records", ["abc", b"abc", {"a": 1}, Record(1)])
def test_one_record_is_no_iterable_of_records(client: Any, records: Any) -> None:
    with pytest.raises(TypeError, match="iterable of records"):
        client.batch.run("echo", records)


def test_no_records(client: Any) -> None:
    with pytest.raises(batchyard.NoRecordsError) as caught:
        client.batch.run("echo", [])
    assert isinstance(caught.value, batchyard.InvalidArgumentError)
    assert caught.value.detail.field_violations == [batchyard.FieldViolation("records", "empty")]
    operation = client.batch.run("echo", [], start=False)
    with pytest.raises(batchyard.NoRecordsError) as caught:
        operation.start()
    assert isinstance(caught.value, batchyard.FailedPreconditionError)


def test_a_draft_is_filled_and_started_later(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", range(5), start=False)
    assert operation.get_status() is BatchTaskStatus.CREATED
    assert operation.append(range(5, 8)) == 8
    assert operation.append(range(5000), skip_appended=True) == 5000
    operation.start()
    assert operation.get_status() is BatchTaskStatus.PENDING
    server.echo(operation.task_name)
    assert list(operation.wait().outputs()) == list(range(5000))
    with pytest.raises(batchyard.TaskCompletedError):
        operation.append([1])


def test_two_uploads_into_one_task(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", range(5), start=False)
    only(server).appending = True
    with pytest.raises(batchyard.AppendInProgressError):
        operation.append([1], timeout=0.3)


@pytest.mark.parametrize("count", [10, 3000])
def test_lost_answers_double_nothing(client: Any, server: FakeServer, count: int) -> None:
    for method in ("CreateBatchTask", "AppendRecords", "StartBatchTask"):
        server.fail_next(method, code_pb2.UNAVAILABLE, times=4)
    client.batch.run("echo", range(count))
    assert len(server.tasks) == 1
    assert len(only(server).inputs) == count


@pytest.mark.parametrize("count", [10, 5000])
def test_the_same_request_id_goes_on_where_it_stopped(client: Any, server: FakeServer, count: int) -> None:
    request_id = str(uuid.uuid4())

    def broken() -> Any:
        yield from range(count * 9 // 10)
        raise KeyError("power cut")

    with pytest.raises(KeyError):
        client.batch.run("echo", broken(), request_id=request_id)
    for _ in range(2):  # the second time everything is there already
        operation = client.batch.run("echo", range(count), request_id=request_id)
    assert len(server.tasks) == 1
    assert [int(record.payload.text) for record in only(server).inputs] == list(range(count))
    server.echo(operation.task_name)
    again = client.batch.run("echo", range(count), request_id=request_id)
    assert again.get_status() is BatchTaskStatus.COMPLETED


def test_a_server_that_is_not_there(connect: Any) -> None:
    client = connect("127.0.0.1:1")
    with pytest.raises(batchyard.UnavailableError) as caught:
        client.batch.run("echo", [1], timeout=0.5)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


def test_the_project_is_the_clients(connect: Any, server: FakeServer) -> None:
    client = connect(server.target, project="blue")
    operation = client.batch.run("echo", [1])
    assert operation.task_name == "projects/blue/batchTasks/t000000"
    assert client.batch.get("t000000").task_name == operation.task_name
    assert client.batch.get("projects/blue/batchTasks/t000000").task_name == operation.task_name
    assert list(connect(server.target).batch.list_info()) == []
