"""Does every method have an HTTP rule of its own, and a signature, and an operation where it returns one?"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import pytest
from google.api import http_pb2

from tests.meta.contract import descriptors as d
from tests.meta.contract.service_yaml import service_yaml

OPERATION = ".google.longrunning.Operation"
# The verb of the path where it is not the method's own first word in lower case.
STANDARD = ("Get", "List", "Create", "Delete", "Update")

every_method = pytest.mark.parametrize("method", d.methods(), ids=lambda method: method.name)
with_http = [method for method in d.methods() if method.http is not None]


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP rule: `segments` are literals, `*` (one segment) and `**` (any number); `verb` follows the colon."""

    selector: str
    http: str
    segments: tuple[str, ...]
    verb: str


def route(selector: str, rule: http_pb2.HttpRule) -> Route:
    """Take a rule apart (the path template syntax of google/api/http.proto)."""
    http = rule.WhichOneof("pattern")
    assert http is not None, f"{selector} has a rule without a path"
    path = getattr(rule, http)
    assert not rule.additional_bindings, f"{selector}: one path for one method"
    flat = re.sub(r"\{[a-z_.]+=([^}]*)\}", r"\1", path)
    flat = re.sub(r"\{[a-z_.]+\}", "*", flat)
    body, _, verb = flat.partition(":")
    return Route(selector, http, tuple(body.strip("/").split("/")), verb)


def overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether some path matches both templates."""
    if not one or not other:
        return set(one) | set(other) <= {"**"}
    if "**" in (one[0], other[0]):
        return overlap(one[1:], other) or overlap(one, other[1:])
    same = "*" in (one[0], other[0]) or one[0] == other[0]
    return same and overlap(one[1:], other[1:])


def routes() -> list[Route]:
    """Every HTTP rule of the API, those of the service YAML included."""
    found = [route(method.name, method.http) for method in with_http if method.http is not None]
    return found + [route(rule.selector, rule) for rule in service_yaml().http.rules]


@every_method
def test_every_unary_and_server_streaming_method_has_an_http_rule(method: d.Method) -> None:
    assert (method.http is None) == method.proto.client_streaming


@pytest.mark.parametrize("method", with_http, ids=lambda method: method.name)
def test_the_http_verb_and_the_body_fit_the_method(method: d.Method) -> None:
    rule = method.http
    assert rule is not None
    reads = method.name.startswith(("Get", "List", "Stream", "Watch", "Read"))
    standard = {"Delete": "delete", "Update": "patch"}
    wanted = "get" if reads else next((http for verb, http in standard.items() if method.name.startswith(verb)), "post")
    assert rule.WhichOneof("pattern") == wanted
    # An update sends the resource alone (AIP-134), which is field 1 of its request.
    resource = d.message(method.proto.input_type).proto.field[0].name
    assert rule.body == {"post": "*", "patch": resource}.get(wanted, "")


@pytest.mark.parametrize("method", with_http, ids=lambda method: method.name)
def test_a_custom_method_ends_in_its_own_verb(method: d.Method) -> None:
    assert method.http is not None
    found = route(method.name, method.http)
    first = re.match(r"Batch[A-Z][a-z]+|[A-Z][a-z]+", method.name)
    assert first is not None
    if method.name.startswith("Read"):  # bytes, not JSON: what serves them is told by the beginning of the path
        assert (found.segments[0], found.verb) == ("download", "")
        return
    assert found.segments[0] == "v1"
    verb = first.group()
    assert found.verb == ("" if method.name.startswith(STANDARD) else verb[0].lower() + verb[1:])


@pytest.mark.parametrize("method", with_http, ids=lambda method: method.name)
def test_the_path_is_the_pattern_of_the_resource_it_names(method: d.Method) -> None:
    assert method.http is not None
    path: str = getattr(method.http, method.http.WhichOneof("pattern") or "get")
    variable = re.fullmatch(
        r"(?:/download)?/v1/\{([a-z_]+\.name|name|parent)=([^}]*)\}(/[a-zA-Z]+)?(:[a-zA-Z]+)?", path
    )
    assert variable is not None, path
    field = d.message(method.proto.input_type).field(variable.group(1).removesuffix(".name"))
    assert field is not None
    if variable.group(1).endswith(".name"):  # an update: the name is that of the resource in the request
        assert field.name + ".name" == variable.group(1)
        option = d.resource(d.message(field.type_name))
        assert option is not None
        assert (variable.group(2), variable.group(3)) == (re.sub(r"\{[a-z_]+\}", "*", option.pattern[0]), None)
        return
    reference = d.reference(field)
    option = next(
        option
        for found in d.messages()
        if (option := d.resource(found)) is not None and option.type in (reference.type, reference.child_type)
    )
    pattern = re.sub(r"\{[a-z_]+\}", "*", option.pattern[0])
    pattern = re.sub(r"\{[a-z_]+=\*\*\}", "*/**", pattern)  # in the syntax of rules `**` may be nothing, an id may not
    if reference.child_type:
        pattern = pattern.removesuffix("/**").removesuffix("/*")
        assert variable.group(2) + variable.group(3) == pattern
    elif method.name.startswith("List"):  # parts of a resource that are none themselves: RecordAttempt
        items = d.message(method.proto.output_type).proto.field[0]
        assert d.resource(d.message(items.type_name)) is None
        assert (variable.group(2), variable.group(3)) == (pattern, f"/{items.name}")
    else:
        assert (variable.group(2), variable.group(3)) == (pattern, None)


def test_no_two_rules_match_the_same_path() -> None:
    clash = [
        (one.selector, other.selector)
        for one, other in itertools.combinations(routes(), 2)
        if (one.http, one.verb) == (other.http, other.verb) and overlap(one.segments, other.segments)
    ]
    assert clash == []


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("v1/*/a", "v1/b/a", True),
        ("v1/*/a", "v1/b/c", False),
        ("v1/a/**", "v1/a/b/c", True),
        ("v1/a/**", "v1/a", True),
        ("v1/a/**/c", "v1/a/b/d", False),
        ("v1/*", "v1/a/b", False),
    ],
)
def test_the_overlap_of_two_templates_is_seen(one: str, other: str, both: bool) -> None:
    assert overlap(tuple(one.split("/")), tuple(other.split("/"))) is both


@pytest.mark.parametrize("method", with_http, ids=lambda method: method.name)
def test_signatures_name_fields_and_begin_with_the_first(method: d.Method) -> None:
    request = d.message(method.proto.input_type)
    assert method.signatures, "a method without a signature has no flattened call in generated clients"
    for signature in method.signatures:
        names = signature.split(",")
        assert names[0] == request.proto.field[0].name
        assert [name for name in names if request.field(name) is None] == []


@every_method
def test_an_operation_says_what_it_ends_with(method: d.Method) -> None:
    info = method.operation_info
    assert (info is not None) == (method.proto.output_type == OPERATION)
    if info is not None:
        response, metadata = (d.message(f"{d.PUBLIC}.{name}") for name in (info.response_type, info.metadata_type))
        assert d.resource(response) is not None
        assert metadata.short.endswith("Metadata")
        assert not method.proto.server_streaming
