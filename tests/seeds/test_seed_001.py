"""Seed 001: `Operation` of both clients, `OperationStatus`, `OperationErrorInfo`, against document and real server."""

from __future__ import annotations

import base64
import dataclasses
import inspect
import json
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.longrunning.operations_pb2 import Operation as Message
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import Int64Value, StringValue
from google.rpc import error_details_pb2, status_pb2

import batchyard
from batchyard import AsyncClient, BatchTaskInfo, BatchTaskState, OperationErrorInfo, OperationStatus
from batchyard.v1.batch_task_pb2 import BatchTaskMetadata
from tests.seeds import seeds, signatures
from tests.support.eventually import eventually
from tests.support.server import SECONDS, Process

pytestmark = pytest.mark.xdist_group("seeds")

METHODS = {
    "cancel": "(*, timeout: float = 60) -> None",
    "get_result": "(*, timeout: float = 60) -> AnyResultTypeT_co",
    "get_status": "(*, timeout: float = 60) -> OperationStatusTypeT",
    "wait": (
        "(*, timeout: float = 60, poll_timeout: int | None = None, poll_interval: float | None = None)"
        " -> AnyResultTypeT_co"
    ),
}
# Classes of the document: fields in the order of the constructor, and properties.
FIELDS = {
    "OperationStatus": {
        "done": "bool",
        "error": "OperationErrorInfo | None",
        "response": "Any | None",
        "metadata": "Any | None",
    },
    "OperationErrorInfo": {"code": "int", "message": "str", "details": "Iterable[str] | None"},
}
PROPERTIES = {
    "is_running": "bool",
    "is_succeeded": "bool",
    "is_failed": "bool",
    "is_finished": "bool",
    "status_name": "str",
}
# What stands for the document's type variables, and where ours takes more.
OURS = {
    "AnyResultTypeT_co": "AsyncBatchTaskResult",
    "OperationStatusTypeT": "OperationStatus",
    "poll_timeout: int": "poll_timeout: float",
}
RUNNING = (True, False, False, False, "running")
SUCCEEDED = (False, True, False, True, "success")
FAILED = (False, False, True, True, "failed")
UNKNOWN = AnyMessage(type_url="type.example/no.such.Type", value=b"\x00xyz")


def seen(status: OperationStatus) -> tuple[bool, bool, bool, bool, str]:
    return (status.is_running, status.is_succeeded, status.is_failed, status.is_finished, status.status_name)


# ----------------------------------------------------------------------------------------------------- signatures


def test_the_tables_are_the_document() -> None:
    said = {("class", name) for name in ("AsyncOperation", "Operation", *FIELDS)}
    for owner in ("AsyncOperation", "Operation"):
        said.add(("attribute", f"{owner}.id"))
        for method, text in METHODS.items():
            said |= signatures.says(f"{owner}.{method}", text)
    for owner, fields in FIELDS.items():
        said.add(("method", owner))
        said |= {("parameter", f"{owner}({name}: {kind})") for name, kind in fields.items()}
        said |= {("attribute", f"{owner}.{name}: {kind}") for name, kind in fields.items()}
    said |= {("attribute", f"OperationStatus.{name}: {kind}") for name, kind in PROPERTIES.items()}
    assert said == {(item.kind, item.name) for item in seeds.inventory()["001"] if item.kind != seeds.BOILERPLATE}


@pytest.mark.parametrize("owner", ["AsyncOperation", "Operation"])
@pytest.mark.parametrize("method", METHODS)
def test_signatures(owner: str, method: str) -> None:
    sync = owner == "Operation"
    function = inspect.getattr_static(getattr(batchyard, owner), method)
    assert signatures.has(function, METHODS[method]) == signatures.ours(METHODS[method], OURS, sync=sync)
    assert inspect.iscoroutinefunction(function) is not sync


@pytest.mark.parametrize("owner", FIELDS)
def test_fields(owner: str) -> None:
    found = getattr(batchyard, owner)
    parameters = inspect.signature(found).parameters
    assert {name: each.annotation for name, each in parameters.items()} == FIELDS[owner]
    assert list(parameters) == list(FIELDS[owner])
    assert {each.kind for each in parameters.values()} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    assert {each.default for each in parameters.values()} == {inspect.Parameter.empty}
    assert [field.name for field in dataclasses.fields(found)] == list(FIELDS[owner])
    one = found(*range(len(parameters)))
    assert one == found(**dict(zip(parameters, range(len(parameters)), strict=True)))
    assert [getattr(one, name) for name in parameters] == list(range(len(parameters)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, next(iter(parameters)), 1)


@pytest.mark.parametrize("name", PROPERTIES)
def test_properties(name: str) -> None:
    found = inspect.getattr_static(OperationStatus, name)
    assert isinstance(found, property)
    assert found.fget is not None
    assert typing.get_type_hints(found.fget)["return"].__name__ == PROPERTIES[name]


@pytest.mark.parametrize("owner", ["AsyncOperation", "Operation"])
def test_id_is_a_property(owner: str) -> None:
    assert isinstance(inspect.getattr_static(getattr(batchyard, owner), "id"), property)
    assert {"AsyncOperation", "Operation", *FIELDS} < set(batchyard.__all__)


# ------------------------------------------------------------------------------------------- statuses and errors


def test_what_a_status_is() -> None:
    error = OperationErrorInfo(13, "broken", None)
    assert seen(OperationStatus(False, None, None, None)) == RUNNING
    assert seen(OperationStatus(True, None, StringValue(), None)) == SUCCEEDED
    assert seen(OperationStatus(True, error, None, None)) == FAILED
    assert seen(OperationStatus(False, error, None, None)) == RUNNING, "an operation that is not done has not failed"
    # Some servers leave out an empty response: what is done without an error has succeeded.
    assert seen(OperationStatus.of(Message(done=True))) == SUCCEEDED


def test_an_error_of_code_zero_is_none() -> None:
    message = Message(done=True)
    message.error.message = "no"
    status = OperationStatus.of(message)
    assert (status.error, seen(status)) == (None, SUCCEEDED)


def details(*messages: Any) -> Any:
    status = status_pb2.Status(code=9, message="no")
    for message in messages:
        packed = status.details.add()
        if isinstance(message, AnyMessage):
            packed.CopyFrom(message)
        else:
            packed.Pack(message)
    return OperationErrorInfo.of(status).details


def test_details_are_the_json_of_each() -> None:
    reason = error_details_pb2.ErrorInfo(reason="R", domain="batchyard.dev", metadata={"kéy": "välue"})
    field = error_details_pb2.BadRequest.FieldViolation(field="records[3]", description="bad")
    found = details(reason, error_details_pb2.BadRequest(field_violations=[field]), Int64Value(value=2**60))
    assert isinstance(found, Iterable)
    assert all(isinstance(each, str) and "\n" not in each for each in found)
    assert [json.loads(each) for each in found] == [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "R",
            "domain": "batchyard.dev",
            "metadata": {"kéy": "välue"},
        },
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": "records[3]", "description": "bad"}],
        },
        {"@type": "type.googleapis.com/google.protobuf.Int64Value", "value": str(2**60)},
    ]
    assert "kéy" in found[0], "text for people is not escaped"
    assert details() is None


