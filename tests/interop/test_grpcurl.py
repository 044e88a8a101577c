"""What a person with grpcurl can do: look around by reflection, submit, append, wait, read, see why a call fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.longrunning import operations_pb2

from batchyard.v1 import batch_task_service_pb2
from tests.interop.grpcurl import Grpcurl, program
from tests.interop.serving import serving

pytestmark = pytest.mark.long

SERVICE = "batchyard.v1.BatchTaskService"
OPERATIONS = "google.longrunning.Operations"
PROJECT = "projects/default"
SERVICES = [batch_task_service_pb2.DESCRIPTOR.services_by_name["BatchTaskService"]]
SERVICES.append(operations_pb2.DESCRIPTOR.services_by_name["Operations"])
METHODS = [method for service in SERVICES for method in service.methods]
VALUES: list[Any] = [{"path": "/etc/hosts"}, None, True, 1.5, "Grüße", [], {}, [1, {"deep": [None]}]]


@pytest.fixture(scope="module")
def grpcurl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grpcurl]:
    """grpcurl and one server for all tests."""
    with serving(tmp_path_factory.mktemp("grpcurl")) as target:
        yield Grpcurl(program(), target)


def submit(grpcurl: Grpcurl, records: list[Any], **fields: Any) -> Any:
    """Create a task for `echo` and return its operation."""
    request = {"parent": PROJECT, "batch_task": {"handler": "echo"}, "records": records, **fields}
    (operation,) = grpcurl.call(f"{SERVICE}/CreateBatchTask", request)
    return operation


def wait(grpcurl: Grpcurl, operation: Any) -> Any:
    """The operation when it is done."""
    while not operation["done"]:
        (operation,) = grpcurl.call(f"{OPERATIONS}/WaitOperation", {"name": operation["name"], "timeout": "30s"})
    return operation


def record_pages(grpcurl: Grpcurl, task: str, page_size: int) -> Iterator[Any]:
    """Pages of ListRecords until there is none left."""
    token = None
    while token != "":
        request = {"parent": task, "page_size": page_size, "page_token": token or ""}
        (page,) = grpcurl.call(f"{SERVICE}/ListRecords", request)
        yield page
        token = page["next_page_token"]


def outputs(messages: list[Any]) -> list[Any]:
    """Outputs in pages or stream messages of records, whose indexes must be dense."""
    records = [record for message in messages for record in message["records"]]
    assert [record["index"] for record in records] == [str(index) for index in range(len(records))]
    return [value(record["output"]) for record in records]


def value(payload: Any) -> Any:
    """What `echo` returned: nothing, a str as plain text, anything else as JSON text."""
    if payload is None:
        return None
    if payload["content_type"] == "text/plain":
        return payload["text"]
    return json.loads(payload["text"])


def method_line(method: Any) -> str:
    """How grpcurl writes a method."""
    request, response = (
        f"{'stream ' if streams else ''}.{message.full_name}"
        for message, streams in (
            (method.input_type, method.client_streaming),
            (method.output_type, method.server_streaming),
        )
    )
    return f"rpc {method.name} ( {request} ) returns ( {response} )"


def test_list_names_every_service(grpcurl: Grpcurl) -> None:
    assert {
        SERVICE,
        OPERATIONS,
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    } <= set(grpcurl.text("list").split())


def test_every_listed_service_is_described(grpcurl: Grpcurl) -> None:
    """Tools that show a whole server (grpcurl without a symbol, grpcui) fail if one service is not found."""
    text = grpcurl.text("describe")
    assert [name for name in grpcurl.text("list").split() if f"{name} is a service:" not in text] == []


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.full_name)
def test_describe_service_shows_every_method(grpcurl: Grpcurl, service: Any) -> None:
    text = grpcurl.text("describe", service.full_name)
    assert f"{service.full_name} is a service:" in text
    assert [method.name for method in service.methods if method_line(method) not in text] == []
    listed = grpcurl.text("list", service.full_name).split()
    assert sorted(listed) == sorted(method.full_name for method in service.methods)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_describe_method(grpcurl: Grpcurl, method: Any) -> None:
    text = grpcurl.text("describe", method.full_name)
    assert text.startswith(f"{method.full_name} is a method:\n{method_line(method)}")


def test_describe_message_shows_fields_and_their_options(grpcurl: Grpcurl) -> None:
    text = grpcurl.text("describe", ".batchyard.v1.CreateBatchTaskRequest")
    assert "repeated .batchyard.v1.RecordInput records = 4" in text
    assert "optional bool start = 5" in text
    assert "google.api.field_behavior" in text


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
@pytest.mark.parametrize("symbol", [SERVICE, f"{SERVICE}.CreateBatchTask", "batchyard.v1.BatchTaskInfo.State"])
def test_reflection_finds_symbols(grpcurl: Grpcurl, version: str, symbol: str) -> None:
    method = f"grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    (answer,) = grpcurl.call(method, {"file_containing_symbol": symbol})
    assert answer["file_descriptor_response"]["file_descriptor_proto"]


def test_health(grpcurl: Grpcurl) -> None:
    assert grpcurl.call("grpc.health.v1.Health/Check", {}) == [{"status": "SERVING"}]
    assert grpcurl.call("grpc.health.v1.Health/Check", {"service": SERVICE}) == [{"status": "SERVING"}]


def test_create_wait_and_read(grpcurl: Grpcurl) -> None:
    operation = wait(grpcurl, submit(grpcurl, [{"payload": {"json": value}} for value in VALUES]))
    assert operation["response"]["@type"] == "type.googleapis.com/batchyard.v1.BatchTaskInfo"
    assert operation["response"]["state"] == "SUCCEEDED"
    assert operation["metadata"]["@type"] == "type.googleapis.com/batchyard.v1.BatchTaskMetadata"
    assert operation["metadata"]["counts"]["succeeded"] == str(len(VALUES))

    task = operation["metadata"]["batch_task"]
    pages = list(record_pages(grpcurl, task, page_size=3))
    assert [len(page["records"]) for page in pages] == [3, 3, 2]
    assert outputs(pages) == VALUES
    streamed = grpcurl.call(f"{SERVICE}/StreamRecords", {"parent": task, "page_size": 3, "view": "FULL"})
    assert outputs(streamed) == VALUES
    assert [record["input"]["json"] for message in streamed for record in message["records"]] == VALUES


def test_a_watch_that_is_cut_goes_on(grpcurl: Grpcurl) -> None:
    task = wait(grpcurl, submit(grpcurl, [{"payload": {"json": value}} for value in VALUES]))["metadata"]["batch_task"]
    request = {"name": task, "include_records": True}
    snapshot, told = grpcurl.call(f"{SERVICE}/WatchBatchTask", request)
    assert (snapshot["state"], snapshot["done"], snapshot["response"]["name"]) == ("SUCCEEDED", True, task)
    by_index = {"records": sorted(told["records"], key=lambda record: int(record["index"]))}
    assert outputs([by_index]) == VALUES
    (rest,) = grpcurl.call(f"{SERVICE}/WatchBatchTask", {**request, "resume_token": snapshot["resume_token"]})
    assert rest["records"] == told["records"]


def test_listing_shows_the_newest_first(grpcurl: Grpcurl) -> None:
    ids = ["older", "newer"]
    names = [f"{PROJECT}/batchTasks/{batch_task_id}" for batch_task_id in ids]
    for batch_task_id in ids:
        submit(grpcurl, [{"payload": {"text": "1"}}], batch_task_id=batch_task_id)
    (page,) = grpcurl.call(f"{SERVICE}/ListBatchTasks", {"parent": PROJECT, "page_size": 2})
    assert [task["name"] for task in page["batch_tasks"]] == names[::-1]


def test_append_takes_several_documents(grpcurl: Grpcurl) -> None:
    draft = submit(grpcurl, [{"payload": {"json": 0}}], start=False)
    task = draft["metadata"]["batch_task"]
    answers = grpcurl.call(
        f"{SERVICE}/AppendRecords",
        {"name": task},
        {"first_index": 1, "records": [{"payload": {"json": 1}}, {"payload": {"text": "2"}}]},
        {"firstIndex": "3", "records": [{"recordId": "last", "payload": {"text": "[3]"}}]},
    )
    assert answers == [{"next_index": "1"}, {"next_index": "3"}, {"next_index": "4"}]
    (operation,) = grpcurl.call(f"{SERVICE}/StartBatchTask", {"name": task})
    assert operation["name"] == draft["name"]
    assert wait(grpcurl, operation)["response"]["counts"]["total"] == "4"
    (page,) = grpcurl.call(f"{SERVICE}/ListRecords", {"parent": task})
    assert outputs([page]) == [0, 1, 2, [3]]
    assert page["records"][3]["record_id"] == "last"


def test_failed_call_shows_its_details(grpcurl: Grpcurl) -> None:
    code, status = grpcurl.refused(f"{SERVICE}/GetBatchTask", {"name": f"{PROJECT}/batchTasks/no-such-task"})
    assert (code, status["code"]) == (64 + 5, 5)
    details = {detail["@type"].rsplit(".", 1)[1]: detail for detail in status["details"]}
    assert details["ErrorInfo"]["reason"] == "RESOURCE_NOT_FOUND"
    assert details["ErrorInfo"]["domain"] == "batchyard.dev"
    assert details["ResourceInfo"]["resource_name"] == f"{PROJECT}/batchTasks/no-such-task"
