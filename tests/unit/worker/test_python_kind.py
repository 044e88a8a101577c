"""Is a callable loaded, called and judged by the rules? In a real worker process."""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import google.protobuf
import pytest

from batchyard_worker import isolation
from batchyard_worker.v1 import worker_pb2
from tests.unit.worker.fake_server import HANDLERS, FakeServer
from tests.unit.worker.test_errors import read

Payload = worker_pb2.Payload
Start = Callable[..., FakeServer]


def error(record: worker_pb2.RecordInfo) -> tuple[str, int, str]:
    assert record.state == 4
    assert not record.HasField("output")
    status, info, _ = read(record.error.SerializeToString())
    return info.reason, status.code, status.message


def test_echo_of_every_kind(start: Start) -> None:
    server = start("batchyard_worker.builtin:echo")
    records = [
        Payload(text="[1,2.5]"),
        Payload(text="t", content_type="text/html"),
        Payload(data=b"d"),
        Payload(),
        Payload(json=b"\x1a\x01j"),
    ]
    server.run(1, records)
    outputs = [record.output for record in server.outcomes(1)]
    assert outputs == [
        Payload(text="[1,2.5]"),
        Payload(text="t", content_type="text/plain"),
        Payload(data=b"d", content_type="application/octet-stream"),
        Payload(),
        Payload(text="j", content_type="text/plain"),
    ]
    assert [output.WhichOneof("kind") for output in outputs] == ["text", "text", "data", None, "text"]


def test_integers_of_any_size_beside_others(start: Start) -> None:
    server = start()
    big = '{"n":[12345678901234567890123,-9223372036854775809]}'
    server.run(1, [Payload(text=big), Payload(text='{"n":1}')])
    assert [record.output.text for record in server.outcomes(1)] == [big, '{"n":1}']


def test_records_that_are_not_json_fail_alone(start: Start) -> None:
    server = start()
    server.run(1, [Payload(text="{"), Payload(text="1")])
    first, second = server.outcomes(1)
    assert error(first)[:2] == ("INPUT_NOT_JSON", 3)
    assert second.state == 3


def test_the_context(start: Start) -> None:
    server = start("whole_context")
    record = worker_pb2.RecordInput(record_id="me", payload=Payload(text="1"))
    parameters = Payload(text='{"p": 1}').SerializeToString()
    server.run(1, [record, record], first=8, attempts={9: 1}, parameters=parameters)
    texts = [json.loads(outcome.output.text) for outcome in server.outcomes(1)]
    assert texts == [[8, "me", 1, 1, {"p": 1}], [9, "me", 2, 1, {"p": 1}]]
    server.run(2, [record])
    assert json.loads(server.outcomes(2)[0].output.text) == [0, "me", 1, 1, None]


def test_parameters_that_are_not_json_fail_every_record(start: Start) -> None:
    server = start()
    server.run(1, [1, 2], parameters=Payload(text="{").SerializeToString())
    assert {error(record)[0] for record in server.outcomes(1)} == {"INPUT_NOT_JSON"}
    server.run(2, [1], parameters=Payload(text="{}").SerializeToString())
    assert server.outcomes(2)[0].state == 3


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("exit", "SystemExit: 3"),
        ("interrupt", "KeyboardInterrupt"),
        ("memory", "MemoryError"),
        ("value", "ValueError: bad"),
        ("surrogate", "ValueError: half \\ud800 pair"),
        ("unknown", "KeyError: 'unknown'"),
    ],
)
def test_exceptions_end_the_record_only(start: Start, what: str, message: str) -> None:
    server = start("fails")
    record = server.one(what)
    assert error(record) == ("HANDLER_EXCEPTION", 2, message)
    assert server.one("value").state == 4


def test_tracebacks_show_the_handler_and_not_the_worker(start: Start) -> None:
    _, _, debug = read(start("fails").one("deep").error.SerializeToString())
    assert debug is not None
    assert "sample_handlers.py" in debug.stack_entries[0]
    assert "times" in debug.stack_entries[-1]  # of a recursion one entry stands for all
    assert not any("batchyard_worker" in entry for entry in debug.stack_entries)


def test_errors_of_the_handlers_own(start: Start) -> None:
    server = start("fails")
    assert error(server.one("record error")) == ("RECORD_ERROR", 5, "no such thing")
    assert error(server.one("code")) == ("RECORD_ERROR", 5, "")


def test_errors_are_bounded(start: Start) -> None:
    record = start("fails", max_error_bytes=2000).one("long")
    assert record.error.ByteSize() <= 2000
    assert error(record)[2].startswith("ValueError: ää")


@pytest.mark.parametrize(("size", "state"), [(1000, 3), (1 << 20, 4), (100_000_000, 4)])
def test_outputs_are_bounded(start: Start, size: int, state: int) -> None:
    record = start("huge").one(size)
    assert record.state == state
    if state == 4:
        assert error(record)[:2] == ("OUTPUT_TOO_LARGE", 8)


