"""Which records of a flush failed, what is left of it without some, and what is an attempt made of?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.rpc.error_details_pb2 import DebugInfo, ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from batchyard.v1.batch_task_service_pb2 import ListRecordAttemptsResponse
from batchyard.v1.record_pb2 import RecordAttempt, RecordInfo
from batchyard_server.codec import attempts, outcomes, segments
from batchyard_server.model import limits
from batchyard_server.model import ranges as rg
from batchyard_server.model.names import TaskName
from batchyard_server.model.record import PastAttempt
from batchyard_server.model.task import Flush
from tests.support.outcomes import FAILURE, flush
from tests.support.store import indexes

NAME = TaskName("p", "t")


def with_error(index: int, error: Status) -> Flush:
    """The flush of one record that failed so."""
    record = RecordInfo(index=index, state=RecordInfo.FAILED, error=error, attempt=3, generation=2)
    return outcomes.of_records([(index, index + 1)], [record.SerializeToString()])


def error_of(code: int, **metadata: str) -> Status:
    status = Status(code=code, message="no good")
    status.details.add().Pack(ErrorInfo(reason="RECORD_ERROR", domain="batchyard.dev", metadata=metadata))
    return status


@pytest.mark.parametrize(
    ("metadata", "retryable"),
    [({}, None), ({"retryable": "true"}, True), ({"retryable": "false"}, False), ({"retryable": "True"}, None)],
)
def test_what_a_failure_says_of_itself(metadata: dict[str, str], retryable: bool | None) -> None:
    error = error_of(14, **metadata)
    (found,) = outcomes.failed_records(with_error(7, error), "worker-1")
    assert (found.index, found.code, found.retryable) == (7, 14, retryable)
    assert Status.FromString(found.error) == error
    attempt = RecordAttempt.FromString(found.attempt)
    assert attempt == RecordAttempt(attempt=3, generation=2, state=RecordInfo.FAILED, error=error, worker="worker-1")


def test_errors_without_or_with_other_details() -> None:
    bare = Status(code=2, message="x")
    other = Status(code=2)
    other.details.add().Pack(DebugInfo(detail="retryable"))
    behind = error_of(5, retryable="true")
    behind.details.insert(0, other.details[0])
    found = [outcomes.failed_records(with_error(0, error), "")[0].retryable for error in (bare, other, behind)]
    assert found == [None, None, True]


SETS = st.sets(st.integers(0, 300), min_size=1, max_size=60)


@given(failed=SETS, ok=SETS, data=st.data())
def test_a_flush_without_some_of_its_records(failed: set[int], ok: set[int], data: st.DataObject) -> None:
    sent = flush(NAME, ok=sorted(ok - failed), failed=sorted(failed))
    taken = set(data.draw(st.lists(st.sampled_from(sorted(failed)))))
    bad = outcomes.failed_records(sent, "w")
    assert [each.index for each in bad] == sorted(failed)
    rest = outcomes.without(sent, taken, bad)
    left = sorted((ok | failed) - taken)
    assert rest == replace(
        flush(NAME, ok=sorted(ok - failed), failed=sorted(failed - taken)), page=rest.page, ranges=rg.from_indexes(left)
    )
    assert indexes(segments.split_page(rest.page)) == left
    assert rest.count == len(left)
    assert outcomes.without(sent, set(), bad) == sent


def test_the_first_failures_that_are_left_are_named_within_their_bounds() -> None:
    """A flush names its first failures; if those are tried again, the ones behind them are the first."""
    sent = flush(NAME, failed=range(300))
    bad = outcomes.failed_records(sent, "w")
    rest = outcomes.without(sent, range(150), bad)
    assert [index for index, _ in rest.failures] == list(range(150, 150 + limits.FAILED_REQUESTS))
    assert {status for _, status in rest.failures} == {FAILURE.SerializeToString()}
    large = [replace(each, error=b"x" * 15_000) for each in bad]
    rest = outcomes.without(sent, range(10), large)
    assert [index for index, _ in rest.failures] == [10, 11, 12, 13]


def test_an_attempt_keeps_what_its_outcome_says() -> None:
    record = RecordInfo(name="n", index=4, record_id="r", state=RecordInfo.FAILED, attempt=2, generation=5, exit_code=0)
    record.error.CopyFrom(FAILURE)
    record.start_time.FromMicroseconds(10)
    record.end_time.FromMicroseconds(20)
    past = attempts.of_stored(record.SerializeToString())
    assert (past.generation, past.attempt) == (5, 2)
    found = RecordAttempt.FromString(past.info)
    assert found.HasField("exit_code")
    assert (found.exit_code, found.state, found.error, found.worker) == (0, RecordInfo.FAILED, FAILURE, "")
    assert (found.start_time, found.end_time) == (record.start_time, record.end_time)
    bare = RecordAttempt.FromString(attempts.of_outcome(RecordInfo(state=RecordInfo.SUCCEEDED, attempt=1), "w"))
    assert bare == RecordAttempt(state=RecordInfo.SUCCEEDED, attempt=1, worker="w")


def test_an_interrupted_attempt() -> None:
    error = FAILURE.SerializeToString()
    whole = RecordAttempt.FromString(attempts.interrupted(2, 3, error=error, worker="w", start_us=5, end_us=9))
    assert (whole.generation, whole.attempt, whole.state, whole.error) == (2, 3, RecordInfo.CANCELLED, FAILURE)
    assert (whole.start_time.ToMicroseconds(), whole.end_time.ToMicroseconds()) == (5, 9)
    short = RecordAttempt.FromString(attempts.interrupted(2, 3, error=error, worker="w"))
    assert not short.HasField("start_time")
    assert not short.HasField("end_time")


def test_a_page_of_attempts() -> None:
    past = [
        PastAttempt(generation=1, attempt=n, info=RecordAttempt(attempt=n).SerializeToString()) for n in range(1, 4)
    ]
    page = ListRecordAttemptsResponse.FromString(attempts.page(past, "token"))
    assert [each.attempt for each in page.attempts] == [1, 2, 3]
    assert page.next_page_token == "token"


def test_the_largest_page_fits() -> None:
    """All that is kept of a record is one page, whatever its errors are like."""
    error = Status(code=2, message="x" * limits.ERROR.maximum).SerializeToString()
    info = attempts.interrupted(1 << 40, 1 << 30, error=error, worker="w" * 64, start_us=1 << 50, end_us=1 << 50)
    page = attempts.page([PastAttempt(generation=1, attempt=1, info=info)] * limits.RECORD_ATTEMPTS, "t" * 512)
    assert len(page) < limits.UNARY_PAGE_BYTES
