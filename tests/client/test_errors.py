"""Every reason of the contract arrives as its exception, with its details."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

import batchyard
from batchyard._error_map import BY_CODE, BY_RECORD_REASON, BY_RPC_REASON, BY_TASK_REASON
from batchyard.v1.error_reason_pb2 import ErrorReason
from tests.client.fake_operations import refuse, status_of
from tests.client.fake_server import FakeServer, State

CODES: dict[str, tuple[grpc.StatusCode, ...]] = {
    "INVALID_FIELD": (grpc.StatusCode.INVALID_ARGUMENT,),
    "MALFORMED_REQUEST": (grpc.StatusCode.INVALID_ARGUMENT,),
    "INVALID_TOKEN": (grpc.StatusCode.INVALID_ARGUMENT,),
    "NO_RECORDS": (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION),
    "DUPLICATE_RECORD_ID": (grpc.StatusCode.INVALID_ARGUMENT,),
    "RESOURCE_NOT_FOUND": (grpc.StatusCode.NOT_FOUND,),
    "RESOURCE_EXISTS": (grpc.StatusCode.ALREADY_EXISTS,),
    "REQUEST_ID_REUSED": (grpc.StatusCode.ALREADY_EXISTS,),
    "ILLEGAL_STATE": (grpc.StatusCode.FAILED_PRECONDITION,),
    "TASK_COMPLETED": (grpc.StatusCode.FAILED_PRECONDITION,),
    "TASK_NOT_COMPLETED": (grpc.StatusCode.FAILED_PRECONDITION,),
    "TASK_SUCCEEDED": (grpc.StatusCode.FAILED_PRECONDITION,),
    "ETAG_MISMATCH": (grpc.StatusCode.ABORTED,),
    "OPERATION_NOT_DONE": (grpc.StatusCode.FAILED_PRECONDITION,),
    "INDEX_MISMATCH": (grpc.StatusCode.OUT_OF_RANGE,),
    "INVALID_FILTER": (grpc.StatusCode.INVALID_ARGUMENT,),
    "INVALID_ORDER_BY": (grpc.StatusCode.INVALID_ARGUMENT,),
    "RESUME_TOKEN_EXPIRED": (grpc.StatusCode.OUT_OF_RANGE,),
    "OFFSET_BEYOND_END": (grpc.StatusCode.OUT_OF_RANGE,),
    "ARTIFACT_DAMAGED": (grpc.StatusCode.DATA_LOSS,),
    "APPEND_IN_PROGRESS": (grpc.StatusCode.ABORTED,),
    "DISK_FULL": (grpc.StatusCode.RESOURCE_EXHAUSTED,),
    "STORE_UNAVAILABLE": (grpc.StatusCode.UNAVAILABLE,),
    "DRAINING": (grpc.StatusCode.UNAVAILABLE,),
    "INTERNAL_ERROR": (grpc.StatusCode.INTERNAL,),
}


def class_name(reason: str) -> str:
    special = {
        "INTERNAL_ERROR": "ServerFaultError",
        "RECORD_ERROR": "HandlerRecordError",
        "TASK_CANCELLED": "BatchTaskCancelled",
    }
    return special.get(reason, reason.title().replace("_", "") + "Error")


def test_the_tables_know_every_reason() -> None:
    known = {*BY_RPC_REASON, *BY_TASK_REASON, *BY_RECORD_REASON}
    # The error of a subtask is never raised.
    assert known == set(ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED", "WORKER_KILLED"}
    assert set(CODES) == set(BY_RPC_REASON)
    assert set(BY_CODE) == set(grpc.StatusCode) - {grpc.StatusCode.OK}
    for reason in known:
        assert issubclass(getattr(batchyard, class_name(reason)), batchyard.BatchyardError)


@pytest.mark.parametrize(("reason", "code"), [(reason, code) for reason, codes in CODES.items() for code in codes])
def test_a_refused_call(client: Any, server: FakeServer, reason: str, code: grpc.StatusCode) -> None:
    server.fail_next("GetBatchTask", code.value[0], "said so", reason, times=1000)
    with pytest.raises(batchyard.RpcError) as caught:
        client.batch.get("t", timeout=0.3)
    error = caught.value
    assert isinstance(error, getattr(batchyard, class_name(reason)))
    assert isinstance(error, BY_CODE[code])
    assert (error.code, error.reason, error.message) == (code, reason, "said so")
    assert isinstance(error.__cause__, grpc.RpcError)


@pytest.mark.parametrize("code", sorted(BY_CODE, key=lambda code: code.value[0]))
def test_a_code_without_a_reason(client: Any, server: FakeServer, code: grpc.StatusCode) -> None:
    server.fail_next("GetBatchTask", code.value[0], times=1000)
    with pytest.raises(BY_CODE[code]) as caught:
        client.batch.get("t", timeout=0.3)
    assert caught.value.reason == ""
    assert type(caught.value) is BY_CODE[code]


@pytest.mark.parametrize("reason", sorted(BY_RECORD_REASON))
def test_a_failed_record(client: Any, server: FakeServer, reason: str) -> None:
    operation = client.batch.run("echo", [batchyard.Record(1, record_id="one")])
    server.complete(operation.task_name, 0, error=status_of(13, "why", reason, exit="-9"))
    (record,) = operation.failed()
    error = record.error
    assert type(error) is getattr(batchyard, class_name(reason))
    assert (error.code, error.reason, error.index, error.record_id) == (13, reason, 0, "one")
    assert error.metadata == {"exit": "-9"}
    assert str(error) == "record 0 (one): why"


@pytest.mark.parametrize("reason", sorted(BY_TASK_REASON))
def test_a_failed_task(client: Any, server: FakeServer, reason: str) -> None:
    operation = client.batch.run("echo", [1])
    ended = State.CANCELLED if reason == "TASK_CANCELLED" else State.FAILED
    server.end(operation.task_name, ended, status_of(1 if reason == "TASK_CANCELLED" else 10, "why", reason))
    with pytest.raises(getattr(batchyard, class_name(reason))) as caught:
        operation.get_result()
    assert caught.value.reason == reason
    assert isinstance(caught.value, batchyard.BatchTaskError)
    assert isinstance(caught.value, batchyard.BatchTaskCancelled) == (reason == "TASK_CANCELLED")
    assert not isinstance(caught.value, TimeoutError), "of a wait this would mean that the task goes on"


def test_a_cancelled_task_whose_process_could_not_be_ended(client: Any, server: FakeServer) -> None:
    operation = client.batch.run("echo", [1])
    error = status_of(1, "was cancelled", "PROCESS_NOT_REAPED", process_ids="7")
    server.end(operation.task_name, State.CANCELLED, error)
    with pytest.raises(batchyard.BatchTaskCancelled, match="was cancelled") as caught:
        operation.wait()
    assert isinstance(caught.value, batchyard.ProcessNotReapedError)
    assert caught.value.reason == "PROCESS_NOT_REAPED"


def test_details(client: Any, server: FakeServer) -> None:
    details = [
        error_details_pb2.BadRequest(
            field_violations=[error_details_pb2.BadRequest.FieldViolation(field="records[3].x", description="bad")]
        ),
        error_details_pb2.ResourceInfo(resource_type="t", resource_name="n"),
        error_details_pb2.RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000)),
        error_details_pb2.DebugInfo(detail="d"),
    ]

    def get(_request: Any, context: Any) -> Any:
        refuse(context, 3, "no", "INVALID_FIELD", *details, key="value")

    server.GetBatchTask = get  # type: ignore[method-assign]
    server.restart()
    with pytest.raises(batchyard.InvalidFieldError) as caught:
        client.batch.get("t")
    detail = caught.value.detail
    assert caught.value.metadata == {"key": "value"}
    assert list(detail.field_violations) == [batchyard.FieldViolation("records[3].x", "bad")]
    assert (detail.resource_type, detail.resource_name, detail.retry_delay) == ("t", "n", 1.5)
    assert [type(message).__name__ for message in detail.messages] == [
        "ErrorInfo",
        "BadRequest",
        "ResourceInfo",
        "RetryInfo",
        "DebugInfo",
    ]


def test_the_server_says_when_to_come_back(client: Any, server: FakeServer) -> None:
    answers = iter([1, 2])
    real = server.GetBatchTask

    def get(request: Any, context: Any) -> Any:
        if next(answers, None):
            refuse(context, 14, "later", "DRAINING", error_details_pb2.RetryInfo(retry_delay=Duration(seconds=30)))
        return real(request, context)

    server.GetBatchTask = get  # type: ignore[method-assign]
    server.restart()
    with pytest.raises(batchyard.DrainingError):  # 30 s are advised, 1 s is all there is
        client.batch.get("t", timeout=1)


def test_timeouts_are_timeout_errors(client: Any, server: FakeServer) -> None:
    client.batch.run("echo", [1], task_id="t")
    with server.lock, pytest.raises(TimeoutError) as caught:
        client.batch.get("t", timeout=0.2)
    assert isinstance(caught.value, batchyard.DeadlineExceededError)
