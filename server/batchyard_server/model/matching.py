"""Does this match a filter? Of values: yes or no. Of what is known of many values: none, all, or who knows."""

from __future__ import annotations

import operator
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from batchyard_server.model.filter import (
    UNSET,
    All,
    Always,
    Any,
    Compare,
    Contains,
    Field,
    IsSet,
    Node,
    Not,
    Op,
    Prefix,
    Value,
)

T = TypeVar("T")
Read = Callable[[T], Value | None]

# Text is compared by its code points, which lie in the same order as the bytes of its UTF-8.
_OPS: dict[Op, Callable[[typing.Any, typing.Any], bool]] = {
    Op.EQ: operator.eq,
    Op.NE: operator.ne,
    Op.LT: operator.lt,
    Op.LE: operator.le,
    Op.GT: operator.gt,
    Op.GE: operator.ge,
}


def predicate(node: Node, reading: Callable[[Field], Read[T]]) -> Callable[[T], bool]:
    """What tells whether a thing matches.

    `reading`: of a field, what reads it from a thing: its value, of its kind; None = not set; of `labels` without a key
    any text.
    """
    if isinstance(node, Always):
        truth = node.truth
        return lambda _: truth
    if isinstance(node, Not):
        part = predicate(node.part, reading)
        return lambda each: not part(each)
    if isinstance(node, All | Any):
        parts = [predicate(part, reading) for part in node.parts]
        return _joined(parts, until=isinstance(node, Any))
    return _single(node, reading(node.field))


def _joined(parts: list[Callable[[T], bool]], *, until: bool) -> Callable[[T], bool]:
    """Whether one part says `until`: then that is what all of it says."""

    def joined(each: T) -> bool:
        for part in parts:
            if part(each) is until:
                return until
        return not until

    return joined


def _single(node: Compare | Prefix | Contains | IsSet, read: Read[T]) -> Callable[[T], bool]:
    if isinstance(node, IsSet):
        key = bool(node.field.key)
        return lambda each: (value := read(each)) is not None and (key or value != "")
    instead = UNSET.get(node.field.name)
    if isinstance(node, Compare) and instead is None:  # most filters are this, of many records
        compare, wanted = _OPS[node.op], node.value
        return lambda each: (value := read(each)) is not None and compare(value, wanted)
    compares = _comparison(node)

    def single(each: T) -> bool:
        value = read(each)
        if value is None:
            value = instead
        return value is not None and compares(value)

    return single


def _comparison(node: Compare | Prefix | Contains) -> Callable[[typing.Any], bool]:
    """What it makes of a value that is set."""
    if isinstance(node, Compare):
        compare, wanted = _OPS[node.op], node.value
        return lambda value: compare(value, wanted)
    text = node.text
    return (lambda value: value.startswith(text)) if isinstance(node, Prefix) else (lambda value: text in value)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the values that a field has in many things.

    Attributes:
        least: none is below it. most: none is above it. None for both: not known.
        is_set: whether the field is set in all of them, or in none; None = not known.
    """

    least: Value | None = None
    most: Value | None = None
    is_set: bool | None = None


NOTHING_KNOWN = Known()
NEVER_SET = Known(is_set=False)


def exactly(value: Value) -> Known:
    """The field is set to this in all of them."""
    return Known(value, value, is_set=True)


def within(least: int, most: int) -> Known:
    """The field is set in all of them, to one of these."""
    return Known(least, most, is_set=True)


class Verdict(NamedTuple):
    """Whether some of them may match, and whether all of them must."""

    may: bool
    must: bool


def verdict(node: Node, known: Callable[[Field], Known]) -> Verdict:
    """What the filter makes of things of which this is known, by field."""
    if isinstance(node, Always):
        return Verdict(node.truth, node.truth)
    if isinstance(node, Not):
        may, must = verdict(node.part, known)
        return Verdict(not must, not may)
    if isinstance(node, All | Any):
        found = [verdict(part, known) for part in node.parts]
        join = all if isinstance(node, All) else any
        return Verdict(join(each.may for each in found), join(each.must for each in found))
    of_field, instead = known(node.field), UNSET.get(node.field.name)
    unset = not isinstance(node, IsSet) and instead is not None and _comparison(node)(instead)
    if of_field.is_set is False:
        return Verdict(unset, unset)
    may, must = _of_range(node, of_field.least, of_field.most)
    return Verdict(may, must) if of_field.is_set else Verdict(may or unset, must and unset)


def _of_range(node: Compare | Prefix | Contains | IsSet, least: typing.Any, most: typing.Any) -> Verdict:
    """The same of values that are set and lie between these."""
    if least is None or most is None:
        return Verdict(may=True, must=False)
    if isinstance(node, IsSet):
        key = bool(node.field.key)
        return Verdict(key or most != "", key or least != "")
    if least == most:
        truth = _comparison(node)(least)
        return Verdict(truth, truth)
    if isinstance(node, Compare) and node.op not in (Op.EQ, Op.NE):  # true for one end only: somewhere it turns
        ends = [_OPS[node.op](end, node.value) for end in (least, most)]
        return Verdict(any(ends), all(ends))
    if isinstance(node, Compare) and not least <= node.value <= most:
        return Verdict(node.op is Op.NE, node.op is Op.NE)
    return Verdict(may=True, must=False)
