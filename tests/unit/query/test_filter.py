"""Is a filter read as AIP-160 says, and refused with the place and the reason where it is none?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard_server.model import limits
from batchyard_server.model.errors import InvalidArgument, Reason
from batchyard_server.model.filter import (
    EVERYTHING,
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
    conjuncts,
    fields_of,
)
from batchyard_server.query import OPERATIONS, RECORDS, TASKS, Table, parse_filter

ID = Field("id", Kind.TEXT)
STATE = Field("state", Kind.NUMBER)
PRIORITY = Field("priority", Kind.NUMBER)
CREATED = Field("create_time", Kind.TIME)
TEAM = Field("labels", Kind.TEXT, "team")
A, B, C = (Compare(PRIORITY, Op.EQ, number) for number in (1, 2, 3))


def parsed(text: str, table: Table = TASKS) -> Node:
    return parse_filter(text, table, "p")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", EVERYTHING),
        (" \t\n", EVERYTHING),
        (" * ", EVERYTHING),
        ('id = "a"', Compare(ID, Op.EQ, "a")),
        ("id='a'", Compare(ID, Op.EQ, "a")),
        ("id=a", Compare(ID, Op.EQ, "a")),
        ('id != "a"', Compare(ID, Op.NE, "a")),
        ('id <= "a"', Compare(ID, Op.LE, "a")),
        ('id = "ab*"', Prefix(ID, "ab")),
        ("id = ab*", Prefix(ID, "ab")),
        ('id = "*"', Prefix(ID, "")),
        ('id != "ab*"', All((EVERYTHING, Not(Prefix(ID, "ab"))))),
        (r'id = "a\*"', Compare(ID, Op.EQ, "a*")),
        (r'id = "\"\\\'"', Compare(ID, Op.EQ, "\"\\'")),
        ('display_name:"b c"', Contains(Field("display_name", Kind.TEXT), "b c")),
        ("display_name:*", IsSet(Field("display_name", Kind.TEXT))),
        ('labels.team = "x"', Compare(TEAM, Op.EQ, "x")),
        ('labels.team != "x*"', All((IsSet(TEAM), Not(Prefix(TEAM, "x"))))),
        ("labels.a.b-c_1 = x", Compare(Field("labels", Kind.TEXT, "a.b-c_1"), Op.EQ, "x")),
        ("labels:team", IsSet(TEAM)),
        ("labels.team:*", IsSet(TEAM)),
        ("labels:*", IsSet(Field("labels", Kind.TEXT))),
        ("state = FAILED", Compare(STATE, Op.EQ, 8)),
        ("state : FAILED", Compare(STATE, Op.EQ, 8)),
        ("priority >= -1000", Compare(PRIORITY, Op.GE, -1000)),
        ("counts.failed > 0", Compare(Field("counts.failed", Kind.NUMBER), Op.GT, 0)),
        ("archived = true", Compare(Field("archived", Kind.TRUTH), Op.EQ, True)),
        ("archived != true", Compare(Field("archived", Kind.TRUTH), Op.NE, True)),
        ('create_time > "1970-01-01T00:00:01Z"', Compare(CREATED, Op.GT, 1_000_000)),
        ("create_time > 1970-01-01T00:00:01Z", Compare(CREATED, Op.GT, 1_000_000)),
        ('create_time = "1970-01-01T02:00:00.1234567+02:00"', Compare(CREATED, Op.EQ, 123_456)),
        ('create_time < "1969-12-31T23:30:00-00:30"', Compare(CREATED, Op.LT, 0)),
        ("exit_code:*", IsSet(Field("exit_code", Kind.NUMBER))),
    ],
)
def test_a_comparison(text: str, meaning: Node) -> None:
    assert parsed(text) == meaning


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("priority=1 AND priority=2 OR priority=3", All((A, Any((B, C))))),
        ("priority=1 OR priority=2 AND priority=3", All((Any((A, B)), C))),
        ("(priority=1 AND priority=2) OR priority=3", Any((All((A, B)), C))),
        ("NOT priority=1 AND priority=2", All((Not(A), B))),
        ("NOT (priority=1 AND priority=2)", Not(All((A, B)))),
        ("NOT NOT priority=1", Not(Not(A))),
        ("((priority=1))", A),
        ("(priority=1)AND(priority=2)", All((A, B))),
    ],
)
def test_how_comparisons_are_joined(text: str, meaning: Node) -> None:
    assert parsed(text) == meaning


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ('name = "projects/p/batchTasks/a"', Compare(ID, Op.EQ, "a")),
        ('name = "projects/p/batchTasks/a*"', Prefix(ID, "a")),
        ('name >= "projects/p/batchTasks/a"', Compare(ID, Op.GE, "a")),
        ('name = "projects/p/batchTasks/*"', Prefix(ID, "")),
        ('name = "projects/p*"', Always(truth=True)),
        ('name != "projects/p*"', Always(truth=False)),
        ('name = "projects/q*"', Always(truth=False)),
        ('name = "projects/q/batchTasks/a"', Always(truth=False)),
        ('name != "projects/q/batchTasks/a"', Always(truth=True)),
        ('name < "projects/q/batchTasks/a"', Always(truth=True)),
        ('name > "projects/q/batchTasks/a"', Always(truth=False)),
        ('name > "projects/p"', Always(truth=True)),
        ('name <= "projects/p"', Always(truth=False)),
    ],
)
def test_a_name_is_compared_as_a_whole(text: str, meaning: Node) -> None:
    assert parsed(text) == meaning


@pytest.mark.parametrize(
    ("text", "at", "why"),
    [
        ("colour = 1", 0, "there is no field 'colour'"),
        ("priority = 1 AND colour = 1", 17, "there is no field 'colour'"),
        ("priority", 8, "one of = != < <= > >= : is expected"),
        ("priority =", 10, "a value is expected"),
        ("priority = AND", 11, "a value is expected"),
        ("= 1", 0, "the name of a field is expected"),
        ("priority = 1 AND", 16, "the name of a field is expected"),
        ("priority = 1 priority = 2", 13, "AND, OR or the end is expected"),
        ("priority = 1)", 12, "no ( is open"),
        ("(priority = 1", 13, ") is expected"),
        ("(priority = 1 priority = 2)", 14, "AND, OR or ) is expected"),
        ('id = "a', 5, "the text in quotes has no end"),
        (r'id = "a\n"', 7, "only \" ' \\ and * follow a \\"),
        ('id = "a*b"', 5, "a * is understood only at the end"),
        ('id < "a*"', 5, "a * is understood only at the end"),
        ('id : "a*"', 5, "a * is understood only at the end"),
        ('name : "a"', 7, "names are compared with"),
        ('name = "a*b*"', 7, "a * is understood only at the end"),
        ("state = failed", 8, "one of DRAFT, QUEUED"),
        ("state = 8", 8, "one of DRAFT, QUEUED"),
        ("priority = high", 11, "a whole number of 64 bits is expected"),
        ("priority = 1.5", 11, "a whole number of 64 bits is expected"),
        ("priority = 9223372036854775808", 11, "a whole number of 64 bits is expected"),
        ("archived = yes", 11, "true or false is expected"),
        ("archived < true", 11, "true and false are compared with = and !="),
        ('create_time > "2026-02-30T00:00:00Z"', 14, "(RFC 3339) is expected"),
        ('create_time > "2026-01-01T00:00:00"', 14, "(RFC 3339) is expected"),
        ('create_time > "2026-01-01T00:00:00+24:00"', 14, "(RFC 3339) is expected"),
        ("create_time > 2026", 14, "(RFC 3339) is expected"),
        ("labels = x", 0, "labels are compared one by one"),
        ("labels.Team = x", 7, "the key of a label"),
        ("labels:TEAM", 7, "the key of a label"),
        ("labels. = x", 7, "the key of a label"),
        ("id = a\x00", 6, "has a NUL character"),
        ("id ! a", 3, "one of = != < <= > >= : is expected"),
        ("not priority = 1", 4, "one of = != < <= > >= : is expected"),
    ],
)
def test_what_is_no_filter_is_refused_where_it_is_none(text: str, at: int, why: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parsed(text)
    assert why in refused.value.description
    assert f"at character {at}" in refused.value.description
    assert refused.value.metadata["position"] == str(at)
    assert (refused.value.field, refused.value.reason) == ("filter", Reason.INVALID_FILTER)


def test_fields_of_one_table_are_none_of_another() -> None:
    assert parsed("index >= 5 AND error.code = UNAVAILABLE", RECORDS) == All(
        (
            Compare(Field("index", Kind.NUMBER), Op.GE, 5),
            Compare(Field("error.code", Kind.NUMBER), Op.EQ, 14),
        )
    )
    assert parsed("error.code = 14", RECORDS) == parsed("error.code = UNAVAILABLE", RECORDS)
    assert parsed("state = PENDING", RECORDS) == Compare(STATE, Op.EQ, 1)
    assert parsed("name = projects/p/operations/a", OPERATIONS) == Compare(ID, Op.EQ, "a")
    for text, table in (
        ("index = 1", TASKS),
        ("name = a", RECORDS),
        ("labels:a", RECORDS),
        ("state = FAILED", OPERATIONS),
    ):
        with pytest.raises(InvalidArgument, match="there is no field"):
            parsed(text, table)


def test_bounds_of_length_of_comparisons_and_of_depth() -> None:
    most = limits.FILTER_TERMS.maximum
    assert len(list(conjuncts(parsed(" AND ".join(["priority = 1"] * most))))) == most
    with pytest.raises(InvalidArgument, match=f"more than {most} comparisons"):
        parsed(" AND ".join(["priority = 1"] * (most + 1)))
    deep = limits.FILTER_DEPTH
    assert parsed("(" * deep + "priority = 1" + ")" * deep) == A
    for text in ("(" * (deep + 1) + "priority = 1" + ")" * (deep + 1), "NOT " * (deep + 1) + "priority = 1"):
        with pytest.raises(InvalidArgument, match=f"nested deeper than {deep}"):
            parsed(text)
    longest = f'id = "{"ä" * ((limits.FILTER.maximum - 7) // 2)}"'
    assert isinstance(parsed(longest), Compare)
    with pytest.raises(InvalidArgument, match="at most 4096 bytes"):
        parsed(longest + "  ")


def test_depth_counts_what_is_open_not_what_was() -> None:
    text = " AND ".join(["(priority = 1)"] * (limits.FILTER_DEPTH + 5))
    assert len(list(conjuncts(parsed(text)))) == limits.FILTER_DEPTH + 5


def test_the_fields_of_a_filter_are_told() -> None:
    node = parsed("NOT (priority = 1 OR labels:team) AND id = a* AND name != projects/q* AND state = FAILED")
    assert fields_of(node) == {PRIORITY, TEAM, ID, STATE}
    assert fields_of(EVERYTHING) == frozenset()
    assert list(conjuncts(EVERYTHING)) == []


_PIECES = [
    "id",
    "name",
    "state",
    "labels.a",
    "labels",
    "index",
    "done",
    "AND",
    "OR",
    "NOT",
    "(",
    ")",
    "=",
    "!=",
    "<",
    ">=",
    ":",
    "*",
    '"',
    "'",
    "\\",
    "a",
    "FAILED",
    "1",
    "-",
    "é",
    "2026-01-01T00:00:00Z",
    "projects/p/batchTasks/",
]


def position(text: str, table: Table) -> int:
    """Where the text is refused; 0 if it is not."""
    try:
        parsed(text, table)
    except InvalidArgument as refused:
        return int(refused.metadata["position"])
    return 0


@given(
    st.lists(st.sampled_from([*_PIECES, " ", "\x00"]), max_size=12).map("".join),
    st.sampled_from([TASKS, RECORDS, OPERATIONS]),
)
def test_any_text_is_read_or_refused_with_a_place_in_it(text: str, table: Table) -> None:
    assert 0 <= position(text, table) <= len(text)
