"""Does a client that Google's generator makes of our protos work as Google's own do: call, wait, page, retry?

Run by pytest in the environment of generate.sh, against the server that tests/interop/test_gapic.py starts. Its
handlers: `echo`, `fail`, which fails every record, and `sleep`, which ends when it is killed.

A new RPC gets a test here. That the client has it, pages it and fills its request_id is checked for all that there are.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from batchyard_gapic import batchyard_v1 as v1
from batchyard_gapic.batchyard_v1.services.batch_task_service import transports
from google.api_core import exceptions
from google.api_core.operation import Operation
from google.longrunning import operations_pb2
from google.rpc import error_details_pb2

TARGET = os.environ["INTEROP_TARGET"]
PROJECT = "projects/default"
SECONDS = 60  # how long what should take milliseconds may take
SUCCEEDED, CANCELLING = v1.BatchTaskInfo.State.SUCCEEDED, v1.BatchTaskInfo.State.CANCELLING
REQUESTS = [kind for name, kind in inspect.getmembers(v1, inspect.isclass) if name.endswith("Request")]
WITH_REQUEST_ID = [kind for kind in REQUESTS if "request_id" in kind.meta.fields]


class Lost(grpc.RpcError):
    """A connection that broke before the answer came."""

    def code(self) -> grpc.StatusCode:
        """The code that gRPC gives to it."""
        return grpc.StatusCode.UNAVAILABLE

    def result(self) -> None:
        """There is none."""
        raise self

    def details(self) -> str:
        """What a person reads."""
        return "the answer was lost"

    def trailing_metadata(self) -> tuple[()]:
        """Nothing came, so nothing."""
        return ()


class Line(grpc.UnaryUnaryClientInterceptor):
    """The line between client and server: notes what is sent, and loses answers when told to.

    Attributes:
        ids: request_id of every request that has one, in the order sent.
        timeouts: seconds that each of those calls may take.
        losing: how many of the next answers do not arrive.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.timeouts: list[float | None] = []
        self.losing = 0

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], client_call_details: Any, request: Any
    ) -> Any:
        """Send one request."""
        if hasattr(request, "request_id"):
            self.ids.append(request.request_id)
            self.timeouts.append(client_call_details.timeout)
        answer = continuation(client_call_details, request)
        if self.losing:
            self.losing -= 1
            answer.exception()  # the server has done it
            raise Lost
        return answer


@pytest.fixture
def line() -> Line:
    """The line of the test's client."""
    return Line()


@pytest.fixture
def client(line: Line) -> Iterator[v1.BatchTaskServiceClient]:
    """A client of the test's own, without credentials: those insist on TLS."""
    with grpc.insecure_channel(TARGET) as channel:
        transport = transports.BatchTaskServiceGrpcTransport(channel=grpc.intercept_channel(channel, line))
        yield v1.BatchTaskServiceClient(transport=transport)


@pytest.fixture
async def async_client() -> AsyncIterator[v1.BatchTaskServiceAsyncClient]:
    """The same for asyncio."""
    async with grpc.aio.insecure_channel(TARGET) as channel:
        transport = transports.BatchTaskServiceGrpcAsyncIOTransport(channel=channel)
        yield v1.BatchTaskServiceAsyncClient(transport=transport)


def new_project() -> str:
    """A project that holds nothing yet."""
    return f"projects/p{uuid.uuid4().hex}"


def request(handler: str, values: list[Any], parent: str = PROJECT, *, start: bool = True) -> v1.CreateBatchTaskRequest:
    """A request for a task over records of JSON."""
    records = [v1.RecordInput(payload=v1.Payload(json=value)) for value in values]
    task = v1.BatchTaskInfo(handler=handler, display_name="interop")
    return v1.CreateBatchTaskRequest(parent=parent, batch_task=task, records=records, start=start)


def finished(client: v1.BatchTaskServiceClient, count: int) -> v1.BatchTaskInfo:
    """A task of `echo` that is over; its records are the numbers from 0."""
    return client.create_batch_task(request("echo", list(range(count)))).result(timeout=SECONDS)


def name_of(operation: Operation) -> str:
    """Name of the task that an operation stands for."""
    return operation.metadata.batch_task


def is_uuid4(text: str) -> bool:
    """Whether a request_id is what its field says."""
    return str(uuid.UUID(text)) == text and uuid.UUID(text).version == 4


def test_our_own_packages_are_not_seen() -> None:
    """Else this judges a mixture."""
    assert [name for name in ("batchyard", "batchyard_server", "tests") if importlib.util.find_spec(name)] == []


