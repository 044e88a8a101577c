"""What does a `command` handler read, and what becomes of what it writes and how it exits?"""

from __future__ import annotations

import json
import os
import pathlib
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.payload_pb2 import Payload
from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.model import limits
from batchyard_server.model.errors import Code, Reason
from tests.rpc.runs import Server, as_payload, failure, json_value, message_payload, running
from tests.support import processes
from tests.support.errors import provokes
from tests.support.eventually import eventually

pytestmark = pytest.mark.xdist_group("outcomes-commands")
STDERR_TAIL = 4096
TOML = """\
[handlers.cat]
kind = "command"
argv = ["cat"]

[handlers.shell]
kind = "command"
argv = ["sh", "-c", "{script}"]

[handlers.args]
kind = "command"
argv = ["printf", "%s|", "{a}", "x{b}y{b}", "{{{a}}}", "", "$HOME; echo `id`"]

[handlers.dashes]
kind = "command"
argv = ["printf", "%s|", "{a}", "{long name}"]
dash_values = true
output_type = "text/csv; charset=utf-8"

[handlers.no_format]
kind = "command"
argv = ["FOLDER/no_format"]

[handlers.no_interpreter]
kind = "command"
argv = ["FOLDER/no_interpreter"]
"""
OTHER = ("text/plain", "application/jsonl", "text/x+json+x", "json")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("commands")
    for name, content in (("no_format", b"\0\1\2"), ("no_interpreter", b"#!/nowhere/at/all\n")):
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o755)
    with running(folder, TOML.replace("FOLDER", str(folder)), workers=2) as server:
        yield server


# -- what it reads, what it writes ------------------------------------------------------------------------------------

MESSAGE = message_payload("type.example.com/x.Y", b"\x01")
READ = (
    (Payload(text=' {"n" : 12345678901234567890123, "e":1.50}\n'), b' {"n" : 12345678901234567890123, "e":1.50}\n'),
    (Payload(text="[1]", content_type="application/json"), b"[1]"),
    (Payload(text='"\\u00e4ä"'), '"\\u00e4ä"'.encode()),
    *((Payload(text="{not json ä", content_type=each), "{not json ä".encode()) for each in OTHER),
    (Payload(text="", content_type="text/plain"), b""),
    (Payload(data=b"\x00\xff{"), b"\x00\xff{"),
    (Payload(data=b"{not json", content_type="application/json"), b"{not json"),
    (json_value('{"a": [1, 2.5, true, null, "ä", {}, [], 9007199254740992, -0.5, 1e300]}'),
     '{"a":[1,2.5,true,null,"ä",{},[],9007199254740992,-0.5,1e+300]}'.encode()),
    (json_value("3"), b"3"),
    (json_value("null"), b"null"),
    (MESSAGE, MESSAGE.message.SerializeToString()),
    (Payload(), b""),
    (Payload(content_type="application/json"), b""),
)  # fmt: skip


def test_what_a_command_reads(server: Server) -> None:
    run = server.run("cat", *(payload for payload, _ in READ))
    for (payload, wanted), record in zip(READ, run.records, strict=True):
        assert record.state == RecordInfo.SUCCEEDED, record
        assert (record.output.text.encode() or record.output.data) == wanted, payload
        assert record.input == payload
        assert record.HasField("exit_code")
        assert record.exit_code == 0


def test_a_record_of_a_megabyte_goes_through(server: Server) -> None:
    data = os.urandom(limits.RECORD.maximum - 64)
    assert server.run("cat", Payload(data=data)).only.output.data == data


def test_what_a_command_writes(server: Server) -> None:
    scripts = (
        ("printf 'gr\\303\\274n\\n'", Payload(text="grün\n", content_type="text/plain")),
        ("printf '{\"n\": 1}'", Payload(text='{"n": 1}', content_type="text/plain")),
        ("true", Payload(text="", content_type="text/plain")),
        ("printf '\\377x'", Payload(data=b"\xffx", content_type="application/octet-stream")),
        ("printf 'a\\0b'", Payload(text="a\0b", content_type="text/plain")),
        ("echo out; echo err >&2; exec >&-; sleep 0.01", Payload(text="out\n", content_type="text/plain")),
    )
    run = server.run("shell", *({"script": script} for script, _ in scripts))
    for (script, wanted), record in zip(scripts, run.records, strict=True):
        assert record.state == RecordInfo.SUCCEEDED, record
        assert record.output == wanted, script
        assert record.output.HasField("text") == wanted.HasField("text")


