"""Both clients, the command line and the real server: what the scripted one promises is what happens."""

from __future__ import annotations

import hashlib
import itertools
import random
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

import batchyard
from batchyard import BatchTaskStatus, CancelledTasks, Client, InvalidFilterError, NewTask, Record, cli
from tests.support.eventually import eventually
from tests.support.proxy import Budget, CutProxy
from tests.support.server import SECONDS, Process, process

HANDLERS = """
[handlers.gated]
kind = "python"
callable = "gated:gated"
path = ["{folder}"]
"""
pytestmark = pytest.mark.xdist_group("real server")


def serve(folder: Path, stack: ExitStack, *arguments: str) -> Process:
    file = folder / "handlers.toml"
    file.write_text(HANDLERS.format(folder=Path(__file__).with_name("handlers")))
    return stack.enter_context(process(folder, "--handlers", str(file), *arguments))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with ExitStack() as stack:
        yield serve(tmp_path_factory.mktemp("real"), stack)


@pytest.fixture
def client(connect: Any, real: Process) -> Any:
    return connect(real.target, project=f"p{uuid.uuid4().hex[:12]}")


def test_what_a_record_wrote(client: Any) -> None:
    result = client.batch.run("gated", [{"say": "hällo"}, 1, {"say": "bye", "fail": "bad"}]).wait(poll_timeout=30)
    assert [result.log(index).partition("\n")[2] for index in range(3)] == ["INFO hällo\n", "", "INFO bye\n"]
    assert result.log(2).startswith("== attempt 1 of generation 1, ")
    with pytest.raises(batchyard.NotFoundError):
        result.log(3)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def until_waited(gate: Path) -> None:
    """Return once a record waits at the gate."""
    eventually(gate.with_suffix(".waited").exists, SECONDS)


def test_values_pass_through_the_handler(client: Any) -> None:
    message = StringValue(value="m")
    values = [{"a": [1, None, 2.5]}, [], "text", b"\x00\xff", 7, 2**80 + 1, True, None, "", b"", message, "é\n"]
    result = client.batch.run("echo", values, labels={"a": "b"}, display_name="d").wait(poll_timeout=30)
    assert list(result.outputs()) == values
    assert result.info.labels == {"a": "b"}
    assert result.info.display_name == "d"
    assert (result.counts.total, result.counts.succeeded) == (len(values), len(values))


def test_many_records_with_ids(client: Any) -> None:
    ids = [f"r{i}" for i in range(30_000)]
    seen: list[int] = []
    operation = client.batch.run("echo", ({"i": i} for i in range(30_000)), record_ids=ids)
    result = operation.wait(progress=lambda counts: seen.append(counts.succeeded), poll_interval=0.05, poll_timeout=60)
    assert seen == sorted(seen)
    assert [(r.index, r.record_id, r.output) for r in result.records()] == [
        (i, f"r{i}", {"i": i}) for i in range(30_000)
    ]
    assert sorted(record.index for record in operation.records(order="completion")) == list(range(30_000))
    first = next(iter(operation.records(view="full")))
    assert first.input == {"i": 0}
    assert operation.get_record(29_999).output == {"i": 29_999}


def test_partial_failure(client: Any) -> None:
    records = [{"fail": f"no {i}"} if i % 10 == 3 else i for i in range(100)]
    operation = client.batch.run("gated", records)
    result = operation.wait(poll_timeout=30)
    assert operation.get_status() is BatchTaskStatus.COMPLETED
    assert (result.counts.failed, result.counts.succeeded) == (10, 90)
    failed = sorted(result.failed(), key=lambda record: record.index)
    assert [record.index for record in failed] == list(range(3, 100, 10))
    some = result.records(filter="error.code = INVALID_ARGUMENT AND index >= 20 AND index < 50", view="full")
    assert [(record.index, record.input) for record in some] == [(i, {"fail": f"no {i}"}) for i in (23, 33, 43)]
    with pytest.raises(batchyard.InvalidArgumentError) as refused:
        list(result.records(filter="state = FAILED OR index = x"))
    assert refused.value.metadata == {"field": "filter", "position": "26"}
    error = failed[0].error
    assert isinstance(error, batchyard.HandlerRecordError)
    assert (error.code, error.message) == (3, "no 3")
    with pytest.raises(batchyard.HandlerRecordError):
        list(result.outputs())
    assert len(list(result.outputs(on_failure="skip"))) == 90