def test_submit_wait_and_read(client: v1.BatchTaskServiceClient) -> None:
    """By flattened arguments, as in Google's examples."""
    records = [v1.RecordInput(payload=v1.Payload(json={"n": n})) for n in range(3)]
    operation = client.create_batch_task(
        parent=PROJECT, batch_task=v1.BatchTaskInfo(handler="echo"), records=records, timeout=SECONDS
    )
    task = operation.result(timeout=SECONDS)
    assert (type(task), task.state, task.counts.succeeded) == (v1.BatchTaskInfo, SUCCEEDED, 3)
    assert operation.done()
    metadata = operation.metadata
    assert (type(metadata), metadata.batch_task) == (v1.BatchTaskMetadata, task.name)
    assert (metadata.state, metadata.counts, metadata.end_time) == (task.state, task.counts, task.end_time)
    assert client.get_batch_task(name=task.name) == task
    ids = client.parse_batch_task_path(task.name)
    assert client.batch_task_path(**ids) == task.name
    record = client.get_record(name=client.record_path(**ids, record="2"))
    assert (record.index, record.input.json, record.output.text) == (2, {"n": 2}, '{"n":2}')


def test_append_and_start(client: v1.BatchTaskServiceClient) -> None:
    """A draft, a stream in both directions, and the operation of before."""
    draft = client.create_batch_task(request("echo", [], start=False))
    messages = [
        v1.AppendRecordsRequest(name=name_of(draft), first_index=first, records=request("echo", [1, 2]).records)
        for first in (0, 2)
    ]
    assert [answer.next_index for answer in client.append_records(iter(messages))] == [2, 4]
    operation = client.start_batch_task(name=name_of(draft))
    assert operation.operation.name == draft.operation.name
    assert operation.result(timeout=SECONDS).counts.succeeded == 4


def test_tasks_are_listed_and_streamed(client: v1.BatchTaskServiceClient) -> None:
    """By a pager of three pages, and by a stream that is none."""
    parent = new_project()
    names = [name_of(client.create_batch_task(request("echo", [1], parent))) for _ in range(5)][::-1]
    wanted = v1.ListBatchTasksRequest(parent=parent, page_size=2)
    assert [task.name for task in client.list_batch_tasks(wanted)] == names
    assert [len(page.batch_tasks) for page in client.list_batch_tasks(wanted).pages] == [2, 2, 1]
    messages = list(client.stream_batch_tasks(v1.StreamBatchTasksRequest(parent=parent, page_size=2)))
    assert [task.name for message in messages for task in message.batch_tasks] == names


def test_records_are_listed(client: v1.BatchTaskServiceClient) -> None:
    """Each with its outcome, over pages."""
    task = finished(client, 20)
    pager = client.list_records(v1.ListRecordsRequest(parent=task.name, page_size=7, view=v1.RecordInfo.View.FULL))
    records = list(pager)
    assert [record.index for record in records] == list(range(20))
    assert [record.input.json for record in records] == list(range(20))
    assert [record.output.text for record in records] == [str(n) for n in range(20)]
    assert {record.state for record in records} == {v1.RecordInfo.State.SUCCEEDED}
    assert len(list(client.list_records(v1.ListRecordsRequest(parent=task.name, page_size=7)).pages)) == 3


def test_records_are_streamed(client: v1.BatchTaskServiceClient) -> None:
    """And a stream goes on from a token."""
    task = finished(client, 20)
    messages = list(client.stream_records(v1.StreamRecordsRequest(parent=task.name, page_size=7)))
    assert [record.index for message in messages for record in message.records] == list(range(20))
    assert len(messages) >= 3
    rest = v1.StreamRecordsRequest(parent=task.name, resume_token=messages[0].resume_token)
    left = [record.index for message in client.stream_records(rest) for record in message.records]
    assert left == list(range(len(messages[0].records), 20))


def test_handlers_are_listed(client: v1.BatchTaskServiceClient) -> None:
    """Over pages of one."""
    handlers = list(client.list_handlers(v1.ListHandlersRequest(parent=PROJECT, page_size=1)))
    assert {"echo", "fail", "sleep"} <= {client.parse_handler_path(handler.name)["handler"] for handler in handlers}
    assert [client.get_handler(name=handler.name) for handler in handlers] == handlers


def test_a_task_is_cancelled(client: v1.BatchTaskServiceClient) -> None:
    """By its own RPC."""
    operation = client.create_batch_task(request("sleep", [1]))
    task = client.cancel_batch_task(v1.CancelBatchTaskRequest(name=name_of(operation), reason="enough"))
    assert task.state in {CANCELLING, v1.BatchTaskInfo.State.CANCELLED}
    with pytest.raises(exceptions.Cancelled, match="enough"):
        operation.result(timeout=SECONDS)
    assert operation.cancelled()
    assert operation.metadata.stop_reason == v1.BatchTaskInfo.StopReason.CANCEL


def test_an_operation_is_cancelled(client: v1.BatchTaskServiceClient) -> None:
    """By the future."""
    operation = client.create_batch_task(request("sleep", [1]))
    assert operation.running()
    assert operation.cancel()
    with pytest.raises(exceptions.Cancelled):
        operation.result(timeout=SECONDS)
    assert operation.cancelled()


def test_a_failed_task_raises(client: v1.BatchTaskServiceClient) -> None:
    """With the code of its error."""
    operation = client.create_batch_task(request("fail", [1, 2]))
    with pytest.raises(exceptions.Aborted, match="all 2 records failed"):
        operation.result(timeout=SECONDS)
    assert set(operation.metadata.failed_requests) == {0, 1}


