"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from batchyard import BatchTaskState, _cli_json
from batchyard.v1 import payload_pb2
from tests.client.fake_operations import status_of
from tests.client.fake_server import FakeServer, State

TASK = "projects/default/batchTasks/t000000"


@pytest.fixture
def file(tmp_path: Any) -> str:
    path = tmp_path / "records.jsonl"
    path.write_text('{"id": "a", "n": 12345678901234567890123}\n\n{"id": "b"}\n')
    return str(path)


def test_submit_and_read(run: Any, server: FakeServer, file: str) -> None:
    options = ["--label", "team=x", "--display-name", "mine", "--record-timeout", "2", "--parameters", '{"p": 1}']
    assert run("submit", file, "--handler", "echo", "--id-field", "id", *options) == (0, "t000000\n", "")
    task = server.tasks[TASK]
    assert [record.record_id for record in task.inputs] == ["a", "b"]
    assert task.inputs[0].payload == payload_pb2.Payload(text='{"id": "a", "n": 12345678901234567890123}')
    assert task.info.parameters.text == '{"p":1}'
    code, out, _ = run("get", "t000000")
    assert code == 0
    assert "state:          QUEUED" in out
    assert "labels:         team=x" in out
    code, out, _ = run("--json", "get", "t000000")
    assert json.loads(out)["counts"] == {
        "total": 2,
        "pending": 2,
        "running": 0,
        "succeeded": 0,
        "failed": 0,
        "cancelled": 0,
    }
    server.echo(TASK)
    code, out, _ = run("results", "t000000")
    assert out.splitlines()[1] == '1\tb\tSUCCEEDED\t{"id": "b"}'
    code, out, _ = run("results", "t000000", "--json", "--input", "--limit", "1")
    record = json.loads(out)
    assert record["input"] == record["output"] == {"id": "a", "n": 12345678901234567890123}
    code, out, _ = run("list")
    assert out.splitlines()[1].split("\t")[:6] == ["t000000", "SUCCEEDED", "echo", "2", "2", "0"]
    assert len(run("list", "--json", "--state", "SUCCEEDED")[1].splitlines()) == 1
    assert run("list", "--json", "--state", "queued")[1] == ""
    run("list", "--filter", "priority > 0", "--order-by", "end_time desc", "--state", "failed")
    asked = server.last["StreamBatchTasks"]
    assert (asked.filter, asked.order_by) == ("(priority > 0) AND state = FAILED", "end_time desc")
    assert run("delete", "t000000")[:2] == (0, "")
    assert run("list", "--json")[1] == ""


def test_stdin_is_a_file(server: FakeServer) -> None:
    command = [sys.executable, "-m", "batchyard.cli", "--target", server.target, "submit", "-", "--handler", "echo"]
    done = subprocess.run(command, input='1\n"two"\n', capture_output=True, text=True, check=True)
    assert done.stdout == "t000000\n"
    assert [record.payload.text for record in server.tasks[TASK].inputs] == ["1", '"two"']


@pytest.mark.parametrize(("failures", "code"), [(0, 0), (1, 3)], ids=["all succeeded", "some failed"])
def test_exit_codes_of_success(run: Any, server: FakeServer, file: str, failures: int, code: int) -> None:
    run("submit", file, "--handler", "echo")
    for index in range(2):
        error = status_of(3, "bad\nline", "RECORD_ERROR") if index < failures else None
        server.complete(TASK, index, server.tasks[TASK].inputs[index].payload, error)
    server.end(TASK, State.SUCCEEDED)
    got, out, err = run("wait", "t000000")
    assert (got, err) == (code, "")
    assert "state:          SUCCEEDED" in out
    for chosen in (["--failed"], ["--filter", "state = FAILED"]):
        failed = run("results", "t000000", *chosen)[1].splitlines()
        assert failed == ["0\t\tFAILED\tbad line"][:failures]


