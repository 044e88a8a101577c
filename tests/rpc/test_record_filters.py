"""Records of a filter, over raw stubs: what is found, what is refused and where, tokens, pages that find nothing."""

from __future__ import annotations

import pathlib
import sys

import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.model import limits
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.task import Lease
from tests.rpc.runs import running
from tests.rpc.test_errors import drained, fail
from tests.rpc.world import create, name, record
from tests.support.errors import provokes
from tests.support.server import Served

NAME = name("a")
TOML = f"""\
[handlers.ends]
kind = "command"
argv = ["{sys.executable}", "-c", "import sys; sys.exit(int(sys.argv[1]))", "{{code}}"]
"""


async def _ten(server: Served) -> Lease:
    """Ten records, of which 2 and 7 failed, 0 to 7 ended, and 7 ended first; the others are leased."""
    await server.tasks.CreateBatchTask(create("a", records=[record(str(i), f"r{i}") for i in range(10)]))
    lease = await server.lease(NAME, range(10))
    await server.end(NAME, lease, failed=[7])
    await server.end(NAME, lease, ok=[0, 1, 3, 4, 5, 6], failed=[2])
    return lease


async def _listed(server: Served, asked: str, order: RecordInfo.Order = RecordInfo.INDEX, size: int = 0) -> list[int]:
    """The indexes of all pages."""
    request = service.ListRecordsRequest(parent=NAME, filter=asked, order=order, page_size=size)
    found: list[int] = []
    while True:
        page = await server.tasks.ListRecords(request)
        found += [each.index for each in page.records]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def _streamed(
    server: Served, asked: str, order: RecordInfo.Order = RecordInfo.INDEX, token: str = ""
) -> list[service.StreamRecordsResponse]:
    request = service.StreamRecordsRequest(parent=NAME, filter=asked, order=order, resume_token=token)
    return await drained(server.tasks.StreamRecords(request))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("", [*range(10)]),
        ("*", [*range(10)]),
        ("state = FAILED", [2, 7]),
        ("state = PENDING", [8, 9]),
        ("NOT state = SUCCEEDED", [2, 7, 8, 9]),
        ("error.code = INVALID_ARGUMENT AND index > 2", [7]),
        ("error.code != 5", [2, 7]),
        ("index >= 3 AND index < 6 OR state = FAILED", [3, 4, 5, 7]),  # OR binds tighter
        ("(index >= 3 AND index < 6) OR state = FAILED", [2, 3, 4, 5, 7]),
        ('record_id = "r9"', [9]),
        ("attempt = 0", [8, 9]),
        ("exit_code:*", []),
    ],
)
async def test_what_is_found(server: Served, asked: str, found: list[int]) -> None:
    await _ten(server)
    for size in (0, 1, 3):
        assert await _listed(server, asked, size=size) == found
    assert [each.index for message in await _streamed(server, asked) for each in message.records] == found
    by_completion = [index for index in (7, 0, 1, 2, 3, 4, 5, 6) if index in found]
    assert await _listed(server, asked, RecordInfo.COMPLETION, size=2) == by_completion


@provokes(Reason.INVALID_FILTER)
@pytest.mark.parametrize(
    ("asked", "position"),
    [
        ("state", 5),
        ("state = RAN", 8),
        ("index = 1 AND", 13),
        ("display_name = x", 0),
        ("labels.a = x", 0),
        ("index = one", 8),
        ("error.code = 3 OR error.code = NOWHERE", 31),
        ('record_id = "a*b"', 12),
        ("(index = 1", 10),
    ],
)
async def test_what_is_refused_and_where(server: Served, asked: str, position: int) -> None:
    await _ten(server)
    for method in ("ListRecords", "StreamRecords"):
        found = await fail(server, method, getattr(service, f"{method}Request")(parent=NAME, filter=asked))
        assert (found.code, found.reason, found.field) == (Code.INVALID_ARGUMENT, Reason.INVALID_FILTER, "filter")
        assert found.metadata["position"] == str(position)


