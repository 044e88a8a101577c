"""What may be asked for a batch task? The configuration in a BatchTaskInfo: checked, as values, and as stored bytes.

head ‖ shown ‖ parameters = Task.fixed      (a store keeps it; protobuf merges what is concatenated)
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.codec import parts
from batchyard_server.model import limits, names
from batchyard_server.model.errors import InvalidArgument
from batchyard_server.model.settings import DEFAULTS, Settings

M = TypeVar("M", bound=Message)

SHOWN = (
    "display_name",
    "handler",
    "labels",
    "priority",
    "parallel_count",
    "constraints",
    "retry_policy",
    "failure_policy",
    "archived",
)
"""Fields of BatchTaskInfo that callers choose, `parameters` apart."""

_LABEL_KEY = re.compile(rf"[a-z][a-z0-9_.-]{{0,{limits.LABEL_KEY.maximum - 1}}}")
_PARAMETERS_TAG = b"\x2a"  # BatchTaskInfo.parameters = 5, length-delimited


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What callers choose.

    Attributes:
        shown: serialized BatchTaskInfo with the fields SHOWN alone; equal configurations have equal bytes.
        parameters: serialized Payload, b"" = none.
    """

    handler: str
    shown: bytes
    parameters: bytes
    settings: Settings


def read(info: BatchTaskInfo) -> Configuration:
    """The configuration in a message; other fields of it are passed over. Raises InvalidArgument."""
    check_id(info.handler, "batch_task.handler")
    settings, parameters = check(info)
    shown = BatchTaskInfo()
    copy(info, shown, SHOWN)
    return Configuration(
        handler=info.handler,
        shown=shown.SerializeToString(deterministic=True),
        parameters=parameters,
        settings=settings,
    )


def check(info: BatchTaskInfo) -> tuple[Settings, bytes]:
    """Raise InvalidArgument for what may not be so, the handler apart; return settings and serialized parameters."""
    at_most(limits.DISPLAY_NAME, len(info.display_name.encode()))
    _check_labels(info.labels)
    return _settings(info), _parameters(info)


def copy(source: M, to: M, fields: Collection[str]) -> None:
    """Give `to` these fields of `source`; what is not set there is not set then."""
    wanted = {descriptor.name: value for descriptor, value in source.ListFields() if descriptor.name in fields}
    for name in fields:
        to.ClearField(name)
    to.MergeFrom(type(to)(**wanted))


def fixed_info(*, name: str, uid: str, create_us: int, configuration: Configuration) -> bytes:
    """`Task.fixed`: serialized BatchTaskInfo with the name, and what callers chose; it ends with the parameters."""
    head = BatchTaskInfo(name=name, uid=uid, create_time=parts.timestamp(create_us)).SerializeToString()
    return head + chosen(configuration)


def chosen(configuration: Configuration) -> bytes:
    """What `fixed_info` has behind its head: all that callers chose, the parameters last."""
    parameters = configuration.parameters
    if not parameters:
        return configuration.shown
    return configuration.shown + _PARAMETERS_TAG + parts.varint(len(parameters)) + parameters


# -- checks -----------------------------------------------------------------------------------------------------------


def check_id(text: str, field: str) -> None:
    """Raise InvalidArgument unless it is an id."""
    if names.ID.fullmatch(text) is None:
        raise InvalidArgument(field, f"must be {names.ID.pattern}")


def at_most(limit: limits.Limit, size: int) -> None:
    """Raise InvalidArgument if it is too large."""
    if size > limit.maximum:
        raise InvalidArgument(limit.field, f"has {size} {limit.unit}, at most {limit.maximum} are allowed")


