"""Seed 004, `TaskOperations.list`: page by page, and filters in OData."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from batchyard import BatchTaskError, Client
from batchyard._task_odata import odata_name_prefix
from batchyard.task_operations import (
    BatchErrorException,
    ODataFilterError,
    TaskAddParameter,
    TaskOperations,
    TaskOperationsConfig,
    models,
    odata_to_filter,
)
from batchyard.v1 import batch_task_service_pb2 as service
from tests.client.fake_server import FakeServer
from tests.support.server import SECONDS, Process

pytestmark = pytest.mark.xdist_group("seed 004")

ACTIVE = "(state = DRAFT OR state = QUEUED OR state = PAUSED)"
RUNNING = "(state = RUNNING OR state = PAUSING OR state = CANCELLING)"
COMPLETED = "(state = SUCCEEDED OR state = FAILED OR state = CANCELLED)"


class Pages(FakeServer):
    """Lists two tasks a page, with an empty page in the middle. `asked`: the requests."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    def ListBatchTasks(self, request: Any, context: Any) -> Any:
        self._enter("ListBatchTasks", context)
        self.asked.append(request)
        place = int(request.page_token or 0)
        if place == 2 and not request.page_token.startswith("+"):
            return service.ListBatchTasksResponse(next_page_token="+2")
        with self.lock:
            found = [self._counted(task) for task in self.tasks.values()]
        following = str(place + 2) if place + 2 < len(found) else ""
        return service.ListBatchTasksResponse(batch_tasks=found[place : place + 2], next_page_token=following)


@pytest.fixture
def pages() -> Iterator[Pages]:
    running = Pages()
    with running:
        yield running


@pytest.fixture
def tasks(real: Process) -> Iterator[TaskOperations]:
    with TaskOperations(real.target) as operations:
        yield operations


@pytest.fixture
def paged(pages: Pages) -> Iterator[TaskOperations]:
    with TaskOperations(pages.target, TaskOperationsConfig(handler="echo")) as operations:
        for n in range(5):
            operations.add("job", TaskAddParameter(id=f"t{n}", command_line="true"))
        yield operations


def test_tasks_come_page_by_page_as_they_are_needed(paged: TaskOperations, pages: Pages) -> None:
    found = paged.list("job")
    assert pages.asked == []
    assert [next(found).id, found.next().id] == ["t0", "t1"]
    assert len(pages.asked) == 1
    assert [task.id for task in found.current_page] == ["t0", "t1"]
    assert list(found.advance_page()) == []
    assert [task.id for task in found] == ["t2", "t3", "t4"]
    assert len(pages.asked) == 4
    assert list(found) == []
    assert {(request.page_size, request.filter) for request in pages.asked} == {(1000, "")}
    assert (pages.calls["GetRecord"], found.raw) == (0, None)


def test_a_list_goes_on_after_an_error(paged: TaskOperations, pages: Pages) -> None:
    found = paged.list("job")
    assert next(found).id == "t0"
    assert next(found).id == "t1"
    pages.fail_next("ListBatchTasks", 13, "broken")
    with pytest.raises(BatchErrorException, match="InternalError: broken"):
        next(found)
    assert [task.id for task in found] == ["t2", "t3", "t4"]


def test_the_size_of_a_page(paged: TaskOperations, pages: Pages) -> None:
    for most in (1, 1000):
        list(paged.list("job", models.TaskListOptions(max_results=most)))
        assert pages.asked[-1].page_size == most
    for most in (0, 1001, -1):
        with pytest.raises(ValueError, match="max_results is from 1 to 1000"):
            paged.list("job", {"max_results": most})


def test_a_list_asks_for_what_is_wanted(paged: TaskOperations, pages: Pages) -> None:
    (first, *_) = paged.list("job", {"select": "id", "filter": "state eq 'completed'"})
    assert pages.asked[-1].filter == COMPLETED
    assert (first.id, first.state, first.execution_info) == ("t0", None, None)
    assert pages.calls["GetRecord"] == 0
    (first, *_) = paged.list("job", {"expand": "stats"})
    assert (first.execution_info.retry_count, first.stats.url) == (0, first.url)
    assert pages.calls["GetRecord"] == 1


def test_a_filter_that_is_wrong_is_seen_at_once(paged: TaskOperations, pages: Pages) -> None:
    with pytest.raises(ODataFilterError, match="character 6: "):
        paged.list("job", {"filter": "state is 'active'"})
    assert pages.asked == []


