"""Do these values match a filter? Without a store: of what happens, and of what is in memory."""

from __future__ import annotations

from collections.abc import Callable

from batchyard_server.model.filter import Field, Node, Value
from batchyard_server.model.matching import predicate

_Values = Callable[[Field], Value | None]


def matches(node: Node, value_of: _Values) -> bool:
    """Whether it matches. `value_of`: of a field, of its kind; None = not set; of `labels` without a key any text."""
    return matcher(node)(value_of)


def matcher(node: Node) -> Callable[[_Values], bool]:
    """The same for many: what is called with their values."""
    return predicate(node, _reading)


def _reading(field: Field) -> Callable[[_Values], Value | None]:
    return lambda values: values(field)
