"""Policies: there and back, equal however they are written, refused where they make no sense."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2

from batchyard import FailurePolicy, RetryPolicy
from batchyard.v1 import batch_task_pb2


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(),
        RetryPolicy(initial_backoff=0),
        RetryPolicy(max_backoff=timedelta(days=1), multiplier=1.0),
        RetryPolicy(0.000001, 86400, 100, ["ABORTED", "unknown"]),
    ],
)
def test_a_retry_policy_comes_back(policy: RetryPolicy) -> None:
    message = policy.to_message()
    assert RetryPolicy.of(message) == policy
    assert message.HasField("multiplier") == (policy.multiplier is not None)
    assert message.HasField("initial_backoff") == (policy.initial_backoff is not None)


@pytest.mark.parametrize(
    "policy", [FailurePolicy(), FailurePolicy(0), FailurePolicy(None, 0.0), FailurePolicy(2**40, 1)]
)
def test_a_failure_policy_comes_back(policy: FailurePolicy) -> None:
    message = policy.to_message()
    assert FailurePolicy.of(message) == policy
    assert message.HasField("max_failed_records") == (policy.max_failed_records is not None)
    assert message.HasField("max_failed_ratio") == (policy.max_failed_ratio is not None)


def test_equal_policies_are_equal_however_they_are_written() -> None:
    first = RetryPolicy(1.5, 60, 2, ["UNAVAILABLE", "INTERNAL"])
    second = RetryPolicy(timedelta(seconds=1.5), timedelta(minutes=1), 2.0, ("unavailable", grpc.StatusCode.INTERNAL))
    assert first == second == RetryPolicy(1.5, 60, 2, [14, code_pb2.INTERNAL])
    assert hash(first) == hash(second)
    assert first.retryable_codes == ("UNAVAILABLE", "INTERNAL")
    assert first.initial_backoff == timedelta(seconds=1.5)


def test_a_code_of_a_newer_server_is_kept() -> None:
    message = batch_task_pb2.RetryPolicy()
    message.retryable_codes.append(99)  # type: ignore[arg-type]
    assert RetryPolicy.of(message).retryable_codes == (99,)
    assert RetryPolicy.of(message).to_message() == message


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"retryable_codes": ["UNAVAILBLE"]}, ValueError, "'UNAVAILBLE' is not the name of a gRPC code"),
        ({"retryable_codes": "ABORTED"}, TypeError, "several names, not 'ABORTED'"),
        ({"initial_backoff": float("nan")}, ValueError, "NaN"),
        ({"max_backoff": float("inf")}, ValueError, "too long"),
    ],
)
def test_what_is_no_policy(arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        RetryPolicy(**arguments)


def test_policies_do_not_change() -> None:
    with pytest.raises(AttributeError):
        RetryPolicy().multiplier = 3  # type: ignore[misc]
    with pytest.raises(AttributeError):
        FailurePolicy().max_failed_records = 3  # type: ignore[misc]