@pytest.mark.parametrize(
    ("odata", "ours"),
    [
        ("id eq 'a'", '(id = "a")'),
        ("ID NE 'it''s'", '(id != "it\'s")'),
        ("id ge 'a\"b\\c*'", '(id >= "a\\"b\\\\c\\*")'),
        ("startswith(id, 'a*')", '(id = "a\\**")'),
        ("startswith(id,'')", "(id:*)"),
        ("id gt '2026-01-31T00:00'", '(id > "2026-01-31T00:00")'),
        ("state eq 'active'", ACTIVE),
        ("state eq 'Running'", RUNNING),
        ("state ne 'completed'", f"(NOT {COMPLETED})"),
        ("state eq 'preparing'", "(NOT id:*)"),
        ("state ne 'preparing'", "(NOT (NOT id:*))"),
        ("executionInfo/exitCode ne 0", "(exit_code != 0)"),
        ("executionInfo/exitCode lt -3", "(exit_code < -3)"),
        ("creationTime gt 2026-01-31T12:00:00Z", '(create_time > "2026-01-31T12:00:00Z")'),
        (
            "stateTransitionTime le datetime'2026-01-31T12:00:00.5+02:00'",
            '(state_transition_time <= "2026-01-31T10:00:00.500000Z")',
        ),
        ("lastModifiedTime eq '2026-01-31T12:00:00'", '(update_time = "2026-01-31T12:00:00Z")'),
        ("executionInfo/startTime lt DateTime'2026-01-31T12:00:00Z'", '(start_time < "2026-01-31T12:00:00Z")'),
        ("executionInfo/endTime ge 2026-01-31T12:00:00+00:00", '(end_time >= "2026-01-31T12:00:00Z")'),
        ("not id eq 'a'", '(NOT (id = "a"))'),
        ("not (not (id eq 'a'))", '(NOT (NOT (id = "a")))'),
        ("id eq 'a' or id eq 'b' and id eq 'c'", '((id = "a") OR ((id = "b") AND (id = "c")))'),
        ("(id eq 'a' or id eq 'b') and id eq 'c'", '(((id = "a") OR (id = "b")) AND (id = "c"))'),
        (
            "(executionInfo/exitCode lt 0) or (executionInfo/exitCode gt 0)",
            "((exit_code < 0) OR (exit_code > 0))",
        ),
        ("  id eq 'not and or'  ", '(id = "not and or")'),
    ],
)
def test_filters(odata: str, ours: str) -> None:
    assert odata_to_filter(odata) == ours


@pytest.mark.parametrize(
    ("odata", "position", "why"),
    [
        ("", 0, "a field or `startswith` is expected, not the end"),
        ("id", 2, "one of eq, ne, ge, gt, le, lt is expected, not the end"),
        ("id eq a", 6, "a text in quotes is expected, not 'a'"),
        ("id eq 'a", 6, '"\'" is not understood'),
        ("id eq 'a' id", 10, "`and`, `or` or the end is expected, not 'id'"),
        ("(id eq 'a'", 10, "`)` is expected, not the end"),
        ("name eq 'a'", 0, "no field 'name'; there are id, state,"),
        ("id eq 'a' and nodeInfo/nodeId eq 'b'", 14, "no field 'nodeInfo/nodeId'"),
        ("state gt 'active'", 6, "a state is compared with `eq` or `ne`"),
        ("state eq 'failed'", 9, "no state 'failed'; there are active, preparing, running, completed"),
        ("state eq active", 9, "a state in quotes is expected"),
        ("executionInfo/exitCode eq '1'", 26, "an integer is expected"),
        ("executionInfo/exitCode eq 1.5", 26, "'1' is not understood"),
        ("creationTime gt 'yesterday'", 16, "a time such as"),
        ("creationTime gt 2026-13-31T12:00:00Z", 16, "no time: month must be in 1..12"),
        ("startswith(state, 'a')", 11, "`id` is expected, not 'state'"),
        ("startswith id", 11, "`(` is expected"),
        ("id eq 'a' & id eq 'b'", 10, "'&' is not understood"),
        ("(" * 60 + "id eq 'a'" + ")" * 60, 50, "nested too deeply"),
        ("not " * 60 + "id eq 'a'", 200, "nested too deeply"),
    ],
)
def test_filters_that_cannot_be_understood(odata: str, position: int, why: str) -> None:
    with pytest.raises(ODataFilterError) as caught:
        odata_to_filter(odata)
    assert caught.value.position == position
    assert why in str(caught.value)
    assert str(caught.value).startswith(f"filter, character {position}: ")


