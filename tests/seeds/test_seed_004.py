"""Seed 004, `TaskOperations`: how it is called. What the calls do is in the files beside."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

import batchyard
from batchyard import BatchTaskError, Client, NewTask
from batchyard.task_operations import (
    BatchErrorException,
    BatchServiceClient,
    ClientRawResponse,
    CloudTask,
    FileOperations,
    TaskAddParameter,
    TaskOperations,
    TaskOperationsConfig,
    models,
)
from tests.client.fake_server import FakeServer
from tests.support.server import SECONDS, Process

pytestmark = pytest.mark.xdist_group("seed 004")

# Parameters as the seed and the package have them: name, or name=default. `self` is left out.
COMMON = ["custom_headers=None", "raw=False", "**operation_config"]
TASKS = {
    "__init__": ["client", "config", "serializer", "deserializer"],
    "add": ["job_id", "task", "task_add_options=None", *COMMON],
    "add_collection": [
        *("job_id", "value", "task_add_collection_options=None", "custom_headers=None", "raw=False", "threads=0"),
        "**operation_config",
    ],
    "delete": ["job_id", "task_id", "task_delete_options=None", *COMMON],
    "get": ["job_id", "task_id", "task_get_options=None", *COMMON],
    "list": ["job_id", "task_list_options=None", *COMMON],
    "list_subtasks": ["job_id", "task_id", "task_list_subtasks_options=None", *COMMON],
    "reactivate": ["job_id", "task_id", "task_reactivate_options=None", *COMMON],
    "terminate": ["job_id", "task_id", "task_terminate_options=None", *COMMON],
    "update": ["job_id", "task_id", "constraints=None", "task_update_options=None", *COMMON],
}
FILES = {
    "list_from_task": ["job_id", "task_id", "recursive=None", "file_list_from_task_options=None", *COMMON],
    "get_from_task": [
        *("job_id", "task_id", "file_path", "file_get_from_task_options=None", "custom_headers=None", "raw=False"),
        *("callback=None", "**operation_config"),
    ],
    "get_properties_from_task": [
        *("job_id", "task_id", "file_path", "file_get_properties_from_task_options=None"),
        *COMMON,
    ],
    "delete_from_task": [
        *("job_id", "task_id", "file_path", "recursive=None", "file_delete_from_task_options=None"),
        *COMMON,
    ],
}


def spelt(function: Any) -> list[str]:
    """The parameters of a method as in the tables."""
    _, *found = inspect.signature(function).parameters.values()
    prefix = {inspect.Parameter.VAR_KEYWORD: "**", inspect.Parameter.KEYWORD_ONLY: "*, "}
    return [
        prefix.get(each.kind, "") + each.name + ("" if each.default is each.empty else f"={each.default!r}")
        for each in found
    ]


@pytest.fixture
def tasks(real: Process) -> Iterator[TaskOperations]:
    with TaskOperations(real.target) as operations:
        yield operations


def command(task_id: str, line: str = "true", /, **more: Any) -> TaskAddParameter:
    return TaskAddParameter(id=task_id, command_line=line, **more)


def wait(real: Process, job: str, task_id: str) -> None:
    """Return once a task has ended, in whatever way."""
    with Client(real.target, project=job) as client, suppress(BatchTaskError):
        client.batch.get(task_id).wait(poll_timeout=SECONDS)


@pytest.mark.parametrize("method", TASKS)
def test_signatures(method: str) -> None:
    found = spelt(getattr(TaskOperations, method))
    if method == "__init__":  # what the seed wants to be given may be left out here
        found = [each.removesuffix("=None") for each in found]
    assert found == TASKS[method]


@pytest.mark.parametrize("method", FILES)
def test_signatures_of_files(method: str) -> None:
    assert spelt(getattr(FileOperations, method)) == FILES[method]


def test_the_class() -> None:
    assert TaskOperations.api_version == "2024-02-01.19.0"
    assert TaskOperations.models is models
    assert all(hasattr(models, name) for name in models.__all__)
    assert TaskOperations.__bases__ == FileOperations.__bases__ != (object,)
    assert spelt(BatchServiceClient.__init__) == ["credentials", "batch_url", "*, config=None"]


def test_a_client_makes_the_operations(real: Process, project: str) -> None:
    with BatchServiceClient(None, real.target, config=TaskOperationsConfig(handler="echo")) as client:
        assert isinstance(client.task, TaskOperations)
        assert isinstance(client.file, FileOperations)
        client.task.add(project, command("one"))
        assert client.task.get(project, "one").info.handler == "echo"
    with pytest.raises(ValueError, match="closed"):
        client.task.get(project, "one")


def test_who_owns_the_connection(real: Process, project: str) -> None:
    with Client(real.target, project=project) as client:
        with TaskOperations(client) as operations:
            operations.add(project, command("one"))
        assert client.batch.get("one").task_id == "one"  # still open
        TaskOperations(client=client, config=None, serializer=None, deserializer=None).delete(project, "one")
    with pytest.raises(TypeError, match="not int"):
        TaskOperations(1)  # type: ignore[arg-type]


def test_what_the_configuration_says(server: FakeServer) -> None:
    policy = batchyard.RetryPolicy(initial_backoff=0.5)
    config = TaskOperationsConfig(handler="echo", timeout=7, collection_timeout=9, retry_policy=policy)
    with TaskOperations(server.target, config) as operations:
        operations.add("job", command("one"))
        operations.add("job", command("two", handler="sum"))
    one, two = (server.tasks[f"projects/job/batchTasks/{name}"].info for name in ("one", "two"))
    assert (one.handler, two.handler) == ("echo", "sum")
    assert one.retry_policy.initial_backoff.ToMilliseconds() == 500
    assert TaskOperationsConfig() == TaskOperationsConfig(handler="command", timeout=30, collection_timeout=120)


def test_serializer_and_deserializer(real: Process, project: str) -> None:
    def serialize(task: TaskAddParameter, config: TaskOperationsConfig) -> NewTask:
        return NewTask("echo", [config.handler, task.command_line], task_id=task.id, labels={"from": "tests"})

    class Labelled(CloudTask):
        @property
        def labels(self) -> dict[str, str]:
            return self.info.labels

    with TaskOperations(real.target, serializer=serialize, deserializer=Labelled) as operations:
        operations.add(project, command("one", "something"))
        operations.add_collection(project, [command("two")])
        task = operations.get(project, "one")
        assert (task.labels, task.multi_instance_settings.number_of_instances) == ({"from": "tests"}, 2)
        assert [each.labels for each in operations.list(project)] == [{"from": "tests"}] * 2

    def plain(info: Any, read_record: Any, select: Any, stats: bool) -> Any:
        return info.task_id, read_record().input, select, stats

    with TaskOperations(real.target, deserializer=plain) as operations:
        assert operations.get(project, "one", {"select": "id"}) == ("one", "command", {"id"}, False)


class _Metadata(FakeServer):
    """Keeps the metadata of requests."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, dict[str, Any]] = {}
        self.left: dict[str, float] = {}

    def _enter(self, method: str, context: Any) -> None:
        if isinstance(context, grpc.ServicerContext):  # not one of many in a call
            self.seen[method] = dict(context.invocation_metadata())
            self.left[method] = context.time_remaining()
        super()._enter(method, context)


