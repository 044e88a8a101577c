"""Does a command get its record, and does the record get what the command did?"""

from __future__ import annotations

import os
import pathlib
import sys
from typing import Any

import pytest
from google.protobuf import any_pb2, struct_pb2, wrappers_pb2

from batchyard_worker import process as process_module
from batchyard_worker.command_kind import CommandHandler
from batchyard_worker.context import Context
from batchyard_worker.v1 import worker_pb2
from batchyard_worker.wire import Ended
from tests.support import zoo
from tests.unit.worker.test_errors import read

Payload = worker_pb2.Payload
MARK = "BATCHYARD_TEST_COMMAND"


def run(argv: list[str], record: worker_pb2.Payload | None = None, **load: Any) -> Ended:
    handler = CommandHandler(worker_pb2.Load(kind="command", argv=argv, **load))
    execute, parameters = handler.prepare(b"", b"")
    assert parameters is None
    return execute(record or Payload(), Context(0, "", 1, 1))


def output(ended: Ended) -> worker_pb2.Payload:
    assert ended.error is None
    assert ended.exit_code == 0
    assert ended.output is not None
    return Payload.FromString(ended.output)


def failure(ended: Ended) -> tuple[str, int, str]:
    """Reason, code and message."""
    assert ended.output is None
    assert ended.error is not None
    status, info, _ = read(ended.error)
    return info.reason, status.code, status.message


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code.replace("{", "{{").replace("}", "}}"), *arguments]


# ---------------------------------------------------------------------------------------------------------- input


@pytest.mark.parametrize(
    ("record", "stdin"),
    [
        (Payload(), b""),
        (Payload(text=' {"a":  1} '), b' {"a":  1} '),
        (Payload(text="x,y", content_type="text/csv"), b"x,y"),
        (Payload(data=b"\xff\0"), b"\xff\0"),
        (Payload(json=struct_pb2.Value(string_value="ä").SerializeToString()), '"ä"'.encode()),
        (Payload(json=struct_pb2.Value(number_value=3).SerializeToString()), b"3"),
        (Payload(json=b""), b"null"),
    ],
)
def test_standard_input(record: worker_pb2.Payload, stdin: bytes) -> None:
    code = "import sys; sys.stdout.write(sys.stdin.buffer.read().hex())"
    assert output(run(python(code), record)).text == stdin.hex()


def test_standard_input_of_a_message_is_the_any() -> None:
    packed = any_pb2.Any()
    packed.Pack(wrappers_pb2.StringValue(value="x"))
    ended = run(["cat"], Payload(message=packed.SerializeToString()))
    assert any_pb2.Any.FromString(output(ended).text.encode()) == packed


def test_arguments_reach_the_program_as_they_are(tmp_path: pathlib.Path) -> None:
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    record = Payload(text='{"a": "x y\'\\"$(id)", "b": 2}')
    ended = run(python(code, "{a}", "--b={b}", "*", "$HOME", "{{a}}"), record)
    assert output(ended).text == '["x y\'\\"$(id)", "--b=2", "*", "$HOME", "{a}"]\n'


@pytest.mark.parametrize(
    "record", [Payload(), Payload(text="[1]"), Payload(text="1"), Payload(data=b'{"a":1}'),
               Payload(text='{"a":1}', content_type="text/plain"), Payload(text='{"b":1}'), Payload(text='{"a":null}'),
               Payload(text='{"a":"-x"}')],
)  # fmt: skip
def test_records_that_fill_no_placeholder(record: worker_pb2.Payload) -> None:
    assert failure(run(["echo", "{a}"], record))[:2] == ("INVALID_PLACEHOLDER", 3)


def test_dashes_where_they_are_allowed() -> None:
    assert output(run(["printf", "%s", "{a}"], Payload(text='{"a": "-x"}'), dash_values=True)).text == "-x"


def test_an_argument_that_the_kernel_refuses() -> None:
    ended = run(["echo", "{a}"], Payload(text=f'{{"a": "{"x" * 500_000}"}}'))
    assert failure(ended)[0] == "INVALID_PLACEHOLDER"
    assert ended.exit_code is None


@pytest.mark.parametrize(
    "record",
    [
        Payload(text="{"),
        Payload(json=b"\x0b"),
        Payload(json=struct_pb2.Value(number_value=float("nan")).SerializeToString()),
    ],
)
def test_records_that_are_not_json(record: worker_pb2.Payload) -> None:
    assert failure(run(["cat"], record))[:2] == ("INPUT_NOT_JSON", 3)


def test_a_program_that_does_not_read() -> None:
    assert output(run(["true"], Payload(data=b"x" * 1_000_000))).text == ""


def test_a_large_record_goes_through_and_comes_back() -> None:
    data = os.urandom(500_000)
    assert output(run(["cat"], Payload(data=data))).data == data


# --------------------------------------------------------------------------------------------------------- output


def test_output_is_text_of_the_handlers_type() -> None:
    assert output(run(["echo", "ä"])) == Payload(content_type="text/plain", text="ä\n")
    assert output(run(["echo", "1"], output_type="application/json")) == Payload(
        content_type="application/json", text="1\n"
    )


def test_output_that_is_not_utf8_is_data() -> None:
    ended = run(["printf", "\\377\\000"], output_type="text/csv")
    assert output(ended) == Payload(content_type="application/octet-stream", data=b"\xff\0")


def test_no_output_is_empty_text() -> None:
    assert output(run(["true"])) == Payload(content_type="text/plain", text="")


