"""How does a record of a `python` handler fail? Every reason with its code, metadata and bounds, as callers read it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import DebugInfo, ErrorInfo

from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.payload_pb2 import Payload
from batchyard.v1.record_pb2 import RecordInfo, RecordInput
from batchyard_server.model import limits
from batchyard_server.model.errors import Code, Reason
from tests.rpc.runs import Run, Server, as_payload, failure, running
from tests.support.errors import Answer, provokes

pytestmark = pytest.mark.xdist_group("outcomes-errors")
MEGABYTE = 1_000_000
LOST_AFTER = 3  # executions: --max-worker-lost is 2
JSON_TYPES = ("", "application/json", "Application/JSON; charset=utf-8", "application/problem+json", "a/b+JSON")
NOT_JSON = (
    "", " ", "{", "{'a': 1}", "[1,]", "nul", "NaN", "-Infinity", "1e999", "01", "1 2", '"\t"', '"\\ud800"', "\ufeff1",
    "[" * 100_000, '{"n": 12345678901234567890123, }', "1_000", "٣",
)  # fmt: skip
UNSERIALIZABLE = (
    "set", "plain object", "nan", "infinity", "half a pair", "half a pair within", "dataclass", "datetime", "cycle",
    "too deep", "generator", "complex", "bytes within", "class", "unfinished message",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("errors"), workers=1) as server:
        yield server


def failed(run: Run, reason: Reason, code: Code) -> Answer:
    """The failure of a task of one record, which is the task's own error too."""
    found = failure(run.only, reason)
    assert found.code is code
    assert run.info.state == BatchTaskInfo.FAILED
    assert run.info.error == run.operation.error == run.only.error
    return found


def stack(found: Answer) -> list[str]:
    return list(found.detail(DebugInfo).stack_entries)


# -- HANDLER_EXCEPTION ------------------------------------------------------------------------------------------------


@provokes(Reason.HANDLER_EXCEPTION)
@pytest.mark.parametrize(
    ("kind", "text", "name", "message"),
    [
        ("ValueError", "no good", "ValueError", "ValueError: no good"),
        ("KeyError", "gone", "KeyError", "KeyError: 'gone'"),
        ("Own", "mine", "acting.Own", "acting.Own: mine"),
        ("Own", "", "acting.Own", "acting.Own"),
        ("Unprintable", "x", "acting.Unprintable", "acting.Unprintable: <its text raised RuntimeError>"),
        ("SystemExit", "3", "SystemExit", "SystemExit: 3"),
        ("KeyboardInterrupt", "", "KeyboardInterrupt", "KeyboardInterrupt"),
        ("MemoryError", "", "MemoryError", "MemoryError"),
        ("BaseException", "odd", "BaseException", "BaseException: odd"),
    ],
)
def test_an_exception_of_the_handler(server: Server, kind: str, text: str, name: str, message: str) -> None:
    run = server.run("act", {"do": "fail", "kind": kind, "text": text})
    found = failed(run, Reason.HANDLER_EXCEPTION, Code.UNKNOWN)
    assert found.status.message == message
    assert found.metadata == {"type": name}
    entries = stack(found)
    assert "in fail\n" in entries[-1]
    assert "acting.py" in entries[-1]
    assert "in act\n" in entries[0], "the worker's own frames are of no use to a caller"
    assert run.only.attempt == 1
    assert not run.only.HasField("exit_code")


