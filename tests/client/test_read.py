"""Reading records, tasks, operations and handlers: order, resuming, paging."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import struct_pb2
from google.rpc import code_pb2

import batchyard
from batchyard import BatchTaskStatus
from batchyard.v1 import batch_task_service_pb2 as service_pb
from batchyard.v1 import handler_pb2, payload_pb2
from tests.client.fake_operations import status_of
from tests.client.fake_server import FakeServer, State


@pytest.fixture
def ended(client: Any, server: FakeServer) -> Any:
    operation = client.batch.run("echo", list(range(1000)))
    name = operation.task_name
    for index in reversed(range(1000)):
        error = status_of(3, f"no {index}", "RECORD_ERROR") if index % 250 == 0 else None
        server.complete(name, index, server.tasks[name].inputs[index].payload, error)
    server.end(name, State.SUCCEEDED)
    return operation


def test_orders_and_views(ended: Any) -> None:
    assert [record.index for record in ended.records()] == list(range(1000))
    assert [record.index for record in ended.records(order="completion")] == list(reversed(range(1000)))
    assert next(iter(ended.records())).input is None
    assert [record.input for record in ended.records(view="full")] == list(range(1000))
    for wrong in ({"order": "newest"}, {"view": "all"}):
        with pytest.raises(ValueError, match="must be one of"):
            list(ended.records(**wrong))


def test_streams_resume_after_cuts(ended: Any, server: FakeServer) -> None:
    server.stream_cuts.extend([0, 3, 1, 0, 2])
    assert [record.index for record in ended.records()] == list(range(1000))
    assert server.calls["StreamRecords"] == 6
    server.fail_next("StreamRecords", code_pb2.UNAVAILABLE, times=3)
    assert len(list(ended.records())) == 1000


def test_reading_goes_on_from_a_kept_token(ended: Any) -> None:
    pages = ended.pages(page_size=300)
    first = next(iter(pages))
    pages.close()
    assert len(first.records) == 300
    assert [record.index for record in ended.records(resume_token=first.resume_token)] == list(range(300, 1000))


def test_a_stream_that_stays_cut(ended: Any, server: FakeServer) -> None:
    server.fail_next("StreamRecords", code_pb2.UNAVAILABLE, times=1000)
    with pytest.raises(batchyard.UnavailableError):
        list(ended.records(timeout=0.4))


def test_a_frozen_stream(ended: Any, server: FakeServer) -> None:
    with server.lock, pytest.raises(batchyard.DeadlineExceededError):
        list(ended.records(timeout=0.3))


def test_a_slow_reader_outlives_the_deadline_of_its_stream(ended: Any, server: FakeServer) -> None:
    seen = []
    for page in ended.pages(timeout=0.3, page_size=400):
        seen += [record.index for record in page.records]
        with server.changed:
            server.changed.wait(0.4)  # longer than the stream may live
    assert seen == list(range(1000))


def test_failed_records(ended: Any) -> None:
    failed = list(ended.failed())
    assert [record.index for record in failed] == [750, 500, 250, 0]
    error = failed[0].error
    assert isinstance(error, batchyard.HandlerRecordError)
    assert (error.code, error.message, error.index, error.reason) == (3, "no 750", 750, "RECORD_ERROR")
    assert failed[0].is_failed
    assert failed[0].output is None
    assert ended.wait().counts.failed == 4


def test_records_of_a_filter(ended: Any, server: FakeServer) -> None:
    assert [record.index for record in ended.records(filter="state = FAILED")] == [0, 250, 500, 750]
    assert len(list(ended.records(filter="state = SUCCEEDED", view="full"))) == 996
    pages = list(ended.pages(filter="state = FAILED", page_size=100))
    assert [len(page.records) for page in pages] == [1, 0, 1, 0, 0, 1, 0, 1, 0, 0]  # an empty one is not the end
    rest = ended.records(filter="state = FAILED", resume_token=pages[5].resume_token)
    assert [record.index for record in rest] == [750]
    with pytest.raises(batchyard.InvalidArgumentError):
        list(ended.records(filter="state = BAD"))


def test_outputs_and_failures(ended: Any) -> None:
    with pytest.raises(batchyard.RecordFailedError, match="record 0: no 0"):
        list(ended.outputs())
    assert list(ended.outputs(on_failure="skip")) == [i for i in range(1000) if i % 250]
    assert list(ended.outputs(on_failure="none")) == [i if i % 250 else None for i in range(1000)]
    with pytest.raises(ValueError, match="on_failure"):
        list(ended.outputs(on_failure="ignore"))


def test_outputs_before_the_end(client: Any) -> None:
    operation = client.batch.run("echo", [1])
    with pytest.raises(ValueError, match="record 0 has no output: PENDING"):
        list(operation.outputs())


def test_one_record(ended: Any) -> None:
    record = ended.get_record(7)
    assert (record.index, record.output, record.state.is_final, record.is_succeeded) == (7, 7, True, True)
    assert record.name == f"{ended.task_name}/records/7"
    assert record.exit_code is None
    assert record.attempt == 1


def test_an_output_of_every_kind(client: Any, server: FakeServer) -> None:
    value = struct_pb2.Value()
    value.struct_value.update({"n": 3.0, "x": 1.5, "big": 2.0**60, "l": [True, None, "s"]})
    kinds = [
        (payload_pb2.Payload(json=value), {"n": 3, "x": 1.5, "big": 2.0**60, "l": [True, None, "s"]}),
        (payload_pb2.Payload(text="[1]", content_type="application/json; charset=utf-8"), [1]),
        (payload_pb2.Payload(text="[1]", content_type="application/problem+json"), [1]),
        (payload_pb2.Payload(text="[1]", content_type="text/plain"), "[1]"),
        (payload_pb2.Payload(data=b"\xff"), b"\xff"),
        (None, None),
    ]
    operation = client.batch.run("echo", [None] * len(kinds))
    for index, (payload, _) in enumerate(kinds):
        server.complete(operation.task_name, index, payload)
    assert list(operation.outputs()) == [expected for _, expected in kinds]


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"filter": "priority > 0", "order_by": "id desc"}, "priority > 0"),
        ({"status": "failed"}, "state = FAILED"),
        ({"status": 2, "filter": " * "}, "state = QUEUED OR state = PAUSED"),
        (
            {"status": "IN_PROGRESS", "filter": 'id = "a*" AND archived = false', "order_by": "id desc"},
            '(id = "a*" AND archived = false) AND (state = RUNNING OR state = PAUSING OR state = CANCELLING)',
        ),
        ({"status": BatchTaskStatus.STATUS_UNSPECIFIED, "filter": "*"}, "*"),
    ],
)
def test_what_a_listing_asks_for(client: Any, server: FakeServer, asked: dict[str, Any], sent: str) -> None:
    for method in (client.batch.list_info, client.batch.list_operations):
        list(method(page_size=3, **asked))
        request = server.last["StreamBatchTasks"]
        assert (request.filter, request.order_by, request.page_size) == (sent, asked.get("order_by", ""), 3)


def test_a_status_that_this_client_does_not_know_is_none_of_those_it_knows(client: Any, server: FakeServer) -> None:
    list(client.batch.list_info(status=-1))
    known = [f"state = {state.name}" for state in batchyard.BatchTaskState if state]
    assert server.last["StreamBatchTasks"].filter == f"NOT ({' OR '.join(known)})"


def test_listing_tasks(client: Any, server: FakeServer) -> None:
    made = [client.batch.run("echo", [1]).task_id for _ in range(9)]
    server.echo("projects/default/batchTasks/" + made[3])
    server.stream_cuts.extend([1, 1, 0])
    assert [info.task_id for info in client.batch.list_info()] == made[::-1]
    assert [op.task_id for op in client.batch.list_operations(page_size=4)] == made[::-1]
    for status in (BatchTaskStatus.COMPLETED, "completed", "STATUS_COMPLETED", 4):
        assert [info.task_id for info in client.batch.list_info(status=status)] == [made[3]]
    assert len(list(client.batch.list_info(status=0))) == 9
    assert server.last["StreamBatchTasks"].filter == ""
    for wrong in ("SUCCEEDED", 99):
        with pytest.raises(ValueError, match="not a valid BatchTaskStatus"):
            list(client.batch.list_info(status=wrong))
    info = next(iter(client.batch.list_info(status="completed")))
    before = sum(server.calls.values())
    operation = client.batch.get(info)
    assert sum(server.calls.values()) == before
    assert operation.task_name == info.name
    assert operation.name == info.operation
    client.batch.delete(made[3])
    with pytest.raises(batchyard.NotFoundError):
        client.batch.get(made[3])
    with pytest.raises(ValueError, match="empty"):
        client.batch.get("")


def test_pages_of_operations_and_handlers(client: Any, server: FakeServer) -> None:
    made = [client.batch.run("echo", [1]).id for _ in range(5)]
    assert [operation.id for operation in client.operations.list()] == made[::-1]
    assert [handler.handler_id for handler in client.handlers.list()] == ["a", "b", "c"]
    assert client.handlers.get("a").kind is batchyard.HandlerKind.PYTHON
    assert client.handlers.get("a").available


def test_a_token_that_leads_to_itself(client: Any, server: FakeServer) -> None:
    def loop(request: Any, context: Any) -> Any:
        return service_pb.ListHandlersResponse(handlers=[handler_pb2.Handler(name="x/y")], next_page_token="same")

    server.ListHandlers = loop  # type: ignore[method-assign]
    server.restart()
    with pytest.raises(batchyard.InternalError, match="leads to itself"):
        list(client.handlers.list())
