"""Messages as JSON for scripts: the contract's own field names, payloads decoded, an unknown Any as base64."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from batchyard import _payload
from batchyard._error_map import unpack_any
from batchyard.v1 import batch_task_pb2, payload_pb2, subtask_pb2

# Messages whose JSON form is not an object of their fields.
_WELL_KNOWN: Final = "google.protobuf."


def dumps(value: Any) -> str:
    """Write one line of JSON."""
    return json.dumps(value, ensure_ascii=False)


def plain(message: Message) -> Any:
    """Return what JSON can say about a message: set fields under their proto names, 64-bit integers as numbers."""
    if isinstance(message, payload_pb2.Payload):
        return plain_payload(message)
    if isinstance(message, AnyMessage):
        return _plain_any(message)
    if message.DESCRIPTOR.full_name.startswith(_WELL_KNOWN):
        return json_format.MessageToDict(message)
    fields = {field.name: _plain_field(field, value) for field, value in message.ListFields()}
    if isinstance(
        message, (batch_task_pb2.RecordCounts, batch_task_pb2.BatchTaskCounts, subtask_pb2.IndexRange)
    ):  # zeros are news here
        return {field.name: fields.get(field.name, 0) for field in message.DESCRIPTOR.fields}
    return fields


def plain_payload(payload: payload_pb2.Payload) -> Any:
    """Return the value of a payload; bytes as `{"data": base64}`, text that is not the JSON it claims as it is."""
    try:
        value = _payload.decode(payload)
    except ValueError:
        value = payload.text
    if isinstance(value, bytes):
        kind = {"content_type": payload.content_type} if payload.content_type else {}
        return {"data": _base64(value), **kind}
    return plain(payload.message) if isinstance(value, Message) else value


def _plain_any(message: AnyMessage) -> dict[str, Any]:
    inner = unpack_any(message)
    if inner is None:
        return {"@type": message.type_url, "value": _base64(message.value)}
    content = plain(inner)
    return {"@type": message.type_url, **(content if isinstance(content, dict) else {"value": content})}


def _plain_field(field: FieldDescriptor, value: Any) -> Any:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        item = kind.fields_by_name["value"]
        return {str(key): _plain_value(item, entry) for key, entry in value.items()}
    if isinstance(value, (Message, str, bytes, int, float)):
        return _plain_value(field, value)
    return [_plain_value(field, entry) for entry in value]


def _plain_value(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, bytes):
        return _base64(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else value
    return value


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
