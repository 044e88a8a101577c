"""ListArtifacts, GetArtifact, ReadArtifact, DeleteArtifact: what is on the wire, and how they fail."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import google_crc32c
import grpc.aio
import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.artifact_pb2 import Artifact
from batchyard_server.model import limits
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.names import parse_task
from tests.rpc.test_errors import drained, fail
from tests.rpc.world import create, name
from tests.support import outcomes
from tests.support.artifacts import collected
from tests.support.errors import provokes
from tests.support.eventually import eventually_in_loop
from tests.support.server import Served, serving

Left = Mapping[int, Mapping[str, bytes]]
DATA = os.urandom(200_001)
LEFT: Left = {0: {"a.txt": b"hello", "b/c.bin": DATA, "b/d.bin": b""}, 2: {"a.txt": b"other", "ä/ü: %41?.png": b"1"}}
REQUEST_ID = "c3b4f1d5-5f6e-4b7a-9d3c-1f2e3d4c5b6a"
ALL = [(index, path) for index, files in LEFT.items() for path in sorted(files)]


async def made(server: Served, left: Left = LEFT, *, task: str = "t", records: int = 3) -> str:
    """A task that has ended, whose records left these files; its name."""
    await server.tasks.CreateBatchTask(create(task, records=records))
    return await ended(server, name(task), left, range(records))


async def ended(server: Served, task_name: str, left: Left, indexes: Sequence[int], failed: Sequence[int] = ()) -> str:
    """These records of the task end, having left files."""
    lease = await server.lease(task_name, indexes)
    task = await server.store.get_task(parse_task(task_name))
    ok = [index for index in indexes if index not in failed]
    flush = outcomes.flush(task.name, ok=ok, failed=failed, generation=task.generation)
    await server.store.record_outcomes(lease, await collected(server.files, task, flush, left))
    return task_name


def path_of(found: Artifact) -> tuple[int, str]:
    """(index, path), from the name."""
    record, _, path = found.name.partition("/artifacts/")
    return int(record.rpartition("/")[2]), path


def artifact(task: str, index: int, path: str) -> str:
    return f"{task}/records/{index}/artifacts/{path}"


async def listed(server: Served, parent: str, *, prefix: str = "", size: int = 0) -> list[Artifact]:
    """All of them, page by page."""
    found: list[Artifact] = []
    request = service.ListArtifactsRequest(parent=parent, page_size=size, prefix=prefix)
    while True:
        page = await server.tasks.ListArtifacts(request)
        found += page.artifacts
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def read(server: Served, artifact_name: str, **fields: int) -> tuple[bytes, list[service.ReadArtifactResponse]]:
    """What is read, and the messages that it came in."""
    request = service.ReadArtifactRequest(name=artifact_name, **fields)
    messages = [message async for message in server.tasks.ReadArtifact(request)]
    return b"".join(message.data for message in messages), messages


async def refused(server: Served, method: str, request: Any) -> tuple[Code, Reason]:
    answer = await fail(server, method, request)
    return answer.code, answer.reason


# -- reading ----------------------------------------------------------------------------------------------------------


async def test_they_are_listed_with_what_is_known_of_them(server: Served) -> None:
    task = await made(server)
    found = await listed(server, f"{task}/records/-")
    assert [path_of(each) for each in found] == ALL
    by_path = dict(zip(ALL, found, strict=True))
    shown = by_path[0, "b/c.bin"]
    assert shown == await server.tasks.GetArtifact(service.GetArtifactRequest(name=shown.name))
    assert shown.name == artifact(task, 0, "b/c.bin")
    assert (shown.size, shown.content_type) == (len(DATA), "application/octet-stream")
    assert (shown.sha256, shown.crc32c) == (hashlib.sha256(DATA).digest(), google_crc32c.value(DATA))
    assert shown.create_time.seconds > 0
    assert by_path[0, "a.txt"].content_type == "text/plain"


@pytest.mark.parametrize("size", [1, 2, 1000])
async def test_of_one_record_and_by_prefix(server: Served, size: int) -> None:
    task = await made(server)
    for index in (0, 1, 2):
        found = await listed(server, f"{task}/records/{index}", size=size)
        assert [path_of(each) for each in found] == [each for each in ALL if each[0] == index]
    for prefix in ("a", "b/", "b/c", "ä", "none"):
        found = await listed(server, f"{task}/records/-", prefix=prefix, size=size)
        assert [path_of(each) for each in found] == [each for each in ALL if each[1].startswith(prefix)]


async def test_a_page_holds_at_most_a_thousand(server: Served) -> None:
    count = limits.PAGE_SIZE.maximum
    task = await made(server, {0: {f"{i:04}": b"" for i in range(count)}, 1: {"x": b""}})
    for size, wanted in ((count + 1, count), (0, limits.DEFAULT_PAGE_SIZE)):
        page = await server.tasks.ListArtifacts(
            service.ListArtifactsRequest(parent=f"{task}/records/-", page_size=size)
        )
        assert len(page.artifacts) == wanted
        assert page.next_page_token


async def test_records_say_how_many_they_have(server: Served) -> None:
    task = await made(server)
    page = await server.tasks.ListRecords(service.ListRecordsRequest(parent=task))
    assert [record.artifact_count for record in page.records] == [3, 0, 2]
    assert [record.output.text for record in page.records] == ["0", "1", "2"]


async def test_bytes_are_streamed(server: Served) -> None:
    task = await made(server)
    for index, path in ALL:
        data, messages = await read(server, artifact(task, index, path))
        assert data == LEFT[index][path]
        assert messages[0].crc32c == google_crc32c.value(data)
        assert [message.crc32c for message in messages[1:]] == [0] * (len(messages) - 1)
        assert max(len(message.data) for message in messages) <= limits.ARTIFACT_CHUNK_BYTES
        assert len(messages) == max(1, -(-len(data) // limits.ARTIFACT_CHUNK_BYTES))


@pytest.mark.parametrize(
    ("offset", "limit"),
    [(0, 1), (1, 0), (100, 65536), (100, 65537), (len(DATA) - 1, 10), (len(DATA), 0), (len(DATA), 5), (0, 1 << 40)],
)
async def test_a_part_is_read(server: Served, offset: int, limit: int) -> None:
    task = await made(server)
    data, messages = await read(server, artifact(task, 0, "b/c.bin"), offset=offset, limit=limit)
    assert data == DATA[offset : offset + limit if limit else None]
    assert messages[0].crc32c == google_crc32c.value(DATA)


async def test_they_are_there_after_a_restart(tmp_path: pathlib.Path) -> None:
    async with serving(tmp_path) as server:
        task = await made(server)
        before = await listed(server, f"{task}/records/-")
    async with serving(tmp_path) as server:
        assert await listed(server, f"{task}/records/-") == before
        assert (await read(server, artifact(task, 0, "b/c.bin")))[0] == DATA


async def test_a_reader_who_takes_his_time_sees_the_end_of_what_was_deleted(server: Served) -> None:
    data = os.urandom(1 << 22)
    task = await made(server, {0: {"big": data}})
    call = server.tasks.ReadArtifact(service.ReadArtifactRequest(name=artifact(task, 0, "big")))
    first = await call.read()
    [stage] = (server.folder / "artifacts").glob("*/*")
    await server.tasks.DeleteArtifact(service.DeleteArtifactRequest(name=artifact(task, 0, "big")))
    (stage / "0" / "big").unlink()
    assert b"".join(each.data for each in [first, *await drained(call)]) == data


# -- deleting ---------------------------------------------------------------------------------------------------------


async def test_one_is_deleted(server: Served) -> None:
    task = await made(server)
    for _ in range(2):
        request = service.DeleteArtifactRequest(name=artifact(task, 0, "a.txt"), request_id=REQUEST_ID)
        await server.tasks.DeleteArtifact(request)
    await server.tasks.DeleteArtifact(
        service.DeleteArtifactRequest(name=artifact(task, 0, "a.txt"), allow_missing=True)
    )
    assert [path_of(each) for each in await listed(server, f"{task}/records/-")] == ALL[1:]
    page = await server.tasks.ListRecords(service.ListRecordsRequest(parent=task))
    assert page.records[0].artifact_count == 3
    for method in ("GetArtifact", "ReadArtifact", "DeleteArtifact"):
        request = getattr(service, f"{method}Request")(name=artifact(task, 0, "a.txt"))
        assert await refused(server, method, request) == (Code.NOT_FOUND, Reason.RESOURCE_NOT_FOUND)


@provokes(Reason.REQUEST_ID_REUSED)
async def test_a_request_id_holds_for_one_artifact(server: Served) -> None:
    task = await made(server)
    await server.tasks.DeleteArtifact(
        service.DeleteArtifactRequest(name=artifact(task, 0, "a.txt"), request_id=REQUEST_ID)
    )
    request = service.DeleteArtifactRequest(name=artifact(task, 2, "a.txt"), request_id=REQUEST_ID)
    assert await refused(server, "DeleteArtifact", request) == (Code.ALREADY_EXISTS, Reason.REQUEST_ID_REUSED)


async def test_a_later_outcome_takes_their_place(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("t", records=3))
    task = await ended(server, name("t"), LEFT, range(3), failed=[1])
    await server.tasks.ReactivateBatchTask(
        service.ReactivateBatchTaskRequest(name=task, scope=service.ReactivateBatchTaskRequest.ALL)
    )
    assert len(await listed(server, f"{task}/records/-")) == len(ALL)
    await ended(server, task, {0: {"new": b"n"}}, [0])
    found = [path_of(each) for each in await listed(server, f"{task}/records/-")]
    assert found == [(0, "new"), *(each for each in ALL if each[0] == 2)]


# -- errors -----------------------------------------------------------------------------------------------------------


@provokes(Reason.RESOURCE_NOT_FOUND)
async def test_what_is_not_there(server: Served) -> None:
    task = await made(server)
    for missing in (artifact(task, 0, "no"), artifact(task, 1, "a.txt"), artifact(name("no"), 0, "a.txt")):
        for method in ("GetArtifact", "ReadArtifact", "DeleteArtifact"):
            request = getattr(service, f"{method}Request")(name=missing)
            assert await refused(server, method, request) == (Code.NOT_FOUND, Reason.RESOURCE_NOT_FOUND)
    for parent in (f"{task}/records/3", f"{name('no')}/records/-"):
        request = service.ListArtifactsRequest(parent=parent)
        assert await refused(server, "ListArtifacts", request) == (Code.NOT_FOUND, Reason.RESOURCE_NOT_FOUND)


@provokes(Reason.INVALID_FIELD)
async def test_names_that_are_none(server: Served) -> None:
    task = await made(server)
    paths = ("", "/a", "a//b", "a/", ".", "a/../b", "x" * 256, "a\nb", "a\0", "/".join(["x" * 200] * 6))
    wrong = [artifact(task, 0, path) for path in paths]
    wrong += [f"{task}/records/-/artifacts/a.txt", f"{task}/records/00/artifacts/a.txt", f"{task}/artifacts/a.txt"]
    for method in ("GetArtifact", "ReadArtifact", "DeleteArtifact"):
        for each in wrong:
            answer = await fail(server, method, getattr(service, f"{method}Request")(name=each))
            assert (answer.code, answer.reason, answer.field) == (Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, "name")
    for parent in (task, f"{task}/records/", f"{task}/records/x", f"{task}/records/0/artifacts"):
        answer = await fail(server, "ListArtifacts", service.ListArtifactsRequest(parent=parent))
        assert (answer.code, answer.field) == (Code.INVALID_ARGUMENT, "parent")
    for field in ("offset", "limit"):
        request = service.ReadArtifactRequest(name=artifact(task, 0, "a.txt"), **{field: -1})
        assert (await fail(server, "ReadArtifact", request)).field == field
    request = service.ListArtifactsRequest(parent=f"{task}/records/-", page_size=-1)
    assert (await fail(server, "ListArtifacts", request)).field == "page_size"


@provokes(Reason.INVALID_TOKEN)
async def test_a_token_holds_for_one_list(server: Served) -> None:
    task = await made(server, {0: {"a" * 255 + "/" + "b" * 255 + "/x": b"", "c": b""}})
    parent = f"{task}/records/-"
    token = (await server.tasks.ListArtifacts(service.ListArtifactsRequest(parent=parent, page_size=1))).next_page_token
    assert token
    for other in ({"parent": f"{task}/records/0"}, {"parent": parent, "prefix": "a"}):
        request = service.ListArtifactsRequest(page_token=token, **other)
        assert await refused(server, "ListArtifacts", request) == (Code.INVALID_ARGUMENT, Reason.INVALID_TOKEN)


async def test_a_token_of_the_longest_path_is_taken(server: Served) -> None:
    longest = "/".join(["\U0001f600" * 51] * 5)[:256]
    assert len(longest.encode()) > 1000
    task = await made(server, {0: {longest: b"", "\U0010ffff": b""}})
    found = await listed(server, f"{task}/records/-", size=1)
    assert [path_of(each)[1] for each in found] == [longest, "\U0010ffff"]


@provokes(Reason.OFFSET_BEYOND_END)
async def test_behind_the_end_is_nothing(server: Served) -> None:
    task = await made(server)
    answer = await fail(server, "ReadArtifact", service.ReadArtifactRequest(name=artifact(task, 0, "a.txt"), offset=6))
    assert (answer.code, answer.reason) == (Code.OUT_OF_RANGE, Reason.OFFSET_BEYOND_END)
    assert answer.metadata == {"size": "5", "offset": "6"}


@provokes(Reason.ARTIFACT_DAMAGED)
async def test_a_file_that_is_not_what_was_stored_is_never_read_as_if_it_were(server: Served) -> None:
    task = await made(server)
    [file] = (server.folder / "artifacts").glob("*/*/0/b/c.bin")
    request = service.ReadArtifactRequest(name=artifact(task, 0, "b/c.bin"))
    for spoiled in (DATA[:-1], DATA + b"x", DATA[:-1] + bytes([DATA[-1] ^ 1])):
        file.write_bytes(spoiled)
        answer = await fail(server, "ReadArtifact", request)
        assert (answer.code, answer.reason) == (Code.DATA_LOSS, Reason.ARTIFACT_DAMAGED)
        assert answer.metadata == {"resource": request.name}
    file.unlink()
    assert (await fail(server, "ReadArtifact", request)).code is Code.DATA_LOSS


async def test_draining_ends_a_stream_and_refuses_a_delete(server: Served) -> None:
    task = await made(server, {0: {"big": bytes(1 << 23)}})
    call = server.tasks.ReadArtifact(service.ReadArtifactRequest(name=artifact(task, 0, "big")))
    await call.read()
    server.rpc.drain()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await drained(call)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    request = service.DeleteArtifactRequest(name=artifact(task, 0, "big"))
    assert await refused(server, "DeleteArtifact", request) == (Code.UNAVAILABLE, Reason.DRAINING)


async def test_slow_readers_hold_little(server: Served) -> None:
    """Each has some messages on its way and one that is read ahead; the rest stays on the disk."""
    size, readers = 1 << 24, 20
    task = await made(server, {0: {"big": bytes(size)}})
    calls = [
        server.tasks.ReadArtifact(service.ReadArtifactRequest(name=artifact(task, 0, "big"))) for _ in range(readers)
    ]
    for call in calls:
        assert len((await call.read()).data) == limits.ARTIFACT_CHUNK_BYTES
    for call in calls:
        call.cancel()
    # An open file is closed with its call.
    await eventually_in_loop(lambda: _opened(server.folder) == 0, 10, "the files are closed")


def _opened(folder: pathlib.Path) -> int:
    """How many files of artifacts this process has open."""
    found = 0
    for each in pathlib.Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(each.readlink()).startswith(str(folder / "artifacts"))
    return found


async def test_many_read_at_once(server: Served) -> None:
    task = await made(server)
    reads = await asyncio.gather(*(read(server, artifact(task, 0, "b/c.bin")) for _ in range(50)))
    assert all(data == DATA for data, _ in reads)