def test_a_task_that_fails(client: Any) -> None:
    operation = client.batch.run("gated", [{"fail": "a"}, {"fail": "b"}])
    with pytest.raises(batchyard.AllRecordsFailedError) as caught:
        operation.wait(poll_timeout=30)
    assert caught.value.error.code == 10
    assert len(list(caught.value.partial.failed())) == 2
    single = client.batch.run("gated", [{"fail": "only"}])
    with pytest.raises(batchyard.BatchTaskError) as caught:
        single.wait(poll_timeout=30)
    assert (caught.value.error.code, caught.value.partial.info.error.message) == (3, caught.value.error.message)


def test_cancel_and_delete(client: Any, gate: Path) -> None:
    operation = client.batch.run("gated", range(5), parameters=str(gate))
    until_waited(gate)
    with pytest.raises(batchyard.IllegalStateError):
        operation.delete()
    with pytest.raises(batchyard.WrongOperationStatusError):
        operation.get_result()
    with pytest.raises(TimeoutError):
        operation.wait(poll_timeout=0.2)
    operation.cancel()
    with pytest.raises(batchyard.BatchTaskCancelled) as caught:
        operation.wait(poll_timeout=30)
    assert operation.get_status() is BatchTaskStatus.CANCELED
    assert caught.value.partial.counts.cancelled == 5
    operation.cancel()
    operation.delete()
    with pytest.raises(batchyard.ResourceNotFoundError) as caught:
        operation.get_task_info()
    assert caught.value.detail.resource_name == operation.task_name


def test_listings(client: Any) -> None:
    assert list(client.batch.list_info()) == []
    made = [client.batch.run("echo", [1], task_id=f"t{i}") for i in range(5)]
    for operation in made:
        operation.wait(poll_timeout=30)
    assert [info.task_id for info in client.batch.list_info(page_size=2)] == ["t4", "t3", "t2", "t1", "t0"]
    assert [op.id for op in client.operations.list(page_size=2)] == [op.id for op in made[::-1]]
    assert {handler.handler_id for handler in client.handlers.list()} >= {"echo", "gated", "python_audit"}
    assert client.handlers.get("echo").available
    generic = client.operations.get(made[0].id)
    assert generic.get_status().is_succeeded
    assert list(generic.wait().outputs()) == [1]
    generic.delete()
    assert list(client.batch.get("t0").wait().outputs()) == [1]
    with pytest.raises(batchyard.ResourceExistsError):
        client.batch.run("echo", [1], task_id="T0")
    with pytest.raises(batchyard.ResourceNotFoundError):
        client.batch.run("nothing", [1])
    with pytest.raises(batchyard.InvalidFieldError) as caught:
        client.batch.run("echo", [1], labels={"Bad Key": ""})
    assert "labels" in caught.value.detail.field_violations[0].field


def test_listings_by_filter_and_order(client: Any) -> None:
    for number, (records, priority) in enumerate((([1], 1), ([{}], None), (["x", "y"], -1), ([2], 1))):
        client.batch.run("echo", records, task_id=f"t{number}", priority=priority).wait(poll_timeout=30)
    client.batch.run("echo", [1], task_id="draft", start=False, labels={"team": "a"})

    def found(**asked: Any) -> list[str]:
        ids = [info.task_id for info in client.batch.list_info(page_size=1, **asked)]
        assert [operation.task_id for operation in client.batch.list_operations(**asked)] == ids
        pages = client.batch.info_pages(filter=asked.get("filter", ""), order_by=asked.get("order_by", ""))
        assert "status" in asked or [task.name.rpartition("/")[2] for page in pages for task in page.batch_tasks] == ids
        return ids

    assert found(filter="priority > 0") == ["t3", "t0"]
    assert found(filter='id = "t*"', order_by="priority desc") == ["t0", "t3", "t1", "t2"]
    assert found(filter="labels:team OR counts.total > 1", order_by="id") == ["draft", "t2"]
    assert found(status="created") == ["draft"]
    assert found(status="completed", filter="priority:*", order_by="create_time") == ["t0", "t2", "t3"]
    assert found(status=BatchTaskStatus.UNKNOWN) == []
    with pytest.raises(batchyard.InvalidArgumentError, match="there is no field 'sate'"):
        found(filter="sate = FAILED")
    with pytest.raises(batchyard.InvalidArgumentError, match="at character 0"):
        found(order_by="colour")


