"""What tests of retries ask for, and what they hold an attempt against."""

from __future__ import annotations

from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2

from batchyard.v1.batch_task_pb2 import BatchTaskInfo, Constraints, RetryPolicy
from batchyard.v1.record_pb2 import RecordAttempt, RecordInfo
from batchyard_server.model.errors import Reason
from tests.support.errors import Answer

AT_ONCE = Duration()


def retrying(
    count: int, *, backoff: Duration = AT_ONCE, codes: tuple[code_pb2.Code, ...] = (), **fields: Any
) -> BatchTaskInfo:
    """A task that retries so often."""
    policy = RetryPolicy(initial_backoff=backoff, max_backoff=backoff, retryable_codes=codes)
    return BatchTaskInfo(constraints=Constraints(max_retry_count=count), retry_policy=policy, **fields)


def failing(times: int, **fail: Any) -> dict[str, Any]:
    """A record that fails so often before it succeeds."""
    return {"do": "until", "attempt": times + 1, "before": {"do": "refuse", "code": "UNAVAILABLE", **fail}}


def check_attempt(found: RecordAttempt, number: int, state: RecordInfo.State) -> None:
    """What holds for each of them."""
    assert (found.attempt, found.state) == (number, state)
    assert found.HasField("error") == (state != RecordInfo.SUCCEEDED)
    if found.HasField("start_time"):
        assert found.start_time.ToNanoseconds() <= found.end_time.ToNanoseconds()


def reasons(found: list[RecordAttempt]) -> list[Reason]:
    return [Answer(each.error).reason for each in found if each.HasField("error")]