def test_arguments_are_filled_and_never_seen_by_a_shell(server: Server) -> None:
    rest = "||$HOME; echo `id`|"
    run = server.run(
        "args",
        {"a": "it's $(id) \"\\ *", "b": 1.5},
        {"a": True, "b": 12345678901234567890123},
        {"a": "", "b": "ä\n"},
        json_value('{"a": 3, "b": false}'),
        Payload(text='{"a": 1, "b": 2, "c": null}', content_type="application/vnd.x+json"),
    )
    assert [each.output.text for each in run.records] == [
        "it's $(id) \"\\ *|x1.5y1.5|{it's $(id) \"\\ *}" + rest,
        "true|x12345678901234567890123y12345678901234567890123|{true}" + rest,
        "|xä\nyä\n|{}" + rest,
        "3|xfalseyfalse|{3}" + rest,
        "1|x2y2|{1}" + rest,
    ]


def test_dashes_where_they_are_allowed(server: Server) -> None:
    (output,) = (each.output for each in server.run("dashes", {"a": "-rf", "long name": -1}).records)
    assert (output.text, output.content_type) == ("-rf|-1|", "text/csv; charset=utf-8")


# -- how it fails -----------------------------------------------------------------------------------------------------


@provokes(Reason.INPUT_NOT_JSON)
def test_json_that_is_none(server: Server) -> None:
    no_number = Payload()
    no_number.json.number_value = float("nan")
    for handler in ("cat", "args"):
        run = server.run(handler, Payload(text="{"), Payload(text="", content_type="a/b+json"))
        for record in run.records:
            assert failure(record, Reason.INPUT_NOT_JSON).code is Code.INVALID_ARGUMENT
            assert not record.HasField("exit_code"), "nothing was started"
    failure(server.run("cat", no_number).only, Reason.INPUT_NOT_JSON)


FILLED = {"a": "x", "b": "y"}


@provokes(Reason.INVALID_PLACEHOLDER)
@pytest.mark.parametrize(
    ("payload", "placeholder", "message"),
    [
        ({"a": "x"}, "b", "has no member 'b'"),
        ({}, "a", "has no member 'a'"),
        (FILLED | {"a": None}, "a", "is null"),
        (FILLED | {"b": {"c": 1}}, "b", "is an object"),
        (FILLED | {"b": [1]}, "b", "is an array"),
        (FILLED | {"a": "x\0y"}, "a", "NUL"),
        (FILLED | {"a": "-rf"}, "a", "begins with a dash"),
        (FILLED | {"b": -1}, "b", "begins with a dash"),
        ([1], "", "not a JSON object"),
        ("text", "", "not a JSON object"),
        (None, "", "not a JSON object"),
        (Payload(text=json.dumps(FILLED), content_type="text/plain"), "", "not a JSON object"),
        (Payload(data=json.dumps(FILLED).encode()), "", "not a JSON object"),
        (message_payload("type.example.com/x.Y", b""), "", "not a JSON object"),
        (Payload(), "", "not a JSON object"),
        (json_value('{"a": null, "b": 1}'), "a", "is null"),
        (FILLED | {"a": "x" * 200_000}, "", "too long"),
    ],
)
def test_a_placeholder_that_cannot_be_filled(server: Server, payload: Any, placeholder: str, message: str) -> None:
    record = server.run("args", payload).only
    found = failure(record, Reason.INVALID_PLACEHOLDER)
    assert found.code is Code.INVALID_ARGUMENT
    assert found.metadata == ({"placeholder": placeholder} if placeholder else {})
    assert message in found.status.message
    assert not record.HasField("exit_code")


