"""How does a task say which of its records failed? Its error, `failed_requests`, and the bounds of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from google.longrunning import operations_pb2 as lro

from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata
from batchyard.v1.payload_pb2 import Payload
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.model import limits
from batchyard_server.model.errors import Code, Reason
from tests.rpc.runs import Run, Server, failure, metadata, running, seen
from tests.rpc.world import PROJECT
from tests.support.errors import Answer, provokes
from tests.support.server import SECONDS

pytestmark = pytest.mark.xdist_group("outcomes-failures")
WELL = {"do": "echo", "value": 1}
IN_ERROR = 10  # failures in the details of a task's error


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("failures"), workers=1) as server:
        yield server


def refuse(size: int = 8) -> dict[str, Any]:
    """A record that fails with a message of so many bytes."""
    return {"do": "refuse", "text": "x", "times": size, "code": "OUT_OF_RANGE"}


def first_failures(server: Server, run: Run) -> list[RecordInfo]:
    """The failed records as they were committed."""
    found = server.records(run.info.name, order=RecordInfo.COMPLETION)
    return [each for each in found if each.state == RecordInfo.FAILED]


def check_failed_requests(found: BatchTaskMetadata, failures: Sequence[RecordInfo], most: int) -> None:
    """They are the first failures, as many as fit; and say whether there were more."""
    shown = dict(found.failed_requests)
    assert len(shown) == most
    assert shown == {each.index: each.error for each in failures[:most]}
    assert found.failed_requests_truncated == (len(failures) > most)


def check_listed(server: Server, run: Run) -> None:
    """ListOperations shows the operation without its failures."""
    request = lro.ListOperationsRequest(name=PROJECT, page_size=1)
    (listed,) = server.operations.ListOperations(request, timeout=SECONDS).operations
    whole = metadata(run.operation)
    whole.ClearField("failed_requests")
    whole.ClearField("failed_requests_truncated")
    assert metadata(listed) == whole
    assert (listed.name, listed.error, listed.response) == (
        run.operation.name,
        run.operation.error,
        run.operation.response,
    )


@provokes(Reason.ALL_RECORDS_FAILED, Reason.RECORD_ERROR, Reason.HANDLER_EXCEPTION, Reason.INPUT_NOT_JSON)
def test_a_task_of_which_every_record_failed(server: Server) -> None:
    run = server.run("act", refuse(), {"do": "fail"}, Payload(text="{"))
    for record, reason in zip(
        run.records, (Reason.RECORD_ERROR, Reason.HANDLER_EXCEPTION, Reason.INPUT_NOT_JSON), strict=True
    ):
        failure(record, reason)
    assert (run.info.state, run.info.counts.failed) == (BatchTaskInfo.FAILED, 3)
    found = seen(Answer(run.info.error), Reason.ALL_RECORDS_FAILED)
    assert (found.code, found.metadata) == (Code.ABORTED, {"failed": "3"})
    assert found.status.message == "all 3 records failed"
    details = found.detail(BatchTaskMetadata)
    assert details.batch_task == run.info.name
    check_failed_requests(details, run.records, 3)
    assert run.operation.WhichOneof("result") == "error"
    assert run.operation.error == run.info.error
    assert run.operation == server.operation(run.info.name)
    check_failed_requests(metadata(run.operation), run.records, 3)
    check_listed(server, run)


@pytest.mark.parametrize(("failed", "well"), [(1, 1), (100, 1), (101, 1), (350, 0)])
def test_a_hundred_failures_are_shown(server: Server, failed: int, well: int) -> None:
    run = server.run("act", *[WELL] * well, *[refuse()] * failed)
    failures = first_failures(server, run)
    assert len(failures) == failed
    check_failed_requests(metadata(run.operation), failures, min(failed, limits.FAILED_REQUESTS))
    assert run.operation == server.operation(run.info.name)
    check_listed(server, run)
    if well:
        assert run.info.state == BatchTaskInfo.SUCCEEDED
        assert not run.info.HasField("error")
    else:
        details = Answer(run.info.error).detail(BatchTaskMetadata)
        check_failed_requests(details, failures, IN_ERROR)


LARGEST = limits.ERROR.maximum


@pytest.mark.parametrize(
    ("sizes", "most"),
    [
        ([LARGEST] * 6, 4),
        ([LARGEST] * 3 + [8], 4),
        ([LARGEST] * 4 + [8], 4),
        ([15_000] * 4 + [15_000] + [8] * 200, 4),
        ([8] * 3 + [15_000] * 4 + [15_000] + [8] * 3, 7),
    ],
)
def test_failures_of_64_kib_are_shown_and_none_is_passed_over(server: Server, sizes: list[int], most: int) -> None:
    run = server.run("act", *[refuse(size) for size in sizes], WELL)
    failures = first_failures(server, run)
    assert [each.index for each in failures] == list(range(len(sizes)))
    found = metadata(run.operation)
    check_failed_requests(found, failures, most)
    assert sum(each.ByteSize() for each in found.failed_requests.values()) <= limits.FAILED_REQUESTS_BYTES


@provokes(Reason.ALL_RECORDS_FAILED)
@pytest.mark.parametrize("size", [8, 3_000, 9_000, LARGEST])
def test_the_error_of_a_task_is_bounded_and_shows_a_failure(server: Server, size: int) -> None:
    run = server.run("act", *[refuse(size)] * 3)
    assert run.info.error.ByteSize() <= LARGEST
    details = seen(Answer(run.info.error), Reason.ALL_RECORDS_FAILED).detail(BatchTaskMetadata)
    shown = dict(details.failed_requests)
    assert 0 in shown
    assert details.failed_requests_truncated == (len(shown) < 3)
    for index, error in shown.items():
        record = run.records[index]
        assert error.code == Code.OUT_OF_RANGE
        assert error == record.error or (error.message.endswith("x…") and not error.details), "whole, or cut"
