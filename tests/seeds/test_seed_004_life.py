"""Seed 004, `TaskOperations`: the life of a task as its users see it, from add to delete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import batchyard
from batchyard import BatchTaskError, Client, RetryPolicy
from batchyard.task_operations import (
    BatchErrorException,
    CloudTask,
    EnvironmentSetting,
    MultiInstanceSettings,
    TaskAddParameter,
    TaskConstraints,
    TaskOperations,
    TaskOperationsConfig,
    models,
)
from tests.client.fake_operations import status_of
from tests.client.fake_server import FakeServer
from tests.support.eventually import eventually
from tests.support.server import SECONDS, Process

pytestmark = pytest.mark.xdist_group("seed 004")
QUICK = RetryPolicy(initial_backoff=0.01)
State = models.TaskState
FAILED = 8


@pytest.fixture
def tasks(real: Process, project: str) -> Iterator[TaskOperations]:
    with TaskOperations(real.target, TaskOperationsConfig(retry_policy=QUICK)) as operations:
        yield operations
        for task in operations.list(project):  # there is one worker, and others want it, too
            operations.delete(project, task.id)


@pytest.fixture
def run(tasks: TaskOperations, real: Process, project: str) -> Any:
    """A function that adds a task, waits for its end and returns it as `get` does."""

    def added(task_id: str, line: str | None = None, **more: Any) -> CloudTask:
        tasks.add(project, TaskAddParameter(id=task_id, command_line=line, **more))
        return ended(tasks, real, project, task_id)

    return added


def ended(tasks: TaskOperations, real: Process, job: str, task_id: str) -> CloudTask:
    with Client(real.target, project=job) as client, suppress(BatchTaskError):
        client.batch.get(task_id).wait(poll_timeout=SECONDS)
    return tasks.get(job, task_id)


def began(gate: Path) -> None:
    eventually(gate.exists, SECONDS)


def refusal(method: Any, *arguments: Any) -> str:
    """The code with which a call is refused."""
    with pytest.raises(BatchErrorException) as caught:
        method(*arguments)
    return caught.value.error.code


def test_a_command_that_succeeds(run: Any, project: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    task = run("one", "exit 0", display_name="first")
    assert (task.id, task.display_name, task.state) == ("one", "first", "completed")
    assert task.state is State.completed
    assert task.url == f"projects/{project}/batchTasks/one"
    assert task.command_line == "exit 0"
    info = task.execution_info
    assert (info.exit_code, info.result, info.failure_info, info.retry_count) == (0, "success", None, 0)
    assert before < task.creation_time <= info.start_time <= info.end_time == task.state_transition_time
    assert task.last_modified == info.end_time
    assert task.multi_instance_settings is task.stats is task.environment_settings is None


def test_a_command_that_fails(run: Any) -> None:
    info = run("one", "echo why >&2; exit 3").execution_info
    assert (info.exit_code, info.result, info.retry_count) == (3, "failure", 0)
    failure = info.failure_info
    assert (failure.category, failure.code, failure.message) == ("usererror", "FailureExitCode", "exit code 3: why")
    assert [(each.name, each.value) for each in failure.details] == [("reason", "NONZERO_EXIT"), ("exit_code", "3")]
    assert run("two", "kill -9 $$").execution_info.exit_code == -9


def test_a_record_of_another_kind(run: Any) -> None:
    task = run("one", handler="lives", records=[{"fail": "no"}])
    failure = task.execution_info.failure_info
    assert (failure.code, failure.message, failure.category) == ("RecordError", "no", "usererror")
    assert (task.command_line, task.execution_info.exit_code, task.execution_info.result) == (None, None, "failure")


def test_environment_settings_reach_the_command(run: Any) -> None:
    settings = [EnvironmentSetting("WHO", "you"), EnvironmentSetting("NOTHING")]
    line = 'test "$WHO" = you && test -z "$NOTHING"'
    task = run("one", line, handler="with_environment", environment_settings=settings)
    assert task.execution_info.exit_code == 0
    assert task.environment_settings == settings


@pytest.mark.parametrize(("most", "tries"), [(None, 1), (0, 1), (2, 3), (-1, 4)])
def test_tries(run: Any, tmp_path: Path, most: int | None, tries: int) -> None:
    """n allows n + 1 tries, −1 any number: the command succeeds at the fourth."""
    line = f"echo x >> {tmp_path}/tries; test $(wc -l < {tmp_path}/tries) -ge 4"
    info = run("one", line, constraints=TaskConstraints(max_task_retry_count=most)).execution_info
    assert len((tmp_path / "tries").read_text().split()) == tries
    assert info.retry_count == tries - 1
    assert info.result == ("success" if tries == 4 else "failure")


def test_a_task_of_one_record_has_no_subtasks(tasks: TaskOperations, run: Any, project: str) -> None:
    run("one", "true")
    found = tasks.list_subtasks(project, "one")
    assert isinstance(found, models.CloudTaskListSubtasksResult)
    assert found.value == []
    assert refusal(tasks.list_subtasks, project, "nothing") == "TaskNotFound"


def test_a_task_of_several_instances(tasks: TaskOperations, run: Any, project: str) -> None:
    several = MultiInstanceSettings(number_of_instances=3)
    task = run("one", "true", multi_instance_settings=several)
    assert (task.multi_instance_settings, task.execution_info.result) == (several, "success")
    found: Any = tasks.list_subtasks(project, "one")
    assert [(each.id, each.state, each.exit_code, each.result) for each in found.value] == [
        (index, "completed", 0, "success") for index in range(3)
    ]
    assert all(each.start_time <= each.end_time for each in found.value)
    found = tasks.list_subtasks(project, "one", {"select": "id,exitCode"})
    assert [(each.id, each.exit_code, each.state, each.result) for each in found.value] == [
        (index, 0, None, None) for index in range(3)
    ]


def test_one_instance_that_fails_fails_the_task(tasks: TaskOperations, run: Any, project: str) -> None:
    """`execution_info` is about the first one, the failure about the task."""
    line = 'read -r record; case "$record" in *\'"instance":1\'*) exit 7;; esac'
    task = run("one", line, multi_instance_settings=MultiInstanceSettings(number_of_instances=2))
    info = task.execution_info
    assert (info.exit_code, info.result, info.failure_info.code) == (0, "failure", "FailurePolicy")
    found: Any = tasks.list_subtasks(project, "one")
    assert [(each.exit_code, each.result) for each in found.value] == [(0, "success"), (7, "failure")]
    assert [each.failure_info and each.failure_info.code for each in found.value] == [None, "FailureExitCode"]


def test_records_of_ones_own(tasks: TaskOperations, run: Any, tmp_path: Path, project: str, real: Process) -> None:
    gate = tmp_path / "gate"
    records = [1, {"hold": str(gate)}, {"value": 3}]
    tasks.add(project, TaskAddParameter(id="one", handler="lives", records=[{"value": 1}, *records[1:]]))
    began(gate.with_suffix(".waited"))
    states = eventually(lambda: _states(tasks, project), SECONDS)
    assert states == ["completed", "running", "preparing"]
    gate.touch()
    task = ended(tasks, real, project, "one")
    assert (task.execution_info.result, task.info.counts.succeeded) == ("success", 3)


def _states(tasks: TaskOperations, project: str) -> list[str]:
    found: Any = tasks.list_subtasks(project, "one")
    states = [each.state for each in found.value]
    assert states[:2] == ["completed", "running"]
    return states


def test_states(tasks: TaskOperations, project: str, tmp_path: Path, real: Process) -> None:
    line = f"touch {tmp_path}/began; sleep 60"
    tasks.add(project, TaskAddParameter(id="first", command_line=line, handler="alone"))
    began(tmp_path / "began")
    tasks.add(project, TaskAddParameter(id="second", command_line="true", handler="alone"))
    first, second = tasks.get(project, "first"), tasks.get(project, "second")
    assert (first.state, second.state) == ("running", "active")
    assert (first.execution_info.exit_code, first.execution_info.result) == (None, None)
    assert first.execution_info.start_time is not None
    assert (second.execution_info.start_time, second.execution_info.end_time) == (None, None)
    with Client(real.target, project=project) as client:
        client.batch.run("echo", [], task_id="draft", start=False)
        client.batch.pause("second")
    assert tasks.get(project, "draft").state is tasks.get(project, "second").state is State.active
    assert tasks.get(project, "draft").execution_info.retry_count == 0


def test_a_state_that_a_newer_server_has_is_no_guess(server: FakeServer) -> None:
    with TaskOperations(server.target, TaskOperationsConfig(handler="echo")) as tasks:
        tasks.add("job", TaskAddParameter(id="one", command_line="true"))
        server.tasks["projects/job/batchTasks/one"].info.state = 99  # type: ignore[assignment]
        assert tasks.get("job", "one").state is None


def test_terminate(tasks: TaskOperations, project: str, tmp_path: Path, real: Process) -> None:
    line = f"sleep 60 & echo $! > {tmp_path}/pid; touch {tmp_path}/began; wait"
    tasks.add(project, TaskAddParameter(id="one", command_line=line))
    began(tmp_path / "began")
    process = Path("/proc") / (tmp_path / "pid").read_text().strip()
    assert process.exists()
    tasks.terminate(project, "one")
    info: Any = ended(tasks, real, project, "one").execution_info
    assert (info.result, info.exit_code) == ("failure", None)
    assert (info.failure_info.category, info.failure_info.code) == ("usererror", "TaskEnded")
    eventually(lambda: not process.exists(), SECONDS)
    assert refusal(tasks.terminate, project, "one") == "TaskCompleted"
    assert refusal(tasks.terminate, project, "nothing") == "TaskNotFound"
    # What was terminated can be reactivated, and not what has not ended.
    tasks.reactivate(project, "one")
    assert refusal(tasks.reactivate, project, "one") == "TaskNotCompleted"


def test_terminate_ends_all_instances(tasks: TaskOperations, project: str, real: Process) -> None:
    several = MultiInstanceSettings(number_of_instances=5)
    tasks.add(project, TaskAddParameter(id="one", command_line="sleep 60", multi_instance_settings=several))
    tasks.terminate(project, "one")
    assert ended(tasks, real, project, "one").state == "completed"
    found: Any = tasks.list_subtasks(project, "one")
    assert [(each.state, each.result, each.failure_info) for each in found.value] == [
        ("completed", "failure", None)
    ] * 5


def test_reactivate(tasks: TaskOperations, run: Any, project: str, tmp_path: Path, real: Process) -> None:
    most = TaskConstraints(max_task_retry_count=1)
    line = f"echo x >> {tmp_path}/tries; touch {tmp_path}/$(wc -l < {tmp_path}/tries).began; test -e {tmp_path}/good"
    failed = run("one", line, constraints=most, handler="alone")
    assert (failed.execution_info.exit_code, failed.execution_info.retry_count) == (1, 1)
    with Client(real.target, project=project) as client:
        blocker = client.batch.run("alone", [{"command_line": f"touch {tmp_path}/busy; sleep 60"}])
        began(tmp_path / "busy")
        tasks.reactivate(project, "one")
        task = tasks.get(project, "one")
        assert (task.state, task.e_tag) == ("active", failed.e_tag)
        info = task.execution_info
        assert (info.exit_code, info.failure_info, info.result, info.end_time) == (None, None, None, None)
        assert info.retry_count == 0
        # What was read before stays what it was.
        assert failed.execution_info.exit_code == 1
        blocker.delete(force=True)
    info = ended(tasks, real, project, "one").execution_info
    assert (info.exit_code, info.retry_count) == (1, 1)  # tried again as often as allowed, counted from 0
    assert len((tmp_path / "tries").read_text().split()) == 4
    (tmp_path / "good").touch()
    tasks.reactivate(project, "one")
    assert ended(tasks, real, project, "one").execution_info.exit_code == 0
    assert refusal(tasks.reactivate, project, "one") == "TaskSucceeded"
    assert refusal(tasks.reactivate, project, "nothing") == "TaskNotFound"


def test_delete_kills_and_removes_the_files(tasks: TaskOperations, project: str, tmp_path: Path, real: Process) -> None:
    keep = TaskConstraints(retention_time=timedelta(days=3650))
    line = f"echo x > $BATCHYARD_ARTIFACTS_DIR/file.txt; touch {tmp_path}/$$"
    folder = real.log.parent / "data" / "artifacts"
    there = set(folder.rglob("*"))
    tasks.add(project, TaskAddParameter(id="done", command_line=line, constraints=keep))
    ended(tasks, real, project, "done")
    left = [each for each in folder.rglob("*") if each.is_file() and each not in there]
    assert left
    tasks.delete(project, "done")
    eventually(lambda: not any(each.exists() for each in left), SECONDS)
    tasks.add(project, TaskAddParameter(id="runs", command_line=f"echo $$ > {tmp_path}/pid; exec sleep 60"))
    began(tmp_path / "pid")
    process = Path("/proc") / eventually((tmp_path / "pid").read_text).strip()
    tasks.delete(project, "runs")
    eventually(lambda: not process.exists(), SECONDS)
    for task_id in ("done", "runs"):
        for method in (tasks.get, tasks.delete, tasks.update, tasks.terminate, tasks.reactivate):
            assert refusal(method, project, task_id) == "TaskNotFound"
    tasks.add(project, TaskAddParameter(id="done", command_line="true"))  # the id is free again


def test_update(tasks: TaskOperations, project: str) -> None:
    first = TaskConstraints(
        max_wall_clock_time=timedelta(hours=1), retention_time=timedelta(days=1), max_task_retry_count=2
    )
    tasks.add(project, TaskAddParameter(id="one", command_line="sleep 60", constraints=first))
    task = tasks.get(project, "one")
    assert task.constraints == first
    tasks.update(project, "one", TaskConstraints(max_task_retry_count=-1))
    changed = tasks.get(project, "one")
    assert changed.e_tag != task.e_tag
    shown = changed.constraints
    assert (shown.retention_time, shown.max_task_retry_count) == (timedelta(days=30), -1)
    assert shown.max_wall_clock_time > timedelta(days=365 * 10_000)  # no limit
    tasks.update(project, "one", first)
    tasks.update(project, "one")  # all defaults
    assert tasks.get(project, "one").constraints == TaskConstraints(
        max_wall_clock_time=shown.max_wall_clock_time,
        retention_time=timedelta(days=30),
        max_task_retry_count=0,
    )
    last = tasks.get(project, "one")
    tasks.update(project, "one", last.constraints)  # what is shown can be given back
    assert tasks.get(project, "one").e_tag == last.e_tag
    assert refusal(tasks.update, project, "one", TaskConstraints(max_task_retry_count=-2)) == "InvalidPropertyValue"


def test_update_of_what_has_ended(tasks: TaskOperations, run: Any, project: str) -> None:
    run("one", "true")
    assert refusal(tasks.update, project, "one", TaskConstraints(max_task_retry_count=1)) == "TaskCompleted"
    tasks.update(project, "one", TaskConstraints(retention_time=timedelta(days=1)))
    task = tasks.get(project, "one")
    assert task.info.expire_time - task.execution_info.end_time == timedelta(days=1)


def test_a_task_that_takes_too_long(run: Any) -> None:
    most = TaskConstraints(max_wall_clock_time=timedelta(milliseconds=300))
    info = run("one", "sleep 60", constraints=most).execution_info
    assert (info.result, info.failure_info.code) == ("failure", "TaskEnded")
    assert info.failure_info.details[0].value == "WALL_CLOCK_EXCEEDED"


def test_failures_with_codes_of_their_own(server: FakeServer) -> None:
    with TaskOperations(server.target, TaskOperationsConfig(handler="echo")) as tasks:
        tasks.add("job", TaskAddParameter(id="one", command_line="x"))
        for reason, category, code in (
            ("COMMAND_NOT_STARTED", "usererror", "CommandProgramNotFound"),
            ("RECORD_TIMEOUT", "usererror", "TaskEnded"),
            ("HANDLER_EXCEPTION", "usererror", "HandlerException"),
            ("WORKER_LOST", "servererror", "WorkerLost"),
            ("", "usererror", "Unknown"),
        ):
            server.end("projects/job/batchTasks/one", FAILED, status_of(2, "why", reason))
            failure = tasks.get("job", "one").execution_info.failure_info
            assert (failure.category, failure.code, failure.message) == (category, code, "why")


def test_statistics(tasks: TaskOperations, run: Any, project: str) -> None:
    task = run("one", "true")
    stats = tasks.get(project, "one", models.TaskGetOptions(expand="stats")).stats
    assert stats.url == task.url
    assert stats.wait_time == task.execution_info.start_time - task.creation_time
    assert stats.wall_clock_time == task.execution_info.end_time - task.execution_info.start_time
    assert (stats.start_time, stats.last_update_time) == (task.creation_time, task.last_modified)
    with pytest.raises(ValueError, match='expand can be "stats"'):
        tasks.get(project, "one", {"expand": "all"})


def test_only_the_fields_that_are_wanted(tasks: TaskOperations, run: Any, project: str) -> None:
    run("one", "exit 1")
    task = tasks.get(project, "one", {"select": "id, executionInfo,creation_time"})
    assert {name for name, value in task.as_dict().items() if value is not None} == {
        *("id", "execution_info", "creation_time")
    }
    with pytest.raises(ValueError, match="select: no field node"):
        tasks.get(project, "one", {"select": "id,node"})


def test_get_reads_the_record_only_if_it_is_needed(server: FakeServer) -> None:
    with TaskOperations(server.target, TaskOperationsConfig(handler="echo")) as tasks:
        tasks.add("job", TaskAddParameter(id="one", command_line="true"))
        tasks.get("job", "one", {"select": "id,state,constraints"})
        assert server.calls["GetRecord"] == 0
        task = tasks.get("job", "one")
        assert task.execution_info == task.execution_info
        assert (task.command_line, server.calls["GetRecord"]) == (None, 1)


def test_a_task_that_is_deleted_while_it_is_looked_at(tasks: TaskOperations, run: Any, project: str) -> None:
    run("one", "true")
    (listed,) = tasks.list(project)
    tasks.delete(project, "one")
    assert listed.state == "completed"
    with pytest.raises(BatchErrorException) as caught:
        _ = listed.execution_info
    assert caught.value.error.code == "TaskNotFound"
    assert isinstance(caught.value.__cause__, batchyard.NotFoundError)
