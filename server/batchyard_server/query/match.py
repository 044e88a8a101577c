"""Do these values match a filter? Without a store: of what happens, and of what is in memory."""

from __future__ import annotations

import operator
import typing
from collections.abc import Callable

from batchyard_server.model.filter import (
    All,
    Always,
    Any,
    Compare,
    Field,
    IsSet,
    Node,
    Not,
    Op,
    Prefix,
    Value,
)

_OPS: dict[Op, Callable[[typing.Any, typing.Any], bool]] = {
    Op.EQ: operator.eq,
    Op.NE: operator.ne,
    Op.LT: operator.lt,
    Op.LE: operator.le,
    Op.GT: operator.gt,
    Op.GE: operator.ge,
}


def matches(node: Node, value_of: Callable[[Field], Value | None]) -> bool:
    """Whether it matches. `value_of`: of a field, of its kind; None = not set; of `labels` without a key any text."""
    if isinstance(node, Always):
        return node.truth
    if isinstance(node, Not):
        return not matches(node.part, value_of)
    if isinstance(node, All):
        return all(matches(part, value_of) for part in node.parts)
    if isinstance(node, Any):
        return any(matches(part, value_of) for part in node.parts)
    value = value_of(node.field)
    if value is None:
        return False
    if isinstance(node, IsSet):
        return value != "" or bool(node.field.key)
    if isinstance(node, Compare):
        return _OPS[node.op](_comparable(value), _comparable(node.value))
    assert isinstance(value, str), "only text begins with or contains something"
    return value.startswith(node.text) if isinstance(node, Prefix) else node.text in value


def _comparable(value: Value) -> object:
    return value.encode() if isinstance(value, str) else value