@pytest.mark.parametrize("code", [1, 3, 255])
def test_exit_codes(code: int) -> None:
    ended = run(["sh", "-c", f"echo out; echo first >&2; echo last >&2; exit {code}"])
    assert failure(ended) == ("NONZERO_EXIT", 2, f"exit code {code}: first\nlast")
    assert ended.exit_code == code
    assert ended.error is not None
    assert read(ended.error)[1].metadata["exit_code"] == str(code)


def test_an_end_by_a_signal() -> None:
    ended = run(["sh", "-c", "kill -9 $$"])
    assert failure(ended) == ("NONZERO_EXIT", 2, "ended by signal 9 (SIGKILL)")
    assert ended.exit_code == -9


def test_an_end_by_a_signal_without_a_name() -> None:
    assert failure(run(["sh", "-c", "kill -40 $$"]))[2] == "ended by signal 40"


def test_of_standard_error_the_tail_is_kept() -> None:
    code = "import os; os.write(2, b'a' * 60_000); os.write(2, b'b' * 4000 + b'\\xe4'); os._exit(1)"
    message = failure(run(python(code), max_error_bytes=100_000))[2]
    assert message == "exit code 1: " + "a" * 95 + "b" * 4000 + "�"


def test_too_much_output_ends_the_program() -> None:
    ended = run(["yes"], max_output_bytes=100_000)
    assert failure(ended) == ("OUTPUT_TOO_LARGE", 8, "the output has more than 100000 bytes, 100000 are allowed")
    assert ended.exit_code == -9


def test_a_little_too_much_output() -> None:
    ended = run(["head", "-c", "99990", "/dev/zero"], max_output_bytes=100_000)
    assert failure(ended)[0] == "OUTPUT_TOO_LARGE"
    assert ended.exit_code == 0


def test_endless_standard_error_takes_no_memory() -> None:
    code = "import os\nfor _ in range(3000): os.write(2, b'x' * 65536)\n"
    assert output(run(python(code))).text == ""


# ------------------------------------------------------------------------------------------------------- programs


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "argv is empty"),
        (["{program}"], "cannot have placeholders"),
        (["echo", "{"], "single brace"),
        (["/no/such/program"], "no such program"),
        (["no-such-program"], "no such program"),
        (["/etc/passwd"], "no such program, or it is not executable"),
    ],
)
def test_handlers_that_cannot_be_loaded(argv: list[str], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        CommandHandler(worker_pb2.Load(kind="command", argv=argv))


def test_a_program_that_cannot_be_started(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    ended = run([str(script)])
    assert failure(ended) == ("COMMAND_NOT_STARTED", 9, f"{script}: No such file or directory")
    assert ended.exit_code is None


def test_a_program_that_vanishes_after_it_was_loaded(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho here\n")
    script.chmod(0o755)
    handler = CommandHandler(worker_pb2.Load(kind="command", argv=[str(script)]))
    execute, _ = handler.prepare(b"", b"")
    assert output(execute(Payload(), Context(0, "", 1, 1))).text == "here\n"
    script.chmod(0o644)
    assert failure(execute(Payload(), Context(0, "", 1, 1)))[:2] == ("COMMAND_NOT_STARTED", 9)


# ------------------------------------------------------------------------------------------------------- children


@pytest.fixture(params=["pidfd", "no pidfd"])
def pidfd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "pidfd":
        monkeypatch.setattr(process_module, "_open_pidfd", lambda pid: None)


@pytest.mark.usefixtures("pidfd")
def test_children_in_its_session_end_with_it(tmp_path: pathlib.Path) -> None:
    mark = str(tmp_path)
    ended = run(["env", f"{MARK}={mark}", "sh", "-c", "sleep 1000 & sleep 1000 & echo done"])
    assert output(ended).text == "done\n"
    assert zoo.survivors(MARK, mark) == []


def daemon(mark: str, ready: pathlib.Path, program: str, then: str) -> list[str]:
    """A shell that starts a program in a session of its own, waits until it is there, and goes on."""
    script = f"setsid sh -c 'touch {ready}; exec {program}' & until [ -e {ready} ]; do :; done; {then}"
    return ["env", f"{MARK}={mark}", "sh", "-c", script]


@pytest.mark.usefixtures("pidfd")
def test_a_daemon_that_holds_the_pipes_does_not_hold_the_record(tmp_path: pathlib.Path) -> None:
    mark = str(tmp_path)
    ended = run(daemon(mark, tmp_path / "ready", "yes", "exit 4"))
    assert failure(ended)[0] in ("NONZERO_EXIT", "OUTPUT_TOO_LARGE")
    for pid in zoo.marked(MARK, mark):
        os.kill(pid, 9)
    assert zoo.survivors(MARK, mark) == []


@pytest.mark.usefixtures("pidfd")
def test_a_silent_daemon_lives_until_the_worker_ends(tmp_path: pathlib.Path) -> None:
    mark = str(tmp_path)
    assert output(run(daemon(mark, tmp_path / "ready", "sleep 1000", "echo done"))).text == "done\n"
    (pid,) = zoo.marked(MARK, mark)
    os.kill(pid, 9)
    assert zoo.survivors(MARK, mark) == []


@pytest.mark.usefixtures("pidfd")
def test_a_program_that_closes_its_streams_is_waited_for() -> None:
    code = "import os, select; os.closerange(0, 3); select.select([], [], [], 0.1); os._exit(5)"
    ended = run(python(code), Payload(data=b"x" * 100_000))
    assert ended.exit_code == 5
    assert failure(ended)[0] == "NONZERO_EXIT"


def open_descriptors() -> int:
    return sum(1 for _ in pathlib.Path("/proc/self/fd").iterdir())


def test_no_descriptor_is_left_open() -> None:
    before = open_descriptors()
    run(["cat"], Payload(data=b"x"))
    run(["yes"], max_output_bytes=10_000)
    assert open_descriptors() == before
