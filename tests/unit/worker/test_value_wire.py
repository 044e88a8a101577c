"""Is a google.protobuf.Value decoded from its bytes as protobuf itself would decode it?"""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from google.protobuf import struct_pb2
from google.protobuf.json_format import MessageToDict, ParseDict
from hypothesis import given
from hypothesis import strategies as st

from batchyard_worker.value_wire import decode_value
from batchyard_worker.wire import delimited, varint

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
scalars = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | names
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=30)


def serialized(value: Any) -> bytes:
    return ParseDict(value, struct_pb2.Value()).SerializeToString()


def expected(value: Any) -> Any:
    """What MessageToDict makes of it, but integral doubles beyond 2**53 stay what they are."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= 2**53 else value
    if isinstance(value, list):
        return [expected(item) for item in value]
    if isinstance(value, dict):
        return {name: expected(item) for name, item in value.items()}
    return value


def same(left: Any, right: Any) -> bool:
    """Equal, types included."""
    return repr(left) == repr(right)


@given(values)
def test_as_protobuf_decodes_it(value: Any) -> None:
    decoded = decode_value(serialized(value))
    assert decoded == expected(value)
    assert decoded == MessageToDict(struct_pb2.Value.FromString(serialized(value)))


@given(values)
def test_integral_doubles_are_ints(value: Any) -> None:
    def ordered(item: Any) -> Any:
        if isinstance(item, dict):
            return {name: ordered(item[name]) for name in sorted(item)}
        return [ordered(each) for each in item] if isinstance(item, list) else item

    assert same(ordered(decode_value(serialized(value))), ordered(expected(value)))


@pytest.mark.parametrize(
    ("number", "decoded"),
    [(2.0**53, 2**53), (-(2.0**53), -(2**53)), (2.0**53 + 2, 2.0**53 + 2), (-0.0, 0), (0.5, 0.5), (1e300, 1e300)],
)
def test_numbers(number: float, decoded: float) -> None:
    assert same(decode_value(struct_pb2.Value(number_value=number).SerializeToString()), decoded)
    assert same(decode_value(serialized({"n": number})), {"n": decoded})


@pytest.mark.parametrize("number", [math.inf, -math.inf])
def test_infinities_stay(number: float) -> None:
    assert decode_value(struct_pb2.Value(number_value=number).SerializeToString()) == number


def test_nan_stays() -> None:
    assert math.isnan(decode_value(struct_pb2.Value(number_value=math.nan).SerializeToString()))


def test_no_kind_is_none() -> None:
    assert decode_value(b"") is None


def test_unknown_fields_are_skipped() -> None:
    for unknown in (b"\x38\x96\x01", b"\x39" + bytes(8), b"\x3a\x02ab", b"\x3d" + bytes(4), b"\xba\x3e\x00"):
        assert decode_value(unknown + b"\x20\x01" + unknown) is True
        entry = unknown + delimited(0x0A, b"k") + unknown + delimited(0x12, b"\x20\x01") + unknown
        fields = unknown + delimited(0x0A, entry) + unknown
        assert decode_value(delimited(0x2A, fields)) == {"k": True}
        assert decode_value(delimited(0x32, unknown + delimited(0x0A, b"\x20\x01") + unknown)) == [True]


@given(st.lists(values, min_size=2, max_size=4))
def test_repeated_members_merge_as_in_protobuf(parts: list[Any]) -> None:
    data = b"".join(serialized(part) for part in parts)
    message = struct_pb2.Value.FromString(data)
    assert decode_value(data) == (MessageToDict(message) if message.WhichOneof("kind") else None)


def test_entries_in_any_shape() -> None:
    name, value = delimited(0x0A, b"k"), delimited(0x12, b"\x1a\x01v")
    for entry, decoded in ((value + name, {"k": "v"}), (name, {"k": None}), (value, {"": "v"}), (b"", {"": None})):
        assert decode_value(delimited(0x2A, delimited(0x0A, entry))) == decoded
    assert decode_value(delimited(0x2A, delimited(0x0A, name + delimited(0x12, b"")))) == {"k": None}
    assert decode_value(b"\x20" + varint(1 << 40)) is True


@given(values, st.data())
def test_malformed_bytes_are_a_value_error(value: Any, data: st.DataObject) -> None:
    whole = serialized(value)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    try:
        theirs = struct_pb2.Value.FromString(cut)
    except Exception:  # noqa: BLE001 - DecodeError of whichever implementation
        with pytest.raises(ValueError, match="malformed"):
            decode_value(cut)
    else:
        assert decode_value(cut) == (MessageToDict(theirs) if theirs.WhichOneof("kind") else None)


@given(st.binary(max_size=60))
def test_any_bytes_end_in_a_value_or_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode_value(data)


def test_tags_in_more_bytes_than_they_need() -> None:
    """Every parser of protobuf takes them; a tag of field 1 as two bytes, in an object and in a list."""
    text = b"\x1a\x01x"
    item = b"\x8a\x00" + bytes([len(text)]) + text
    entry = b"\x0a\x01a\x12" + bytes([len(text)]) + text
    member = b"\x8a\x00" + bytes([len(entry)]) + entry
    for data in (b"\x32" + bytes([len(item)]) + item, b"\x2a" + bytes([len(member)]) + member):
        assert decode_value(data) == MessageToDict(struct_pb2.Value.FromString(data))
    assert decode_value(b"\x32" + bytes([len(item)]) + item) == ["x"]