@provokes(Reason.HANDLER_EXCEPTION)
def test_an_exception_with_a_text_of_a_megabyte(server: Server) -> None:
    run = server.run("act", {"do": "fail", "text": "ä", "times": MEGABYTE // 2, "depth": 60})
    found = failed(run, Reason.HANDLER_EXCEPTION, Code.UNKNOWN)
    size = run.only.error.ByteSize()
    assert limits.ERROR.maximum - 200 < size <= limits.ERROR.maximum
    assert found.status.message.startswith("ValueError: äää")
    assert found.status.message.endswith("ä…")
    assert found.metadata == {"type": "ValueError"}


@provokes(Reason.HANDLER_EXCEPTION)
@pytest.mark.parametrize(("depth", "times"), [(10, 1), (900, 1), (900, 7_000)])
def test_a_traceback_keeps_its_innermost_calls(server: Server, depth: int, times: int) -> None:
    run = server.run("act", {"do": "fail", "text": "xy", "times": times, "depth": depth})
    found = failed(run, Reason.HANDLER_EXCEPTION, Code.UNKNOWN)
    assert found.status.message == "ValueError: " + "xy" * times
    entries = stack(found)
    assert "in fail\n" in entries[-1]
    assert "raise EXCEPTIONS" in entries[-1]
    assert depth > 10 or "in act\n" in entries[0]


@provokes(Reason.HANDLER_EXCEPTION)
def test_an_exception_whose_text_is_no_unicode(server: Server) -> None:
    run = server.run("act", {"do": "fail_surrogate"})
    assert failed(run, Reason.HANDLER_EXCEPTION, Code.UNKNOWN).status.message == "ValueError: half \\ud800"


@provokes(Reason.HANDLER_EXCEPTION)
def test_a_mistake_in_the_handler(server: Server) -> None:
    for record, name in (({"do": "no such thing"}, "KeyError"), (5, "AttributeError"), ({"do": "give"}, "TypeError")):
        found = failed(server.run("act", record), Reason.HANDLER_EXCEPTION, Code.UNKNOWN)
        assert found.metadata == {"type": name}


# -- RECORD_ERROR -----------------------------------------------------------------------------------------------------


@provokes(Reason.RECORD_ERROR)
def test_a_code_by_name_and_by_number(server: Server) -> None:
    codes = {name: number for name, number in code_pb2.Code.items() if number}
    assert len(codes) == 16
    records = [{"do": "refuse", "code": code} for pair in codes.items() for code in pair]
    run = server.run("act", *records)
    assert run.info.state == BatchTaskInfo.FAILED
    for record, number in zip(run.records, [n for n in codes.values() for _ in range(2)], strict=True):
        found = failure(record, Reason.RECORD_ERROR)
        assert (found.code, found.status.message, found.metadata) == (number, "not here", {})
        assert len(found.status.details) == 1, "the handler knew what it did: no traceback"


@provokes(Reason.RECORD_ERROR)
@pytest.mark.parametrize(
    ("more", "code", "message", "metadata"),
    [
        ({"retryable": None}, Code.NOT_FOUND, "not here", {}),
        ({"retryable": True}, Code.NOT_FOUND, "not here", {"retryable": "true"}),
        ({"retryable": False, "code": "UNAVAILABLE"}, Code.UNAVAILABLE, "not here", {"retryable": "false"}),
        ({"code": "enum"}, Code.DATA_LOSS, "not here", {}),
        ({"kind": "Refused", "code": 16}, Code.UNAUTHENTICATED, "not here", {}),
        ({"text": {"why": 1}}, Code.NOT_FOUND, "{'why': 1}", {}),
        ({"text": "grün \u2028"}, Code.NOT_FOUND, "grün \u2028", {}),
    ],
)
def test_what_a_record_error_may_say(
    server: Server, more: dict[str, Any], code: Code, message: str, metadata: dict[str, str]
) -> None:
    found = failed(server.run("act", {"do": "refuse", **more}), Reason.RECORD_ERROR, code)
    assert (found.status.message, found.metadata) == (message, metadata)


@provokes(Reason.RECORD_ERROR)
def test_a_record_error_with_a_text_of_a_megabyte(server: Server) -> None:
    run = server.run("act", {"do": "refuse", "text": "x", "times": MEGABYTE, "retryable": False})
    found = failed(run, Reason.RECORD_ERROR, Code.NOT_FOUND)
    assert limits.ERROR.maximum - 200 < run.only.error.ByteSize() <= limits.ERROR.maximum
    assert found.status.message.endswith("x…")
    assert found.metadata == {"retryable": "false"}


@provokes(Reason.HANDLER_EXCEPTION)
@pytest.mark.parametrize("code", ["OK", "not_found", "", "5", 0, 17, -1, True, 5.0, None, "list"])
def test_a_record_error_with_a_code_that_is_none(server: Server, code: Any) -> None:
    found = failed(server.run("act", {"do": "refuse", "code": code}), Reason.HANDLER_EXCEPTION, Code.UNKNOWN)
    assert found.metadata["type"] in ("ValueError", "TypeError")


# -- INPUT_NOT_JSON ---------------------------------------------------------------------------------------------------


@provokes(Reason.INPUT_NOT_JSON)
@pytest.mark.parametrize("content_type", JSON_TYPES)
def test_text_that_says_it_is_json_and_is_not(server: Server, content_type: str) -> None:
    run = server.run("act", *(Payload(text=text, content_type=content_type) for text in NOT_JSON))
    for record in run.records:
        found = failure(record, Reason.INPUT_NOT_JSON)
        assert found.code is Code.INVALID_ARGUMENT
        assert found.status.message.startswith("not JSON: ")
        assert record.attempt == 1


@provokes(Reason.INPUT_NOT_JSON)
def test_records_that_are_not_json_fail_alone(server: Server) -> None:
    run = server.run("act", {"do": "echo", "value": 1}, Payload(text="{"), {"do": "echo", "value": 2})
    assert [each.state for each in run.records] == [RecordInfo.SUCCEEDED, RecordInfo.FAILED, RecordInfo.SUCCEEDED]
    failure(run.records[1], Reason.INPUT_NOT_JSON)
    assert run.info.state == BatchTaskInfo.SUCCEEDED


@provokes(Reason.INPUT_NOT_JSON)
def test_parameters_that_are_not_json_fail_every_record(server: Server) -> None:
    run = server.run("act", *[{"do": "echo"}] * 3, parameters=Payload(text="{"))
    for record in run.records:
        found = failure(record, Reason.INPUT_NOT_JSON)
        assert found.code is Code.INVALID_ARGUMENT
        assert found.status.message.startswith("parameters: not JSON: ")


# -- OUTPUT_NOT_SERIALIZABLE, OUTPUT_TOO_LARGE ------------------------------------------------------------------------


@provokes(Reason.OUTPUT_NOT_SERIALIZABLE)
def test_an_output_that_no_payload_can_hold(server: Server) -> None:
    run = server.run("act", *({"do": "give", "what": what} for what in UNSERIALIZABLE))
    for what, record in zip(UNSERIALIZABLE, run.records, strict=True):
        found = failure(record, Reason.OUTPUT_NOT_SERIALIZABLE)
        assert found.code is Code.INTERNAL, what
        assert found.status.message.startswith("the handler's result cannot be stored: "), what


def sized(kind: str, payload_bytes: int) -> dict[str, Any]:
    """A record whose output is a payload of exactly so many bytes."""
    size = payload_bytes
    while (excess := _output(kind, size).ByteSize() - payload_bytes) > 0:
        size -= excess
    assert _output(kind, size).ByteSize() == payload_bytes
    return {"do": "sized", "kind": kind, "size": size}


def _output(kind: str, size: int) -> Payload:
    if kind == "str":
        return Payload(content_type="text/plain", text="x" * size)
    if kind == "bytes":
        return Payload(content_type="application/octet-stream", data=b"x" * size)
    if kind == "json":
        return as_payload(["x" * (size - 4)])
    payload = Payload()
    payload.message.type_url = ""
    payload.message.value = b"x" * size
    return payload


@provokes(Reason.OUTPUT_TOO_LARGE)
@pytest.mark.parametrize("kind", ["str", "bytes", "json", "message"])
def test_the_bound_of_an_output(server: Server, kind: str) -> None:
    most = limits.OUTPUT.maximum
    small, large = server.run("act", sized(kind, most), sized(kind, most + 1)).records
    assert small.state == RecordInfo.SUCCEEDED
    assert small.output.ByteSize() == most
    found = failure(large, Reason.OUTPUT_TOO_LARGE)
    assert found.code is Code.RESOURCE_EXHAUSTED
    assert found.status.message == f"the output has {most + 1} bytes, {most} are allowed"
    assert large.attempt == 1


# -- RECORD_TIMEOUT, WORKER_LOST --------------------------------------------------------------------------------------


def _named(record_id: str, value: Any) -> RecordInput:
    return RecordInput(record_id=record_id, payload=as_payload(value))


def check_made_by_the_server(record: RecordInfo, run: Run, least: float) -> None:
    """The worker could not say how it ended; the server knows all the same."""
    assert record.name == f"{run.info.name}/records/{record.index}"
    assert (record.record_id, record.generation) == ("bad", 1)
    assert record.input.text
    assert not record.HasField("exit_code")
    took = record.end_time.ToNanoseconds() - record.start_time.ToNanoseconds()
    assert least <= took / 1e9 < least + 10
    # Its worker may begin while the lease is still on its way to the disk.
    assert run.info.create_time.ToNanoseconds() <= record.start_time.ToNanoseconds() + 1_000_000
    assert record.end_time.ToNanoseconds() <= run.info.end_time.ToNanoseconds() + 1_000_000


@provokes(Reason.RECORD_TIMEOUT)
@pytest.mark.parametrize("timeout", [0.15, 0.3])
def test_a_record_that_takes_too_long(server: Server, timeout: float) -> None:
    well = {"do": "echo", "value": 1}
    run = server.run("act", _named("bad", {"do": "hang"}), *[well] * 4, timeout=timeout)
    assert run.info.state == BatchTaskInfo.SUCCEEDED
    assert (run.info.counts.succeeded, run.info.counts.failed) == (4, 1)
    bad = run.records[0]
    found = failure(bad, Reason.RECORD_TIMEOUT)
    assert found.code is Code.DEADLINE_EXCEEDED
    assert found.metadata == {"record_timeout": f"{timeout:g}s"}
    assert found.status.message == f"the record ran longer than its record_timeout of {timeout:g} s"
    check_made_by_the_server(bad, run, timeout)
    assert [each.attempt for each in run.records] == [1] * 5, "those behind it had not begun"


@provokes(Reason.RECORD_TIMEOUT)
def test_a_task_of_one_record_that_takes_too_long(server: Server) -> None:
    failed(server.run("act", {"do": "hang"}, timeout=0.1), Reason.RECORD_TIMEOUT, Code.DEADLINE_EXCEEDED)


@provokes(Reason.WORKER_LOST)
@pytest.mark.parametrize(
    ("record", "exit_"),
    [
        ({"code": 3}, "exit code 3"),
        ({"code": 0}, "exit code 0"),
        ({"number": signal.SIGSEGV}, "signal 11 (SIGSEGV)"),
        ({"number": signal.SIGKILL}, "signal 9 (SIGKILL)"),
    ],
)
def test_a_worker_that_dies(server: Server, record: dict[str, int], exit_: str) -> None:
    run = server.run("act", _named("bad", {"do": "die", **record}))
    found = failed(run, Reason.WORKER_LOST, Code.ABORTED)
    assert found.metadata == {"exit": exit_}
    assert found.status.message == f"the worker died under this record {LOST_AFTER} times, last by {exit_}"
    assert run.only.attempt == LOST_AFTER
    check_made_by_the_server(run.only, run, 0)
    assert [each for each in run.only.error.details if not each.Is(ErrorInfo.DESCRIPTOR)] == []


def test_a_worker_that_dies_once(server: Server) -> None:
    sign = server.folder / "die"
    sign.touch()
    run = server.run("act", {"do": "die", "code": 9, "before": str(sign)}, {"do": "echo", "value": 1})
    assert run.info.state == BatchTaskInfo.SUCCEEDED
    assert run.records[0].output.text == "alive at attempt 2"
    assert [each.attempt for each in run.records] == [2, 1]
