"""Does a handler get what the content type says, and is what it returns stored by the rules?"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import uuid
from collections import OrderedDict, namedtuple
from typing import Any

import pytest
from google.protobuf import any_pb2, descriptor_pb2, struct_pb2, wrappers_pb2
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from batchyard_worker import payload
from batchyard_worker.errors import Failure
from batchyard_worker.v1 import worker_pb2

Payload = worker_pb2.Payload
MEBIBYTE = 1 << 20


@pytest.fixture(params=["orjson", "standard library"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "orjson":
        monkeypatch.setattr(payload, "orjson", None)
        monkeypatch.setattr(payload, "dumps", payload.dumps_exact)
    else:
        assert payload.orjson is not None
    return request.param


# ---------------------------------------------------------------------------------------------------------- input


@pytest.mark.parametrize(
    ("message", "value"),
    [
        (Payload(), None),
        (Payload(content_type="text/plain"), None),
        (Payload(text='{"a": [1, 2.5, null]}'), {"a": [1, 2.5, None]}),
        (Payload(text=" 1 ", content_type="application/json"), 1),
        (Payload(text="1", content_type="Application/JSON; charset=utf-8"), 1),
        (Payload(text="[]", content_type="application/geo+json"), []),
        (Payload(text="1", content_type="text/plain"), "1"),
        (Payload(text="", content_type="text/csv"), ""),
        (Payload(text="1", content_type="application/jsonl"), "1"),
        (Payload(data=b"1"), b"1"),
        (Payload(data=b"", content_type="application/json"), b""),
        (Payload(json=struct_pb2.Value(number_value=3).SerializeToString()), 3),
        (Payload(json=b""), None),
    ],
)
def test_what_a_handler_gets(message: worker_pb2.Payload, value: Any, library: str) -> None:
    got = payload.to_python(message)
    assert got == value
    assert type(got) is type(value)


def test_a_message_is_an_any() -> None:
    packed = any_pb2.Any()
    packed.Pack(wrappers_pb2.StringValue(value="x"))
    got = payload.to_python(Payload(message=packed.SerializeToString()))
    assert got == packed
    inner = wrappers_pb2.StringValue()
    assert got.Unpack(inner)
    assert inner.value == "x"


@pytest.mark.parametrize(
    "text",
    ["", " ", "{", "nul", "NaN", "Infinity", "-Infinity", "1e400", "[1,]", "{'a': 1}", "\ufeff1", '"\\ud800"',
     '"\x01"', "01", "1.", "1 2", "[" * 100_000, "9" * 5000, "[1e999, 12345678901234567890]",
     '["\\udc00", 12345678901234567890]'],
)  # fmt: skip
def test_not_json(text: str, library: str) -> None:
    with pytest.raises(Failure) as caught:
        payload.to_python(Payload(text=text))
    assert (caught.value.code, caught.value.reason) == (3, "INPUT_NOT_JSON")


@pytest.mark.parametrize("field", ["json", "message"])
def test_malformed_messages(field: str) -> None:
    with pytest.raises(Failure, match="malformed") as caught:
        payload.to_python(Payload(**{field: b"\x0b"}))
    assert caught.value.reason == "INPUT_NOT_JSON"


def test_a_value_nested_too_deeply() -> None:
    data = b""
    for _ in range(5000):
        data = payload.delimited(0x32, payload.delimited(0x0A, data))
    with pytest.raises(Failure, match="too deeply"):
        payload.to_python(Payload(json=data))


@given(st.integers(-(10**40), 10**40))
def test_no_integer_loses_a_digit(number: int) -> None:
    got = payload.to_python(Payload(text=f'{{"n": [{number}, "{number}"]}}'))
    assert got == {"n": [number, str(number)]}
    assert type(got["n"][0]) is int


@given(st.binary(max_size=100), st.integers(15, 24), st.binary(max_size=100))
def test_long_runs_of_digits_are_seen(before: bytes, size: int, after: bytes) -> None:
    data = before + (b"1234567890" * 3)[:size] + after
    longest = max(len(run) for run in bytes(b if 48 <= b <= 57 else 32 for b in data).split(b" "))
    assert payload.has_long_digits(data) == (longest >= 19)


jsonable = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)  # fmt: skip


@given(jsonable)
def test_both_libraries_read_the_same(value: Any) -> None:
    text = json.dumps(value)
    assert repr(payload.loads(text)) == repr(payload.loads_exact(text)) == repr(value)


# --------------------------------------------------------------------------------------------------------- output


def stored(value: Any) -> worker_pb2.Payload:
    return Payload.FromString(payload.from_python(value, MEBIBYTE))


Point = namedtuple("Point", "x y")


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Name(str):
    """A str that is no str to a picky library."""


class Box(dict):  # type: ignore[type-arg]
    """The same for dict."""


@dataclasses.dataclass
class Data:
    x: int


UUID = uuid.UUID(int=5)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None, 1.5, "ä"]}, '{"b":1,"a":[true,null,1.5,"ä"]}'),
        ([], "[]"),
        (0, "0"),
        (False, "false"),
        (2**64, str(2**64)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        (10**100, str(10**100)),
        ((1, (2,)), "[1,[2]]"),
        ({1: "a", 1.5: "b", None: "c", False: "d"}, '{"1":"a","1.5":"b","null":"c","false":"d"}'),
        (OrderedDict(a=1), '{"a":1}'),
        (Box(a=Name("b")), '{"a":"b"}'),
        ({Name("k"): 1}, '{"k":1}'),
        (Point(1, 2), "[1,2]"),
        ([Colour.RED, Level.HIGH, UUID], '["red",3,"00000000-0000-0000-0000-000000000005"]'),
    ],
)
def test_what_json_takes(value: Any, text: str, library: str) -> None:
    assert stored(value) == Payload(text=text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", Payload(content_type="text/plain", text="")),
        ("ä", Payload(content_type="text/plain", text="ä")),
        (Name("n"), Payload(content_type="text/plain", text="n")),
        (b"", Payload(content_type="application/octet-stream", data=b"")),
        (bytearray(b"x"), Payload(content_type="application/octet-stream", data=b"x")),
        (memoryview(b"xyz")[::2], Payload(content_type="application/octet-stream", data=b"xz")),
    ],
)
def test_text_and_bytes(value: Any, expected: worker_pb2.Payload, library: str) -> None:
    assert stored(value) == expected
    assert stored(value).WhichOneof("kind") == expected.WhichOneof("kind")


def test_none_is_no_output() -> None:
    assert payload.from_python(None, MEBIBYTE) == b""


def test_messages() -> None:
    message = status_pb2.Status(code=5, message="m")
    packed = any_pb2.Any.FromString(stored(message).message)
    assert packed.type_url == "type.googleapis.com/google.rpc.Status"
    assert status_pb2.Status.FromString(packed.value) == message
    assert any_pb2.Any.FromString(stored(packed).message) == packed  # not packed twice
    assert stored(struct_pb2.Struct()).WhichOneof("kind") == "message"


circle: list[Any] = []
circle.append(circle)
deep: list[Any] = []
for _ in range(100_000):
    deep = [deep]


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, [b"x"], {"a": {1}}, datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
     datetime.date(2020, 1, 1), Data(1), decimal.Decimal(1), math.nan, math.inf, [-math.inf], {"a": [None, math.nan]},
     circle, deep, {(1, 2): 3}, "\ud800", ["\ud800"], {"\ud800": 1}, 1j, range(3), iter([1]), print, [10**5000],
     {Colour.RED: 1}, {UUID: 1}, descriptor_pb2.UninterpretedOption.NamePart()],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_no_payload_can_hold(value: Any, library: str) -> None:
    with pytest.raises(Failure) as caught:
        payload.from_python(value, MEBIBYTE)
    assert (caught.value.code, caught.value.reason) == (13, "OUTPUT_NOT_SERIALIZABLE")


keys = st.text(max_size=5) | st.integers() | st.floats() | st.booleans() | st.none() | st.tuples() | st.binary()
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text() | st.binary() | st.uuids()
    | st.dates() | st.sampled_from([*Colour, *Level, Data(1), Name("x"), Point(1, 2), {1}]),
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner) | st.tuples(inner),
    max_leaves=15,
)  # fmt: skip


@given(anything)
def test_both_libraries_take_and_write_the_same(value: Any) -> None:
    try:
        exact = payload.dumps_exact(value)
    except (TypeError, ValueError):
        with pytest.raises((TypeError, ValueError)):
            payload.dumps(value)
    else:
        assert json.loads(payload.dumps(value)) == json.loads(exact)


@given(jsonable)
def test_json_comes_back(value: Any) -> None:
    assert repr(payload.loads(payload.dumps(value).decode())) == repr(value)


@pytest.mark.parametrize("value", ["x" * MEBIBYTE, b"x" * MEBIBYTE, ["x" * MEBIBYTE]], ids=type)
def test_an_output_that_is_too_large(value: Any) -> None:
    with pytest.raises(Failure, match=r"has 1048[56]\d\d bytes, 1048576 are allowed") as caught:
        payload.from_python(value, MEBIBYTE)
    assert (caught.value.code, caught.value.reason) == (8, "OUTPUT_TOO_LARGE")


@pytest.mark.parametrize("value", ["x" * 100, b"x" * 100, ["x" * 96]], ids=type)
def test_the_bound_is_of_the_serialized_payload(value: Any) -> None:
    size = len(payload.from_python(value, MEBIBYTE))
    assert payload.from_python(value, size)
    with pytest.raises(Failure, match="are allowed"):
        payload.from_python(value, size - 1)


# ----------------------------------------------------------------------------------------------------- parameters


def test_parameters() -> None:
    decode = payload.parameters_of(Payload(text='{"a": []}').SerializeToString())
    assert decode is not None
    decode()["a"].append(1)
    assert decode() == {"a": []}
    assert payload.parameters_of(b"") is None


def test_parameters_that_are_not_json() -> None:
    with pytest.raises(Failure, match="parameters: not JSON"):
        payload.parameters_of(Payload(text="{").SerializeToString())
