"""Payload ⇄ Python by the rules of the contract: `content_type` alone decides, never the value."""

from __future__ import annotations

import enum
import json
import re
import uuid
from collections.abc import Callable
from typing import Any

from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message

from batchyard_worker.errors import Failure
from batchyard_worker.v1 import worker_pb2
from batchyard_worker.value_wire import decode_value
from batchyard_worker.wire import delimited, text_payload

try:
    import orjson
except ImportError:  # slower, the same results
    orjson = None  # type: ignore[assignment]

DEFAULT_MAX_OUTPUT_BYTES = 1024 * 1024
JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain"
BYTES_TYPE = "application/octet-stream"

_DIGITS = bytes(48 if 48 <= code <= 57 else 0 for code in range(256))
_LONG_RUN = b"0" * 19
_BEFORE_NUMBER = b":,[- \t\r\n"
_NUMBER = b"0123456789.eE+- \t\r\n"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def has_long_digits(data: bytes) -> bool:
    """Whether there is a run of 19 or more decimal digits: orjson would make a float of an integer beyond 64 bits."""
    return _LONG_RUN in data.translate(_DIGITS)


def may_hold_long_integer(page: bytes) -> bool:
    """Whether a page of records may hold, outside a string, an integer that `orjson` would turn into a float.

    A number in JSON follows one of ``:,[``, white space or a sign; a whole text that is a number follows the length
    byte of its field. So digits within a string, as in hexadecimal text, do not count. May be true without need.
    """
    digits = page.translate(_DIGITS)
    at = digits.find(_LONG_RUN)
    while at >= 0:
        before = page[at - 1] if at else 0
        if before in _BEFORE_NUMBER or not page[at : at + before].translate(None, _NUMBER):
            return True
        end = digits.find(b"\0", at)
        at = digits.find(_LONG_RUN, end) if end >= 0 else -1
    return False


def is_json(content_type: str) -> bool:
    """Whether `text` of this content type is JSON: unset, application/json or …+json, whatever the parameters."""
    if not content_type:
        return True
    media = content_type.partition(";")[0].strip().lower()
    return media == JSON_TYPE or media.endswith("+json")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"number out of range: {text[:40]}")
    return number


def loads_exact(text: str) -> Any:
    """Parses JSON with the standard library, integers of any size, as strictly as orjson.

    Raises:
        ValueError: Not JSON, an infinite number, or half a surrogate pair.
        RecursionError: Nested too deeply.
    """
    value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half a surrogate pair") from None
    return value


def loads(text: str) -> Any:
    """Parses JSON text without losing a digit of an integer.

    Raises:
        Failure: INPUT_NOT_JSON.
    """
    try:
        if orjson is None or has_long_digits(text.encode()):
            return loads_exact(text)
        return orjson.loads(text)
    except RecursionError:
        raise Failure("INVALID_ARGUMENT", "INPUT_NOT_JSON", "not JSON: nested too deeply") from None
    except ValueError as error:
        raise Failure("INVALID_ARGUMENT", "INPUT_NOT_JSON", f"not JSON: {error}") from None


def to_python(payload: worker_pb2.Payload) -> Any:
    """What a `python` handler receives.

    Raises:
        Failure: INPUT_NOT_JSON.
    """
    kind = payload.WhichOneof("kind")
    if kind == "text":
        return loads(payload.text) if is_json(payload.content_type) else payload.text
    if kind == "data":
        return payload.data
    if kind == "json":
        try:
            return decode_value(payload.json)
        except RecursionError:
            raise Failure("INVALID_ARGUMENT", "INPUT_NOT_JSON", "not JSON: nested too deeply") from None
        except ValueError as error:
            raise Failure("INVALID_ARGUMENT", "INPUT_NOT_JSON", str(error)) from None
    if kind == "message":
        try:
            return any_pb2.Any.FromString(payload.message)
        except DecodeError as error:
            raise Failure("INVALID_ARGUMENT", "INPUT_NOT_JSON", f"malformed google.protobuf.Any: {error}") from None
    return None


