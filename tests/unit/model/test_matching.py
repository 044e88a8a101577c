"""What is said of many values holds for each of them; and single comparisons are as the contract says."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard_server.model.filter import (
    EVERYTHING,
    All,
    Always,
    Compare,
    Contains,
    Field,
    IsSet,
    Kind,
    Node,
    Not,
    Op,
    Prefix,
)
from batchyard_server.model.filter import Any as AnyOf
from batchyard_server.model.matching import NEVER_SET, NOTHING_KNOWN, Known, exactly, predicate, verdict, within

N, T = Field("n", Kind.NUMBER), Field("t", Kind.TEXT)
P = Field("priority", Kind.NUMBER)  # compared as 0 where it is not set
LABEL = Field("labels", Kind.TEXT, "k")
MOST = 4
numbers, texts = st.integers(0, MOST), st.sampled_from(["", "a", "ab", "b"])
singles = st.one_of(
    st.builds(Always, truth=st.booleans()),
    st.builds(Compare, st.sampled_from([N, P]), st.sampled_from(Op), numbers),
    st.builds(Compare, st.just(T), st.sampled_from(Op), texts),
    st.builds(Prefix, st.just(T), texts),
    st.builds(Contains, st.just(T), texts),
    st.builds(IsSet, st.sampled_from([N, P, T, LABEL])),
)
nodes = st.recursive(
    singles,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(All, st.tuples(inner, inner)),
        st.builds(AnyOf, st.tuples(inner, inner)),
    ),
    max_leaves=6,
)


def matches(node: Node, **values: Any) -> bool:
    return predicate(node, lambda field: lambda each: each.get(field.name))(values)


@st.composite
def bounds(draw: st.DrawFn) -> tuple[Known, list[int | None]]:
    """What is known of a number, and every value that it then may have."""
    least, most = sorted((draw(numbers), draw(numbers)))
    values: list[int | None] = list(range(least, most + 1))
    is_set = draw(st.sampled_from([True, False, None]))
    if is_set is False:
        return NEVER_SET, [None]
    return Known(least, most, is_set=is_set), values if is_set else [*values, None]


Bounds = tuple[Known, list[int | None]]


@given(nodes, bounds(), bounds(), texts, st.booleans())
def test_a_verdict_holds_for_each(node: Node, number: Bounds, priority: Bounds, text: str, known: bool) -> None:
    known_text = exactly(text) if known else NOTHING_KNOWN
    of_field = {"n": number[0], "priority": priority[0], "t": known_text, "labels": NOTHING_KNOWN}
    may, must = verdict(node, lambda field: of_field[field.name])
    every = [
        matches(node, n=n, priority=p, t=t, labels=label)
        for n in number[1]
        for p in priority[1]
        for t in ([text] if known else ["", "a", "ab", "b", None])
        for label in ("", "x", None)
    ]
    assert may or not any(every)
    assert not must or all(every)


@pytest.mark.parametrize("op", list(Op))
@pytest.mark.parametrize("value", range(-1, MOST + 2))
def test_a_verdict_of_one_comparison_is_exact(op: Op, value: int) -> None:
    compare = {"=": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}[op.value]
    every = [getattr(operator, compare)(each, value) for each in range(MOST + 1)]
    assert verdict(Compare(N, op, value), lambda _: within(0, MOST)) == (any(every), all(every))
    assert verdict(Compare(N, op, value), lambda _: NEVER_SET) == (False, False)


def test_what_is_not_set_is_never_compared() -> None:
    for node in (Compare(N, Op.NE, 1), Compare(T, Op.NE, "a"), Prefix(T, ""), Contains(T, ""), IsSet(N), IsSet(T)):
        assert not matches(node)
        assert matches(Not(node))
    assert not matches(IsSet(T), t="")
    assert matches(IsSet(LABEL), labels="")
    assert matches(EVERYTHING)


def test_what_is_compared_as_if_it_were_set() -> None:
    assert matches(Compare(P, Op.GE, 0))
    assert not matches(Compare(P, Op.NE, 0))
    assert not matches(IsSet(P))
    assert matches(IsSet(P), priority=0)
    assert matches(Compare(Field("display_name", Kind.TEXT), Op.EQ, ""))


def test_text_is_compared_as_its_utf_8() -> None:
    for a, b in (("é", "z"), ("\U0001f600", "\uffee"), ("Z", "a")):
        assert matches(Compare(T, Op.LT, b), t=a) == (a.encode() < b.encode())
