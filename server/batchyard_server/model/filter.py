"""Which ones, and in which order? A filter as a typed tree (what drivers translate), and an order.

A comparison with something that is not set is false, whatever the operator; Not turns that round like everything else.
Text is compared by the bytes of its UTF-8.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Value = str | int | bool
UNSET: Mapping[str, Value] = {"display_name": "", "priority": 0}
"""What these fields are compared as where they are not set; IsSet still tells. Others never match then."""


class Kind(enum.Enum):
    """What values a field has: str; int; bool; int microseconds since 1970."""

    TEXT = "text"
    NUMBER = "number"
    TRUTH = "truth"
    TIME = "time"


class Op(enum.StrEnum):
    """How a field is compared with a value."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


@dataclass(frozen=True, slots=True)
class Field:
    """A field as a caller names it; `key`: of the label, where `name` is `labels`."""

    name: str
    kind: Kind
    key: str = ""


@dataclass(frozen=True, slots=True)
class Always:
    """All of them, or none."""

    truth: bool


@dataclass(frozen=True, slots=True)
class Compare:
    """The field is set and compares so with the value, which is of its kind."""

    field: Field
    op: Op
    value: Value


@dataclass(frozen=True, slots=True)
class Prefix:
    """The text is set and begins so."""

    field: Field
    text: str


@dataclass(frozen=True, slots=True)
class Contains:
    """The text is set and contains this one, in the same case."""

    field: Field
    text: str


@dataclass(frozen=True, slots=True)
class IsSet:
    """The field is set; a text that is always there: it is not empty."""

    field: Field


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not match."""

    part: Node


@dataclass(frozen=True, slots=True)
class All:
    """Every part matches."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """At least one part matches."""

    parts: tuple[Node, ...]


Node = Always | Compare | Prefix | Contains | IsSet | Not | All | Any
EVERYTHING = Always(truth=True)


def conjuncts(node: Node) -> Iterator[Node]:
    """The parts that must all match; one that matches everything has none."""
    if isinstance(node, All):
        for part in node.parts:
            yield from conjuncts(part)
    elif node != EVERYTHING:
        yield node


def fields_of(node: Node) -> frozenset[Field]:
    """Every field that a filter looks at."""
    if isinstance(node, Always):
        return frozenset()
    if isinstance(node, Not):
        return fields_of(node.part)
    if isinstance(node, All | Any):
        return frozenset().union(*map(fields_of, node.parts))
    return frozenset({node.field})


@dataclass(frozen=True, slots=True)
class TaskOrder:
    """In the order of this field; what is not set comes first ascending, ties are by id ascending either way."""

    field: str
    descending: bool = False


NEWEST_FIRST = TaskOrder("create_time", descending=True)