@provokes(Reason.INVALID_TOKEN)
async def test_a_token_holds_for_its_filter_alone(server: Served) -> None:
    await _ten(server)
    asked = service.ListRecordsRequest(parent=NAME, filter="state = FAILED", page_size=1)
    page = await server.tasks.ListRecords(asked)
    assert [each.index for each in page.records] == [2]
    token = page.next_page_token
    assert [each.index for each in (await _streamed(server, "state = FAILED", token=token))[0].records] == [7]
    for other in ("", "state = SUCCEEDED", "state=FAILED"):
        for method, field in (("ListRecords", "page_token"), ("StreamRecords", "resume_token")):
            request = getattr(service, f"{method}Request")(parent=NAME, filter=other, **{field: token})
            found = await fail(server, method, request)
            assert (found.reason, found.field) == (Reason.INVALID_TOKEN, field)
    plain = await server.tasks.ListRecords(service.ListRecordsRequest(parent=NAME, page_size=1))
    asked.page_token = plain.next_page_token
    assert (await fail(server, "ListRecords", asked)).reason == Reason.INVALID_TOKEN


async def test_the_last_token_goes_on_with_what_ends_later(server: Served) -> None:
    lease = await _ten(server)
    messages = await _streamed(server, "state = FAILED", RecordInfo.COMPLETION)
    assert [[each.index for each in message.records] for message in messages] == [[7, 2]]
    await server.end(NAME, lease, failed=[8])
    later = await _streamed(server, "state = FAILED", RecordInfo.COMPLETION, messages[-1].resume_token)
    assert [[each.index for each in message.records] for message in later] == [[8]]


@pytest.mark.parametrize("order", [RecordInfo.INDEX, RecordInfo.COMPLETION])
async def test_a_page_that_found_nothing_is_not_the_last(
    server: Served, monkeypatch: pytest.MonkeyPatch, order: RecordInfo.Order
) -> None:
    await server.tasks.CreateBatchTask(create("a", records=10))
    await server.finish(NAME, failed=[9])
    monkeypatch.setattr(limits, "EXAMINED_RECORDS", 4)
    request = service.ListRecordsRequest(parent=NAME, filter="error.code = 3 OR exit_code = 1", order=order)
    pages: list[list[int]] = []
    while True:
        page = await server.tasks.ListRecords(request)
        pages.append([each.index for each in page.records])
        assert page.resume_token
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert pages == [[], [], [9]]
    messages = await _streamed(server, request.filter, order)
    assert [[each.index for each in message.records] for message in messages] == pages
    assert len({message.resume_token for message in messages}) == 3
    rest = await _streamed(server, request.filter, order, messages[1].resume_token)
    assert [each.index for message in rest for each in message.records] == [9]


async def test_an_earlier_generation_and_all_of_them(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("a", records=4))
    await server.finish(NAME, failed=[1, 3])
    await server.tasks.ReactivateBatchTask(service.ReactivateBatchTaskRequest(name=NAME))
    await server.finish(NAME, failed=[3])
    request = service.StreamRecordsRequest(parent=NAME, filter="state = FAILED", order=RecordInfo.COMPLETION)
    for generation, found in ((0, [(3, 2)]), (1, [(1, 1), (3, 1)]), (2, [(3, 2)]), (-1, [(1, 1), (3, 1), (3, 2)])):
        request.generation = generation
        messages = await drained(server.tasks.StreamRecords(request))
        assert [(each.index, each.generation) for message in messages for each in message.records] == found


def test_exit_codes_of_commands(tmp_path: pathlib.Path) -> None:
    with running(tmp_path, TOML) as server:
        run = server.run("ends", *({"code": code} for code in (0, 3, 0, 4, 3)))
        assert [each.exit_code for each in run.records] == [0, 3, 0, 4, 3]
        for asked, found in (("exit_code = 3", [1, 4]), ("exit_code > 3", [3]), ("NOT exit_code = 0", [1, 3, 4])):
            page = server.tasks.ListRecords(service.ListRecordsRequest(parent=run.info.name, filter=asked))
            assert [each.index for each in page.records] == found
