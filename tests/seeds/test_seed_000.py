"""Seed 000: `Batch` and `BatchTaskOperation` of both clients, against the document and against the real server."""

from __future__ import annotations

import inspect
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import batchyard
from batchyard import UNDEFINED, AsyncClient, BatchTaskInfo, BatchTaskState, BatchTaskStatus, Client, FailurePolicy
from tests.client.fake_server import FakeServer
from tests.seeds import seeds, signatures
from tests.support.eventually import eventually
from tests.support.server import SECONDS, Process

pytestmark = pytest.mark.xdist_group("seeds")

SIGNATURES = {
    "AsyncBatch.get": "(task: str | BatchTaskInfo, *, timeout: float = 60) -> AsyncBatchTaskOperation",
    "AsyncBatch.list_operations": (
        "(*, page_size: int | Undefined = Undefined, status: BatchTaskStatus | str | int | Undefined = Undefined,"
        " timeout: float = 60) -> AsyncIterator[AsyncBatchTaskOperation]"
    ),
    "AsyncBatch.list_info": (
        "(*, page_size: int | Undefined = Undefined, status: BatchTaskStatus | str | int | Undefined = Undefined,"
        " timeout: float = 60) -> AsyncIterator[BatchTaskInfo]"
    ),
    "AsyncBatchTaskOperation.delete": "(*, timeout: float = 60) -> None",
    "AsyncBatchTaskOperation.get_task_info": "(*, timeout: float = 60) -> BatchTaskInfo",
    "AsyncBatchTaskOperation.cancel": "(*, timeout: float = 60) -> None",
    "AsyncBatchTaskOperation.get_result": "(*, timeout: float = 60) -> AnyResultTypeT_co",
    "AsyncBatchTaskOperation.get_status": "(*, timeout: float = 60) -> OperationStatusTypeT",
    "AsyncBatchTaskOperation.wait": (
        "(*, timeout: float = 60, poll_timeout: int | None = None, poll_interval: float | None = None)"
        " -> AnyResultTypeT_co"
    ),
}
PROPERTIES = {"AsyncBatchTaskOperation.id": "str", "AsyncBatchTaskOperation.task_id": "str"}
# What stands for the document's type variables and default, and where ours takes more.
OURS = {
    "AnyResultTypeT_co": "AsyncBatchTaskResult",
    "OperationStatusTypeT": "BatchTaskStatus",
    "= Undefined": f"= {UNDEFINED!r}",
    "poll_timeout: int": "poll_timeout: float",
}


def named(name: str, *, sync: bool) -> Any:
    """What a name of the document stands for here, in one of the clients."""
    owner, _, member = name.partition(".")
    found = getattr(batchyard, owner.removeprefix("Async") if sync else owner)
    return inspect.getattr_static(found, member) if member else found


# ----------------------------------------------------------------------------------------------------- signatures


def test_the_tables_are_the_document() -> None:
    said = {("class", "AsyncBatch"), ("class", "AsyncBatchTaskOperation")}
    said |= {("attribute", f"{name}: {kind}") for name, kind in PROPERTIES.items()}
    for name, text in SIGNATURES.items():
        said |= signatures.says(name, text)
    kept = seeds.inventory()["000"]
    assert said == {(item.kind, item.name) for item in kept if item.kind not in {"sentence", seeds.BOILERPLATE}}


@pytest.mark.parametrize("sync", [False, True], ids=["aio", "sync"])
@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name: str, sync: bool) -> None:
    function = named(name, sync=sync)
    assert signatures.has(function, SIGNATURES[name]) == signatures.ours(SIGNATURES[name], OURS, sync=sync)
    lists = name in {"AsyncBatch.list_operations", "AsyncBatch.list_info"}
    assert inspect.isasyncgenfunction(function) is (lists and not sync)
    assert inspect.iscoroutinefunction(function) is (not lists and not sync)


@pytest.mark.parametrize("sync", [False, True], ids=["aio", "sync"])
@pytest.mark.parametrize("name", PROPERTIES)
def test_properties(name: str, sync: bool) -> None:
    found = named(name, sync=sync)
    assert isinstance(found, property)
    assert inspect.signature(found.fget).return_annotation == PROPERTIES[name]  # type: ignore[arg-type]


