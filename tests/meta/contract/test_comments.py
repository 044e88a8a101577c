"""Does everything that is declared say what it means, in words that exist?"""

from __future__ import annotations

import re
from collections.abc import Iterator

import grpc
import pytest

from tests.meta.contract import descriptors as d

CODES = {code.name for code in grpc.StatusCode}
# Words in capitals that are neither codes nor values of our enums.
OTHER_CAPITALS = {"BEGIN_", "FAILED_PRECONDITION"}


def commented(package: str) -> Iterator[tuple[str, str]]:
    """Every element of a package with its comment: services, methods, messages, fields, oneofs, enums, values."""
    by_file = {file.name: d.comments(file) for file in d.files(package)}
    for file, service, path in d.services(package):
        yield service.name, by_file[file.name].get(path, "")
        for index, method in enumerate(service.method):
            yield f"{service.name}.{method.name}", by_file[file.name].get((*path, 2, index), "")
    for message in d.messages(package):
        texts = by_file[message.file.name]
        yield message.short, texts.get(message.path, "")
        for index, field in enumerate(message.proto.field):
            yield f"{message.short}.{field.name}", texts.get((*message.path, 2, index), "")
        for index, oneof in enumerate(message.proto.oneof_decl):
            if not oneof.name.startswith("_"):  # made by the compiler for an optional field
                yield f"{message.short}.{oneof.name}", texts.get((*message.path, 8, index), "")
    for enum in d.enums(package):
        texts = by_file[enum.file.name]
        yield enum.short, texts.get(enum.path, "")
        for index, value in enumerate(enum.values):
            yield f"{enum.short}.{value.name}", texts.get((*enum.path, 2, index), "")


@pytest.mark.parametrize("package", d.OURS)
def test_everything_has_a_comment(package: str) -> None:
    found = dict(commented(package))
    assert len(found) > 10
    assert [name for name, text in found.items() if not text] == []


def test_comments_are_sentences() -> None:
    assert [name for name, text in commented(d.PUBLIC) if not text.endswith(".")] == []


def test_words_in_capitals_exist() -> None:
    values = {value.name for enum in d.enums() for value in enum.values}
    known = CODES | values | OTHER_CAPITALS
    wrong = {
        name: unknown
        for name, text in commented(d.PUBLIC)
        if (unknown := set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", text)) - known)
    }
    assert wrong == {}


@pytest.mark.parametrize("method", d.methods(), ids=lambda method: method.name)
def test_a_method_says_how_it_fails(method: d.Method) -> None:
    text = dict(commented(d.PUBLIC))[f"{method.service.rpartition('.')[2]}.{method.name}"]
    assert "Errors: " in text
    errors = text[text.index("Errors: ") :]
    request = d.message(method.proto.input_type)
    assert "INVALID_FIELD" in errors
    tokens = {"page_token", "resume_token"} & {field.name for field in request.proto.field}
    assert ("INVALID_TOKEN" in errors) == bool(tokens)
    if request.field("request_id") is not None:
        assert "REQUEST_ID_REUSED" in errors
        assert "Idempotent" in text
    name = request.field("name") or request.field("batch_task")
    if name is not None and d.reference(name).type not in d.SINGLETONS:
        assert "RESOURCE_NOT_FOUND" in errors


def test_every_reason_of_an_rpc_is_named_by_a_method_or_the_service() -> None:
    texts = "\n".join(text for name, text in commented(d.PUBLIC) if name.startswith("BatchTaskService"))
    [reasons] = [enum for enum in d.enums() if enum.short == "ErrorReason"]
    # Named elsewhere: a method of google.longrunning.Operations, and what comes before any method is reached.
    elsewhere = {"OPERATION_NOT_DONE", "MALFORMED_REQUEST"}
    silent = [value.name for value in reasons.values if 0 < value.number < 32 and value.name not in texts]
    assert set(silent) == elsewhere


def test_a_reason_says_which_code_it_comes_with() -> None:
    texts = dict(commented(d.PUBLIC))
    [reasons] = [enum for enum in d.enums() if enum.short == "ErrorReason"]
    for value in list(reasons.values)[1:]:
        text = texts[f"ErrorReason.{value.name}"]
        scope = (
            ""
            if value.number < 32
            else "Task error, |Detail of a task's error"
            if value.number < 64
            else "Record error, "
            if value.number < 128
            else "Subtask error, "
        )
        assert re.match(scope, text), value.name
        own = any(code in text for code in CODES) or "its own code" in text or "Detail of" in text
        assert own, f"{value.name} names no code"
