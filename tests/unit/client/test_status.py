"""Statuses: Yandex's members and numbers, and the mapping of states."""

from __future__ import annotations

from typing import Any

import pytest
from google.longrunning.operations_pb2 import Operation
from google.protobuf.wrappers_pb2 import StringValue

from batchyard import (
    BatchTaskState,
    BatchTaskStatus,
    HandlerIsolation,
    HandlerKind,
    OperationErrorInfo,
    OperationStatus,
    RecordState,
    StopReason,
    SubtaskState,
    WaitingReason,
)
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.handler_pb2 import Handler
from batchyard.v1.record_pb2 import RecordInfo
from batchyard.v1.subtask_pb2 import Subtask


def test_members_and_numbers() -> None:
    assert {member.name: member.value for member in BatchTaskStatus} == {
        "UNKNOWN": -1,
        "STATUS_UNSPECIFIED": 0,
        "CREATED": 1,
        "PENDING": 2,
        "IN_PROGRESS": 3,
        "COMPLETED": 4,
        "FAILED": 5,
        "CANCELED": 6,
    }


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("DRAFT", 1),
        ("QUEUED", 2),
        ("RUNNING", 3),
        ("PAUSING", 3),
        ("PAUSED", 2),
        ("CANCELLING", 3),
        ("SUCCEEDED", 4),
        ("FAILED", 5),
        ("CANCELLED", 6),
    ],
)
def test_status_of_a_state(state: str, status: int) -> None:
    assert BatchTaskStatus.of_state(BatchTaskInfo.State.Value(state)) == status


def test_every_state_has_a_status() -> None:
    for number in BatchTaskInfo.State.values():
        assert BatchTaskStatus.of_state(number) is not BatchTaskStatus.UNKNOWN
    assert BatchTaskStatus.of_state(99) is BatchTaskStatus.UNKNOWN


@pytest.mark.parametrize("status", list(BatchTaskStatus))
def test_what_a_status_is(status: BatchTaskStatus) -> None:
    assert status.is_running == (status.value in {1, 2, 3})
    assert status.is_succeeded == (status.value == 4)
    assert status.is_failed == (status.value in {5, 6})
    assert status.is_finished == (status.value in {4, 5, 6})
    expected = "success" if status.value == 4 else "failed" if status.value in {5, 6} else "running"
    assert status.status_name == expected


@pytest.mark.parametrize("status", list(BatchTaskStatus))
def test_a_status_is_a_member_a_number_or_a_name(status: BatchTaskStatus) -> None:
    name = status.name
    bare = name.removeprefix("STATUS_")
    names = {name, name.lower(), name.title(), bare, f"STATUS_{bare}", f"batch_task_status_{bare}", f" {name}\n"}
    for value in (status, status.value, *names):
        assert BatchTaskStatus.coerce(value) is status


def test_true_is_the_number_one() -> None:
    assert BatchTaskStatus.coerce(True) is BatchTaskStatus.CREATED


@pytest.mark.parametrize("spelling", ["CANCELLED", "cancelled", "STATUS_CANCELLED", "batch_task_status_Cancelled"])
def test_both_spellings_of_canceled(spelling: str) -> None:
    assert BatchTaskStatus.coerce(spelling) is BatchTaskStatus.CANCELED


@pytest.mark.parametrize("value", ["", "STATUS_", "done", "STATUS_STATUS_FAILED", "BATCH_TASK_FAILED", "5", 99, -2])
def test_what_is_no_status(value: Any) -> None:
    with pytest.raises(ValueError, match="is not a valid BatchTaskStatus"):
        BatchTaskStatus.coerce(value)


@pytest.mark.parametrize("value", [None, 1.0, b"failed", BatchTaskState.SUCCEEDED, ["FAILED"]])
def test_what_can_be_no_status(value: Any) -> None:
    with pytest.raises(TypeError, match="a BatchTaskStatus, str or int is needed, not"):
        BatchTaskStatus.coerce(value)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (BatchTaskState, BatchTaskInfo.State),
        (StopReason, BatchTaskInfo.StopReason),
        (WaitingReason, BatchTaskInfo.WaitingReason),
        (RecordState, RecordInfo.State),
        (SubtaskState, Subtask.State),
        (HandlerKind, Handler.Kind),
        (HandlerIsolation, Handler.Isolation),
    ],
)
def test_enums_are_those_of_the_contract(ours: Any, theirs: Any) -> None:
    assert {member.name: member.value for member in ours} == dict(theirs.items())
    assert ours(99).name.endswith("_99")
    assert ours(99) == 99


def test_an_operation_that_runs() -> None:
    status = OperationStatus.of(Operation(name="x"))
    assert (status.done, status.error, status.response, status.metadata) == (False, None, None, None)
    assert (status.is_running, status.is_succeeded, status.is_failed, status.is_finished) == (True, False, False, False)
    assert status.status_name == "running"


def test_an_operation_that_failed() -> None:
    operation = Operation(done=True)
    operation.error.code = 5
    operation.error.message = "gone"
    operation.error.details.add().Pack(StringValue(value="more"))
    status = OperationStatus.of(operation)
    assert (status.is_running, status.is_succeeded, status.is_failed, status.is_finished) == (False, False, True, True)
    assert status.status_name == "failed"
    details = ('{"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "more"}',)
    assert status.error == OperationErrorInfo(5, "gone", details)


def test_an_operation_that_succeeded_with_something_else() -> None:
    operation = Operation(done=True)
    operation.response.Pack(StringValue(value="x"))
    operation.metadata.type_url = "type.googleapis.com/no.such.Type"
    status = OperationStatus.of(operation)
    assert status.is_succeeded
    assert status.response == StringValue(value="x")
    assert status.metadata == operation.metadata
    assert status.status_name == "success"
