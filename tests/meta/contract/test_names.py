"""Are things called what the AIPs and proto/README.md say they are called?"""

from __future__ import annotations

import re

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from tests.meta.contract import descriptors as d

STRING = FieldDescriptorProto.TYPE_STRING
TIMESTAMP = ".google.protobuf.Timestamp"
DURATION = ".google.protobuf.Duration"
OPERATION = ".google.longrunning.Operation"
EMPTY = ".google.protobuf.Empty"
# What a method's name may begin with: the standard methods (AIP-131 to 135) and the verbs of the state table.
VERBS = [
    "Get",
    "List",
    "Create",
    "Delete",
    "Update",
    "Stream",
    "Watch",
    "Read",
    "Append",
    "Start",
    "Cancel",
    "Pause",
    "Resume",
    "Reactivate",
    "BatchCreate",
]
WORDS_NOT_USED = re.compile(r"abort|terminate|shard|job|chunk", re.IGNORECASE)

fields = [(found, field) for found in d.messages() for field in found.proto.field]
every_method = pytest.mark.parametrize("method", d.methods(), ids=lambda method: method.name)


def test_messages_and_enums_are_in_camel_case() -> None:
    names = [part for found in [*d.messages(), *d.enums()] for part in found.short.split(".")]
    assert [name for name in names if not re.fullmatch(r"([A-Z][a-z0-9]+)+", name)] == []


def test_fields_are_in_snake_case_without_prepositions_and_type_suffixes() -> None:
    names = [f"{found.short}.{field.name}" for found, field in fields]
    digests = ("Artifact.crc32c", "Artifact.sha256", "ReadArtifactResponse.crc32c")  # the names that they have
    wrong = [name for name in names if not re.search(r"\.[a-z]+(_[a-z]+)*$", name) and name not in digests]
    wrong += [name for name in names if re.search(r"_(of|in|to|from|with|for)(_|$)", name)]
    # AIP-122: a field that refers to a resource is not called x_name; display_name is a standard field (AIP-148).
    wrong += [name for name in names if name.endswith("_name") and not name.endswith(".display_name")]
    assert wrong == []


def test_a_field_is_called_time_exactly_if_it_is_a_timestamp() -> None:
    # Durations under the names that their users know: the constraints of an Azure Batch task.
    durations = {"Constraints.max_wall_clock_time", "Constraints.retention_time"}
    wrong = {
        f"{found.short}.{field.name}"
        for found, field in fields
        if field.name.endswith("_time") != (field.type_name == TIMESTAMP)
    }
    assert wrong == durations
    assert {field.type_name for found, field in fields if f"{found.short}.{field.name}" in durations} == {DURATION}


def test_bare_numbers_say_what_they_count() -> None:
    numeric = {FieldDescriptorProto.TYPE_INT32, FieldDescriptorProto.TYPE_INT64, FieldDescriptorProto.TYPE_UINT32}
    suffixes = "_count|_index|_size|_code|_records"
    known = re.compile(rf"({suffixes}|^index|^attempt|^generation|^order|^view|^priority|^epoch)$")
    # Every field of them is a number of records, an index, a number of tasks; of what is about a file, bytes.
    counts = {"RecordCounts", "IndexRange", "BatchTaskCounts", "Artifact", "ReadArtifactRequest"}
    wrong = [
        f"{found.short}.{field.name}"
        for found, field in fields
        if field.type in numeric and found.short not in counts and not known.search(field.name)
    ]
    assert wrong == []


def test_no_word_is_used_that_has_another_name_here() -> None:
    names = [found.short for found in [*d.messages(), *d.enums()]]
    names += [field.name for _, field in fields] + [method.name for method in d.methods()]
    names += [value.name for enum in d.enums() for value in enum.values if enum.short != "ErrorReason"]
    assert [name for name in names if WORDS_NOT_USED.search(name)] == []


@every_method
def test_a_method_is_verb_and_noun_with_messages_of_its_name(method: d.Method) -> None:
    verb = next((verb for verb in sorted(VERBS, key=len, reverse=True) if method.name.startswith(verb)), None)
    assert verb is not None, f"{method.name} begins with none of the verbs"
    assert re.match(r"[A-Z]", method.name.removeprefix(verb)), f"{method.name} names no thing"
    assert method.proto.input_type == f".{d.PUBLIC}.{method.name}Request"
    answers = {f".{d.PUBLIC}.{method.name}Response", OPERATION, EMPTY}
    answers |= {"." + found.name for found in d.messages() if d.resource(found) is not None}
    if verb == "Watch":  # all watches tell of operations
        answers = {f".{d.PUBLIC}.OperationStatus"}
    assert method.proto.output_type in answers


def test_every_request_and_response_belongs_to_a_method() -> None:
    used = {name for method in d.methods() for name in (method.proto.input_type, method.proto.output_type)}
    spare = [found.short for found in d.messages() if re.search(r"(Request|Response)$", found.short)]
    assert [name for name in spare if f".{d.PUBLIC}.{name}" not in used] == []