def parameters_of(payload: bytes) -> Callable[[], Any] | None:
    """What decodes a task's parameters, anew at each call; None if it has none.

    Raises:
        Failure: INPUT_NOT_JSON, once and for all calls.
    """
    message = worker_pb2.Payload.FromString(payload)
    if message.WhichOneof("kind") is None:
        return None
    try:
        to_python(message)
    except Failure as error:
        raise Failure("INVALID_ARGUMENT", error.reason, f"parameters: {error.message}") from None
    return lambda: to_python(message)


def _extra(value: Any) -> Any:
    """What orjson knows natively and cannot be told to refuse, so that both agree."""
    if isinstance(value, enum.Enum):
        return value.value
    if type(value) is uuid.UUID:
        return str(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def dumps_exact(value: Any) -> bytes:
    """JSON text by the standard library: what json.dumps takes, and UUID and Enum as orjson writes them.

    Raises:
        ValueError: NaN, an infinity, a cycle, half a surrogate pair.
        TypeError: A type that JSON does not have.
        RecursionError: Nested too deeply.
    """
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_extra).encode()


if orjson is None:
    dumps = dumps_exact
else:
    _orjson_dumps = orjson.dumps
    _STRICT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME

    def dumps(value: Any) -> bytes:
        """The same as `dumps_exact`, mostly by orjson.

        orjson writes NaN as null and refuses integers beyond 64 bits, other keys than str, and deep nesting.
        """
        try:
            text = _orjson_dumps(value, None, _STRICT)
        except TypeError:
            return dumps_exact(value)
        return text if text.rfind(b"null") < 0 else dumps_exact(value)  # `in` takes twice as long


def from_python(value: Any, max_bytes: int) -> bytes:
    """The serialized Payload of what a `python` handler returned; empty for None.

    Args:
        value: The handler's result.
        max_bytes: Bound of the serialized Payload.

    Raises:
        Failure: OUTPUT_NOT_SERIALIZABLE, OUTPUT_TOO_LARGE.
    """
    if isinstance(value, str):
        try:
            data = value.encode()
        except UnicodeEncodeError as error:
            raise not_serializable(str(error)) from None
        payload = delimited(0x0A, TEXT_TYPE.encode()) + text_payload(data)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        payload = delimited(0x0A, BYTES_TYPE.encode()) + delimited(0x1A, bytes(value))
    elif value is None:
        return b""
    elif isinstance(value, Message):
        payload = delimited(0x2A, _as_any(value))
    else:
        try:
            payload = text_payload(dumps(value))
        except (TypeError, ValueError, RecursionError) as error:
            raise not_serializable(str(error)) from None
    check_size(len(payload), max_bytes)
    return payload


def _as_any(message: Message) -> bytes:
    try:
        data = message.SerializeToString()
    except Exception as error:  # noqa: BLE001 - EncodeError of a proto2 message without its required fields, and the like
        raise not_serializable(str(error)) from None
    if message.DESCRIPTOR.full_name == "google.protobuf.Any":
        return data
    url = "type.googleapis.com/" + message.DESCRIPTOR.full_name
    return worker_pb2.Any(type_url=url, value=data).SerializeToString()


def not_serializable(why: str) -> Failure:
    """The failure of a result that no payload can hold."""
    return Failure("INTERNAL", "OUTPUT_NOT_SERIALIZABLE", f"the handler's result cannot be stored: {why}")


def check_size(size: int, max_bytes: int) -> None:
    """Refuses an output above its bound.

    Raises:
        Failure: OUTPUT_TOO_LARGE.
    """
    if size > max_bytes:
        raise too_large(str(size), max_bytes)


def too_large(size: str, max_bytes: int) -> Failure:
    """The failure of an output of ``size`` bytes."""
    return Failure("RESOURCE_EXHAUSTED", "OUTPUT_TOO_LARGE", f"the output has {size} bytes, {max_bytes} are allowed")
