"""Is a record that fails tried again as its task asks for, and what is told of each attempt? Real workers."""

from __future__ import annotations

import pathlib
import signal
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, RecordCounts
from batchyard.v1.payload_pb2 import Payload
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.model import limits
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.settings import RETRYABLE_CODES
from tests.rpc.retrying import check_attempt, failing, reasons, retrying
from tests.rpc.runs import ACT, Actor, Server, Stage, failure, running, staged
from tests.support.errors import Answer, answer, provokes
from tests.support.eventually import eventually
from tests.support.server import SECONDS

pytestmark = pytest.mark.xdist_group("retries")

HOUR = Duration(seconds=3600)
WELL = {"do": "echo", "value": "well"}
R, State = RecordInfo, BatchTaskInfo
TOML = f"""{ACT}
kill_grace = "100ms"

[handlers.shell]
kind = "command"
argv = ["sh", "-c", "{{script}}"]

[handlers.broken]
kind = "command"
argv = ["FOLDER/broken"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("retries")
    (folder / "broken").write_bytes(b"#!/nowhere/at/all\n")
    (folder / "broken").chmod(0o755)
    with running(folder, TOML.replace("FOLDER", str(folder)), workers=2) as server:
        yield server


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


# -- how often --------------------------------------------------------------------------------------------------------


@provokes(Reason.RECORD_ERROR)
@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_one_failure_less_as_many_and_one_more_than_there_are_retries(server: Server, allowed: int) -> None:
    times = [max(allowed - 1, 0), allowed, allowed + 1]
    run = server.run("act", *map(failing, times), WELL, task=retrying(allowed))
    assert run.info.state == State.SUCCEEDED
    assert run.info.counts == RecordCounts(total=4, succeeded=3, failed=1)
    for record, failures in zip(run.records, times, strict=False):
        found = server.attempts(run.info.name, record.index)
        ended = min(failures, allowed) + 1
        assert record.attempt == len(found) == ended
        for number, each in enumerate(found, start=1):
            check_attempt(each, number, R.SUCCEEDED if number > failures else R.FAILED)
            assert each.generation == 1
            assert each.worker == ("" if number == ended else each.worker)
            assert number == ended or each.worker.startswith("worker-")
        assert (found[-1].start_time, found[-1].end_time) == (record.start_time, record.end_time)
        assert all(a.end_time.ToNanoseconds() <= b.start_time.ToNanoseconds() for a, b in pairwise(found))
        assert set(reasons(found)) <= {Reason.RECORD_ERROR}
    assert run.records[1].output.text == f"attempt {allowed + 1}"
    assert failure(run.records[2], Reason.RECORD_ERROR).code is Code.UNAVAILABLE
    assert len(server.attempts(run.info.name, 3)) == 1


def test_by_default_nothing_is_tried_again(server: Server) -> None:
    run = server.run("act", failing(1), WELL)
    assert [each.state for each in run.records] == [R.FAILED, R.SUCCEEDED]
    assert [each.attempt for each in server.attempts(run.info.name)] == [1]


def test_many_records_fail_and_are_tried_again(server: Server) -> None:
    """Flushes of hundreds of records, of which some are tried again."""
    run = server.run("act", *(failing(index % 3) for index in range(3000)), task=retrying(1))
    assert run.info.counts == RecordCounts(total=3000, succeeded=2000, failed=1000)
    assert [each.attempt for each in run.records] == [1, 2, 2] * 1000
    assert [each.state for each in run.records] == [R.SUCCEEDED, R.SUCCEEDED, R.FAILED] * 1000
    failed = server.operation(run.info.name)
    assert failed.done
    assert {len(server.attempts(run.info.name, index)) for index in (0, 3, 2997)} == {1}
    assert {len(server.attempts(run.info.name, index)) for index in (1, 2, 2998, 2999)} == {2}


# -- after which errors -----------------------------------------------------------------------------------------------


def test_the_codes_that_are_retried(server: Server) -> None:
    codes = {number: name for name, number in code_pb2.Code.items() if number}
    records = [failing(1, code=name) for name in codes.values()]
    run = server.run("act", *records, task=retrying(1))
    again = {number for number, record in zip(codes, run.records, strict=True) if record.state == R.SUCCEEDED}
    assert again == set(RETRYABLE_CODES)
    assert all(each.attempt == 1 + (each.state == R.SUCCEEDED) for each in run.records)
    own = (Code.NOT_FOUND, Code.DATA_LOSS)
    run = server.run("act", *records, task=retrying(1, codes=own))
    again = {number for number, record in zip(codes, run.records, strict=True) if record.state == R.SUCCEEDED}
    assert again == set(own)


def test_the_handlers_word_counts_more_than_the_code(server: Server) -> None:
    records = [
        failing(1, code=code, retryable=retryable)
        for code in ("NOT_FOUND", "UNAVAILABLE")
        for retryable in (True, False, None)
    ]
    run = server.run("act", *records, task=retrying(1))
    assert [each.attempt for each in run.records] == [2, 1, 1, 2, 1, 2]
    assert [each.state == R.SUCCEEDED for each in run.records] == [True, False, False, True, False, True]


@provokes(Reason.HANDLER_EXCEPTION, Reason.INPUT_NOT_JSON)
def test_exceptions_are_tried_again_and_bad_inputs_are_not(server: Server) -> None:
    raises = {"do": "until", "attempt": 9, "before": {"do": "fail"}}
    run = server.run("act", raises, Payload(text="{"), task=retrying(2))
    assert [each.attempt for each in run.records] == [3, 1]
    failure(run.records[0], Reason.HANDLER_EXCEPTION)
    failure(run.records[1], Reason.INPUT_NOT_JSON)
    found = server.attempts(run.info.name)
    assert reasons(found) == [Reason.HANDLER_EXCEPTION] * 3
    assert all(len(each.error.details) == 2 for each in found), "with their tracebacks"


@provokes(Reason.NONZERO_EXIT)
def test_a_command_that_exits_badly_is_tried_again(server: Server, tmp_path: pathlib.Path) -> None:
    """It exits with 1, then with 2, then with 0."""
    script = f"n=$(wc -l < {tmp_path}/$0.log); echo >> {tmp_path}/$0.log; [ $n -ge 2 ] && exec echo done; exit $((n+1))"
    for name in ("a", "b"):
        (tmp_path / f"{name}.log").touch()
    scripts = [{"script": script.replace("$0", name)} for name in ("a", "b")]
    run = server.run("shell", scripts[0], task=retrying(2))
    assert (run.only.output.text, run.only.attempt) == ("done\n", 3)
    found = server.attempts(run.info.name)
    assert [(each.state, each.exit_code) for each in found] == [(R.FAILED, 1), (R.FAILED, 2), (R.SUCCEEDED, 0)]
    assert reasons(found) == [Reason.NONZERO_EXIT] * 2
    run = server.run("shell", scripts[1], task=retrying(1))
    assert (run.only.exit_code, run.only.attempt) == (2, 2)
    failure(run.only, Reason.NONZERO_EXIT)


@provokes(Reason.COMMAND_NOT_STARTED)
def test_a_command_that_cannot_be_started_is_not_tried_again(server: Server) -> None:
    run = server.run("broken", {}, task=retrying(5))
    failure(run.only, Reason.COMMAND_NOT_STARTED)
    assert run.only.attempt == 1


@provokes(Reason.RECORD_TIMEOUT)
def test_a_record_that_takes_too_long_is_tried_again(server: Server) -> None:
    hangs = {"do": "hang"}
    once = {"do": "until", "attempt": 2, "before": hangs}
    run = server.run("act", once, hangs, WELL, task=retrying(1), timeout=0.2)
    assert [each.attempt for each in run.records] == [2, 2, 1]
    assert run.records[0].output.text == "attempt 2"
    failure(run.records[1], Reason.RECORD_TIMEOUT)
    for index in (0, 1):
        found = server.attempts(run.info.name, index)
        check_attempt(found[0], 1, R.FAILED)
        assert reasons(found[:1]) == [Reason.RECORD_TIMEOUT]
        assert found[0].worker
        assert 0.2 <= (found[0].end_time.ToNanoseconds() - found[0].start_time.ToNanoseconds()) / 1e9 < SECONDS


def lose_and_fail(server: Server, stage: Stage, last: dict[str, Any]) -> RecordInfo:
    """Two losses and two retries are allowed and used up; what the fifth attempt does ends it."""
    name = server.submit("act", stage.record, task=retrying(2))
    for number, orders in enumerate([{"do": "die", "code": 3}, {"do": "refuse", "code": 14}] * 2, start=1):
        next_actor(stage, number).go(**orders)
    next_actor(stage, 5).go(**last)
    record = server.finish(name).only
    assert record.attempt == 5
    found = server.attempts(name)
    for number, each in enumerate(found, start=1):
        check_attempt(each, number, R.CANCELLED if number in (1, 3) else R.FAILED)
        assert each.HasField("start_time")
        assert bool(each.worker) == (number < 5)
    assert reasons(found)[:4] == [Reason.WORKER_LOST, Reason.RECORD_ERROR] * 2
    return record


@provokes(Reason.WORKER_LOST)
def test_a_third_lost_worker_ends_a_record_whose_retries_are_used_up(server: Server, stage: Stage) -> None:
    record = lose_and_fail(server, stage, {"do": "die", "number": signal.SIGKILL})
    assert failure(record, Reason.WORKER_LOST).metadata == {"exit": "signal 9 (SIGKILL)"}


@provokes(Reason.RECORD_ERROR)
def test_a_third_failure_ends_a_record_that_lost_two_workers(server: Server, stage: Stage) -> None:
    failure(lose_and_fail(server, stage, {"do": "refuse", "code": 14}), Reason.RECORD_ERROR)


def next_actor(stage: Stage, attempt: int) -> Actor:
    """The next record that runs, which must be at this attempt."""
    actor = stage.enter()
    assert actor.attempt == attempt
    return actor


# -- when -------------------------------------------------------------------------------------------------------------


def test_a_retry_waits_and_is_seen_to_wait(server: Server, stage: Stage) -> None:
    """Until its time it is PENDING with the attempts it had; nothing says that its task lacks anything."""
    name = server.submit("act", failing(1), stage.record, task=retrying(1, backoff=HOUR))
    actor = next_actor(stage, 1)
    eventually(lambda: server.record(name, 0).attempt == 1, SECONDS, "the first attempt is known")
    record = server.record(name, 0)
    assert (record.state, record.attempt, record.HasField("error")) == (R.PENDING, 1, False)
    assert server.info(name).counts == RecordCounts(total=2, pending=1, running=1)
    actor.go(**WELL)
    eventually(lambda: server.record(name, 1).state == R.SUCCEEDED, SECONDS, "the other one ends")
    info = server.info(name)
    assert (info.state, info.waiting_reason) == (State.RUNNING, State.WAITING_REASON_UNSPECIFIED)
    assert info.counts == RecordCounts(total=2, pending=1, succeeded=1)
    server.cancel(name)
    assert server.finish(name).info.counts == RecordCounts(total=2, succeeded=1, cancelled=1)


def test_a_retry_begins_when_its_wait_is_over(server: Server) -> None:
    run = server.run("act", failing(2), task=retrying(2, backoff=Duration(nanos=200_000_000)))
    found = server.attempts(run.info.name)
    assert [each.attempt for each in found] == [1, 2, 3]
    for before, after in pairwise(found):
        waited = (after.start_time.ToNanoseconds() - before.end_time.ToNanoseconds()) / 1e9
        assert 0.1 <= waited < SECONDS


def test_a_retry_in_an_hour_holds_up_neither_slots_nor_a_shutdown(tmp_path: pathlib.Path) -> None:
    with running(tmp_path, workers=1) as server:
        name = server.submit("act", failing(1), task=retrying(1, backoff=HOUR))
        eventually(lambda: server.record(name, 0).attempt == 1, SECONDS, "the first attempt is known")
        assert server.run("act", WELL).only.output.text == "well"
        assert server.info(name).waiting_reason == State.WAITING_REASON_UNSPECIFIED
        server.process.signal(signal.SIGTERM)
        assert server.process.wait() == 0
    with running(tmp_path, workers=1) as server:
        assert server.run("act", WELL).only.output.text == "well"
        record = server.record(name, 0)
        assert (record.state, record.attempt) == (R.PENDING, 1)
        server.cancel(name)
        run = server.finish(name)
        assert (run.only.state, run.only.attempt) == (R.CANCELLED, 1)
        assert [(each.attempt, each.state) for each in server.attempts(name)] == [(1, R.FAILED)]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_restart_between_failure_and_retry(tmp_path: pathlib.Path, how: int) -> None:
    """No attempt is lost or doubled; what became due meanwhile begins."""
    with running(tmp_path, workers=1) as server:
        name = server.submit("act", failing(2), WELL, task=retrying(2, backoff=Duration(seconds=1)))
        eventually(lambda: server.record(name, 0).attempt == 1, SECONDS, "the first attempt is known")
        server.process.signal(how)
        server.process.wait()
    with running(tmp_path, workers=1) as server:
        run = server.finish(name)
        assert [each.attempt for each in run.records] == [3, 1]
        found = server.attempts(name)
        assert [(each.attempt, each.state) for each in found] == [(1, R.FAILED), (2, R.FAILED), (3, R.SUCCEEDED)]
        for before, after in pairwise(found):
            assert after.start_time.ToNanoseconds() - before.end_time.ToNanoseconds() >= 500_000_000


# -- the other verbs --------------------------------------------------------------------------------------------------


def test_a_record_that_fails_in_a_pause_waits_for_the_resume(server: Server, stage: Stage) -> None:
    name = server.submit("act", stage.record, task=retrying(1))
    actor = next_actor(stage, 1)
    server.tasks.PauseBatchTask(service.PauseBatchTaskRequest(name=name), timeout=SECONDS)
    assert server.info(name).state == State.PAUSING
    actor.go(do="refuse", code="UNAVAILABLE")
    eventually(lambda: server.info(name).state == State.PAUSED, SECONDS, "the task is paused")
    assert server.info(name).counts == RecordCounts(total=1, pending=1)
    server.tasks.ResumeBatchTask(service.ResumeBatchTaskRequest(name=name), timeout=SECONDS)
    next_actor(stage, 2).go(**WELL)
    assert server.finish(name).only.attempt == 2


def test_a_cancel_interrupts_an_attempt(server: Server, stage: Stage) -> None:
    name = server.submit("act", stage.record, task=retrying(5))
    next_actor(stage, 1).go(do="refuse", code="UNAVAILABLE")
    next_actor(stage, 2)
    server.cancel(name)
    run = server.finish(name)
    assert (run.only.state, run.only.attempt) == (R.CANCELLED, 2)
    first, second = server.attempts(name)
    check_attempt(first, 1, R.FAILED)
    check_attempt(second, 2, R.CANCELLED)
    assert Answer(second.error).reason is Reason.WORKER_KILLED
    assert Answer(second.error).metadata["stop_reason"] == "CANCEL"
    assert second.worker


def test_the_settings_of_now_hold_for_tasks_that_run(server: Server, stage: Stage) -> None:
    name = server.submit("act", stage.record, task=retrying(0))
    actor = next_actor(stage, 1)
    update = service.UpdateBatchTaskRequest(batch_task=retrying(1, name=name))
    update.update_mask.paths.append("constraints.max_retry_count")
    server.tasks.UpdateBatchTask(update, timeout=SECONDS)
    actor.go(do="refuse", code="UNAVAILABLE")
    next_actor(stage, 2).go(**WELL)
    assert server.finish(name).only.attempt == 2


def test_attempts_of_every_generation_are_kept(server: Server) -> None:
    name = server.run("act", failing(9), WELL, task=retrying(1)).info.name
    for _ in range(2):
        server.tasks.ReactivateBatchTask(service.ReactivateBatchTaskRequest(name=name), timeout=SECONDS)
        assert server.finish(name).info.state == State.SUCCEEDED
    found = server.attempts(name)
    assert [(each.generation, each.attempt) for each in found] == [(g, n) for g in (1, 2, 3) for n in (1, 2)]
    assert {each.state for each in found} == {R.FAILED}
    assert [(each.generation, each.attempt) for each in server.attempts(name, 1)] == [(1, 1)]


# -- ListRecordAttempts -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tireless(server: Server) -> str:
    """A task whose record 0 was tried 131 times without end."""
    run = server.run("act", failing(130), WELL, task=retrying(-1))
    assert [each.attempt for each in run.records] == [131, 1]
    return run.info.name


def test_the_last_hundred_attempts_are_kept(server: Server, tireless: str) -> None:
    found = server.attempts(tireless)
    assert [each.attempt for each in found] == list(range(32, 132))
    assert [each.state for each in found] == [R.FAILED] * 99 + [R.SUCCEEDED]


@pytest.mark.parametrize("size", [1, 7, 99, 100, 1000, 5000])
def test_attempts_come_in_pages(server: Server, tireless: str, size: int) -> None:
    assert server.attempts(tireless, size=size) == server.attempts(tireless)


def refused(server: Server, **fields: Any) -> Answer:
    with pytest.raises(grpc.RpcError) as caught:
        server.tasks.ListRecordAttempts(service.ListRecordAttemptsRequest(**fields), timeout=SECONDS)
    return answer(caught.value)


@provokes(Reason.INVALID_TOKEN)
def test_a_token_is_good_for_its_record_alone(server: Server, tireless: str) -> None:
    request = service.ListRecordAttemptsRequest(parent=f"{tireless}/records/0", page_size=1)
    token = server.tasks.ListRecordAttempts(request, timeout=SECONDS).next_page_token
    records = service.ListRecordsRequest(parent=tireless, page_size=1)
    other = server.tasks.ListRecords(records, timeout=SECONDS).next_page_token
    for parent, wrong in ((f"{tireless}/records/1", token), (f"{tireless}/records/0", other)):
        found = refused(server, parent=parent, page_token=wrong)
        assert (found.code, found.field) == (Code.INVALID_ARGUMENT, "page_token")


@provokes(Reason.INVALID_FIELD)
def test_requests_that_are_wrong(server: Server, tireless: str) -> None:
    for fields, field in (
        ({"parent": ""}, "parent"),
        ({"parent": tireless}, "parent"),
        ({"parent": f"{tireless}/records/-1"}, "parent"),
        ({"parent": f"{tireless}/records/-"}, "parent"),
        ({"parent": f"{tireless}/records/0", "page_size": -1}, "page_size"),
    ):
        found = refused(server, **fields)
        assert (found.code, found.field) == (Code.INVALID_ARGUMENT, field)


@provokes(Reason.RESOURCE_NOT_FOUND)
def test_records_that_are_not_there(server: Server, tireless: str) -> None:
    for parent in (f"{tireless}/records/2", f"{tireless}x/records/0"):
        found = refused(server, parent=parent)
        assert (found.code, found.reason) == (Code.NOT_FOUND, Reason.RESOURCE_NOT_FOUND)


def test_a_record_that_never_ran_has_no_attempts(server: Server) -> None:
    name = server.submit("act", WELL, start=False)
    assert server.attempts(name) == []
    assert limits.RECORD_ATTEMPTS == 100