def lists_parts(method: d.Method) -> bool:
    """Whether it lists what is no resource, a record's attempts: its parent is named by the parent's own type."""
    if not method.name.startswith("List"):
        return False
    return d.resource(d.message(d.message(method.proto.output_type).proto.field[0].type_name)) is None


@every_method
def test_field_1_of_a_request_is_name_or_parent_or_the_resource_of_an_update(method: d.Method) -> None:
    request = d.message(method.proto.input_type)
    [field] = [field for field in request.proto.field if field.number == 1]
    if method.name.startswith("Update"):  # AIP-134: the resource itself, its name inside it
        assert field.type_name == method.proto.output_type
        assert d.behaviors(field) == {"REQUIRED"}
        return
    many = method.name.startswith(("List", "Stream", "Create", "BatchCreate"))
    collection = many or re.fullmatch(r"(Watch|Cancel)\w+s", method.name)
    assert field.name == ("parent" if collection else "name")
    assert field.type == STRING
    reference = d.reference(field)
    assert reference.child_type if collection and not lists_parts(method) else reference.type
    # Only the first message of a stream has to name its task.
    assert d.behaviors(field) == ({"OPTIONAL"} if method.proto.client_streaming else {"REQUIRED"})


def test_references_name_resources_that_exist() -> None:
    known = {found_resource.type for found in d.messages() if (found_resource := d.resource(found)) is not None}
    named = {d.reference(field).type or d.reference(field).child_type for _, field in fields} - {""}
    assert named <= known


@pytest.mark.parametrize("found", [m for m in d.messages() if d.resource(m)], ids=lambda found: found.short)
def test_a_resource_has_a_name_and_a_pattern_made_of_its_words(found: d.Message) -> None:
    option = d.resource(found)
    assert option is not None
    field = found.proto.field[0]
    assert (field.name, field.number, field.type, d.behaviors(field)) == ("name", 1, STRING, {"IDENTIFIER"})
    kind = option.type.removeprefix("batchyard.dev/")
    assert option.singular == kind[0].lower() + kind[1:]
    [pattern] = option.pattern
    if option.type in d.SINGLETONS:
        assert (option.plural, pattern) == (option.singular, f"projects/{{project}}/{option.singular}")
        return
    assert option.plural == option.singular + "s"
    assert re.fullmatch(r"projects/\{project\}(/[a-z][a-zA-Z]*/\{[a-z_]+(=\*\*)?\})*", pattern)
    variable = re.sub(r"(?<!^)([A-Z])", r"_\1", option.singular).lower()
    # The id of an artifact is a path.
    assert pattern.endswith(f"/{option.plural}/{{{variable}{'=**' if kind == 'Artifact' else ''}}}")


@every_method
def test_lists_are_paged_and_streams_are_resumed(method: d.Method) -> None:
    request, response = d.message(method.proto.input_type), d.message(method.proto.output_type)
    streams = method.proto.server_streaming and not method.proto.client_streaming
    assert method.name.startswith(("Stream", "Watch", "Read")) == streams
    numbers = {field.name: field.number for field in request.proto.field}
    answers = {field.name: field.number for field in response.proto.field}
    if method.name.startswith("List"):
        assert (numbers["page_size"], numbers["page_token"], answers["next_page_token"]) == (2, 3, 2)
        assert "resume_token" not in numbers
    elif method.name == "CancelBatchTasks":  # a verb on a filter, so many tasks a call: the caller chooses no size
        assert (numbers["page_token"], answers["next_page_token"]) == (3, 2)
        assert "page_size" not in numbers
    else:
        assert {"page_token", "next_page_token"} & {*numbers, *answers} == set()
    if method.name.startswith(("List", "Stream")):
        first = response.proto.field[0]
        assert first.number == 1, "the items are field 1"
        assert d.repeated(first), "the items are field 1"
    if streams and method.name.startswith("Read"):  # bytes go on at an offset
        assert (numbers["offset"], numbers["limit"], answers["data"]) == (2, 3, 1)
    elif streams:
        assert numbers["resume_token"] == (2 if method.name.startswith("Watch") else 3)
        assert "resume_token" in answers


def test_enums_are_nested_and_their_values_bare() -> None:
    assert [enum.short for enum in d.enums() if not enum.nested] == ["ErrorReason"]
    for enum in d.enums():
        own = enum.short.rpartition(".")[2]
        prefix = re.sub(r"(?<!^)([A-Z])", r"_\1", own).upper() + "_"
        zero, *rest = enum.values
        assert (zero.number, zero.name) == (0, prefix + "UNSPECIFIED")
        assert [value.name for value in rest if value.name.startswith(prefix)] == []
        assert [value.name for value in rest if not re.fullmatch(r"[A-Z]+(_[A-Z]+)*", value.name)] == []
        assert not enum.proto.options.allow_alias
        assert "DELETE" not in [value.name for value in rest], "a macro in the headers of Windows"


def test_states_are_output_only() -> None:
    wrong = [
        f"{found.short}.{field.name}"
        for found, field in fields
        if field.type_name.endswith(".State") and d.behaviors(field) != {"OUTPUT_ONLY"}
    ]
    assert wrong == []