@pytest.fixture
def listening() -> Iterator[_Metadata]:
    running = _Metadata()
    with running:
        yield running


def test_headers_and_times_reach_the_server(listening: _Metadata) -> None:
    with TaskOperations(listening.target, TaskOperationsConfig(timeout=20, handler="echo")) as operations:
        operations.add("job", command("one"), {"client_request_id": "c-1"}, {"X-Team": "blue"})
        seen = listening.seen["BatchCreateBatchTasks"]
        assert (seen["x-team"], seen["client-request-id"]) == ("blue", "c-1")
        operations.get("job", "one", {"select": "id"})
        assert "x-team" not in listening.seen["GetBatchTask"]
        assert 15 < listening.left["GetBatchTask"] < 21
        operations.get("job", "one", {"timeout": 50, "select": "id"})
        assert 45 < listening.left["GetBatchTask"] < 51
        operations.get("job", "one", models.TaskGetOptions(timeout=50, select="id"), timeout=7)
        assert 2 < listening.left["GetBatchTask"] < 8
        operations.add_collection("job", [command("two")])
        assert 110 < listening.left["BatchCreateBatchTasks"] < 121


@pytest.mark.parametrize(
    "headers",
    [
        *({"a b": "c"}, {"": "c"}, {"ü": "c"}, {"grpc-x": "c"}, {"x-bin": "c"}, {"x": "é"}, {"x": "a\nb"}, {"x": ""}),
        *({"If-Match": "c"}, {"Content-Type": "c"}, {"ocp-range": "bytes=0-1"}),
    ],
)
def test_headers_that_cannot_be_sent(tasks: TaskOperations, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="custom_headers"):
        tasks.get("job", "one", custom_headers=headers)


