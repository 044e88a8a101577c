"""The command line over the life of a task: settings, pause, resume, update, reactivate, delete, subtasks, attempts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from batchyard import _cli_options
from batchyard.v1 import batch_task_pb2, record_pb2, subtask_pb2
from tests.client.fake_operations import status_of
from tests.client.fake_server import FakeServer, State

TASK = "projects/default/batchTasks/t"


@pytest.fixture
def file(tmp_path: Any) -> str:
    path = tmp_path / "records.jsonl"
    path.write_text('1\n"two"\n')
    return str(path)


@pytest.fixture
def task(run: Any, server: FakeServer, file: str) -> Any:
    """The fake's task of two records, t."""
    assert run("submit", file, "--handler", "echo", "--task-id", "t") == (0, "t\n", "")
    return server.tasks[TASK]


def fail_one(server: FakeServer) -> None:
    server.complete(TASK, 0, server.tasks[TASK].inputs[0].payload)
    server.complete(TASK, 1, error=status_of(3, "bad", "RECORD_ERROR"))
    server.end(TASK, State.SUCCEEDED)


SETTINGS = [
    *("--priority", "-7", "--parallel-count", "2", "--max-wall-clock-time", "2h", "--record-timeout", "1.5"),
    *("--retention-time", "7d", "--max-retry-count", "-1", "--initial-backoff", "250ms", "--max-backoff", "1m"),
    *("--multiplier", "3", "--retryable-code", "unavailable", "--retryable-code", "ABORTED"),
    *("--max-failed-records", "0", "--max-failed-ratio", "0.5"),
]


@pytest.mark.parametrize("verb", ["submit", "update"])
def test_every_setting_has_an_option(run: Any, server: FakeServer, file: str, verb: str) -> None:
    if verb == "submit":
        assert run("submit", file, "--handler", "echo", "--task-id", "t", *SETTINGS)[0] == 0
    else:
        run("submit", file, "--handler", "echo", "--task-id", "t")
        assert run("update", "t", *SETTINGS) == (0, "", "")
    info = server.tasks[TASK].info
    assert (info.priority, info.parallel_count) == (-7, 2)
    assert info.constraints == batch_task_pb2.Constraints(
        max_wall_clock_time=Duration(seconds=7200),
        record_timeout=Duration(seconds=1, nanos=500_000_000),
        retention_time=Duration(seconds=7 * 86400),
        max_retry_count=-1,
    )
    assert info.retry_policy == batch_task_pb2.RetryPolicy(
        initial_backoff=Duration(nanos=250_000_000),
        max_backoff=Duration(seconds=60),
        multiplier=3,
        retryable_codes=["UNAVAILABLE", "ABORTED"],
    )
    assert info.failure_policy == batch_task_pb2.FailurePolicy(max_failed_records=0, max_failed_ratio=0.5)
    shown = run("get", "t")[1]
    assert (
        "settings:       priority=-7, parallel_count=2, max_wall_clock_time=7200s, record_timeout=1.500s, "
        "retention_time=604800s, max_retry_count=-1, initial_backoff=0.250s, max_backoff=60s, multiplier=3.0, "
        "retryable_codes=UNAVAILABLE|ABORTED, max_failed_records=0, max_failed_ratio=0.5\n"
    ) in shown
    assert f"etag:           {info.etag}\n" in shown
    assert json.loads(run("get", "t", "--json")[1])["retry_policy"]["retryable_codes"] == ["UNAVAILABLE", "ABORTED"]


def test_no_setting_is_sent_that_was_not_given(run: Any, task: Any) -> None:
    assert not task.info.HasField("constraints")
    assert not task.info.HasField("retry_policy")
    assert not task.info.HasField("failure_policy")
    assert "settings:" not in run("get", "t")[1]


