"""Do values match as the tree says? Against what the words of model/filter.py mean, for any tree and any values."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard_server.model.filter import (
    All,
    Always,
    Any,
    Compare,
    Contains,
    Field,
    IsSet,
    Kind,
    Node,
    Not,
    Op,
    Prefix,
    Value,
)
from batchyard_server.query import TASKS, matches, parse_filter

TEXT = Field("display_name", Kind.TEXT)
NUMBER = Field("exit_code", Kind.NUMBER)
LABEL = Field("labels", Kind.TEXT, "k")
texts = st.text(st.sampled_from("ab*éZ\U0001f600\ufffd"), max_size=3)
values = st.fixed_dictionaries({}, optional={TEXT: texts, LABEL: texts, NUMBER: st.integers(-2, 2)})
text_fields = st.sampled_from([TEXT, LABEL])
leaves = st.one_of(
    st.builds(Always, st.booleans()),
    st.builds(Compare, text_fields, st.sampled_from(Op), texts),
    st.builds(Compare, st.just(NUMBER), st.sampled_from(Op), st.integers(-2, 2)),
    st.builds(Prefix, text_fields, texts),
    st.builds(Contains, text_fields, texts),
    st.builds(IsSet, st.sampled_from([TEXT, LABEL, NUMBER])),
)
trees = st.recursive(
    leaves,
    lambda part: st.one_of(
        st.builds(Not, part),
        st.builds(All, st.lists(part, min_size=1, max_size=3).map(tuple)),
        st.builds(Any, st.lists(part, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


def matching(node: Node, known: Mapping[Field, Value]) -> bool:
    return matches(node, known.get)


@given(trees, values)
def test_not_turns_everything_round(node: Node, known: Mapping[Field, Value]) -> None:
    assert matching(Not(node), known) is not matching(node, known)


@given(st.lists(trees, min_size=1, max_size=3), values)
def test_all_and_any(parts: list[Node], known: Mapping[Field, Value]) -> None:
    results = [matching(part, known) for part in parts]
    assert matching(All(tuple(parts)), known) is all(results)
    assert matching(Any(tuple(parts)), known) is any(results)


@given(text_fields, texts, texts)
def test_text_is_compared_by_bytes(field: Field, value: str, other: str) -> None:
    order = (value.encode() > other.encode()) - (value.encode() < other.encode())
    expected = {Op.EQ: order == 0, Op.NE: order != 0, Op.LT: order < 0, Op.LE: order <= 0, Op.GT: order > 0}
    for op, expectation in {**expected, Op.GE: order >= 0}.items():
        assert matching(Compare(field, op, other), {field: value}) is expectation
    assert matching(Prefix(field, other), {field: value}) is value.encode().startswith(other.encode())
    assert matching(Contains(field, other), {field: value}) is (other.encode() in value.encode())


@pytest.mark.parametrize("op", Op)
def test_what_is_not_set_never_compares(op: Op) -> None:
    assert not matching(Compare(NUMBER, op, 1), {})
    assert not matching(Compare(LABEL, op, ""), {})
    assert not matching(Prefix(LABEL, ""), {})


def test_a_label_without_text_is_set_and_a_name_without_text_is_not() -> None:
    assert matching(IsSet(LABEL), {LABEL: ""})
    assert not matching(IsSet(TEXT), {TEXT: ""})
    assert matching(IsSet(TEXT), {TEXT: "a"})
    assert matching(IsSet(NUMBER), {NUMBER: 0})


def test_a_filter_as_written() -> None:
    node = parse_filter('labels.k != "x*" AND (exit_code > 0 OR display_name:"Night")', TASKS, "p")
    assert matching(node, {LABEL: "y", NUMBER: 1})
    assert matching(node, {LABEL: "y", TEXT: "a Night run"})
    assert not matching(node, {LABEL: "y", TEXT: "a night run"})
    assert not matching(node, {LABEL: "xy", NUMBER: 1})
    assert not matching(node, {NUMBER: 1})