def test_repeating_a_run(client: Any) -> None:
    for count in (10, 9000):
        request_id = str(uuid.uuid4())

        def broken(count: int = count) -> Iterator[int]:
            yield from range(count * 8 // 9)
            raise KeyError("power cut")

        with pytest.raises(KeyError):
            client.batch.run("echo", broken(), request_id=request_id)
        first = client.batch.run("echo", range(count), request_id=request_id)
        again = client.batch.run("echo", range(count), request_id=request_id)
        assert first.task_name == again.task_name
        assert list(again.wait(poll_timeout=60).outputs()) == list(range(count))
        with pytest.raises(batchyard.RequestIdReusedError):
            client.batch.run("echo", range(count), request_id=request_id, display_name="other")


def test_a_draft(client: Any) -> None:
    operation = client.batch.run("echo", [], start=False)
    assert operation.get_status() is BatchTaskStatus.CREATED
    with pytest.raises(batchyard.NoRecordsError):
        operation.start()
    assert operation.append([Record(1, "a")]) == 1
    with pytest.raises(batchyard.DuplicateRecordIdError):
        operation.append([Record(2, "a")], timeout=5)
    assert operation.append(range(7000), skip_appended=True) == 7000
    operation.start()
    operation.start()
    assert len(list(operation.wait(poll_timeout=60).outputs())) == 7000


def test_a_duplicate_id_in_a_stream_says_so(client: Any) -> None:
    with pytest.raises(batchyard.DuplicateRecordIdError):
        client.batch.run("echo", range(20_000), record_ids=[str(i % 15_000) for i in range(20_000)], timeout=10)


@pytest.mark.parametrize("seed", [1, 2])
def test_an_upload_through_a_connection_that_breaks(connect: Any, real: Process, seed: int) -> None:
    chance = random.Random(seed)
    budgets = [Budget(up=int(chance.expovariate(1 / 1_500_000))) for _ in range(15)]
    with CutProxy(real.target, budgets) as proxy:
        client = connect(proxy.target, project=f"cut{seed}-{uuid.uuid4().hex[:8]}")
        operation = client.batch.run("echo", ({"i": i, "filler": "x" * 500} for i in range(20_000)))
        assert proxy.cuts["up"] > 3
        seen = hashlib.sha256()
        for record in operation.records(view="full"):
            seen.update(repr(record.input).encode())
        operation.wait(poll_timeout=60)
    expected = hashlib.sha256()
    for i in range(20_000):
        expected.update(repr({"i": i, "filler": "x" * 500}).encode())
    assert seen.hexdigest() == expected.hexdigest()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_wait_outlives_the_server(connect: Any, tmp_path: Path, gate: Path, number: signal.Signals) -> None:
    with ExitStack() as stack:
        first = serve(tmp_path, stack)
        client = connect(first.target)
        operation = client.batch.run("gated", [1, 2], parameters=str(gate))
        results: list[Any] = []
        waiter = threading.Thread(target=lambda: results.append(list(operation.wait(poll_timeout=60).outputs())))
        waiter.start()
        until_waited(gate)
        first.signal(number)
        if number == signal.SIGTERM:
            gate.touch()  # or it would drain for half a minute
        first.wait()
        serve(tmp_path, stack, "--listen", first.target)
        gate.touch()
        waiter.join()
    assert results == [[1, 2]]


def test_many_tasks_at_once(client: Any) -> None:
    given = [NewTask("echo", [n], task_id=f"t{n}") for n in range(1200)]
    given.insert(3, NewTask("nowhere", [1]))
    given.append(NewTask("echo", [], start=False))
    request_id = str(uuid.uuid4())
    made = list(client.batch.run_many(given, request_id=request_id))
    assert [each.index for each in made if each.error] == [3]
    assert isinstance(made[3].error, batchyard.NotFoundError)
    assert list(made[-2].get().wait(poll_timeout=60).outputs()) == [1199]
    again = list(client.batch.run_many(given, request_id=request_id))
    assert [each.operation and each.operation.id for each in again] == [
        each.operation and each.operation.id for each in made
    ]
    counts = client.batch.counts()
    assert counts.draft == 1
    assert counts.queued + counts.running + counts.succeeded == 1200


def test_the_command_line(real: Process, tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text('{"id": "a"}\n{"id": "b", "fail": "why"}\n')
    project = f"c{uuid.uuid4().hex[:8]}"
    command = [sys.executable, "-m", "batchyard.cli", "--target", real.target, "--project", project]

    def run(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    code, out, _ = run("submit", str(file), "--handler", "gated", "--id-field", "id", "--wait", "--task-id", "one")
    assert code == 3
    assert "records:        2: 1 succeeded, 1 failed" in out
    assert run("results", "one")[1] == '0\ta\tSUCCEEDED\t{"id": "a"}\n1\tb\tFAILED\twhy\n'
    assert run("results", "one", "--filter", 'record_id = "b"')[1] == "1\tb\tFAILED\twhy\n"
    code, _, err = run("results", "one", "--filter", "state = WELL")
    assert code == 1
    assert err.endswith(" at character 8 (INVALID_ARGUMENT / INVALID_FILTER)\n")
    assert run("submit", str(file), "--handler", "echo", "--wait", "--json")[0] == 0
    file.write_text('{"fail": "why"}\n')
    assert run("submit", str(file), "--handler", "gated", "--wait", "--task-id", "two")[0] == 1
    assert len(run("list", "--json")[1].splitlines()) == 3
    assert "SUCCEEDED\t2" in run("counts")[1]
    assert run("delete", "two") == (0, "", "")
    assert run("wait", "two")[0] == 1
    assert "echo" in run("handlers")[1]


def test_one_client_in_many_threads(real: Process) -> None:
    with Client(real.target, project=f"t{uuid.uuid4().hex[:8]}") as client:
        results: dict[int, list[Any]] = {}

        def work(number: int) -> None:
            results[number] = list(client.batch.run("echo", [number] * 50).wait(poll_timeout=60).outputs())

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {number: [number] * 50 for number in range(8)}


def test_filters_of_watches_operations_and_cancels(client: Any) -> None:
    """Drafts of two teams; those of one are stopped, and whoever watches them is told of nothing else."""
    drafts = {
        team: [client.batch.run("echo", [n], labels={"team": team}, start=False).task_name for n in range(3)]
        for team in ("red", "blue")
    }
    shown = list(itertools.islice(client.batch.watch(filter="labels.team=red"), 4))
    assert [each.batch_task for each in shown] == [*reversed(drafts["red"]), ""]
    counted = client.batch.cancel_many("labels.team=red", validate_only=True)
    assert counted == CancelledTasks(3, tuple(reversed(drafts["red"])))
    assert client.batch.cancel_many("labels.team=red", reason="late") == counted
    told = list(itertools.islice(client.batch.watch(filter="labels.team=red", resume_token=shown[-1].resume_token), 3))
    assert {each.batch_task for each in told} == set(drafts["red"])
    assert {each.error.message for each in told} == {"the batch task was cancelled: late"}
    assert len(list(client.operations.list(filter="done=true AND error.code=CANCELLED"))) == 3
    assert len(list(client.operations.list(filter="done=false", page_size=2))) == 3
    with pytest.raises(InvalidFilterError):
        next(iter(client.operations.list(filter="done")))
    assert client.batch.cancel_many("*").count == 3


def test_what_is_refused_is_said_once_and_before_anything_is_shown(
    real: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--target", real.target, "list", "--filter", "colour = 1"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("batchyard: filter: there is no field 'colour'")
    assert err.count("colour") == 1
    assert err.endswith(", at character 0 (INVALID_ARGUMENT / INVALID_FILTER)\n")


def test_nothing_found_is_an_empty_table(real: Process, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--target", real.target, "--project", "nobodys", "list"]) == 0
    out, _ = capsys.readouterr()
    assert out.splitlines() == ["task\tstate\thandler\tended\trecords\tfailed\tcreated\tdisplay name\tarchived"]