def test_json_outputs_are_bounded_too(start: Start) -> None:
    server = start("echo", max_output_bytes=100)
    assert server.one(["x" * 90]).state == 3
    assert error(server.one(["x" * 100]))[0] == "OUTPUT_TOO_LARGE"


def test_a_class_is_built_once_and_called_per_record(start: Start) -> None:
    server = start("Built")
    server.run(1, [0, 0])
    assert [record.output.text for record in server.outcomes(1)] == ["[1,1]", "[1,2]"]
    server.run(2, [0])
    assert server.outcomes(2)[0].output.text == "[1,3]"


def test_dotted_attributes(start: Start) -> None:
    assert start("Outer.inner").one(0).output.text == "inner"


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        ("no_such_module:x", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("missing", "AttributeError: module 'sample_handlers' has no attribute 'missing'"),
        ("Unbuildable", "OSError: no model file"),
        ("coroutine", "TypeError: sample_handlers:coroutine is a generator or coroutine function"),
        ("generator", "TypeError: sample_handlers:generator is a generator or coroutine function"),
        ("not_callable", "TypeError: sample_handlers:not_callable is not callable"),
        (":x", "ValueError: ':x' is not package.module:attribute"),
        ("bad_import:x", "SystemExit: at import"),
    ],
)
def test_handlers_that_cannot_be_loaded(start: Start, tmp_path: Any, handler: str, message: str) -> None:
    (tmp_path / "bad_import.py").write_text("raise SystemExit('at\\nimport')\n")
    server = start(handler, path=[str(tmp_path), str(HANDLERS)])
    first, _, rest = server.loaded.partition("\n")
    assert first.startswith(message)
    assert rest.startswith("Traceback")
    assert server.process.poll() is None  # the server decides


def test_a_kind_that_does_not_exist(start: Start) -> None:
    assert "KeyError: 'grpc'" in start("x:y", kind="grpc").loaded


def test_a_command_in_a_real_worker(start: Start) -> None:
    server = start("x:y", kind="command", argv=["tr", "a", "{to}"])
    record = server.one({"to": "b", "text": "aaa"})
    assert record.output == Payload(content_type="text/plain", text='{"to": "b", "text": "bbb"}')
    assert (record.HasField("exit_code"), record.exit_code) == (True, 0)


def test_a_command_in_a_real_worker_gets_the_default_of_sigint(start: Start) -> None:
    server = start("x:y", kind="command", argv=["sh", "-c", "kill -INT $$; echo alive"])
    assert server.one(1).exit_code == -2


def test_the_search_path(start: Start) -> None:
    path, folder, imported = json.loads(start("search_path", path=[str(HANDLERS), "/tmp"]).one(0).output.text)
    assert path[:2] == [str(HANDLERS), "/tmp"]
    assert str(pathlib.Path(isolation.__file__).parent) not in path
    assert folder not in path
    assert "" not in path
    assert imported == []


def test_the_handler_holds_no_descriptor_that_a_program_inherits(start: Start) -> None:
    assert start("child_files").one(0).output.text == "0"


@pytest.fixture
def bare(tmp_path: pathlib.Path) -> tuple[str, ...]:
    """An interpreter that has protobuf and nothing else: no site-packages, no package of ours on its path."""
    folder = pathlib.Path(google.protobuf.__file__).parent
    (tmp_path / "google").mkdir()
    (tmp_path / "google" / "protobuf").symlink_to(folder)
    (tmp_path / "google" / "_upb").symlink_to(folder.parent / "_upb")
    return ("env", f"PYTHONPATH={tmp_path}", "sh", "-c", 'exec "$0" -S "$@"', sys.executable)


def test_an_interpreter_with_protobuf_alone(start: Start, bare: tuple[str, ...]) -> None:
    server = start("importable", python=bare)
    assert server.loaded == ""
    names = ["batchyard_worker", "google.protobuf", "batchyard_server", "batchyard", "orjson", "payload"]
    server.run(1, names)
    found = [json.loads(outcome.output.text) for outcome in server.outcomes(1)]
    assert found == [True, True, False, False, False, False]


def test_processes_that_a_handler_spawns_find_the_package(start: Start, bare: tuple[str, ...]) -> None:
    server = start("spawns", python=bare)
    assert server.one([1, 2]).output.text == "[2,4]"
    assert error(server.one([-1])) == ("RECORD_ERROR", 11, "negative")


def test_an_interpreter_without_protobuf_says_so(start: Start) -> None:
    server = start(python=("sh", "-c", 'exec "$0" -I -S "$@"', sys.executable))
    assert "cannot run a worker (it needs protobuf >= 6.31)" in server.loaded
    assert "No module named 'google'" in server.loaded
    server.hang_up()
    assert server.process.wait(20) == 1