def test_an_error_is_typed(client: v1.BatchTaskServiceClient) -> None:
    """By code, with reason, domain and details."""
    name = f"{PROJECT}/batchTasks/no-such-task"
    with pytest.raises(exceptions.NotFound) as caught:
        client.get_batch_task(name=name)
    assert (caught.value.reason, caught.value.domain) == ("RESOURCE_NOT_FOUND", "batchyard.dev")
    assert v1.ErrorReason[caught.value.reason] == v1.ErrorReason.RESOURCE_NOT_FOUND
    [resource] = [detail for detail in caught.value.details if isinstance(detail, error_details_pb2.ResourceInfo)]
    assert resource.resource_name == name


def test_operations_are_read_and_deleted(client: v1.BatchTaskServiceClient) -> None:
    """By the methods that the service YAML adds."""
    parent = new_project()
    operation = client.create_batch_task(request("echo", [1], parent))
    name, task = operation.operation.name, operation.result(timeout=SECONDS).name
    assert client.get_operation({"name": name}).done
    assert [each.name for each in client.list_operations({"name": parent}).operations] == [name]
    client.delete_operation({"name": name})
    with pytest.raises(exceptions.NotFound):
        client.get_operation({"name": name})
    client.delete_batch_task(name=task)
    with pytest.raises(exceptions.NotFound):
        client.get_batch_task(name=task)


def test_an_operation_is_waited_for(client: v1.BatchTaskServiceClient) -> None:
    """The generator leaves this one answer undecoded."""
    operation = client.create_batch_task(request("echo", [1]))
    wanted = operations_pb2.WaitOperationRequest(name=operation.operation.name)
    wanted.timeout.FromSeconds(SECONDS)
    answer: Any = client.wait_operation(wanted)
    done = operations_pb2.Operation.FromString(answer)
    assert (done.name, done.done) == (operation.operation.name, True)


@pytest.mark.parametrize("kind", WITH_REQUEST_ID)
def test_a_request_id_is_filled_in(kind: type[Any], client: v1.BatchTaskServiceClient, line: Line) -> None:
    """For every method that takes one; the server refuses the otherwise empty request."""
    method = getattr(client, re.sub(r"\B(?=[A-Z])", "_", kind.__name__.removesuffix("Request")).lower())
    mine = str(uuid.uuid4())
    for given in ("", "", mine):
        with pytest.raises(exceptions.InvalidArgument):
            method(kind(request_id=given))
    first, second, third = line.ids
    assert is_uuid4(first)
    assert is_uuid4(second)
    assert first != second
    assert third == mine


def test_a_request_object_that_is_sent_twice_is_a_replay(client: v1.BatchTaskServiceClient) -> None:
    """The id is written into the caller's own object, though not into a dict."""
    mine = request("echo", [1])
    first = client.create_batch_task(mine)
    assert is_uuid4(mine.request_id)
    assert client.create_batch_task(mine).operation.name == first.operation.name
    fields = {"parent": PROJECT, "batch_task": {"handler": "echo"}, "records": [{"payload": {"json": 1}}]}
    names = {client.create_batch_task(fields).operation.name for _ in range(2)}
    assert len(names) == 2


def test_a_create_whose_answer_is_lost_makes_one_task(client: v1.BatchTaskServiceClient, line: Line) -> None:
    """The client repeats it, as the service configuration says, under the request_id that it made up."""
    parent = new_project()
    line.losing = 2
    operation = client.create_batch_task(request("echo", [1], parent))
    assert len(line.ids) == 3
    assert len(set(line.ids)) == 1
    assert all(seconds is not None and 0 < seconds <= 60 for seconds in line.timeouts)
    assert [task.name for task in client.list_batch_tasks(parent=parent)] == [name_of(operation)]


async def test_asyncio(async_client: v1.BatchTaskServiceAsyncClient) -> None:
    """The same client for asyncio: wait, page, stream, an error."""
    operation = await async_client.create_batch_task(request("echo", list(range(20))))
    task = await operation.result(timeout=SECONDS)
    assert (task.state, task.counts.succeeded) == (SUCCEEDED, 20)
    pager = await async_client.list_records(v1.ListRecordsRequest(parent=task.name, page_size=7))
    assert [record.index async for record in pager] == list(range(20))
    stream = await async_client.stream_records(v1.StreamRecordsRequest(parent=task.name, page_size=7))
    assert [record.index async for message in stream for record in message.records] == list(range(20))
    with pytest.raises(exceptions.NotFound) as caught:
        await async_client.get_batch_task(name=task.name + "x")
    assert caught.value.reason == "RESOURCE_NOT_FOUND"


async def test_asyncio_cancel(async_client: v1.BatchTaskServiceAsyncClient) -> None:
    """Its future raises the base class only: google-api-core makes no more of it."""
    operation = await async_client.create_batch_task(request("sleep", [1]))
    await async_client.cancel_batch_task(name=name_of(operation))
    with pytest.raises(exceptions.GoogleAPICallError):
        await operation.result(timeout=SECONDS)
    assert await operation.cancelled()