def test_submit_and_wait(run: Any, server: FakeServer, file: str) -> None:
    real = server.CreateBatchTask

    def create(request: Any, context: Any) -> Any:
        operation = real(request, context)
        server.echo(TASK)
        return operation

    server.CreateBatchTask = create  # type: ignore[method-assign]
    server.restart()
    code, out, err = run("submit", file, "--handler", "echo", "--wait", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["state"] == "SUCCEEDED"


def test_exit_code_of_a_failed_task(run: Any, server: FakeServer, file: str) -> None:
    run("submit", file, "--handler", "echo")
    server.end(TASK, State.FAILED, status_of(10, "all 2 records failed", "ALL_RECORDS_FAILED"))
    code, _, err = run("wait", "t000000")
    assert code == 1
    assert err.splitlines()[-1] == "batchyard: the task failed: all 2 records failed (code 10)"


def test_exit_code_of_a_cancelled_task(run: Any, server: FakeServer, file: str) -> None:
    run("submit", file, "--handler", "echo")
    assert run("cancel", "t000000") == (0, "", "")
    code, _, err = run("wait", "t000000")
    assert code == 1
    assert err.splitlines()[-1] == "batchyard: the task was cancelled: cancelled (code 1)"
    assert json.loads(run("cancel", "t000000", "--json")[1])["state"] == "CANCELLED"


def test_exit_code_of_a_timeout(run: Any, server: FakeServer, file: str) -> None:
    run("submit", file, "--handler", "echo")
    code, out, err = run("wait", "t000000", "--poll-timeout", "0.1")
    assert (code, out) == (4, "")
    assert err.startswith("batchyard: operation op-t000000 has not ended")


def test_exit_code_of_an_interrupt(server: FakeServer, file: str) -> None:
    command = [sys.executable, "-m", "batchyard.cli", "--target", server.target]
    process = subprocess.Popen(
        [*command, "submit", file, "--handler", "echo", "--wait"], stderr=subprocess.PIPE, text=True
    )
    server.until(lambda: server.waiting == 1)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.splitlines() == ["task t000000", "batchyard: interrupted; task t000000 goes on"]
    server.until(lambda: server.waiting == 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["get", "nope"], f"{TASK[:-7]}nope not found (NOT_FOUND / RESOURCE_NOT_FOUND)"),
        (["submit", "/no/such/file", "--handler", "echo"], "/no/such/file: No such file or directory"),
        (["submit", "FILE", "--handler", "missing"], "no such handler (NOT_FOUND / RESOURCE_NOT_FOUND)"),
        (["submit", "FILE", "--handler", "echo", "--parameters", "{"], "--parameters: not JSON: "),
        (["submit", "FILE", "--handler", "echo", "--id-field", "n"], "FILE:3: no string or integer under 'n'"),
        (["list", "--target", "127.0.0.1:1", "--timeout", "0.3"], "no server answers at 127.0.0.1:1"),
    ],
)
def test_errors_are_one_line(run: Any, file: str, arguments: list[str], message: str) -> None:
    code, out, err = run(*[file if each == "FILE" else each for each in arguments])
    assert (code, out) == (1, "")
    assert err.startswith("batchyard: " + message.replace("FILE", file))
    assert err.count("\n") == 1


def test_a_refusal_names_its_field(run: Any, tmp_path: Any) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    code, _, err = run("submit", str(empty), "--handler", "echo")
    assert code == 1
    assert err == "batchyard: no records; records: empty (INVALID_ARGUMENT / NO_RECORDS)\n"


@pytest.mark.parametrize("text", [b"{", b"\xff", b"NaN"])
def test_a_line_that_is_not_json_is_named(run: Any, tmp_path: Any, text: bytes) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b"1\n" + text + b"\n")
    code, _, err = run("submit", str(path), "--handler", "echo")
    assert code == 1
    assert err.startswith(f"batchyard: {path}:2: not JSON: ")


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["submit", "x"], ["wait", "x", "--poll-timeout", "-1"], ["list", "--state", "x"]]
)
def test_wrong_usage(run: Any, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2


def test_a_reader_that_stops_reading(server: FakeServer) -> None:
    server.page = 1000
    command = [sys.executable, "-m", "batchyard.cli", "--target", server.target]
    lines = "".join(f'"{"x" * 500}"\n' for _ in range(2000))
    subprocess.run([*command, "submit", "-", "--handler", "echo"], input=lines, text=True, check=True)
    server.echo(TASK)
    process = subprocess.Popen([*command, "results", "t000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(20) == 0


def test_counts(run: Any, server: FakeServer, file: str) -> None:
    for _ in range(2):
        run("submit", file, "--handler", "echo")
    server.end(TASK, State.FAILED)
    code, out, err = run("counts")
    assert (code, err) == (0, "")
    assert out.splitlines()[:3] == ["state\ttasks", "DRAFT\t0", "QUEUED\t1"]
    assert dict(line.split("\t") for line in out.splitlines())["FAILED"] == "1"
    found = json.loads(run("counts", "--json", "--project", "other")[1])
    assert found.pop("name") == "projects/other/batchTaskCounts"
    assert found == dict.fromkeys((state.name.lower() for state in BatchTaskState if state), 0)


def test_handlers(run: Any) -> None:
    assert [line.split("\t")[0] for line in run("handlers")[1].splitlines()] == ["handler", "a", "b", "c"]
    assert json.loads(run("handlers", "--json")[1].splitlines()[0]) == {"name": "projects/default/handlers/a"}


def test_json_of_an_unknown_message_is_base64(run: Any, server: FakeServer, file: str) -> None:
    run("submit", file, "--handler", "echo")
    payload = payload_pb2.Payload()
    payload.message.type_url = "type.googleapis.com/no.such.Type"
    payload.message.value = b"\x01\x02"
    error = status_of(3, "bad", "RECORD_ERROR", kind="x")
    error.details.add(type_url="type.googleapis.com/no.such.Type", value=b"\xff")
    server.complete(TASK, 0, payload)
    server.complete(TASK, 1, error=error)
    first, second = (json.loads(line) for line in run("results", "t000000", "--json")[1].splitlines())
    encoded = base64.b64encode(b"\x01\x02").decode()
    assert first["output"] == {"@type": "type.googleapis.com/no.such.Type", "value": encoded}
    assert second["error"]["details"] == [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "RECORD_ERROR",
            "domain": "batchyard.dev",
            "metadata": {"kind": "x"},
        },
        {"@type": "type.googleapis.com/no.such.Type", "value": "/w=="},
    ]


def test_json_of_bytes_and_of_text_that_lies() -> None:
    assert _cli_json.plain_payload(payload_pb2.Payload(data=b"\xff", content_type="image/png")) == {
        "data": "/w==",
        "content_type": "image/png",
    }
    assert _cli_json.plain_payload(payload_pb2.Payload(text="{")) == "{"
