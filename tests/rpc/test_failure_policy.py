"""Is a task stopped when more of its records failed than it allows? Real workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.longrunning import operations_pb2 as lro

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata, Constraints, FailurePolicy, RetryPolicy
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.model.errors import Code, Reason
from tests.rpc.runs import ACT, Run, Server, Stage, failure, metadata, running, seen, staged
from tests.support.errors import Answer, provokes
from tests.support.server import SECONDS

pytestmark = pytest.mark.xdist_group("failure-policy")
WELL = {"do": "echo", "value": "well"}
BAD = {"do": "refuse", "code": "UNAVAILABLE"}
R, State = RecordInfo, BatchTaskInfo


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("policy"), ACT + 'kill_grace = "100ms"\n', workers=2) as server:
        yield server


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


def allowing(*, most: int | None = None, ratio: float | None = None, retries: int = 0) -> BatchTaskInfo:
    """A task of which so many records may fail."""
    task = BatchTaskInfo(failure_policy=FailurePolicy(max_failed_records=most, max_failed_ratio=ratio))
    task.constraints.CopyFrom(Constraints(max_retry_count=retries))
    task.retry_policy.CopyFrom(RetryPolicy())
    task.retry_policy.initial_backoff.seconds = 0
    return task


def check_stopped(run: Run) -> Answer:
    """It FAILED by its policy, whoever looks, and no record is left that might still run."""
    assert (run.info.state, run.info.stop_reason) == (State.FAILED, State.FAILURE_POLICY)
    assert run.info.error == run.operation.error
    found = metadata(run.operation)
    assert (found.state, found.stop_reason, found.counts) == (State.FAILED, State.FAILURE_POLICY, run.info.counts)
    assert {each.state for each in run.records} <= {R.SUCCEEDED, R.FAILED, R.CANCELLED}
    error = seen(Answer(run.info.error), Reason.FAILURE_POLICY)
    assert error.code is Code.ABORTED
    shown = error.detail(BatchTaskMetadata).failed_requests
    failed = {each.index: each.error for each in run.records if each.state == R.FAILED}
    assert shown
    assert all(failed[index] == status for index, status in shown.items())
    return error


@provokes(Reason.FAILURE_POLICY)
@pytest.mark.parametrize(
    "task", [allowing(most=1), allowing(ratio=0.25), allowing(most=5, ratio=0.25)], ids=["number", "ratio", "both"]
)
def test_what_runs_is_killed_and_the_rest_is_cancelled(server: Server, stage: Stage, task: BatchTaskInfo) -> None:
    name = server.submit("act", *[stage.record] * 6, task=task)
    first, second = stage.enter(), stage.enter()
    first.go(**BAD)
    third = stage.enter()
    assert server.info(name).state == State.RUNNING
    second.go(**BAD)
    assert third.is_gone(), "it is killed with its worker"
    run = server.finish(name)
    assert check_stopped(run).metadata == {"failed": "2"}
    assert (run.info.counts.failed, run.info.counts.cancelled) == (2, 4)


def test_as_many_failures_as_are_allowed_are_a_success(server: Server) -> None:
    for task in (allowing(most=2), allowing(ratio=0.5), allowing(most=2, ratio=0.5), allowing()):
        run = server.run("act", BAD, WELL, BAD, WELL, task=task)
        assert (run.info.state, run.info.counts.failed) == (State.SUCCEEDED, 2)
        assert not run.info.HasField("error")


@provokes(Reason.ALL_RECORDS_FAILED)
def test_that_every_record_failed_says_more(server: Server) -> None:
    run = server.run("act", BAD, BAD, BAD, task=allowing(most=2))
    assert (run.info.state, run.info.stop_reason) == (State.FAILED, State.STOP_REASON_UNSPECIFIED)
    seen(Answer(run.info.error), Reason.ALL_RECORDS_FAILED)


@provokes(Reason.RECORD_ERROR)
def test_a_task_of_one_record_keeps_that_records_error(server: Server) -> None:
    run = server.run("act", BAD, task=allowing(most=0))
    assert run.info.error == run.operation.error == run.only.error
    assert failure(run.only, Reason.RECORD_ERROR).code is Code.UNAVAILABLE


@provokes(Reason.FAILURE_POLICY)
def test_a_record_fails_once_its_retries_are_used_up(server: Server, stage: Stage) -> None:
    name = server.submit("act", stage.record, WELL, WELL, task=allowing(most=0, retries=2))
    for attempt in (1, 2, 3):
        assert server.info(name).counts.failed == 0
        actor = stage.enter()
        assert actor.attempt == attempt
        actor.go(**BAD)
    run = server.finish(name)
    check_stopped(run)
    assert (run.records[0].state, run.records[0].attempt) == (R.FAILED, 3)
    assert [each.attempt for each in server.attempts(name)] == [1, 2, 3]


@provokes(Reason.FAILURE_POLICY)
def test_another_generation_may_fail_as_often_again(server: Server) -> None:
    until: dict[str, Any] = {"do": "until", "attempt": 9, "before": BAD}
    run = server.run("act", WELL, until, until, until, task=allowing(most=1))
    check_stopped(run)
    name = run.info.name
    server.tasks.ReactivateBatchTask(service.ReactivateBatchTaskRequest(name=name), timeout=SECONDS)
    info = server.info(name)
    assert (info.stop_reason, info.HasField("error"), info.generation) == (State.STOP_REASON_UNSPECIFIED, False, 2)
    again = server.finish(name)
    check_stopped(again)
    assert again.operation.name != run.operation.name
    before = lro.GetOperationRequest(name=run.operation.name)
    assert server.operations.GetOperation(before, timeout=SECONDS) == run.operation