def test_nothing_is_accepted_and_passed_over(tasks: TaskOperations) -> None:
    with pytest.raises(TypeError, match="retries; possible is timeout"):
        tasks.get("job", "one", retries=3)
    with pytest.raises(TypeError, match="TaskAddOptions has no ocp_date"):
        tasks.add("job", command("one"), {"ocp_date": datetime.now(UTC)})
    with pytest.raises(TypeError, match="ocp_date"):
        models.TaskGetOptions(ocp_date=datetime.now(UTC))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="TaskGetOptions or dict is expected, not TaskAddOptions"):
        tasks.get("job", "one", models.TaskAddOptions())  # type: ignore[arg-type]
    for timeout in (0, -1, math.nan, "1"):
        with pytest.raises(ValueError, match="positive number of seconds"):
            tasks.get("job", "one", timeout=timeout)
    for name in ("", "a/b"):
        with pytest.raises(ValueError):
            tasks.get("job", name)
    with pytest.raises(ValueError, match="job_id"):
        tasks.get("", "one")


@pytest.mark.parametrize(
    "field",
    [
        *("container_settings", "exit_conditions", "resource_files", "output_files", "affinity_info", "user_identity"),
        *("depends_on", "application_package_references", "authentication_token_settings"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(tasks: TaskOperations, field: str) -> None:
    wrong: Any = {field: []}
    with pytest.raises(ValueError, match=f"TaskAddParameter: {field} cannot be honoured"):
        command("one", **wrong)
    task = command("one")
    setattr(task, field, [])
    with pytest.raises(ValueError, match=field):
        tasks.add("job", task)


def test_parameters_that_make_no_sense() -> None:
    several = models.MultiInstanceSettings
    for wrong in (
        {"command_line": None},
        {"id": ""},
        {"command_line": None, "records": iter([1])},
        {"command_line": None, "records": "records"},
        {"required_slots": 2},
        {"records": [1]},
        {"command_line": None, "records": [1], "environment_settings": [models.EnvironmentSetting("A")]},
        {"multi_instance_settings": several(number_of_instances=0)},
        {"multi_instance_settings": several(coordination_command_line="true")},
        {"multi_instance_settings": several(common_resource_files=[])},
    ):
        with pytest.raises((ValueError, TypeError)):
            TaskAddParameter(**{"id": "one", "command_line": "true", **wrong})  # type: ignore[arg-type]
    assert command("one", required_slots=1).payloads() == [{"command_line": "true"}]
    one = command("one", environment_settings=[models.EnvironmentSetting("A", None)], multi_instance_settings=several())
    assert one.payloads() == [{"command_line": "true", "environment_settings": {"A": ""}, "instance": 0}]
    assert command("one", multi_instance_settings=several(number_of_instances=None)).payloads()[0]["instance"] == 0  # type: ignore[index]


def test_an_error_says_what_and_why(tasks: TaskOperations, project: str) -> None:
    with pytest.raises(BatchErrorException) as caught:
        tasks.get(project, "nowhere")
    error = caught.value
    assert isinstance(error, batchyard.BatchyardError)
    assert isinstance(error.__cause__, batchyard.ResourceNotFoundError)
    assert (error.error.code, error.status_code, error.response.status_code) == ("TaskNotFound", 404, 404)
    assert error.error.message.value == error.message == error.__cause__.message
    assert str(error) == f"TaskNotFound: {error.message}"
    assert (error.error.values[0].key, error.error.values[0].value) == ("reason", "RESOURCE_NOT_FOUND")


@pytest.mark.parametrize(
    ("code", "reason", "status", "known"),
    [
        (8, "", 413, "RequestBodyTooLarge"),
        (8, "DISK_FULL", 503, "ServerBusy"),
        (8, "A_QUOTA", 429, "TooManyRequests"),
        (16, "", 401, "AuthenticationFailed"),
        (7, "", 403, "InsufficientAccountPermissions"),
        (13, "INTERNAL_ERROR", 500, "InternalError"),
        (9, "ILLEGAL_STATE", 409, "OperationInvalidForCurrentState"),
        (9, "PROJECT_CLOSED", 409, "JobCompleted"),
        (9, "PROJECT_DELETING", 409, "JobBeingDeleted"),
        (10, "ETAG_MISMATCH", 412, "ConditionNotMet"),
        (3, "INVALID_FIELD", 400, "InvalidPropertyValue"),
    ],
)
def test_codes_of_errors(server: FakeServer, code: int, reason: str, status: int, known: str) -> None:
    server.fail_next("GetBatchTask", code, "why", reason)
    with TaskOperations(server.target) as operations, pytest.raises(BatchErrorException, match="why") as caught:
        operations.get("job", "one")
    assert (caught.value.error.code, caught.value.status_code) == (known, status)


def test_a_reactivation_in_a_job_that_is_over(server: FakeServer) -> None:
    """As a server says it whose projects have states."""
    with TaskOperations(server.target) as operations:
        for reason, code in (("PROJECT_CLOSED", "JobCompleted"), ("PROJECT_DELETING", "JobBeingDeleted")):
            server.fail_next("ReactivateBatchTask", 9, "over", reason)
            with pytest.raises(BatchErrorException) as caught:
                operations.reactivate("job", "one")
            assert (caught.value.error.code, caught.value.status_code) == (code, 409)


def test_raw_responses(tasks: TaskOperations, real: Process, project: str) -> None:
    added = tasks.add(project, command("one", "exit 1"), raw=True)
    assert isinstance(added, ClientRawResponse)
    assert (added.output, added.response.status_code) == (None, 201)
    wait(real, project, "one")
    got = tasks.get(project, "one", raw=True)
    assert got.output.id == "one"
    assert got.headers["ETag"] == added.headers["ETag"] == got.output.e_tag
    assert got.headers["DataServiceId"] == got.output.url == f"projects/{project}/batchTasks/one"
    assert datetime.strptime(got.headers["Last-Modified"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC) == (
        got.output.last_modified.replace(microsecond=0)
    )
    assert tasks.list_subtasks(project, "one", raw=True).output.value == []  # type: ignore[union-attr]
    page = tasks.list(project, raw=True)
    assert [task.id for task in page] == ["one"]
    assert page.raw is not None
    assert page.raw.output == page.current_page
    updated = tasks.update(project, "one", models.TaskConstraints(retention_time=timedelta(days=1)), raw=True)
    assert updated is not None
    assert updated.headers["ETag"] != got.headers["ETag"]
    again = tasks.reactivate(project, "one", raw=True)
    assert again is not None
    assert again.response.status_code == 204
    wait(real, project, "one")
    assert tasks.delete(project, "one", raw=True).response.status_code == 200  # type: ignore[union-attr]


def test_methods_return_nothing_without_raw(tasks: TaskOperations, real: Process, project: str) -> None:
    returned: list[Any] = [tasks.add(project, command("one", "exit 1")), tasks.add(project, command("two", "sleep 60"))]
    wait(real, project, "one")
    returned += [tasks.reactivate(project, "one"), tasks.update(project, "two"), tasks.terminate(project, "two")]
    returned += [tasks.delete(project, "one"), tasks.delete(project, "two")]
    assert returned == [None] * 7