def test_pause_and_resume(run: Any, server: FakeServer, task: Any) -> None:
    assert run("pause", "t") == (0, "", "")
    assert "state:          PAUSED" in run("get", "t")[1]
    assert run("list", "--state", "paused")[1].splitlines()[1].startswith("t\tPAUSED\t")
    assert json.loads(run("resume", "t", "--json")[1])["state"] == "QUEUED"
    server.complete(TASK, 0)
    assert json.loads(run("pause", TASK, "--json")[1])["state"] == "PAUSING"
    server.end(TASK, State.SUCCEEDED)
    code, out, err = run("resume", "t")
    assert (code, out, err) == (1, "", "batchyard: cannot resume (FAILED_PRECONDITION / TASK_COMPLETED)\n")


def test_update(run: Any, server: FakeServer, task: Any) -> None:
    code, out, _ = run("update", "t", "--display-name", "mine", "--label", "a=1", "--label", "b=2", "--json")
    assert code == 0
    etag = json.loads(out)["etag"]
    assert sorted(server.last["UpdateBatchTask"].update_mask.paths) == ["display_name", "labels"]
    assert (
        run("update", TASK, "--archived", "--default", "labels", "--default", "max-retry-count", "--etag", etag)[0] == 0
    )
    request = server.last["UpdateBatchTask"]
    assert sorted(request.update_mask.paths) == ["archived", "constraints.max_retry_count", "labels"]
    assert request.batch_task.etag == etag
    assert (task.info.archived, dict(task.info.labels), task.info.display_name) == (True, {}, "mine")
    assert "archived:       yes" in run("get", "t")[1]
    assert [line.split("\t")[-1] for line in run("list")[1].splitlines()] == ["archived", "archived"]
    code, _, err = run("update", "t", "--priority", "1", "--etag", etag)
    assert (code, err) == (1, "batchyard: the etag is another (ABORTED / ETAG_MISMATCH)\n")
    assert run("update", "t", "--no-archived") == (0, "", "")
    assert [line.split("\t")[-1] for line in run("list")[1].splitlines()] == ["archived", ""]


def test_update_of_a_draft(run: Any, server: FakeServer, task: Any) -> None:
    task.info.state = State.DRAFT
    assert run("update", "t", "--handler", "other", "--parameters", '{"p": 1}')[0] == 0
    assert (task.info.handler, task.info.parameters.text) == ("other", '{"p":1}')
    code, _, err = run("update", "t", "--parameters", "{")
    assert code == 1
    assert err.startswith("batchyard: --parameters: not JSON: ")


def test_reactivate(run: Any, server: FakeServer, task: Any) -> None:
    code, _, err = run("reactivate", "t")
    assert (code, err) == (1, "batchyard: not ended (FAILED_PRECONDITION / TASK_NOT_COMPLETED)\n")
    fail_one(server)
    assert run("reactivate", "t") == (0, "op-t-2\n", "")
    assert "generation:     2" in run("get", "t")[1]
    assert run("results", "t")[1] == "0\t\tSUCCEEDED\t1\n1\t\tPENDING\t\n"
    assert run("results", "t", "--generation", "1")[1] == "0\t\tSUCCEEDED\t1\n1\t\tFAILED\tbad\n"
    assert run("results", "t", "--generation", "1", "--failed")[1] == "1\t\tFAILED\tbad\n"
    assert run("results", "t", "--generation", "-1", "--order", "completion")[1].count("\n") == 2
    code, _, err = run("results", "t", "--generation", "9")
    assert code == 1
    assert "generation: no such one (INVALID_ARGUMENT / INVALID_FIELD)" in err
    server.end(TASK, State.FAILED, status_of(10, "all failed", "ALL_RECORDS_FAILED"))
    assert json.loads(run("reactivate", "t", "--all", "--json")[1])["generation"] == 3
    assert task.records[0].state == record_pb2.RecordInfo.PENDING


@pytest.mark.parametrize(("fails", "code"), [(False, 0), (True, 3)])
def test_reactivate_and_wait(run: Any, server: FakeServer, task: Any, fails: bool, code: int) -> None:
    fail_one(server)
    real = server.ReactivateBatchTask

    def reactivate(request: Any, context: Any) -> Any:
        operation = real(request, context)
        server.complete(TASK, 1, error=status_of(3, "bad", "RECORD_ERROR") if fails else None)
        server.end(TASK, State.SUCCEEDED)
        return operation

    server.ReactivateBatchTask = reactivate  # type: ignore[method-assign]
    server.restart()
    got, out, err = run("reactivate", "t", "--wait")
    assert (got, err) == (code, "")
    assert f"records:        2: {2 - fails} succeeded" in out


