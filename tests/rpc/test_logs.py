"""What a record wrote, on the wire: an artifact of the record that no list of records carries."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Mapping, Sequence

import google_crc32c
import grpc
import pytest
from google.rpc.error_details_pb2 import ResourceInfo

from batchyard.v1.artifact_pb2 import Artifact
from batchyard.v1.batch_task_service_pb2 import (
    DeleteArtifactRequest,
    GetArtifactRequest,
    GetRecordRequest,
    ListArtifactsRequest,
    ListRecordsRequest,
    ReactivateBatchTaskRequest,
    ReadArtifactRequest,
)
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.model import limits
from batchyard_server.model.artifact import LOG_PATH
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.names import parse_task
from batchyard_server.model.task import Attempts
from tests.rpc.world import create, fresh_request_id, name
from tests.support.artifacts import new
from tests.support.errors import answer, provokes
from tests.support.outcomes import flush, interrupted, retries
from tests.support.server import Served

TASK = name("t")


def log_name(index: int) -> str:
    return f"{TASK}/records/{index}/artifacts/{LOG_PATH}"


async def made(
    server: Served, records: int, logs: Mapping[int, bytes] | None = None, failed: Sequence[int] = ()
) -> None:
    """A task whose records ended and wrote that."""
    await server.tasks.CreateBatchTask(create("t", records=records))
    await end(server, range(records), logs or {}, failed)


async def end(server: Served, indexes: Sequence[int], logs: Mapping[int, bytes], failed: Sequence[int] = ()) -> None:
    lease = await server.lease(TASK, indexes)
    ok = [index for index in indexes if index not in failed]
    sent = flush(parse_task(TASK), ok=ok, failed=failed, generation=lease.generation, logs=logs)
    await server.store.record_outcomes(lease, sent)


async def read(server: Served, index: int, **how: int) -> bytes:
    """What ReadArtifact sends of a log; the checksum that came is that of the whole."""
    parts = [part async for part in server.tasks.ReadArtifact(ReadArtifactRequest(name=log_name(index), **how))]
    assert all(len(part.data) <= limits.ARTIFACT_CHUNK_BYTES for part in parts)
    data = b"".join(part.data for part in parts)
    if not how:
        assert [part.crc32c for part in parts if part.crc32c] == [google_crc32c.value(data)]
    return data


async def listed(server: Served, of: str = "-", *, size: int = 0, prefix: str = "") -> list[Artifact]:
    """All artifacts, page by page."""
    found: list[Artifact] = []
    token = ""
    while True:
        request = ListArtifactsRequest(parent=f"{TASK}/records/{of}", page_size=size, page_token=token, prefix=prefix)
        page = await server.tasks.ListArtifacts(request)
        assert len(page.artifacts) <= (size or 1000)
        found += page.artifacts
        token = page.next_page_token
        if not token:
            return found


def missing(index: int) -> tuple[str, str, str]:
    """What `refused` returns of a log that is not there."""
    return "NOT_FOUND", Reason.RESOURCE_NOT_FOUND, log_name(index)


async def refused(call: Awaitable[object]) -> tuple[str, str, str]:
    """(code, reason, resource) of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        await call
    found = answer(caught.value)
    resource = found.detail(ResourceInfo).resource_name if found.code is Code.NOT_FOUND else ""
    return found.code.name, found.reason, resource


def places(artifacts: Sequence[Artifact]) -> list[tuple[int, str]]:
    """(index, path) of each."""
    split = [each.name.removeprefix(f"{TASK}/records/").split("/artifacts/") for each in artifacts]
    return [(int(index), path) for index, path in split]


def header(attempt: int, generation: int, state: str) -> bytes:
    return f"== attempt {attempt} of generation {generation}, {state} ==\n".encode()


async def test_a_log_is_an_artifact_of_its_record(server: Served) -> None:
    await made(server, 3, {1: b"hello\n"})
    text = header(1, 1, "SUCCEEDED") + b"hello\n"
    found = await server.tasks.GetArtifact(GetArtifactRequest(name=log_name(1)))
    assert (found.name, found.size, found.content_type) == (log_name(1), len(text), "text/plain; charset=utf-8")
    assert (found.crc32c, found.sha256) == (google_crc32c.value(text), hashlib.sha256(text).digest())
    assert found.HasField("create_time")
    assert await read(server, 1) == text
    assert await read(server, 1, offset=3, limit=9) == text[3:12]
    assert await listed(server, "1") == [found] == await listed(server) == await listed(server, prefix=".batch")
    assert await listed(server, "0") == [] == await listed(server, prefix="log")


async def test_no_list_of_records_carries_it(server: Served) -> None:
    await made(server, 2, {0: b"x" * 3000})
    first, second = [
        await server.tasks.GetRecord(GetRecordRequest(name=f"{TASK}/records/{index}", view=RecordInfo.FULL))
        for index in (0, 1)
    ]
    assert abs(first.ByteSize() - second.ByteSize()) < 10
    assert first.artifact_count == 0
    page = await server.tasks.ListRecords(ListRecordsRequest(parent=TASK))
    assert page.ByteSize() < 500


