"""Are tokens opaque, unforgeable, and good only for the list they came from?"""

from __future__ import annotations

import base64
import random

import pytest
from google.longrunning import operations_pb2 as lro

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.model.errors import Code, Reason
from tests.rpc import world
from tests.rpc.test_errors import fail
from tests.rpc.world import PROJECT, create, name
from tests.support.errors import provokes
from tests.support.server import Served

TOKENS = provokes(Reason.INVALID_TOKEN)


async def _tokens(server: Served) -> dict[str, str]:
    """One token of every kind."""
    await world.populate(server)
    tasks = await server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT, page_size=1))
    operations = await server.operations.ListOperations(lro.ListOperationsRequest(name=PROJECT, page_size=1))
    handlers = await server.tasks.ListHandlers(service.ListHandlersRequest(parent=PROJECT, page_size=1))
    by_index = await server.tasks.ListRecords(service.ListRecordsRequest(parent=name("succeeded"), page_size=1))
    by_completion = await server.tasks.ListRecords(
        service.ListRecordsRequest(parent=name("succeeded"), page_size=1, order=RecordInfo.COMPLETION)
    )
    lease = await server.lease(name("running"), [1])
    await server.store.release(lease, {})
    subtasks = await server.tasks.ListSubtasks(service.ListSubtasksRequest(parent=name("running"), page_size=1))
    found = {
        "tasks": tasks.next_page_token,
        "operations": operations.next_page_token,
        "handlers": handlers.next_page_token,
        "by_index": by_index.next_page_token,
        "by_completion": by_completion.next_page_token,
        "subtasks": subtasks.next_page_token,
    }
    assert all(found.values())
    return found


async def _refused(server: Served, method: str, **fields: object) -> None:
    requests = {"ListOperations": lro.ListOperationsRequest}
    request = requests.get(method) or getattr(service, f"{method}Request")
    found = await fail(server, method, request(**fields))
    assert (found.code, found.reason) == (Code.INVALID_ARGUMENT, Reason.INVALID_TOKEN)
    assert found.field == ("resume_token" if method.startswith("Stream") else "page_token")


@TOKENS
async def test_a_token_of_another_list_is_refused(server: Served) -> None:
    tokens = await _tokens(server)
    records = name("succeeded")
    for kind, token in tokens.items():
        if kind != "tasks":
            await _refused(server, "ListBatchTasks", parent=PROJECT, page_token=token)
            await _refused(server, "StreamBatchTasks", parent=PROJECT, resume_token=token)
        if kind != "operations":
            await _refused(server, "ListOperations", name=PROJECT, page_token=token)
        if kind != "handlers":
            await _refused(server, "ListHandlers", parent=PROJECT, page_token=token)
        if kind != "by_index":
            await _refused(server, "ListRecords", parent=records, page_token=token)
        if kind != "subtasks":
            await _refused(server, "ListSubtasks", parent=name("running"), page_token=token)
        if kind != "by_completion":
            await _refused(server, "StreamRecords", parent=records, resume_token=token, order=RecordInfo.COMPLETION)


@TOKENS
async def test_a_token_of_another_parent_is_refused(server: Served) -> None:
    tokens = await _tokens(server)
    await _refused(server, "ListBatchTasks", parent="projects/other", page_token=tokens["tasks"])
    await _refused(server, "ListOperations", name="projects/other", page_token=tokens["operations"])
    await _refused(server, "ListRecords", parent=name("failed"), page_token=tokens["by_index"])
    await _refused(server, "ListSubtasks", parent=name("failed"), page_token=tokens["subtasks"])


@TOKENS
async def test_a_token_of_a_deleted_task_is_refused_by_its_successor(server: Served) -> None:
    tokens = await _tokens(server)
    await server.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=name("succeeded")))
    await server.tasks.CreateBatchTask(create("succeeded", records=2))
    await _refused(server, "ListRecords", parent=name("succeeded"), page_token=tokens["by_index"])


@TOKENS
@pytest.mark.parametrize("seed", range(3))
async def test_a_changed_token_is_refused(server: Served, seed: int) -> None:
    token = (await _tokens(server))["tasks"]
    chance = random.Random(seed)
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    changed = {token[:-1], token + "A", token + "=", token.swapcase(), token + " ", "\0" + token}
    while len(changed) < 40:
        position, bit = chance.randrange(len(raw)), 1 << chance.randrange(8)
        flipped = raw[:position] + bytes((raw[position] ^ bit,)) + raw[position + 1 :]
        changed.add(base64.urlsafe_b64encode(flipped).rstrip(b"=").decode())
    for each in changed - {token}:
        await _refused(server, "ListBatchTasks", parent=PROJECT, page_token=each)


async def test_view_and_page_size_may_change_from_page_to_page(server: Served) -> None:
    token = (await _tokens(server))["by_index"]
    request = service.ListRecordsRequest(parent=name("succeeded"), page_token=token, page_size=7, view=RecordInfo.FULL)
    page = await server.tasks.ListRecords(request)
    assert [each.index for each in page.records] == [1]
    assert page.records[0].input.text == "1"


async def test_tokens_are_url_safe(server: Served) -> None:
    for token in (await _tokens(server)).values():
        assert token.isascii()
        assert token.replace("-", "").replace("_", "").isalnum()
