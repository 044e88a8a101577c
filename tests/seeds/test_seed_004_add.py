"""Seed 004, `TaskOperations`: tasks are added, one or very many, each once, and what became of each is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

import batchyard
from batchyard import NewTask
from batchyard import _task_collection as collection
from batchyard.task_operations import (
    BatchErrorException,
    CreateTasksErrorException,
    TaskAddParameter,
    TaskAddResult,
    TaskOperations,
    TaskOperationsConfig,
    models,
)
from tests.client.fake_operations import refuse
from tests.client.fake_server import FakeServer
from tests.support.server import Process

pytestmark = pytest.mark.xdist_group("seed 004")
INTERNAL, TOO_MUCH, NOT_FOUND, ABORTED = 13, 8, 5, 10
SUCCESS, CLIENT_ERROR = models.TaskAddStatus.success, models.TaskAddStatus.client_error


class Narrow(FakeServer):
    """Takes only requests of so many tasks, as gRPC refuses large messages. `orders`: the ids of each request."""

    most = 1000

    def __init__(self) -> None:
        super().__init__()
        self.orders: list[list[str]] = []

    def BatchCreateBatchTasks(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self.lock:
            self.orders.append([each.batch_task_id for each in request.requests])
        if len(request.requests) > self.most:
            refuse(context, TOO_MUCH, "Received message larger than max")
        return super().BatchCreateBatchTasks(request, context)


@pytest.fixture
def narrow() -> Iterator[Narrow]:
    running = Narrow()
    with running:
        yield running


@pytest.fixture
def tasks(narrow: Narrow) -> Iterator[TaskOperations]:
    with TaskOperations(narrow.target, TaskOperationsConfig(handler="echo")) as operations:
        yield operations


@pytest.fixture
def real_tasks(real: Process) -> Iterator[TaskOperations]:
    with TaskOperations(real.target) as operations:
        yield operations


def some(count: int, **more: Any) -> list[TaskAddParameter]:
    return [TaskAddParameter(id=f"t{n:03}", command_line="true", **more) for n in range(count)]


def ids(found: Any) -> list[str]:
    return [each.task_id for each in found]


def added(answer: Any) -> list[TaskAddResult]:
    return answer.value


def kept(server: FakeServer) -> list[str]:
    """The ids of the tasks that the server has, in the order in which they came."""
    return [name.rpartition("/")[2] for name in server.tasks]


def test_one_task_is_added_once(real_tasks: TaskOperations, project: str) -> None:
    assert real_tasks.add(project, some(1)[0]) is None
    for same in ("t000", "T000"):  # without regard to case
        with pytest.raises(BatchErrorException) as caught:
            real_tasks.add(project, TaskAddParameter(id=same, command_line="true"))
        assert (caught.value.error.code, caught.value.status_code) == ("TaskExists", 409)
        assert isinstance(caught.value.__cause__, batchyard.ResourceExistsError)
    with pytest.raises(BatchErrorException) as caught:
        real_tasks.add(project, TaskAddParameter(id="two", command_line="true", handler="nobody"))
    assert caught.value.error.code == "HandlerNotFound"
    with pytest.raises(BatchErrorException) as caught:
        real_tasks.add(project, TaskAddParameter(id="two", command_line="x" * 2**21))
    assert (caught.value.error.code, caught.value.status_code) == ("RequestBodyTooLarge", 413)
    with pytest.raises(batchyard.RecordValueError):
        real_tasks.add(project, TaskAddParameter(id="two", records=[float("nan")]))
    with pytest.raises(BatchErrorException) as caught:
        real_tasks.add(project, TaskAddParameter(id="no id", command_line="true"))
    assert (caught.value.error.code, caught.value.status_code) == ("InvalidPropertyValue", 400)


def test_an_answer_that_is_lost_makes_no_second_task(tasks: TaskOperations, narrow: Narrow) -> None:
    narrow.lost_answers = 1
    tasks.add("job", some(1)[0])
    narrow.lost_answers = 1
    assert [each.status for each in added(tasks.add_collection("job", some(5)[1:]))] == [SUCCESS] * 4
    assert kept(narrow) == [f"t{n:03}" for n in range(5)]


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_a_collection_travels_in_requests_of_100_in_order(tasks: TaskOperations, narrow: Narrow, threads: int) -> None:
    result = tasks.add_collection("job", some(250), threads=threads)
    assert isinstance(result, models.TaskAddCollectionResult)
    assert ids(result.value) == [f"t{n:03}" for n in range(250)]
    assert sorted(len(order) for order in narrow.orders) == [50, 100, 100]
    assert all(order == sorted(order) for order in narrow.orders)
    if threads < 2:
        assert kept(narrow) == [f"t{n:03}" for n in range(250)]
    assert {(each.status, each.error) for each in result.value} == {(SUCCESS, None)}
    assert result.value[7].location == "projects/job/batchTasks/t007"
    assert [each for each in threading.enumerate() if each.name == "batchyard-add"] == []


def test_the_sequential_way_uses_no_thread_of_ours(tasks: TaskOperations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "threading", SimpleNamespace(Lock=threading.Lock))
    assert len(added(tasks.add_collection("job", some(101)))) == 101


def test_threads_send_at_the_same_time(tasks: TaskOperations, narrow: Narrow) -> None:
    meeting = threading.Barrier(3)
    plain = narrow.BatchCreateBatchTasks

    def together(request: Any, context: Any) -> Any:
        meeting.wait(20)
        return plain(request, context)

    narrow.stop()
    narrow.BatchCreateBatchTasks = together  # type: ignore[method-assign]
    narrow.start()
    assert len(added(tasks.add_collection("job", some(300), threads=3))) == 300


def test_bad_arguments_send_nothing(tasks: TaskOperations, narrow: Narrow) -> None:
    with pytest.raises(ValueError, match="threads must be 0 or more"):
        tasks.add_collection("job", some(1), threads=-1)
    wrong = some(2)
    wrong[1].depends_on = ["t000"]
    with pytest.raises(ValueError, match="depends_on"):
        tasks.add_collection("job", wrong)
    assert added(tasks.add_collection("job", [])) == []
    assert added(tasks.add_collection("job", [], threads=3)) == []
    assert narrow.orders == []


def test_a_request_that_is_too_large_is_halved(tasks: TaskOperations, narrow: Narrow) -> None:
    narrow.most = 30
    assert ids(added(tasks.add_collection("job", some(250)))) == [f"t{n:03}" for n in range(250)]
    assert kept(narrow) == [f"t{n:03}" for n in range(250)]
    # Once it is known what goes, no larger one is tried.
    assert [len(order) for order in narrow.orders] == [100, 50, *[25] * 10]


def test_down_to_one_which_has_an_error_of_its_own(tasks: TaskOperations, narrow: Narrow) -> None:
    narrow.most = 0
    with pytest.raises(CreateTasksErrorException) as caught:
        tasks.add_collection("job", some(3))
    assert ids(caught.value.failure_tasks) == ["t000", "t001", "t002"]
    assert {each.error.code for each in caught.value.failure_tasks} == {"RequestBodyTooLarge"}
    assert {each.status for each in caught.value.failure_tasks} == {CLIENT_ERROR}
    assert (caught.value.pending_tasks, caught.value.errors, caught.value.results) == ([], [], [])


def test_what_is_too_large_is_seen_before_it_is_sent(tasks: TaskOperations, narrow: Narrow) -> None:
    large = [TaskAddParameter(id=f"t{n:03}", command_line="x" * 900_000) for n in range(8)]
    assert len(added(tasks.add_collection("job", large))) == 8
    assert [len(order) for order in narrow.orders] == [4, 4]
    assert max(size for _, size in narrow.batches) <= collection.MOST_BYTES


def test_a_quota_is_no_size(tasks: TaskOperations, narrow: Narrow) -> None:
    narrow.fail_next("BatchCreateBatchTasks", TOO_MUCH, "the disk is full", "DISK_FULL")
    assert len(added(tasks.add_collection("job", some(10)))) == 10
    assert [len(order) for order in narrow.orders] == [10, 10]  # again, not halved


def test_the_real_limit_of_the_server(
    real_tasks: TaskOperations, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "MOST_BYTES", 2**31)
    large = [TaskAddParameter(id=f"t{n:03}", command_line=": " + "x" * 900_000) for n in range(10)]
    assert ids(added(real_tasks.add_collection(project, large))) == [each.id for each in large]
    assert len(list(real_tasks.list(project))) == 10


def test_one_command_that_no_server_takes(real_tasks: TaskOperations, project: str) -> None:
    given = [*some(2), TaskAddParameter(id="huge", command_line="x" * 2**21)]
    with pytest.raises(CreateTasksErrorException) as caught:
        real_tasks.add_collection(project, given)
    assert ids(caught.value.results) == ["t000", "t001"]
    assert [(each.task_id, each.error.code) for each in caught.value.failure_tasks] == [("huge", "RequestBodyTooLarge")]


def test_adding_again_with_the_same_ids_doubles_nothing(real_tasks: TaskOperations, project: str) -> None:
    first = added(real_tasks.add_collection(project, some(120)))
    again = added(real_tasks.add_collection(project, some(150), threads=2))
    assert ids(again) == [f"t{n:03}" for n in range(150)]
    assert [each.error.code if each.error else "" for each in again] == ["TaskExists"] * 120 + [""] * 30
    assert [each.status for each in again] == [CLIENT_ERROR] * 120 + [SUCCESS] * 30
    assert len(list(real_tasks.list(project))) == 150
    assert first[0].e_tag == real_tasks.get(project, "t000").e_tag
    assert again[149].last_modified is not None
    assert (again[0].e_tag, again[0].last_modified) == (None, None)


@pytest.mark.parametrize("threads", [0, 3])
def test_what_is_refused_does_not_hide_what_was_added(real_tasks: TaskOperations, project: str, threads: int) -> None:
    given = some(230)
    given[40].handler = given[199].handler = "nobody"
    given[41].id = "no/id"
    with pytest.raises(CreateTasksErrorException) as caught:
        real_tasks.add_collection(project, given, threads=threads)
    error = caught.value
    assert [(each.task_id, each.error.code, each.status) for each in error.failure_tasks] == [
        ("t040", "HandlerNotFound", CLIENT_ERROR),
        ("no/id", "InvalidPropertyValue", CLIENT_ERROR),
        ("t199", "HandlerNotFound", CLIENT_ERROR),
    ]
    assert ids(error.results) == [each.id for n, each in enumerate(given) if n not in {40, 41, 199}]
    assert (error.pending_tasks, error.errors) == ([], [])
    assert str(error).startswith("227 added, 3 refused, 0 pending; t040: HandlerNotFound: ")
    assert isinstance(error, batchyard.BatchyardError)


def test_a_fault_that_passes_is_tried_again(tasks: TaskOperations, narrow: Narrow) -> None:
    narrow.fail_next("BatchCreateBatchTasks", INTERNAL, times=2)
    narrow.refusals["t003"].extend([(ABORTED, "busy", "X"), (INTERNAL, "fault", "INTERNAL_ERROR")])
    result = added(tasks.add_collection("job", some(5)))
    assert [each.status for each in result] == [SUCCESS] * 5
    assert narrow.orders[2:] == [[f"t{n:03}" for n in range(5)], ["t003"], ["t003"]]


def test_a_fault_that_stays_is_not_tried_for_ever(tasks: TaskOperations, narrow: Narrow) -> None:
    narrow.fail_next("BatchCreateBatchTasks", INTERNAL, "broken", times=50)
    given = some(150)
    with pytest.raises(CreateTasksErrorException, match="InternalError: broken") as caught:
        tasks.add_collection("job", given)
    assert len(narrow.orders) == collection.MOST_TRIES
    assert caught.value.pending_tasks == given
    assert [each.error.code for each in caught.value.errors if isinstance(each, BatchErrorException)] == [
        "InternalError"
    ]
    assert isinstance(caught.value.errors[0].__cause__, batchyard.InternalError)


def test_a_task_that_always_fails_at_the_server(tasks: TaskOperations, narrow: Narrow) -> None:
    narrow.refusals["t001"].extend([(INTERNAL, "fault", "INTERNAL_ERROR")] * 50)
    with pytest.raises(CreateTasksErrorException) as caught:
        tasks.add_collection("job", some(3))
    assert [(each.task_id, each.status) for each in caught.value.failure_tasks] == [
        ("t001", models.TaskAddStatus.server_error)
    ]
    assert ids(caught.value.results) == ["t000", "t002"]
    assert len(narrow.orders) == collection.MOST_TRIES


@pytest.mark.parametrize("threads", [0, 2])
def test_a_request_that_is_refused_stops_the_rest(tasks: TaskOperations, narrow: Narrow, threads: int) -> None:
    narrow.fail_next("BatchCreateBatchTasks", NOT_FOUND, "no such project", "RESOURCE_NOT_FOUND", times=2)
    given = some(500)
    with pytest.raises(CreateTasksErrorException) as caught:
        tasks.add_collection("job", given, threads=threads)
    assert 1 <= len(caught.value.errors) <= max(threads, 1)
    assert len(caught.value.pending_tasks) + len(caught.value.results) == 500
    assert [each.id for each in caught.value.pending_tasks] == sorted(each.id for each in caught.value.pending_tasks)
    assert caught.value.pending_tasks


def test_a_task_of_many_records_is_streamed(real_tasks: TaskOperations, project: str) -> None:
    many = TaskAddParameter(id="many", handler="echo", records=[{"n": n} for n in range(3000)], parameters={"k": 1})
    nothing = TaskAddParameter(id="nothing", handler="echo", records=[float("nan")])
    with pytest.raises(CreateTasksErrorException) as caught:
        real_tasks.add_collection(project, [*some(1), many, nothing])
    assert ids(caught.value.results) == ["t000", "many"]
    assert [each.error.code for each in caught.value.failure_tasks] == ["InvalidPropertyValue"]
    task = real_tasks.get(project, "many")
    assert (task.info.counts.total, task.info.parameters) == (3000, {"k": 1})


def test_a_serializer_may_have_records_come_one_by_one(real: Process, project: str) -> None:
    def serialize(task: TaskAddParameter, config: TaskOperationsConfig) -> NewTask:
        return NewTask("echo", (n for n in range(2000)), task_id=f"{task.id}-made")

    with TaskOperations(real.target, serializer=serialize) as operations:
        result = added(operations.add_collection(project, some(2)))
        assert ids(result) == ["t000-made", "t001-made"]
        assert [operations.get(project, each.task_id).info.counts.total for each in result] == [2000] * 2


def test_an_interrupt_is_no_error_of_a_task(tasks: TaskOperations, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(collection, "call", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tasks.add_collection("job", some(3))


def test_what_is_no_error_of_the_server_is_told_too(tasks: TaskOperations, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise LookupError("a bug")

    monkeypatch.setattr(collection, "call", broken)
    with pytest.raises(CreateTasksErrorException, match="a bug") as caught:
        tasks.add_collection("job", some(3), threads=1)
    assert len(caught.value.pending_tasks) == 3