def test_the_classes_are_those_that_a_client_hands_out(client: Any) -> None:
    operation = client.batch.run("echo", [1])
    asynchronous = isinstance(inner(client), AsyncClient)
    prefix = "Async" if asynchronous else ""
    assert type(inner(client).batch) is getattr(batchyard, f"{prefix}Batch")
    assert type(inner(operation)) is getattr(batchyard, f"{prefix}BatchTaskOperation")
    assert type(inner(operation.wait(poll_timeout=SECONDS))) is getattr(batchyard, f"{prefix}BatchTaskResult")
    assert {"AsyncBatch", "Batch", "AsyncBatchTaskOperation", "BatchTaskOperation", "BatchTaskInfo"} < set(
        batchyard.__all__
    )


def inner(value: Any) -> Any:
    """The object itself, where tests see the asynchronous client through a face that waits."""
    return getattr(value, "_target", value) if type(value).__name__ == "Blocking" else value


# --------------------------------------------------------------------------------------------------- get and lists


def test_get(client: Any, project: str) -> None:
    made = client.batch.run("echo", [1], task_id="t")
    made.wait(poll_timeout=SECONDS)
    info = made.get_task_info()
    for task in ("t", f"projects/{project}/batchTasks/t", info, made.id):
        operation = client.batch.get(task)
        assert (operation.task_id, operation.id, operation.generation) == ("t", made.id, 1)
        assert list(operation.get_result().outputs()) == [1]
    assert client.batch.get(task="t", timeout=5).id == made.id
    for missing in ("nothing", f"projects/{project}/batchTasks/nothing", "not an id!", made.id[::-1]):
        with pytest.raises((batchyard.NotFoundError, batchyard.InvalidArgumentError)):
            client.batch.get(missing)


def test_an_operation_id_finds_its_generation(client: Any) -> None:
    first = client.batch.run("lives", [{"until": 2, "value": "late"}])
    with pytest.raises(batchyard.BatchTaskError):
        first.wait(poll_timeout=SECONDS)
    second = first.reactivate()
    second.wait(poll_timeout=SECONDS)
    found = client.batch.get(first.id)
    assert (found.task_id, found.generation, found.get_status()) == (first.task_id, 1, BatchTaskStatus.FAILED)
    assert client.batch.get(first.task_id).id == second.id != first.id


