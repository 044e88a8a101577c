"""Does ListOperations find what a filter says, of tasks in every state and of generations that are over?"""

from __future__ import annotations

import pytest
from google.longrunning import operations_pb2 as lro

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskMetadata
from batchyard_server.model import limits
from batchyard_server.model.errors import Reason
from tests.rpc.stages import FINAL, STATES, put
from tests.rpc.test_errors import fail
from tests.rpc.world import PROJECT, name
from tests.support.errors import provokes
from tests.support.server import Served


async def found(server: Served, wanted: str, *, size: int = 0) -> list[str]:
    """`task id, generation` of what matches, page by page."""
    request = lro.ListOperationsRequest(name=PROJECT, filter=wanted, page_size=size)
    names: list[str] = []
    while True:
        page = await server.operations.ListOperations(request)
        for operation in page.operations:
            metadata = BatchTaskMetadata.FromString(operation.metadata.value)
            names.append(f"{metadata.batch_task.rpartition('/')[2]} {metadata.generation}")
            whole = await server.operations.GetOperation(lro.GetOperationRequest(name=operation.name))
            assert (whole.done, whole.error.code) == (operation.done, operation.error.code)
        assert len(page.operations) <= (size or limits.DEFAULT_PAGE_SIZE)
        if not page.next_page_token:
            return names
        request.page_token = page.next_page_token


async def populate(server: Served) -> None:
    """A task in every state, and one that succeeded, then failed, and now runs for the third time."""
    for state in STATES:
        await put(server, state, state.lower())
    await put(server, "SUCCEEDED", "old")
    again = service.ReactivateBatchTaskRequest(name=name("old"), scope=service.ReactivateBatchTaskRequest.ALL)
    await server.tasks.ReactivateBatchTask(again)
    await server.finish(name("old"), failed=range(3))
    await server.tasks.ReactivateBatchTask(again)
    await server.lease(name("old"), [0])


CASES = {
    "": {*(f"{state.lower()} 1" for state in STATES), "old 1", "old 2", "old 3"},
    "*": {*(f"{state.lower()} 1" for state in STATES), "old 1", "old 2", "old 3"},
    "done=true": {*(f"{state.lower()} 1" for state in FINAL), "old 1", "old 2"},
    "done=false AND metadata.generation>1": {"old 3"},
    "NOT done=true AND metadata.state=RUNNING": {"running 1", "old 3"},
    "metadata.state=SUCCEEDED": {"succeeded 1", "old 1"},
    "metadata.state=FAILED OR metadata.state=DRAFT": {"failed 1", "old 2", "draft 1"},
    "error.code=CANCELLED": {"cancelled 1"},
    "error.code=10": {"failed 1", "old 2"},
    "error.code!=CANCELLED": {"failed 1", "old 2"},
    "error.code:* AND metadata.generation=1": {"failed 1", "cancelled 1"},
    "done=true AND NOT error.code:*": {"succeeded 1", "old 1"},
    f'metadata.batch_task="{name("old")}"': {"old 1", "old 2", "old 3"},
    f'metadata.batch_task="{name("o")}*" AND metadata.generation<=2': {"old 1", "old 2"},
    "metadata.end_time:* AND metadata.generation=2": {"old 2"},
    "NOT metadata.start_time:*": {"draft 1", "queued 1", "paused 1", "cancelled 1"},
    'metadata.create_time<"2001-01-01T00:00:00Z"': set[str](),
    'metadata.start_time>"2001-01-01T00:00:00Z" AND metadata.generation>=2': {"old 2", "old 3"},
}


@pytest.mark.parametrize("size", [1, 0])
async def test_what_matches(server: Served, size: int) -> None:
    await populate(server)
    everything = await found(server, "")
    for wanted, expected in CASES.items():
        names = await found(server, wanted, size=size)
        assert set(names) == expected, wanted
        assert names == [each for each in everything if each in expected], "newest first"


async def test_by_id_and_name(server: Served) -> None:
    await populate(server)
    listed = await server.operations.ListOperations(lro.ListOperationsRequest(name=PROJECT))
    one = listed.operations[3]
    operation_id = one.name.rpartition("/")[2]
    for wanted in (f"id={operation_id}", f"name={one.name}", f'id="{operation_id}*"', f'name="{one.name}*"'):
        page = await server.operations.ListOperations(lro.ListOperationsRequest(name=PROJECT, filter=wanted))
        assert [each.name for each in page.operations] == [one.name], wanted
    for wanted in ('id="nobody*"', f'name="projects/other/operations/{operation_id}"'):
        page = await server.operations.ListOperations(lro.ListOperationsRequest(name=PROJECT, filter=wanted))
        assert page == lro.ListOperationsResponse(), wanted


@pytest.mark.parametrize("bound", ["EXAMINED_OPERATIONS", "JUDGED_OPERATIONS"])
async def test_a_page_looks_at_so_many(server: Served, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    await populate(server)
    everything = await found(server, "")
    monkeypatch.setattr(limits, bound, 3)
    request = lro.ListOperationsRequest(name=PROJECT, filter="metadata.state=DRAFT")
    pages: list[int] = []
    while not pages or request.page_token:
        page = await server.operations.ListOperations(request)
        pages.append(len(page.operations))
        request.page_token = page.next_page_token
    assert sum(pages) == 1
    assert len(pages) >= len(everything) // 3


@provokes(Reason.INVALID_TOKEN)
async def test_a_token_belongs_to_its_filter(server: Served) -> None:
    await populate(server)
    tokens = {
        wanted: (
            await server.operations.ListOperations(lro.ListOperationsRequest(name=PROJECT, filter=wanted, page_size=1))
        ).next_page_token
        for wanted in ("", "done=true")
    }
    for wanted, token in (("", tokens["done=true"]), ("done=true", tokens[""]), ("done=false", tokens["done=true"])):
        request = lro.ListOperationsRequest(name=PROJECT, filter=wanted, page_token=token)
        assert (await fail(server, "ListOperations", request)).field == "page_token"
