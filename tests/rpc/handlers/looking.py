"""Handlers that say what they were given and where they run."""

from __future__ import annotations

import itertools
import os
import sys
import uuid
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage

from batchyard_worker import Context

TOKEN = uuid.uuid4().hex  # of this process


def tell(value: Any) -> list[str]:
    """The type of a value, and the value without any loss."""
    if isinstance(value, AnyMessage):
        return ["Any", value.type_url, value.value.hex()]
    return [type(value).__name__, repr(value)]


def look(record: Any, context: Context) -> dict[str, Any]:
    """What came in."""
    return {
        "record": tell(record),
        "parameters": tell(context.parameters),
        "context": [context.index, context.record_id, context.attempt, context.generation],
    }


def spoil(record: Any, context: Context) -> int:
    """How many parameters there are; takes one away."""
    parameters = context.parameters
    parameters.pop()
    assert len(context.parameters) == len(parameters) + 1
    return len(parameters)


def surroundings(record: Any, context: Context) -> dict[str, Any]:
    """Where it runs."""
    return {
        "token": TOKEN,
        "environ": dict(os.environ),
        "path": sys.path,
        "executable": sys.executable,
        "prefix": sys.prefix,
        "modules": sorted(sys.modules),
        "stdin": sys.stdin.read(),
    }


class Counter:
    """Counts its records."""

    built = 0

    def __init__(self) -> None:
        Counter.built += 1
        self._records = itertools.count(1)

    def __call__(self, record: Any, context: Context) -> list[Any]:
        return [TOKEN, Counter.built, next(self._records)]

    @staticmethod
    def plain(record: Any, context: Context) -> str:
        return f"plain {record}"

    class Inner:
        """A class within a class."""

        def __call__(self, record: Any, context: Context) -> str:
            return f"inner {record}"


counting = Counter()
bound = counting.plain