async def test_sections_of_a_record_that_goes_on(server: Served) -> None:
    await server.tasks.CreateBatchTask(create("t", records=1))
    lease = await server.lease(TASK, [0])
    sent = flush(parse_task(TASK), failed=[0], logs={0: b"no end of line"})
    await server.store.record_outcomes(lease, sent, retries(sent, {0: Attempts(begun=1, failures=1)}))
    first = header(1, 1, "FAILED") + b"no end of line\n"
    assert await read(server, 0) == first
    lease = await server.lease(TASK, [0])
    begun = {0: Attempts(begun=2, failures=1, lost=1)}
    await server.store.release(lease, begun, (), [interrupted(0, 2)], {0: b"last words\n"})
    second = first + header(2, 1, "CANCELLED") + b"last words\n"
    assert await read(server, 0) == second
    lease = await server.lease(TASK, [0])
    await server.store.record_outcomes(lease, flush(parse_task(TASK), ok=[0], attempt=3))
    assert await read(server, 0) == second + header(3, 1, "SUCCEEDED")
    assert [each.name for each in await listed(server)] == [log_name(0)]


async def test_a_large_log_comes_in_chunks(server: Served) -> None:
    text = bytes(range(256)) * (limits.LOG.maximum // 256)
    await made(server, 1, {0: text})
    whole = header(1, 1, "SUCCEEDED") + text + b"\n"
    assert await read(server, 0) == whole
    assert await read(server, 0, offset=len(whole)) == b""


@provokes(Reason.OFFSET_BEYOND_END)
async def test_behind_its_end(server: Served) -> None:
    await made(server, 1, {0: b"x\n"})
    stream = server.tasks.ReadArtifact(ReadArtifactRequest(name=log_name(0), offset=1000))
    assert await refused(stream.read()) == ("OUT_OF_RANGE", Reason.OFFSET_BEYOND_END, "")


async def test_pages_of_logs_are_in_order(server: Served) -> None:
    logs = {index: f"{index}\n".encode() for index in range(0, 50, 3)}
    await made(server, 50, logs)
    wanted = [log_name(index) for index in sorted(logs)]
    for size in (1, 4, 1000):
        assert [each.name for each in await listed(server, size=size)] == wanted


async def test_pages_of_files_and_logs_are_in_order(server: Served) -> None:
    """Files that stand before and after the logs; of some records only these, of some only those."""
    await server.tasks.CreateBatchTask(create("t", records=12))
    lease = await server.lease(TASK, range(12))
    logs = {index: b"x\n" for index in range(12) if index % 3}
    paths = {
        index: [path for path in ("!", "-a/b", ".batch", ".c", "z") if (index + len(path)) % 2] for index in range(12)
    }
    files = [each for index in range(12) if index % 4 for each in new("stage", index, *paths[index])]
    await server.store.record_outcomes(lease, flush(parse_task(TASK), ok=range(12), logs=logs, artifacts=files))
    wanted = sorted((each.index, each.content.path) for each in files)
    wanted = sorted([*wanted, *((index, LOG_PATH) for index in logs)])
    for size in (1, 2, 3, 7, 1000):
        assert places(await listed(server, size=size)) == wanted
        for index in range(12):
            mine = places(await listed(server, str(index), size=size))
            assert mine == [each for each in wanted if each[0] == index]
    for start in (".b", ".batchyard/"):
        found = places(await listed(server, size=2, prefix=start))
        assert found == [each for each in wanted if each[1].startswith(start)]


async def test_a_record_without_a_log(server: Served) -> None:
    await made(server, 1)
    assert await refused(server.tasks.GetArtifact(GetArtifactRequest(name=log_name(0)))) == missing(0)
    stream = server.tasks.ReadArtifact(ReadArtifactRequest(name=log_name(0)))
    assert await refused(stream.read()) == missing(0)
    stream = server.tasks.ReadArtifact(ReadArtifactRequest(name=log_name(1)))
    assert await refused(stream.read()) == ("NOT_FOUND", Reason.RESOURCE_NOT_FOUND, f"{TASK}/records/1")


async def test_a_generation_takes_the_place_of_the_one_before(server: Served) -> None:
    await made(server, 3, {0: b"kept\n", 1: b"old\n", 2: b"old\n"}, failed=[1, 2])
    await server.tasks.ReactivateBatchTask(ReactivateBatchTaskRequest(name=TASK))
    await end(server, [1], {1: b"new\n"})
    assert await read(server, 0) == header(1, 1, "SUCCEEDED") + b"kept\n"
    assert await read(server, 1) == header(1, 2, "SUCCEEDED") + b"new\n"
    assert await read(server, 2) == header(1, 1, "FAILED") + b"old\n"
    await end(server, [2], {})
    assert [each.name for each in await listed(server)] == [log_name(0), log_name(1)]


async def test_a_log_can_be_deleted(server: Served) -> None:
    await made(server, 2, {0: b"first\n", 1: b"other\n"}, failed=[0])
    await server.tasks.ReactivateBatchTask(ReactivateBatchTaskRequest(name=TASK))
    await end(server, [0], {0: b"second\n"})
    request = DeleteArtifactRequest(name=log_name(0), request_id=fresh_request_id())
    for _ in range(2):
        await server.tasks.DeleteArtifact(request)
        assert [each.name for each in await listed(server)] == [log_name(1)]
        assert await refused(server.tasks.GetArtifact(GetArtifactRequest(name=log_name(0)))) == missing(0)
    again = DeleteArtifactRequest(name=log_name(0), request_id=fresh_request_id())
    assert await refused(server.tasks.DeleteArtifact(again)) == missing(0)
    await server.tasks.DeleteArtifact(DeleteArtifactRequest(name=log_name(0), allow_missing=True))
    record = await server.tasks.GetRecord(GetRecordRequest(name=f"{TASK}/records/0"))
    assert record.state == RecordInfo.SUCCEEDED
    assert await read(server, 1) == header(1, 1, "SUCCEEDED") + b"other\n"