@provokes(Reason.NONZERO_EXIT)
@pytest.mark.parametrize(
    ("script", "exit_code", "message"),
    [
        ("exit 3", 3, "exit code 3"),
        ("echo gone >&2; exit 255", 255, "exit code 255: gone"),
        ("echo out; printf '\\377\\n' >&2; false", 1, "exit code 1: \ufffd"),
        ("kill -TERM $$", -signal.SIGTERM, "ended by signal 15 (SIGTERM)"),
        ("echo mid >&2; kill -SEGV $$", -signal.SIGSEGV, "ended by signal 11 (SIGSEGV): mid"),
        ("nothing-of-this-name 2>/dev/null", 127, "exit code 127"),
    ],
)
def test_another_exit_code_than_0(server: Server, script: str, exit_code: int, message: str) -> None:
    run = server.run("shell", {"script": script})
    found = failure(run.only, Reason.NONZERO_EXIT)
    assert found.code is Code.UNKNOWN
    assert found.metadata == {"exit_code": str(exit_code)}
    assert found.status.message == message
    assert run.only.exit_code == exit_code
    assert run.info.error == run.only.error


@provokes(Reason.NONZERO_EXIT)
def test_the_tail_of_a_long_standard_error(server: Server) -> None:
    found = failure(server.run("shell", {"script": "seq 1 300000 >&2; exit 1"}).only, Reason.NONZERO_EXIT)
    head, _, quoted = found.status.message.partition(": ")
    assert head == "exit code 1"
    assert quoted.endswith("\n299999\n300000")
    assert STDERR_TAIL - 10 < len(quoted) < STDERR_TAIL


@provokes(Reason.COMMAND_NOT_STARTED)
@pytest.mark.parametrize(
    ("handler", "why"), [("no_format", "Exec format error"), ("no_interpreter", "No such file or directory")]
)
def test_a_program_that_cannot_be_started(server: Server, handler: str, why: str) -> None:
    run = server.run(handler, 1)
    found = failure(run.only, Reason.COMMAND_NOT_STARTED)
    assert found.code is Code.FAILED_PRECONDITION
    assert found.status.message == f"{server.folder / handler}: {why}"
    assert not run.only.HasField("exit_code")
    assert (run.info.state, run.info.error) == (BatchTaskInfo.FAILED, run.only.error)


@provokes(Reason.OUTPUT_TOO_LARGE)
@pytest.mark.parametrize("letter", ["x", "\\377"])
def test_the_bound_of_an_output(server: Server, letter: str) -> None:
    most = limits.OUTPUT.maximum
    data = b"\xff" if letter != "x" else b"x"
    empty = Payload(content_type="application/octet-stream" if letter != "x" else "text/plain")
    room = most - empty.ByteSize() - 4  # tag and length of the value
    script = "head -c {} /dev/zero | tr '\\0' '" + letter + "'"
    run = server.run("shell", *({"script": script.format(size)} for size in (room, room + 1, 3 * most)))
    small, *large = run.records
    assert small.output.ByteSize() == most
    assert (small.output.data or small.output.text.encode()) == data * room
    for record, size in zip(large, (str(most + 1), f"more than {most}"), strict=True):
        found = failure(record, Reason.OUTPUT_TOO_LARGE)
        assert found.code is Code.RESOURCE_EXHAUSTED
        assert found.status.message == f"the output has {size} bytes, {most} are allowed"


@provokes(Reason.RECORD_TIMEOUT)
def test_a_command_that_takes_too_long(server: Server) -> None:
    run = server.run("shell", {"script": "sleep 1000 & sleep 1000"}, timeout=0.15)
    assert failure(run.only, Reason.RECORD_TIMEOUT).code is Code.DEADLINE_EXCEEDED
    assert not run.only.HasField("exit_code")


def test_what_a_command_leaves_behind_does_not_hold_its_record(server: Server, tmp_path: pathlib.Path) -> None:
    script = f"(trap '' HUP; sleep 1000) & echo $! > {tmp_path}/pid; echo done"
    run = server.run("shell", {"script": script})
    assert run.only.output == Payload(text="done\n", content_type="text/plain")
    pid = int((tmp_path / "pid").read_text())
    eventually(lambda: processes.see(pid) is None, 5, "it is killed")


def test_parameters_are_none_of_a_commands_business(server: Server) -> None:
    run = server.run("cat", 1, parameters=Payload(text="{no json"))
    assert run.only.output == Payload(text="1", content_type="text/plain")
    assert as_payload(1) == run.only.input
