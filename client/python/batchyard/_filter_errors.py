"""What can go wrong with filters and orders."""

from __future__ import annotations

from batchyard._errors import InvalidArgumentError


class InvalidFilterError(InvalidArgumentError):
    """INVALID_FILTER: a filter cannot be read; metadata `position` is the character, from 0."""


class InvalidOrderByError(InvalidArgumentError):
    """INVALID_ORDER_BY: an order cannot be read; metadata `position` is the character, from 0."""
