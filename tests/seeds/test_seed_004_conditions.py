"""Seed 004, `TaskOperations`: calls that count only under a condition."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from batchyard import BatchTaskError, Client
from batchyard.task_operations import BatchErrorException, NotModified, TaskAddParameter, TaskOperations
from tests.support.server import SECONDS, Process

pytestmark = pytest.mark.xdist_group("seed 004")


@pytest.fixture
def tasks(real: Process) -> Iterator[TaskOperations]:
    with TaskOperations(real.target) as operations:
        yield operations


def test_a_get_under_a_condition(tasks: TaskOperations, project: str) -> None:
    tasks.add(project, TaskAddParameter(id="one", command_line="true"))
    etag, now = tasks.get(project, "one").e_tag, datetime.now(UTC)
    later, before = now + timedelta(hours=1), now - timedelta(hours=1)
    for holds in (
        {"if_match": etag},
        {"if_match": etag.strip('"')},
        {"if_match": "*"},
        {"if_none_match": "other"},
        {"if_modified_since": before},
        {"if_unmodified_since": later},
    ):
        assert tasks.get(project, "one", holds).id == "one"
    for unchanged in ({"if_none_match": etag}, {"if_none_match": "*"}, {"if_modified_since": later}):
        with pytest.raises(NotModified) as caught:
            tasks.get(project, "one", unchanged)
        assert (caught.value.error.code, caught.value.status_code) == ("ConditionNotMet", 304)
    for changed in ({"if_match": "other"}, {"if_unmodified_since": before}):
        with pytest.raises(BatchErrorException) as refused:
            tasks.get(project, "one", changed)
        assert (refused.value.error.code, refused.value.status_code) == ("ConditionNotMet", 412)
    with pytest.raises(BatchErrorException) as refused:
        tasks.get(project, "one", {"if_match": etag, "if_modified_since": before})
    assert refused.value.error.code == "MultipleConditionHeadersNotSupported"
    with pytest.raises(ValueError, match="aware"):
        tasks.get(project, "one", {"if_modified_since": datetime(2026, 1, 31)})  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize("verb", ["update", "terminate", "reactivate", "delete"])
def test_a_change_under_a_condition(tasks: TaskOperations, real: Process, project: str, verb: str) -> None:
    line = "exit 1" if verb == "reactivate" else "sleep 60"
    tasks.add(project, TaskAddParameter(id="one", command_line=line))
    if verb == "reactivate":
        with Client(real.target, project=project) as client, suppress(BatchTaskError):
            client.batch.get("one").wait(poll_timeout=SECONDS)
    etag, now = tasks.get(project, "one").e_tag, datetime.now(UTC)
    option = f"task_{verb}_options"
    for wrong in (
        {"if_match": "other"},
        {"if_none_match": etag},
        {"if_none_match": "*"},
        {"if_modified_since": now + timedelta(hours=1)},
        {"if_unmodified_since": now - timedelta(hours=1)},
    ):
        with pytest.raises(BatchErrorException) as caught:
            getattr(tasks, verb)(project, "one", **{option: wrong})
        assert (caught.value.error.code, caught.value.status_code) == ("ConditionNotMet", 412)
    assert tasks.get(project, "one").e_tag == etag
    getattr(tasks, verb)(project, "one", **{option: {"if_unmodified_since": now + timedelta(hours=1)}})
    if verb != "delete":
        tasks.delete(project, "one", {"if_match": "*"})
