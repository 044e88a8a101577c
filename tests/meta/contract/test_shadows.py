"""Do the shadow messages read and write the same bytes as the public ones?"""

from __future__ import annotations

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

from tests.meta.contract import descriptors as d

CODEC = "batchyard_server.codec.v1"
WORKER = "batchyard_worker.v1"
# Shadow -> the messages whose bytes it reads.
SHADOWS = {
    f"{CODEC}.RawInputs": ("batchyard.v1.AppendRecordsRequest", f"{WORKER}.InputPage"),
    f"{CODEC}.RawCreate": ("batchyard.v1.CreateBatchTaskRequest",),
    f"{CODEC}.RawBatchCreate": ("batchyard.v1.BatchCreateBatchTasksRequest",),
    f"{CODEC}.RawBatchCreated": ("batchyard.v1.BatchCreateBatchTasksResponse",),
    f"{CODEC}.RawBatchCreated.Result": ("batchyard.v1.BatchCreateBatchTasksResponse.Result",),
    f"{CODEC}.RawRecordPage": ("batchyard.v1.ListRecordsResponse", "batchyard.v1.StreamRecordsResponse"),
    f"{CODEC}.RawTaskPage": ("batchyard.v1.ListBatchTasksResponse", "batchyard.v1.StreamBatchTasksResponse"),
    f"{CODEC}.RecordInputHead": ("batchyard.v1.RecordInput",),
    f"{CODEC}.RecordHead": ("batchyard.v1.RecordInfo",),
    f"{CODEC}.RecordHead.Error": ("google.rpc.Status",),
    f"{CODEC}.RecordHeads": ("batchyard.v1.ListRecordsResponse", "batchyard.v1.StreamRecordsResponse"),
    f"{CODEC}.RawRecordInput": ("batchyard.v1.RecordInfo",),
    f"{CODEC}.RawInput": ("batchyard.v1.RecordInput",),
    f"{CODEC}.RawOperationStatus": ("batchyard.v1.OperationStatus",),
    f"{WORKER}.RecordPage": ("batchyard.v1.ListRecordsResponse", f"{CODEC}.RawRecordPage"),
    f"{WORKER}.InputPage": ("batchyard.v1.AppendRecordsRequest", f"{CODEC}.RawInputs"),
    f"{WORKER}.RecordInput": ("batchyard.v1.RecordInput",),
    f"{WORKER}.Payload": ("batchyard.v1.Payload",),
    f"{WORKER}.RecordInfo": ("batchyard.v1.RecordInfo",),
    f"{WORKER}.Timestamp": ("google.protobuf.Timestamp",),
    f"{WORKER}.Status": ("google.rpc.Status",),
    f"{WORKER}.Any": ("google.protobuf.Any",),
    f"{WORKER}.ErrorInfo": ("google.rpc.ErrorInfo",),
    f"{WORKER}.DebugInfo": ("google.rpc.DebugInfo",),
}
# Names that differ, because one field of the shadow stands for fields of two messages.
ALIASES = {"token": ("next_page_token", "resume_token")}
# A field that one of the two public messages does not have.
ONLY_IN_ONE = {("RawRecordPage", "next_page_token")}

# What a shadow may put in the place of a type without changing a byte.
OPAQUE = {Field.TYPE_MESSAGE: Field.TYPE_BYTES, Field.TYPE_ENUM: Field.TYPE_INT32}
pairs = [(shadow, public) for shadow, publics in SHADOWS.items() for public in publics]


def plain(field: Field) -> int:
    """Its type, a message taken as bytes and an enum as a number."""
    return OPAQUE.get(field.type, field.type)


@pytest.mark.parametrize(("shadow", "public"), pairs)
def test_a_field_has_the_number_and_type_of_the_public_one(shadow: str, public: str) -> None:
    found, target = d.message(shadow), d.message(public)
    for field in found.proto.field:
        twins = [twin for name in ALIASES.get(field.name, (field.name,)) if (twin := target.field(name)) is not None]
        if not twins:
            assert (found.short, field.name) in ONLY_IN_ONE, f"{public} has no {field.name}"
            continue
        [twin] = twins
        assert (field.number, d.repeated(field)) == (twin.number, d.repeated(twin))
        # Strings are checked for UTF-8, bytes are not: a shadow must not accept what the public one refuses.
        assert plain(field) == plain(twin)


@pytest.mark.parametrize(("shadow", "public"), [(s, p) for s, p in pairs if s.startswith(WORKER)])
def test_a_worker_s_message_keeps_presence(shadow: str, public: str) -> None:
    for field in d.message(shadow).proto.field:
        twin = d.message(public).field(field.name)
        assert twin is not None
        assert field.proto3_optional == twin.proto3_optional
        assert field.HasField("oneof_index") == twin.HasField("oneof_index")


def test_every_shadow_is_compared() -> None:
    shadows = {found.name for found in d.messages(CODEC)}
    for found in d.messages(WORKER):
        if "Shadow of" in d.comments(found.file).get(found.path, ""):
            shadows.add(found.name)
    assert shadows == set(SHADOWS)