def test_an_info_needs_no_call(connect: Callable[..., Any], server: FakeServer) -> None:
    client = connect(server.target)
    info = client.batch.run("echo", [1]).get_task_info()
    before = sum(server.calls.values())
    operation = client.batch.get(info)
    assert sum(server.calls.values()) == before
    assert (operation.task_id, operation.id) == (info.task_id, info.operation_id)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file that holds records of `lives` back until it exists; at the end it does, so that the worker is free."""
    path = tmp_path / "gate"
    yield path
    path.touch()


def until_held(gate: Path) -> None:
    """Return once a record waits at the gate."""
    eventually(gate.with_suffix(".waited").exists, SECONDS)


def until_status(operation: Any, status: BatchTaskStatus) -> None:
    """Return once the task is said to have come so far."""
    eventually(lambda: operation.get_status(timeout=10) is status, SECONDS)


@pytest.fixture
def listed(client: Any, gate: Path) -> dict[BatchTaskStatus, Any]:
    """One task in each status that a task can be in; the one IN_PROGRESS is held back until the end."""
    tasks = {BatchTaskStatus.COMPLETED: client.batch.run("echo", [1])}
    tasks[BatchTaskStatus.FAILED] = client.batch.run("lives", [{"fail": "no"}])
    tasks[BatchTaskStatus.CANCELED] = client.batch.run("echo", [1], start=False)
    tasks[BatchTaskStatus.CANCELED].cancel()
    eventually(lambda: all(task.get_status().is_finished for task in tasks.values()), SECONDS)
    tasks[BatchTaskStatus.IN_PROGRESS] = client.batch.run("lives", [{"hold": str(gate)}])
    until_status(tasks[BatchTaskStatus.IN_PROGRESS], BatchTaskStatus.IN_PROGRESS)
    tasks[BatchTaskStatus.CREATED] = client.batch.run("echo", [1], start=False)
    tasks[BatchTaskStatus.PENDING] = client.batch.run("echo", [1])  # the only worker is held back
    return tasks


def test_listing(client: Any, listed: dict[BatchTaskStatus, Any]) -> None:
    newest_first = [task.task_id for task in reversed(listed.values())]
    for page_size in (UNDEFINED, 1, 4, 1000):
        infos = list(client.batch.list_info(page_size=page_size, timeout=10))
        assert [info.task_id for info in infos] == newest_first
        operations = list(client.batch.list_operations(page_size=page_size, timeout=10))
        assert [operation.task_id for operation in operations] == newest_first
        assert [operation.id for operation in operations] == [info.operation_id for info in infos]
    assert all(isinstance(info, BatchTaskInfo) for info in infos)
    assert {type(inner(operation)) for operation in operations} == {type(inner(listed[BatchTaskStatus.FAILED]))}


def test_listing_by_status(client: Any, listed: dict[BatchTaskStatus, Any]) -> None:
    for status, task in listed.items():
        for value in (status, status.value, status.name.lower(), f"STATUS_{status.name}"):
            assert [info.task_id for info in client.batch.list_info(status=value)] == [task.task_id]
            assert [each.task_id for each in client.batch.list_operations(status=value)] == [task.task_id]
        assert next(iter(client.batch.list_info(status=status))).status is status
    for everything in (UNDEFINED, 0, BatchTaskStatus.STATUS_UNSPECIFIED):
        assert len(list(client.batch.list_info(status=everything))) == len(listed)
    assert list(client.batch.list_operations(status=BatchTaskStatus.UNKNOWN)) == []
    with pytest.raises(ValueError, match="not a valid BatchTaskStatus"):
        next(iter(client.batch.list_operations(status="SUCCEEDED")))


# ------------------------------------------------------------------------------------------------ one batch task


def test_task_info(client: Any, project: str) -> None:
    before = datetime.now(UTC)
    operation = client.batch.run("gated", [1, {"fail": "no"}], labels={"a": "b"}, display_name="nightly")
    operation.wait(poll_timeout=SECONDS)
    info = operation.get_task_info(timeout=10)
    assert isinstance(info, BatchTaskInfo)
    assert (info.task_id, info.operation_id, info.folder_id) == (operation.task_id, operation.id, project)
    assert (info.status, info.state) == (BatchTaskStatus.COMPLETED, BatchTaskState.SUCCEEDED)
    assert (info.labels, info.display_name, info.handler, info.generation) == ({"a": "b"}, "nightly", "gated", 1)
    assert (info.counts.total, info.counts.succeeded, info.counts.failed) == (2, 1, 1)
    assert before <= info.created_at <= info.started_at <= info.finished_at <= datetime.now(UTC)
    assert (info.created_at, info.started_at, info.finished_at) == (info.create_time, info.start_time, info.end_time)


def test_delete(client: Any) -> None:
    operation = client.batch.run("echo", [1])
    operation.wait(poll_timeout=SECONDS)
    assert operation.delete(timeout=10) is None
    assert list(client.batch.list_info()) == list(client.batch.list_operations()) == []
    for ask in (operation.get_task_info, operation.get_status, operation.get_result, operation.wait, operation.delete):
        with pytest.raises(batchyard.NotFoundError):
            ask()


def test_delete_leaves_a_task_that_runs(client: Any, gate: Path) -> None:
    operation = client.batch.run("lives", [{"hold": str(gate), "value": 1}])
    with pytest.raises(batchyard.IllegalStateError):
        operation.delete()
    gate.touch()
    assert list(operation.wait(poll_timeout=SECONDS).outputs()) == [1]


def test_the_life_of_a_task(client: Any, gate: Path) -> None:
    operation = client.batch.run("lives", [{"hold": str(gate), "value": 5}], task_id="t")
    assert (operation.task_id, type(operation.id)) == ("t", str)
    until_status(operation, BatchTaskStatus.IN_PROGRESS)
    with pytest.raises(batchyard.WrongOperationStatusError) as early:
        operation.get_result(timeout=10)
    assert early.value.last_status.is_running
    with pytest.raises(TimeoutError) as late:
        operation.wait(timeout=10, poll_timeout=0, poll_interval=0.01)
    assert isinstance(late.value, batchyard.WaitTimeoutError)
    assert (late.value.id, late.value.last_status.is_running) == (operation.id, True)
    gate.touch()
    result = operation.wait(timeout=10, poll_timeout=SECONDS, poll_interval=0.01)
    assert list(result.outputs()) == list(operation.get_result(timeout=10).outputs()) == [5]
    assert operation.get_status() is BatchTaskStatus.COMPLETED


def test_cancel(client: Any, gate: Path) -> None:
    operation = client.batch.run("lives", [{"value": 1}, {"hold": str(gate)}])
    until_held(gate)
    assert operation.cancel(timeout=10) is None
    with pytest.raises(batchyard.BatchTaskCancelled) as caught:
        operation.wait(poll_timeout=SECONDS)
    assert caught.value.error.code == 1
    assert operation.get_status() is BatchTaskStatus.CANCELED
    operation.cancel()  # of a task that has ended: nothing, and no error
    with pytest.raises(batchyard.BatchTaskCancelled):
        operation.get_result()


def test_failed_with_partial_results_is_no_success(client: Any) -> None:
    records = [{"value": 1}, {"value": 2}, {"fail": "no"}]
    operation = client.batch.run("lives", records, failure_policy=FailurePolicy(max_failed_records=0))
    for ask in (lambda: operation.wait(poll_timeout=SECONDS), operation.get_result):
        with pytest.raises(batchyard.FailurePolicyError) as caught:
            ask()
        assert isinstance(caught.value, batchyard.BatchTaskError)
        assert caught.value.last_status.is_failed
        assert list(caught.value.partial.outputs(on_failure="skip")) == [1, 2]
        assert [record.error.message for record in caught.value.partial.failed()] == ["no"]
    assert operation.get_status() is BatchTaskStatus.FAILED


async def test_a_handle_can_be_awaited(real: Process, project: str) -> None:
    async with AsyncClient(real.target, project=project) as client:
        operation = await client.batch.run("echo", [1, 2])
        result = await operation
        assert isinstance(result, batchyard.AsyncBatchTaskResult)
        assert [output async for output in result.outputs()] == [1, 2]
        handles = [handle async for handle in client.batch.list_operations(status="completed")]
        assert [handle.task_id for handle in handles] == [operation.task_id]


@pytest.fixture
def silent() -> Iterator[str]:
    """A target that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_timeout_is_the_longest_time_of_a_request(connect: Callable[..., Any], server: FakeServer, silent: str) -> None:
    info = connect(server.target).batch.run("echo", [1]).get_task_info()
    batch = connect(silent).batch
    operation = batch.get(info)
    calls = [operation.delete, operation.get_task_info, operation.cancel, operation.get_result, operation.get_status]
    calls += [lambda timeout: batch.get("t", timeout=timeout)]
    calls += [lambda timeout: list(batch.list_info(timeout=timeout))]
    calls += [lambda timeout: list(batch.list_operations(timeout=timeout))]
    for call in calls:
        with pytest.raises(batchyard.DeadlineExceededError):
            call(timeout=0.05)
    with pytest.raises(batchyard.WaitTimeoutError):
        operation.wait(timeout=0.05, poll_timeout=0.2)


WAITS = """
import sys
from batchyard import Client
with Client(sys.argv[1], project=sys.argv[2]) as client:
    client.batch.get("t").wait(progress=lambda counts: print(counts, flush=True))
"""


def test_ctrl_c_ends_a_wait_and_not_the_task(real: Process, project: str, gate: Path) -> None:
    with Client(real.target, project=project) as client:
        operation = client.batch.run("lives", [{"hold": str(gate), "value": 1}], task_id="t")
        until_held(gate)
        arguments = [sys.executable, "-c", WAITS, real.target, project]
        pipe = subprocess.PIPE
        with subprocess.Popen(arguments, stdout=pipe, stderr=pipe, text=True) as program:
            try:
                assert program.stdout is not None
                assert program.stdout.readline()  # it has polled once and waits
                program.send_signal(signal.SIGINT)
                _, errors = program.communicate(timeout=SECONDS)
            finally:
                program.kill()
        assert program.returncode == -signal.SIGINT, "of which a shell makes 130"
        assert errors.rstrip().endswith("KeyboardInterrupt")
        until_status(operation, BatchTaskStatus.IN_PROGRESS)
        gate.touch()
        assert list(operation.wait(poll_timeout=SECONDS).outputs()) == [1]
