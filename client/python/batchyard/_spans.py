"""Seconds, timedeltas and times ⇄ the durations and timestamps of protobuf."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

# How long: seconds, or a timedelta.
Span: TypeAlias = float | timedelta


def span(value: Span) -> timedelta:
    """Return a length of time as timedelta; digits beyond the microsecond are rounded.

    Raises:
        ValueError: NaN, or beyond what a timedelta can hold.
    """
    if isinstance(value, timedelta):
        return value
    try:
        return timedelta(seconds=value)
    except OverflowError:
        raise ValueError(f"{value} seconds are too long") from None


def span_of(message: Any, field: str) -> timedelta | None:
    """Return a Duration field, None while it is unset."""
    return getattr(message, field).ToTimedelta() if message.HasField(field) else None


def set_span(message: Any, field: str, value: Span | None) -> None:
    """Fill a Duration field; None leaves it unset."""
    if value is not None:
        getattr(message, field).FromTimedelta(span(value))


def time_of(message: Any, field: str) -> datetime | None:
    """Return a Timestamp field as an aware time (UTC), None while it is unset."""
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime(tzinfo=UTC)