def test_details_of_an_unknown_type_are_bytes() -> None:
    damaged = AnyMessage(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")
    nested = status_pb2.Status(code=3)
    nested.details.add().CopyFrom(UNKNOWN)
    packed = AnyMessage()
    packed.Pack(nested)
    for message in (UNKNOWN, damaged, packed, AnyMessage(value=b"a")):
        (text,) = details(message)
        said = json.loads(text)
        assert (said["@type"], base64.b64decode(said["value"])) == (message.type_url, message.value)


# ----------------------------------------------------------------------------------------------- the real server


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file that holds records of `lives` back until it exists; at the end it does, so that the worker is free."""
    path = tmp_path / "gate"
    yield path
    path.touch()


def test_an_operation_that_succeeds(client: Any, gate: Path) -> None:
    made = client.batch.run("lives", [{"hold": str(gate), "value": 7}])
    operation = client.operations.get(made.id)
    assert (operation.id, operation.name) == (made.id, made.name)
    status = operation.get_status(timeout=10)
    assert isinstance(status, OperationStatus)
    assert (seen(status), status.done, status.error, status.response) == (RUNNING, False, None, None)
    assert isinstance(status.metadata, BatchTaskMetadata)
    assert status.metadata.batch_task == made.task_name
    with pytest.raises(batchyard.WrongOperationStatusError) as early:
        operation.get_result(timeout=10)
    assert (early.value.id, seen(early.value.last_status)) == (made.id, RUNNING)
    with pytest.raises(TimeoutError) as late:
        operation.wait(timeout=10, poll_timeout=0, poll_interval=0.01)
    assert (late.value.id, seen(late.value.last_status)) == (made.id, RUNNING)
    gate.touch()
    result = operation.wait(timeout=10, poll_timeout=SECONDS, poll_interval=0.01)
    assert list(result.outputs()) == list(operation.get_result(timeout=10).outputs()) == [7]
    status = operation.get_status()
    assert (seen(status), status.done, status.error) == (SUCCEEDED, True, None)
    assert isinstance(status.response, BatchTaskInfo)
    assert (status.response.task_id, status.response.state) == (made.task_id, BatchTaskState.SUCCEEDED)


def test_an_operation_that_fails(client: Any) -> None:
    operation = client.operations.get(client.batch.run("lives", [{"fail": "no"}, {"fail": "no"}]).id)
    for ask in (lambda: operation.wait(poll_timeout=SECONDS), operation.get_result):
        with pytest.raises(batchyard.AllRecordsFailedError) as caught:
            ask()
        assert (caught.value.id, seen(caught.value.last_status)) == (operation.id, FAILED)
        assert [record.index for record in caught.value.partial.failed()] == [0, 1]
    status = operation.get_status()
    assert (seen(status), status.done, status.response) == (FAILED, True, None)
    assert status.error == caught.value.error
    assert (status.error.code, type(status.error.message)) == (10, str)
    said = [json.loads(each) for each in status.error.details]
    assert next(each["reason"] for each in said if each["@type"].endswith("ErrorInfo")) == "ALL_RECORDS_FAILED"


def test_an_operation_that_is_cancelled(client: Any, gate: Path) -> None:
    made = client.batch.run("lives", [{"hold": str(gate)}])
    operation = client.operations.get(made.id)
    eventually(gate.with_suffix(".waited").exists, SECONDS)
    assert operation.cancel(timeout=10) is None
    with pytest.raises(batchyard.BatchTaskCancelled):
        operation.wait(poll_timeout=SECONDS)
    status = operation.get_status()
    assert (seen(status), status.error.code) == (FAILED, 1)
    operation.cancel()  # of one that has ended: nothing, and no error
    assert operation.get_status() == status


async def test_an_operation_can_be_awaited(real: Process, project: str) -> None:
    async with AsyncClient(real.target, project=project) as client:
        made = await client.batch.run("echo", [1])
        result = await (await client.operations.get(made.id))
        assert [output async for output in result.outputs()] == [1]
