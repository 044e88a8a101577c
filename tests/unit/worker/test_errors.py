"""Is a failed record's error what the contract says, within its size?"""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from batchyard_worker import CANONICAL_CODES, Context, RecordError, errors
from batchyard_worker.context import Common
from batchyard_worker.errors import Failure

BOUND = 16 * 1024


def read(data: bytes) -> tuple[status_pb2.Status, error_details_pb2.ErrorInfo, error_details_pb2.DebugInfo | None]:
    """The status with its details, read by the public types."""
    status = status_pb2.Status.FromString(data)
    info, debug = error_details_pb2.ErrorInfo(), error_details_pb2.DebugInfo()
    details: list[any_pb2.Any] = list(status.details)
    assert details[0].Unpack(info)
    assert info.domain == "batchyard.dev"
    if len(details) == 1:
        return status, info, None
    assert details[1].Unpack(debug)
    return status, info, debug


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return caught


def test_codes_are_the_canonical_ones() -> None:
    theirs = {name: number for name, number in code_pb2.Code.items() if number}
    assert theirs == CANONICAL_CODES


@pytest.mark.parametrize("code", ["NOT_FOUND", 5])
def test_record_error(code: Any) -> None:
    status, info, debug = read(errors.status_of(RecordError(code, "gone"), BOUND))
    assert (status.code, status.message, info.reason, dict(info.metadata), debug) == (
        5,
        "gone",
        "RECORD_ERROR",
        {},
        None,
    )


@pytest.mark.parametrize(("retryable", "text"), [(True, "true"), (False, "false")])
def test_record_error_that_knows_whether_to_retry(retryable: bool, text: str) -> None:
    _, info, _ = read(errors.status_of(RecordError("ABORTED", "x", retryable), BOUND))
    assert info.metadata["retryable"] == text


@pytest.mark.parametrize("code", ["OK", 0, 17, -1, "not_found", "", None, True, 5.0])
def test_codes_that_a_record_error_refuses(code: Any) -> None:
    with pytest.raises(ValueError, match="not a canonical error code"):
        RecordError(code, "x")


def test_record_error_as_an_exception() -> None:
    error = RecordError("NOT_FOUND", "gone")
    assert str(error) == error.message == "gone"
    assert error.code == 5
    assert RecordError("NOT_FOUND").message == ""


@pytest.mark.parametrize(
    ("error", "message", "name"),
    [
        (ValueError("bad"), "ValueError: bad", "ValueError"),
        (ValueError(), "ValueError", "ValueError"),
        (SystemExit(3), "SystemExit: 3", "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt", "KeyboardInterrupt"),
        (MemoryError(), "MemoryError", "MemoryError"),
        (RecursionError("deep"), "RecursionError: deep", "RecursionError"),
        (KeyError("k"), "KeyError: 'k'", "KeyError"),
        (ValueError("half \ud800"), "ValueError: half \\ud800", "ValueError"),
    ],
)
def test_other_exceptions(error: BaseException, message: str, name: str) -> None:
    status, info, debug = read(errors.status_of(raised(error), BOUND))
    assert (status.code, status.message) == (2, message)
    assert (info.reason, dict(info.metadata)) == ("HANDLER_EXCEPTION", {"type": name})
    assert debug is not None
    assert len(debug.stack_entries) == 1
    assert "in raised\n    raise error" in debug.stack_entries[0]


def test_a_text_that_cannot_be_had() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise OSError

    status, info, _ = read(errors.status_of(raised(Mute()), BOUND))
    assert status.message.endswith("Mute: <its text raised OSError>")
    assert info.metadata["type"].endswith("test_a_text_that_cannot_be_had.<locals>.Mute")


def test_failures_of_the_worker() -> None:
    failure = Failure("INTERNAL", "OUTPUT_NOT_SERIALIZABLE", "why", key="value")
    status, info, debug = read(errors.status_of(failure, BOUND))
    assert (status.code, status.message, info.reason) == (13, "why", "OUTPUT_NOT_SERIALIZABLE")
    assert (dict(info.metadata), debug) == ({"key": "value"}, None)


def deep(depth: int) -> None:
    if depth:
        deep(depth - 1)
    raise ValueError("x" * 5000)


def test_of_a_long_stack_the_inner_calls_stay() -> None:
    try:
        deep(500)
    except ValueError as error:
        data = errors.status_of(error, BOUND)
    _, _, debug = read(data)
    assert debug is not None
    assert len(debug.stack_entries) <= errors.MAX_STACK_ENTRIES
    assert 'raise ValueError("x" * 5000)' in debug.stack_entries[-1]


@given(st.text(max_size=300), st.integers(1, 200), st.integers(200, 3000), st.lists(st.text(max_size=300), max_size=10))
def test_nothing_passes_the_bound(text: str, times: int, bound: int, stack: list[str]) -> None:
    data = errors.build(3, "RECORD_ERROR", text * times, {"type": "t"}, bound, stack)
    assert len(data) <= bound
    status, _, debug = read(data)
    whole = (text * times).encode("utf-8", "backslashreplace").decode()
    assert status.message == whole or whole.startswith(status.message.removesuffix("…"))
    if debug is not None:
        assert [entry.removesuffix("…") for entry in debug.stack_entries] == [
            entry.encode("utf-8", "backslashreplace").decode() for entry in stack[-len(debug.stack_entries) :]
        ]


@pytest.mark.parametrize(("size", "clipped"), [(6, "ää…"), (7, "ää…"), (8, "ääää"), (2, ""), (3, "…"), (0, "")])
def test_texts_are_cut_between_characters(size: int, clipped: str) -> None:
    text = "ääää" if size == 8 else "äääääää"
    assert errors.clip(text, size) == (clipped if size != 6 else "ä…")


def test_context() -> None:
    context = Context(3, "id", 2, 1)
    assert (context.index, context.record_id, context.attempt, context.generation) == (3, "id", 2, 1)
    assert context.parameters is None
    assert repr(context) == "Context(index=3, record_id='id', attempt=2, generation=1)"
    assert Context(0, "", 1, 1, Common(lambda: {"a": 1})).parameters == {"a": 1}
