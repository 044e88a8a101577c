"""Is what callers choose checked, kept byte for byte, and turned into what the server acts on?"""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.payload_pb2 import Payload
from batchyard_server.codec import configuration
from batchyard_server.model import settings
from batchyard_server.model.errors import Code, InvalidArgument
from batchyard_server.model.settings import DAY_US, DEFAULTS, UNLIMITED, Settings

FULL = BatchTaskInfo(
    handler="echo",
    display_name="A task",
    labels={"b": "2", "a": "1"},
    parameters=Payload(text='{"x": 1}'),
    priority=-3,
    parallel_count=4,
    archived=True,
    constraints={
        "max_wall_clock_time": {"seconds": 9},
        "record_timeout": {"nanos": 1_500_000},
        "retention_time": {},
        "max_retry_count": -1,
    },
    retry_policy={
        "initial_backoff": {"seconds": 2},
        "max_backoff": {"seconds": 3},
        "multiplier": 1.5,
        "retryable_codes": [14, 4, 14],
    },
    failure_policy={"max_failed_records": 0, "max_failed_ratio": 0.25},
)


def read(**fields: Any) -> configuration.Configuration:
    return configuration.read(BatchTaskInfo(**dict[str, Any](handler="echo") | fields))


def test_what_is_not_given_has_its_default() -> None:
    found = read()
    assert (found.handler, found.parameters, found.settings) == ("echo", b"", DEFAULTS)
    assert BatchTaskInfo.FromString(found.shown) == BatchTaskInfo(handler="echo")
    assert read(constraints={}, retry_policy={}, failure_policy={}).settings == DEFAULTS
    assert DEFAULTS.retryable_codes == tuple(
        sorted(
            (
                Code.UNKNOWN, Code.UNAVAILABLE, Code.ABORTED,
                Code.INTERNAL, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED,
            )
        )
    )  # fmt: skip
    assert DEFAULTS.retention_us == 30 * DAY_US


def test_what_is_given_is_what_counts() -> None:
    assert configuration.read(FULL).settings == Settings(
        priority=-3,
        parallel_count=4,
        record_timeout_us=1_500,
        max_wall_clock_us=9_000_000,
        retention_us=0,
        max_retry_count=UNLIMITED,
        initial_backoff_us=2_000_000,
        max_backoff_us=3_000_000,
        multiplier=1.5,
        retryable_codes=(4, 14),
        max_failed_records=0,
        max_failed_ratio=0.25,
    )


def test_a_default_that_is_given_is_as_if_it_were_not_but_shown() -> None:
    given = read(priority=0, constraints={"max_retry_count": 0}, retry_policy={"multiplier": 2.0})
    assert given.settings == DEFAULTS
    assert given.settings.text() == ""
    shown = BatchTaskInfo.FromString(given.shown)
    assert shown.HasField("priority")
    assert shown.constraints.HasField("max_retry_count")


@pytest.mark.parametrize("info", [FULL, BatchTaskInfo(handler="echo")])
def test_settings_are_kept_as_text(info: BatchTaskInfo) -> None:
    found = configuration.read(info).settings
    assert settings.parse(found.text()) == found


def test_what_callers_chose_is_shown_and_nothing_else() -> None:
    info = BatchTaskInfo()
    info.CopyFrom(FULL)
    info.MergeFrom(
        BatchTaskInfo(name="x", uid="x", state=BatchTaskInfo.FAILED, etag="x", counts={"total": 3}, generation=7)
    )
    found = configuration.read(info)
    fixed = configuration.fixed_info(name="projects/p/batchTasks/t", uid="u", create_us=1_500_000, configuration=found)
    wanted = BatchTaskInfo()
    wanted.CopyFrom(FULL)
    wanted.name, wanted.uid = "projects/p/batchTasks/t", "u"
    wanted.create_time.FromMicroseconds(1_500_000)
    assert BatchTaskInfo.FromString(fixed) == wanted
    assert fixed.endswith(found.parameters)
    assert Payload.FromString(found.parameters) == FULL.parameters


def test_equal_configurations_have_equal_bytes() -> None:
    other = BatchTaskInfo()
    other.CopyFrom(FULL)
    other.ClearField("labels")
    for key in ("a", "b"):  # in the other order
        other.labels[key] = FULL.labels[key]
    assert configuration.read(other).shown == configuration.read(FULL).shown


@pytest.mark.parametrize(
    ("seconds", "nanos", "micros"),
    [(0, 0, 0), (1, 0, 1_000_000), (0, 1, 1), (0, 1_000, 1), (0, 1_001, 2), (0, -1, 0), (-1, -1, -1_000_000)],
)
def test_a_part_of_a_microsecond_counts_as_one(seconds: int, nanos: int, micros: int) -> None:
    assert configuration.duration_us(Duration(seconds=seconds, nanos=nanos), "x") == micros


@pytest.mark.parametrize(("seconds", "nanos"), [(1, -1), (-1, 1), (0, 10**9), (315_576_000_001, 0)])
def test_what_is_no_duration(seconds: int, nanos: int) -> None:
    with pytest.raises(InvalidArgument) as caught:
        configuration.duration_us(Duration(seconds=seconds, nanos=nanos), "some.field")
    assert caught.value.field == "some.field"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"handler": ""}, "batch_task.handler"),
        ({"handler": "a b"}, "batch_task.handler"),
        ({"labels": {"": "x"}}, "batch_task.labels"),
        ({"labels": {"Team": "x"}}, "batch_task.labels"),
        ({"labels": {"1": "x"}}, "batch_task.labels"),
        ({"parameters": {"content_type": "x" * 256}}, "batch_task.parameters.content_type"),
        ({"retry_policy": {"retryable_codes": [0]}}, "batch_task.retry_policy.retryable_codes"),
        ({"failure_policy": {"max_failed_records": -1}}, "batch_task.failure_policy.max_failed_records"),
    ],
)
def test_what_may_not_be(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(**fields)
    assert caught.value.field == field