def duration_us(duration: Duration, field: str) -> int:
    """Microseconds, of which a part is rounded up, so that a bound is not passed unseen."""
    seconds, nanos = duration.seconds, duration.nanos
    if abs(seconds) > 315_576_000_000 or abs(nanos) > 999_999_999 or seconds * nanos < 0:
        raise InvalidArgument(field, "is not a valid google.protobuf.Duration")
    return -((-seconds * 1_000_000_000 - nanos) // 1000)


def _check_labels(labels: Mapping[str, str]) -> None:
    at_most(limits.LABELS, len(labels))
    for key, value in labels.items():
        if _LABEL_KEY.fullmatch(key) is None:
            raise InvalidArgument(limits.LABEL_KEY.field, f"a key must be {_LABEL_KEY.pattern}", metadata={"key": key})
        if len(value.encode()) > limits.LABEL_VALUE.maximum:
            raise InvalidArgument(
                limits.LABEL_VALUE.field,
                f"the value of {key} is longer than {limits.LABEL_VALUE.maximum} bytes",
                metadata={"key": key},
            )


def _parameters(info: BatchTaskInfo) -> bytes:
    if not info.HasField("parameters"):
        return b""
    content_type = len(info.parameters.content_type.encode())
    if content_type > limits.CONTENT_TYPE.maximum:
        raise InvalidArgument(
            "batch_task.parameters.content_type",
            f"has {content_type} bytes, at most {limits.CONTENT_TYPE.maximum} are allowed",
        )
    parameters = info.parameters.SerializeToString()
    at_most(limits.PARAMETERS, len(parameters))
    return parameters


def _settings(info: BatchTaskInfo) -> Settings:
    """What is given; the rest has its defaults."""
    given: dict[str, Any] = {}
    if info.HasField("priority"):
        given["priority"] = _within(limits.PRIORITY, info.priority)
    if info.HasField("parallel_count"):
        given["parallel_count"] = _within(limits.PARALLEL_COUNT, info.parallel_count)
    if info.HasField("constraints"):
        given |= _constraints(info)
    if info.HasField("retry_policy"):
        given |= _retry_policy(info)
    if info.HasField("failure_policy"):
        given |= _failure_policy(info)
    return Settings(**given) if given else DEFAULTS


def _constraints(info: BatchTaskInfo) -> dict[str, Any]:
    constraints, given = info.constraints, dict[str, Any]()
    if constraints.HasField("max_wall_clock_time"):
        given["max_wall_clock_us"] = _time_within(limits.MAX_WALL_CLOCK_TIME, constraints.max_wall_clock_time)
    if constraints.HasField("record_timeout"):
        given["record_timeout_us"] = _time_within(limits.RECORD_TIMEOUT, constraints.record_timeout)
    if constraints.HasField("retention_time"):
        given["retention_us"] = _time_within(limits.RETENTION_TIME, constraints.retention_time)
    if constraints.HasField("max_retry_count"):
        given["max_retry_count"] = _within(limits.MAX_RETRY_COUNT, constraints.max_retry_count)
    return given


def _retry_policy(info: BatchTaskInfo) -> dict[str, Any]:
    policy, given = info.retry_policy, dict[str, Any]()
    if policy.HasField("initial_backoff"):
        given["initial_backoff_us"] = _time_within(limits.INITIAL_BACKOFF, policy.initial_backoff)
    if policy.HasField("max_backoff"):
        given["max_backoff_us"] = _time_within(limits.MAX_BACKOFF, policy.max_backoff)
    if policy.HasField("multiplier"):
        if not limits.MULTIPLIER.minimum <= policy.multiplier <= limits.MULTIPLIER.maximum:
            raise _not_within(limits.MULTIPLIER)
        given["multiplier"] = policy.multiplier
    if policy.retryable_codes:
        at_most(limits.RETRYABLE_CODES, len(policy.retryable_codes))
        for code in policy.retryable_codes:
            _within(limits.RETRYABLE_CODE, code)
        given["retryable_codes"] = tuple(sorted(set(policy.retryable_codes)))
    return given


def _failure_policy(info: BatchTaskInfo) -> dict[str, Any]:
    policy, given = info.failure_policy, dict[str, Any]()
    if policy.HasField("max_failed_records"):
        given["max_failed_records"] = _within(limits.MAX_FAILED_RECORDS, policy.max_failed_records)
    if policy.HasField("max_failed_ratio"):
        if math.isnan(policy.max_failed_ratio) or not 0 <= policy.max_failed_ratio <= 1:
            raise InvalidArgument("batch_task.failure_policy.max_failed_ratio", "must be from 0 to 1")
        given["max_failed_ratio"] = policy.max_failed_ratio
    return given


def _within(limit: limits.Limit, value: int) -> int:
    if not limit.minimum <= value <= limit.maximum:
        raise _not_within(limit)
    return value


def _not_within(limit: limits.Limit) -> InvalidArgument:
    return InvalidArgument(limit.field, f"must be from {limit.minimum} to {limit.maximum}")


def _time_within(limit: limits.Limit, duration: Duration) -> int:
    micros = duration_us(duration, limit.field)
    if not limit.minimum <= micros <= limit.maximum:
        least = f"{limit.minimum // 1000} ms" if limit.minimum else "0"
        raise InvalidArgument(limit.field, f"must be from {least} to {limit.maximum // 86_400_000_000} days")
    return micros