def test_the_filter_of_files() -> None:
    assert odata_name_prefix("startswith(name, 'wd/it''s')") == "wd/it's"
    for wrong in ("name eq 'a'", "startswith(id, 'a')", "startswith(name, 'a') or startswith(name, 'b')"):
        with pytest.raises(ODataFilterError):
            odata_name_prefix(wrong)


@pytest.fixture(scope="module")
def job(real: Process) -> str:
    """A job with tasks that went well, badly and in between, and one that has not begun."""
    project = "filtered"
    lines = {"good1": "exit 0", "good2": "exit 0", "bad1": "exit 1", "bad2": "exit 2", "it-s_odd": "kill -9 $$"}
    with TaskOperations(real.target) as operations, Client(real.target, project=project) as client:
        operations.add_collection(
            project, [TaskAddParameter(id=task_id, command_line=line) for task_id, line in lines.items()]
        )
        for task_id in lines:
            with suppress(BatchTaskError):
                client.batch.get(task_id).wait(poll_timeout=SECONDS)
        client.batch.run("echo", [], task_id="draft", start=False)
    return project


@pytest.mark.parametrize(
    ("odata", "ids"),
    [
        ("", "bad1 bad2 draft good1 good2 it-s_odd"),
        ("state eq 'completed'", "bad1 bad2 good1 good2 it-s_odd"),
        ("state eq 'active'", "draft"),
        ("state ne 'active'", "bad1 bad2 good1 good2 it-s_odd"),
        ("state eq 'preparing' or state eq 'running'", ""),
        ("state ne 'preparing' and id ne 'draft'", "bad1 bad2 good1 good2 it-s_odd"),
        ("startswith(id, 'bad')", "bad1 bad2"),
        ("startswith(id, '') and id ge 'good'", "good1 good2 it-s_odd"),
        ("id eq 'good1' or id lt 'bad2'", "bad1 good1"),
        ("(executionInfo/exitCode lt 0) or (executionInfo/exitCode gt 0)", "bad1 bad2 it-s_odd"),
        ("executionInfo/exitCode eq 0", "good1 good2"),
        ("executionInfo/exitCode ge 1 and executionInfo/exitCode le 1", "bad1"),
        ("not (startswith(id, 'good') or state eq 'active')", "bad1 bad2 it-s_odd"),
        ("id eq 'good1' or id eq 'bad1' and executionInfo/exitCode eq 0", "good1"),
    ],
)
def test_what_filters_find(tasks: TaskOperations, job: str, odata: str, ids: str) -> None:
    found = tasks.list(job, models.TaskListOptions(filter=odata, max_results=2))
    assert sorted(task.id for task in found) == ids.split()


@pytest.mark.parametrize(
    "field",
    [
        *("creationTime", "lastModifiedTime", "stateTransitionTime"),
        *("executionInfo/startTime", "executionInfo/endTime"),
    ],
)
def test_times_in_filters(tasks: TaskOperations, job: str, field: str) -> None:
    now = datetime.now(UTC)
    before, later = (f"datetime'{time.isoformat()}'" for time in (now - timedelta(hours=1), now + timedelta(hours=1)))
    everything = 6 if field in {"creationTime", "lastModifiedTime", "stateTransitionTime"} else 5
    assert len(list(tasks.list(job, {"filter": f"{field} gt {before} and {field} le {later}"}))) == everything
    assert list(tasks.list(job, {"filter": f"{field} lt {before}"})) == []


def test_a_filter_that_the_server_refuses(tasks: TaskOperations, job: str) -> None:
    found = tasks.list(job, {"filter": " or ".join(["id eq 'a'"] * 65)})
    with pytest.raises(BatchErrorException) as caught:
        next(found)
    assert (caught.value.error.code, caught.value.status_code) == ("InvalidQueryParameterValue", 400)


def test_the_newest_come_first(tasks: TaskOperations, job: str) -> None:
    found = list(tasks.list(job))
    assert found[0].id == "draft"
    assert [task.creation_time for task in found] == sorted((task.creation_time for task in found), reverse=True)
    assert {task.id: task.execution_info.exit_code for task in found} == {
        "draft": None,
        "good1": 0,
        "good2": 0,
        "bad1": 1,
        "bad2": 2,
        "it-s_odd": -9,
    }
    assert list(tasks.list("a-job-that-nobody-used")) == []
