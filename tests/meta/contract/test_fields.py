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
        if (len(d.behaviors(field)) != 1 or not d.behaviors(field) <= KNOWN) and not is_own_etag(found, field)
    }
    assert wrong == {}


def is_own_etag(found: d.Message, field: FieldDescriptorProto) -> bool:
    """Whether it is the etag of a resource: the server sets it and a caller gives it back, so it has no behavior."""
    return field.name == "etag" and d.resource(found) is not None


def test_an_etag_of_a_resource_has_no_behavior_and_one_of_a_request_is_optional() -> None:
    """AIP-154."""
    etags = {
        found.short: (d.behaviors(field), field.type)
        for found in d.messages()
        for field in found.proto.field
        if field.name == "etag"
    }
    resources = {found.short for found in d.messages() if d.resource(found) is not None}
    assert {"BatchTaskInfo", "DeleteBatchTaskRequest"} <= set(etags)
    assert etags == {name: (set() if name in resources else {"OPTIONAL"}, STRING) for name in etags}


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
        assert field.number == (6 if "Create" in method.name or method.name == "CancelBatchTasks" else 3)
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
        "BatchTaskInfo.priority",  # 0 can be asked for by name in an update, unset takes part in none without a mask
        "BatchTaskInfo.parallel_count",  # unset is all free slots, 0 is refused
        "Constraints.max_retry_count",  # 0 is as good as unset, but can be set over another value without a mask
        "RetryPolicy.multiplier",  # unset is 2, 0 is refused
        "FailurePolicy.max_failed_records",  # 0 allows none, unset has no bound
        "FailurePolicy.max_failed_ratio",  # the same
        "Subtask.exit_code",  # 0 is how a worker ends that was not killed, unset is not known
        "RecordInfo.index",  # 0 is the first record, shown by tools that leave zeros out
        "RecordInfo.exit_code",  # 0 is a success, unset is no command
        "RecordAttempt.exit_code",  # the same
    }
