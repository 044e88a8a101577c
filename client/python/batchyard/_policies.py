"""Two policies of a batch task: when a record is tried again, and how many may fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from google.rpc import code_pb2

from batchyard._spans import Span, set_span, span, span_of
from batchyard.v1 import batch_task_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

# An error's code: its name in any case, its number, or grpc's own.
CodeLike: TypeAlias = str | int | grpc.StatusCode


def code_number(code: CodeLike) -> int:
    """Return the number of a `google.rpc.Code`.

    Raises:
        ValueError: no such name.
    """
    if isinstance(code, grpc.StatusCode):
        return code.value[0]
    if isinstance(code, int):
        return code
    try:
        return code_pb2.Code.Value(code.upper())
    except ValueError:
        raise ValueError(f"{code!r} is not the name of a gRPC code") from None


def _code_name(code: CodeLike) -> str | int:
    """Return the name of a code; the number if this client knows none."""
    number = code_number(code)
    known = code_pb2.Code.DESCRIPTOR.values_by_number.get(number)
    return number if known is None else known.name


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When and for which errors a record is tried again, as often as `max_retry_count` allows.

    Before try k + 1 passes a time between half and all of min(max_backoff, initial_backoff × multiplier^(k − 1)).

    Attributes:
        initial_backoff: the longest wait before the first retry, seconds or a timedelta. None: 1 s.
        max_backoff: no wait is longer than this. None: 5 minutes.
        multiplier: each wait is so many times the one before, from 1 to 100. None: 2.
        retryable_codes: codes of errors that are worth a retry, kept as names. Empty: UNKNOWN, UNAVAILABLE, ABORTED,
            INTERNAL, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED.

    Raises:
        ValueError: a code that does not exist, or a wait that is no time.
        TypeError: one str in the place of several codes.
    """

    initial_backoff: Span | None = None
    max_backoff: Span | None = None
    multiplier: float | None = None
    retryable_codes: Sequence[CodeLike] = ()

    def __post_init__(self) -> None:
        """Give equal policies equal values."""
        for field in ("initial_backoff", "max_backoff"):
            value = getattr(self, field)
            object.__setattr__(self, field, None if value is None else span(value))
        if isinstance(self.retryable_codes, str):
            raise TypeError(f"retryable_codes are several names, not {self.retryable_codes!r}")
        object.__setattr__(self, "retryable_codes", tuple(map(_code_name, self.retryable_codes)))

    @classmethod
    def of(cls, message: batch_task_pb2.RetryPolicy) -> RetryPolicy:
        """Make one from the contract's message."""
        return cls(
            initial_backoff=span_of(message, "initial_backoff"),
            max_backoff=span_of(message, "max_backoff"),
            multiplier=message.multiplier if message.HasField("multiplier") else None,
            retryable_codes=message.retryable_codes,
        )

    def to_message(self) -> batch_task_pb2.RetryPolicy:
        """Return the contract's message."""
        codes: Any = [code_number(code) for code in self.retryable_codes]  # the stubs want members of the enum
        message = batch_task_pb2.RetryPolicy(multiplier=self.multiplier, retryable_codes=codes)
        set_span(message, "initial_backoff", self.initial_backoff)
        set_span(message, "max_backoff", self.max_backoff)
        return message


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """How many records may fail; as soon as more have, the task is stopped as FAILED. The first bound crossed counts.

    Attributes:
        max_failed_records: at most so many, from 0. None: no such bound.
        max_failed_ratio: at most this part of all records, from 0 to 1. None: no such bound.
    """

    max_failed_records: int | None = None
    max_failed_ratio: float | None = None

    @classmethod
    def of(cls, message: batch_task_pb2.FailurePolicy) -> FailurePolicy:
        """Make one from the contract's message."""
        return cls(
            message.max_failed_records if message.HasField("max_failed_records") else None,
            message.max_failed_ratio if message.HasField("max_failed_ratio") else None,
        )

    def to_message(self) -> batch_task_pb2.FailurePolicy:
        """Return the contract's message."""
        return batch_task_pb2.FailurePolicy(
            max_failed_records=self.max_failed_records, max_failed_ratio=self.max_failed_ratio
        )