def test_a_wait_for_a_reactivation_times_out(run: Any, server: FakeServer, task: Any) -> None:
    fail_one(server)
    code, out, err = run("reactivate", "t", "--wait", "--poll-timeout", "50ms")
    assert (code, out) == (4, "")
    assert err.startswith("batchyard: operation op-t-2 has not ended")


def test_delete_with_force(run: Any, server: FakeServer, task: Any) -> None:
    code, _, err = run("delete", "t")
    assert (code, err) == (1, "batchyard: cannot delete (FAILED_PRECONDITION / ILLEGAL_STATE)\n")
    assert run("delete", "t", "--force") == (0, "", "")
    assert run("get", "t")[0] == 1


def test_subtasks(run: Any, task: Any) -> None:
    lost = subtask_pb2.Subtask(
        name=f"{TASK}/subtasks/2",
        state=subtask_pb2.Subtask.LOST,
        ranges=[subtask_pb2.IndexRange(start=0, end=5), subtask_pb2.IndexRange(start=7, end=8)],
        epoch=2,
        worker="w",
        node="n",
        exit_code=-9,
        error=status_of(10, "killed\nby 9", "WORKER_LOST"),
    )
    lost.start_time.FromSeconds(0)
    lost.end_time.FromSeconds(60)
    task.subtasks = [lost, subtask_pb2.Subtask(epoch=1, state=subtask_pb2.Subtask.RUNNING)]
    code, out, err = run("subtasks", "t")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "subtask\tstate\trecords\tworker\tnode\tstarted\tended\texit code\terror",
        "2\tLOST\t0-4,7\tw\tn\t1970-01-01T00:00:00+00:00\t1970-01-01T00:01:00+00:00\t-9\tkilled by 9",
        "1\tRUNNING\t\t\t\t\t\t\t",
    ]
    lines = run("subtasks", "t", "--json", "--limit", "1")[1].splitlines()
    assert [json.loads(line)["ranges"] for line in lines] == [[{"start": 0, "end": 5}, {"start": 7, "end": 8}]]


def test_attempts(run: Any, task: Any) -> None:
    info = record_pb2.RecordInfo
    task.attempts[1] = [
        record_pb2.RecordAttempt(
            attempt=1, generation=1, state=info.FAILED, error=status_of(2, "bad", "NONZERO_EXIT"), exit_code=7
        ),
        record_pb2.RecordAttempt(attempt=2, generation=1, state=info.SUCCEEDED, worker="w"),
    ]
    code, out, err = run("attempts", "t", "1")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "generation\tattempt\tstate\tworker\tstarted\tended\texit code\terror",
        "1\t1\tFAILED\t\t\t\t7\tbad",
        "1\t2\tSUCCEEDED\tw\t\t\t\t",
    ]
    assert json.loads(run("attempts", "t", "1", "--json")[1].splitlines()[0])["error"]["code"] == 2
    assert run("attempts", "t", "5")[0] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["update", "t"],
        ["update", "t", "--default", "handler"],
        ["update", "t", "--default", "priority", "--priority", "1"],
        ["update", "t", "--label", "novalue"],
        ["update", "t", "--retention-time", "30 days"],
        ["update", "t", "--retryable-code", "LATE"],
        ["attempts", "t"],
        ["attempts", "t", "first"],
        ["results", "t", "--generation", "last"],
        ["results", "t", "--failed", "--filter", "state = FAILED"],
        ["pause"],
    ],
)
def test_wrong_usage(run: Any, task: Any, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5s", 1.5), (".5", 0.5), ("20ms", 0.02), ("15m", 900), ("2h", 7200), ("1d", 86400)],
)
def test_a_length_of_time(text: str, seconds: float) -> None:
    assert _cli_options.span(text) == pytest.approx(seconds)
