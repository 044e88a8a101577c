"""Is every field marked with who sets it, and is a request safe to repeat?"""

from __future__ import annotations

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from tests.meta.contract import descriptors as d

STRING = FieldDescriptorProto.TYPE_STRING
KNOWN = {"REQUIRED", "OPTIONAL", "OUTPUT_ONLY", "IDENTIFIER"}
REQUESTS = [method.proto.input_type for method in d.methods()]
RESPONSES = [method.proto.output_type for method in d.methods()]


def test_every_message_is_reached_from_a_method_or_an_operation() -> None:
    infos = [info for method in d.methods() if (info := method.operation_info) is not None]
    packed = [f"{d.PUBLIC}.{name}" for info in infos for name in (info.response_type, info.metadata_type)]
    reached = {found.name for found in d.reachable([*REQUESTS, *RESPONSES, *packed])}
    assert [found.short for found in d.messages() if found.name not in reached] == []


def test_every_field_has_one_field_behavior() -> None:
    wrong = {
        f"{found.short}.{field.name}": d.behaviors(field)
        for found in d.messages()
        for field in found.proto.field
        if len(d.behaviors(field)) != 1 or not d.behaviors(field) <= KNOWN
    }
    assert wrong == {}


def test_a_caller_can_set_something_in_every_message_a_request_reaches() -> None:
    """A message all of whose fields are OUTPUT_ONLY may hang below a request only under an OUTPUT_ONLY field."""
    closed = {
        found.name
        for found in d.messages()
        if all(d.behaviors(field) == {"OUTPUT_ONLY"} for field in found.proto.field)
    }
    wrong = [
        f"{found.short}.{field.name}"
        for found in d.reachable(REQUESTS)
        for field in found.proto.field
        if field.type_name.removeprefix(".") in closed and d.behaviors(field) != {"OUTPUT_ONLY"}
    ]
    assert wrong == []


@pytest.mark.parametrize("name", sorted(set(RESPONSES)))
def test_a_response_is_output_only(name: str) -> None:
    if not name.endswith("Response"):
        return  # a resource, an operation or nothing: marked where it is declared
    found = d.message(name)
    assert [field.name for field in found.proto.field if d.behaviors(field) != {"OUTPUT_ONLY"}] == []


@pytest.mark.parametrize("method", d.methods(), ids=lambda method: method.name)
def test_every_mutation_and_nothing_else_takes_a_request_id(method: d.Method) -> None:
    request = d.message(method.proto.input_type)
    field = request.field("request_id")
    reads = method.name.startswith(("Get", "List", "Stream", "Watch", "Read"))
    # A stream that appends has an index in every message, which makes it safe to repeat.
    assert (field is None) == (reads or method.proto.client_streaming)
    if field is not None:
        assert field.number == (6 if "Create" in method.name else 3)
        assert field.type == STRING
        assert d.field_format(field) == "UUID4"
        assert d.behaviors(field) == {"OPTIONAL"}


def test_fields_whose_zero_means_something_are_optional() -> None:
    explicit = {
        f"{found.short}.{field.name}" for found in d.messages() for field in found.proto.field if field.proto3_optional
    }
    assert explicit == {
        "CreateBatchTaskRequest.start",  # unset is true
        "AppendRecordsRequest.first_index",  # unset asks for next_index
        "RecordInfo.index",  # 0 is the first record, shown by tools that leave zeros out
        "RecordInfo.exit_code",  # 0 is a success, unset is no command
    }
