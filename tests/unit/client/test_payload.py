"""Values ⇄ payloads: nothing is lost on the way, with orjson and without."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard import _payload
from batchyard.v1.payload_pb2 import Payload

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(params=["orjson", "json"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "json":
        monkeypatch.setattr(_payload, "orjson", None)
    else:
        assert _payload.orjson is not None
    return request.param


def round_trip(value: Any) -> Any:
    payload = Payload()
    size = _payload.encode(value, payload)
    assert abs(size - payload.ByteSize()) <= 32
    return _payload.decode(Payload.FromString(payload.SerializeToString()))


@settings(deadline=None)
@given(JSON)
def test_json_round_trip(value: Any) -> None:
    assert round_trip(value) == value
    text = _payload.dump_json(value)
    assert json.loads(text) == value
    assert _payload.load_json(text) == value


@settings(deadline=None)
@given(JSON)
def test_both_writers_mean_the_same(value: Any) -> None:
    assert json.loads(_payload._dump_slowly(value)) == json.loads(_payload.dump_json(value))


@pytest.mark.parametrize(
    "value",
    [10**18, 10**19, -(10**19), 2**64, 2**64 + 1, {"deep": [10**40]}, 123456789012345678901, "1" * 30, [1.5, 10**25]],
)
def test_integers_keep_every_digit(codec: str, value: Any) -> None:
    assert round_trip(value) == value


@pytest.mark.parametrize("offset", range(20))
def test_long_integers_are_found_wherever_they_stand(offset: int) -> None:
    number = 2**64 + 1
    assert _payload.load_json(" " * offset + f"[{number}]") == [number]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [None, {"b": float("-inf")}]}, [(float("nan"),)]])
def test_what_json_cannot_say_is_refused(codec: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"JSON"):
        _payload.dump_json(value)


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, {"a": b"bytes"}, datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), 1 + 2j]
)
def test_types_without_a_json_form(codec: str, value: Any) -> None:
    with pytest.raises(TypeError):
        _payload.encode(value, Payload())


def test_dataclasses_are_refused(codec: str) -> None:
    made = dataclasses.make_dataclass("Point", ["x"])
    with pytest.raises(TypeError):
        _payload.dump_json({"p": made(1)})


def test_cycles_and_depth(codec: str) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(ValueError):
        _payload.dump_json(cycle)


def test_what_both_writers_take(codec: str) -> None:
    colour = enum.Enum("Colour", {"RED": "red"})
    value = {1: (1, 2), "e": colour.RED, "u": uuid.UUID(int=0), "surrogate": "\ud800", None: True}
    back = _payload.load_json(_payload.dump_json(value))
    assert back == {
        "1": [1, 2],
        "e": "red",
        "u": "00000000-0000-0000-0000-000000000000",
        "surrogate": "\ud800",
        "null": True,
    }


@pytest.mark.parametrize("text", ["{", "NaN", "[Infinity]", "", "nul", "'a'"])
def test_not_json(codec: str, text: str) -> None:
    with pytest.raises(ValueError):
        _payload.load_json(text)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("", True),
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/ld+json", True),
        ("text/plain", False),
        ("application/jsonlines", False),
    ],
)
def test_content_type_alone_decides(content_type: str, expected: bool) -> None:
    assert _payload.is_json(content_type) is expected
    assert _payload.decode(Payload(text="1", content_type=content_type)) == (1 if expected else "1")


@pytest.mark.parametrize("value", [bytearray(b"ab"), memoryview(b"ab"), b"ab"])
def test_bytes_of_every_kind(value: Any) -> None:
    assert round_trip(value) == b"ab"


def test_an_unset_payload_is_none() -> None:
    assert _payload.decode(Payload()) is None


def test_a_payload_that_lies() -> None:
    with pytest.raises(ValueError):
        _payload.decode(Payload(text="{"))
