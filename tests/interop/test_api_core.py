"""Does google-api-core, unmodified, work with our operations: its clients and its futures, sync and async?

What its futures make of an error differs: the sync one raises by code, the async one a bare GoogleAPICallError.
"""

from __future__ import annotations

import pathlib
from collections.abc import AsyncIterator, Iterator

import grpc
import grpc.aio
import pytest
from google.api_core import exceptions, operation, operation_async
from google.api_core.operations_v1 import OperationsAsyncClient, OperationsClient
from google.longrunning.operations_pb2 import Operation

from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata
from batchyard.v1.batch_task_service_pb2 import CreateBatchTaskRequest
from batchyard.v1.batch_task_service_pb2_grpc import BatchTaskServiceStub
from tests.support.server import SECONDS, Process, process

PROJECT = "projects/default"
# A handler of each outcome; the record says how long it takes.
HANDLERS = """
[handlers.nap]
kind = "command"
argv = ["sleep", "{seconds}"]
[handlers.fail]
kind = "command"
argv = ["false"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server with workers."""
    folder = tmp_path_factory.mktemp("server")
    handlers = pathlib.Path(folder / "handlers.toml")
    handlers.write_text(HANDLERS)
    with process(folder, "--handlers", str(handlers)) as running:
        yield running


def request(handler: str, seconds: str = "0", records: int = 2, *, start: bool = True) -> CreateBatchTaskRequest:
    made = CreateBatchTaskRequest(parent=PROJECT, batch_task=BatchTaskInfo(handler=handler), start=start)
    for _ in range(records):
        made.records.add().payload.text = f'{{"seconds": "{seconds}"}}'
    return made


@pytest.fixture
def channel(server: Process) -> Iterator[grpc.Channel]:
    """A channel of the test's own."""
    with server.channel() as made:
        yield made


@pytest.fixture
def client(channel: grpc.Channel) -> OperationsClient:
    """The operations client of google-api-core."""
    return OperationsClient(channel)


def future(channel: grpc.Channel, client: OperationsClient, made: CreateBatchTaskRequest) -> operation.Operation:
    """Create a task and wrap its operation as a generated Google client does."""
    started = BatchTaskServiceStub(channel).CreateBatchTask(made, timeout=SECONDS)
    return operation.from_gapic(started, client, BatchTaskInfo, metadata_type=BatchTaskMetadata)


def test_result(channel: grpc.Channel, client: OperationsClient) -> None:
    made = future(channel, client, request("echo"))
    result = made.result(timeout=SECONDS)
    assert (result.state, result.counts.succeeded) == (BatchTaskInfo.SUCCEEDED, 2)
    assert made.done()
    assert not made.cancelled()
    assert made.metadata.batch_task == result.name
    assert made.metadata.counts == result.counts


def test_error(channel: grpc.Channel, client: OperationsClient) -> None:
    made = future(channel, client, request("fail"))
    with pytest.raises(exceptions.Aborted) as caught:
        made.result(timeout=SECONDS)
    assert "all 2 records failed" in str(caught.value)
    assert set(made.metadata.failed_requests) == {0, 1}


def test_cancel(channel: grpc.Channel, client: OperationsClient) -> None:
    made = future(channel, client, request("nap", "60"))
    assert made.running()
    assert made.cancel()
    with pytest.raises(exceptions.Cancelled):
        made.result(timeout=SECONDS)
    assert made.cancelled()
    assert not made.cancel()


def test_callback(channel: grpc.Channel, client: OperationsClient) -> None:
    made = future(channel, client, request("echo"))
    seen: list[int] = []
    made.add_done_callback(lambda done: seen.append(done.result().counts.succeeded))
    made.result(timeout=SECONDS)
    made._polling_thread.join(SECONDS)
    assert seen == [2]


def test_get_list_delete(channel: grpc.Channel, client: OperationsClient) -> None:
    draft = future(channel, client, request("echo", start=False)).operation.name
    with pytest.raises(exceptions.FailedPrecondition) as caught:
        client.delete_operation(draft)
    assert caught.value.reason == "OPERATION_NOT_DONE"
    assert caught.value.domain == "batchyard.dev"
    done = future(channel, client, request("echo"))
    done.result(timeout=SECONDS)
    name = done.operation.name
    assert client.get_operation(name).done
    assert {name, draft} <= {each.name for each in client.list_operations(PROJECT, "")}
    client.delete_operation(name)
    with pytest.raises(exceptions.NotFound) as missing:
        client.get_operation(name)
    assert missing.value.reason == "RESOURCE_NOT_FOUND"
    assert name not in {each.name for each in client.list_operations(PROJECT, "")}
    assert draft in {each.name for each in client.list_operations(PROJECT, "done=false")}
    assert all(each.done for each in client.list_operations(PROJECT, "done=true"))
    with pytest.raises(exceptions.InvalidArgument) as refused:
        list(client.list_operations(PROJECT, "done=perhaps"))
    assert refused.value.reason == "INVALID_FILTER"


def test_list_by_page(channel: grpc.Channel, client: OperationsClient) -> None:
    made = {future(channel, client, request("echo", records=1)).operation.name for _ in range(120)}
    pages = list(client.list_operations(PROJECT, "").pages)
    assert len(pages) >= 2
    names = [each.name for page in pages for each in page]
    assert len(names) == len(set(names))
    assert made <= set(names)


@pytest.fixture
async def aio_channel(server: Process) -> AsyncIterator[grpc.aio.Channel]:
    """An asyncio channel of the test's own."""
    async with grpc.aio.insecure_channel(server.target) as made:
        yield made


async def aio_future(channel: grpc.aio.Channel, made: CreateBatchTaskRequest) -> operation_async.AsyncOperation:
    """As `future`."""
    started: Operation = await BatchTaskServiceStub(channel).CreateBatchTask(made, timeout=SECONDS)
    client = OperationsAsyncClient(channel)
    return operation_async.from_gapic(started, client, BatchTaskInfo, metadata_type=BatchTaskMetadata)


async def test_async_result(aio_channel: grpc.aio.Channel) -> None:
    made = await aio_future(aio_channel, request("echo"))
    result = await made.result(timeout=SECONDS)
    assert (result.state, result.counts.succeeded) == (BatchTaskInfo.SUCCEEDED, 2)
    assert await made.done()
    assert made.metadata.batch_task == result.name


async def test_async_error(aio_channel: grpc.aio.Channel) -> None:
    made = await aio_future(aio_channel, request("fail"))
    with pytest.raises(exceptions.GoogleAPICallError) as caught:
        await made.result(timeout=SECONDS)
    assert caught.value.errors[0].code == grpc.StatusCode.ABORTED.value[0]


async def test_async_cancel(aio_channel: grpc.aio.Channel) -> None:
    made = await aio_future(aio_channel, request("nap", "60"))
    assert await made.cancel()
    with pytest.raises(exceptions.GoogleAPICallError):
        await made.result(timeout=SECONDS)
    assert await made.cancelled()


async def test_async_get_list_delete(aio_channel: grpc.aio.Channel) -> None:
    client = OperationsAsyncClient(aio_channel)
    made = await aio_future(aio_channel, request("echo"))
    await made.result(timeout=SECONDS)
    name = made.operation.name
    assert (await client.get_operation(name)).done
    assert name in {each.name async for each in await client.list_operations(PROJECT, "")}
    await client.delete_operation(name)
    with pytest.raises(exceptions.NotFound):
        await client.get_operation(name)
