"""What do callers ask for? Values that the rules draw, and the requests that are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from batchyard.v1 import batch_task_service_pb2 as service
from tests.property import judge
from tests.property.events import SUCCESS, Result
from tests.property.life import SECOND, Task

MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
IDS = ("", "a", "b", "A", "c", "d")
IDS_OF_MANY = (("", ""), ("a", "b", "A"), ("", "c"), ("d", "d", ""))
UNAVAILABLE, INVALID_ARGUMENT = Result(14), Result(3)
RESULTS = (SUCCESS, SUCCESS, UNAVAILABLE, INVALID_ARGUMENT, Result(14, retryable=False), Result(3, retryable=True))
HOURS, DAYS = 3600.0, 86_400.0
JUMPS = (0.01, 0.2, 1.0, 1.0, 1.0, 5.0, 5.0, 60.0, 60.0, HOURS, 2 * HOURS, DAYS, 8 * DAYS, 40 * DAYS)
PLAIN: dict[str, Any] = {"handler": "echo"}
CONFIGS: tuple[dict[str, Any], ...] = (
    PLAIN,
    PLAIN,
    PLAIN,
    {"handler": "audit", "display_name": "some", "labels": {"team": "a", "stage": "b"}},
    {"handler": "echo", "parameters": '{"n": 1}', "archived": True},
    {"handler": "nobody"},
    {"handler": "echo", "constraints": {"record_timeout": 2 * SECOND}},
    {"handler": "echo", "failure_policy": {"max_failed_records": 0}},
    {"handler": "echo", "failure_policy": {"max_failed_records": 1, "max_failed_ratio": 0.5}},
    {"handler": "echo", "constraints": {"max_retry_count": 1}},
    {
        "handler": "echo",
        "constraints": {"max_retry_count": -1},
        "retry_policy": {"initial_backoff": 8 * SECOND, "max_backoff": MINUTE, "multiplier": 3.0},
    },
    {
        "handler": "echo",
        "constraints": {"max_retry_count": 2},
        "retry_policy": {"initial_backoff": 0, "retryable_codes": [3]},
        "failure_policy": {"max_failed_records": 0},
    },
    {"handler": "echo", "constraints": {"max_wall_clock_time": 4 * SECOND}},
    {"handler": "echo", "constraints": {"max_wall_clock_time": HOUR, "retention_time": 2 * HOUR}},
    {"handler": "echo", "constraints": {"retention_time": 0}},
    {"handler": "echo", "priority": 5},
    {"handler": "echo", "priority": -1000},
    {"handler": "echo", "parallel_count": 1},
    {"handler": "echo", "parallel_count": 2, "priority": 5},
)
UPDATES: tuple[tuple[dict[str, Any], list[str] | None], ...] = (
    ({"display_name": "other"}, None),
    ({"display_name": "other"}, ["display_name"]),
    ({}, ["display_name", "labels"]),
    ({"labels": {"team": "z"}, "archived": True}, None),
    ({"priority": 7}, ["priority"]),
    ({"parallel_count": 1}, ["parallel_count"]),
    ({}, ["parallel_count", "priority"]),
    ({"constraints": {"retention_time": 3 * HOUR}}, ["constraints.retention_time"]),
    ({"constraints": {"retention_time": 0}}, None),
    ({}, ["constraints"]),
    ({"constraints": {"max_wall_clock_time": 2 * SECOND}}, ["constraints.max_wall_clock_time"]),
    ({"constraints": {"max_wall_clock_time": 3 * HOUR, "max_retry_count": 3}}, ["constraints"]),
    ({"failure_policy": {"max_failed_ratio": 1.0}}, ["failure_policy"]),
    ({"retry_policy": {"multiplier": 4.0}}, ["retry_policy.multiplier"]),
    ({"handler": "audit"}, ["handler"]),
    ({"handler": "nobody"}, ["handler"]),
    ({"parameters": '{"n": 2}'}, ["parameters"]),
    ({"display_name": "all", "priority": 3}, ["*"]),
)


def request_id(number: int) -> str:
    """A UUID4; "" for 0."""
    return f"00000000-0000-4000-8000-{number:012x}" if number else ""


def etag(task: Task | None, kind: int) -> str:
    """None, the right one, or one that is not."""
    return "" if kind == 0 or task is None else task.etag if kind == 1 else f'"{task.uid[-12:]}-{task.revision + 1}"'


def create(
    project: str, task_id: str, config: dict[str, Any], records: Sequence[tuple[str, str]], start: bool, request: str
) -> service.CreateBatchTaskRequest:
    """CreateBatchTask."""
    made = service.CreateBatchTaskRequest(
        parent=f"projects/{project}",
        batch_task=judge.configured(config),
        batch_task_id=task_id,
        start=start,
        request_id=request,
    )
    add_records(made, records)
    return made


def add_records(request: Any, records: Sequence[tuple[str, str]]) -> None:
    """Of pairs of record_id and JSON text."""
    for record_id, text in records:
        request.records.add(record_id=record_id).payload.text = text


def update(
    name: str, tag: str, given: dict[str, Any], mask: list[str] | None, request: str
) -> service.UpdateBatchTaskRequest:
    """UpdateBatchTask."""
    info = judge.configured(given)
    info.name, info.etag = name, tag
    paths = None if mask is None else FieldMask(paths=mask)
    return service.UpdateBatchTaskRequest(batch_task=info, update_mask=paths, request_id=request)
