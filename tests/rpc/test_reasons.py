"""Is every reason that an RPC can fail with provoked by some test of this folder?

A test declares them with the mark `provokes`; the fixture in conftest.py fails it if that is not what it saw.
"""

from __future__ import annotations

import importlib
import pathlib
import types
from collections.abc import Iterator
from typing import Any

from batchyard_server.model.errors import Reason

FIRST_OF_RECORDS_AND_TASKS = Reason.ALL_RECORDS_FAILED  # from here on: errors of tasks and records, not of RPCs


def _marks(marks: Any) -> Iterator[Reason]:
    for mark in marks:
        mark = getattr(mark, "mark", mark)
        if mark.name == "provokes":
            yield from mark.args
        elif mark.name == "parametrize":
            for value in mark.args[1]:
                yield from _marks(getattr(value, "marks", ()))


def _provoked(module: types.ModuleType) -> Iterator[Reason]:
    for name, value in vars(module).items():
        if name.startswith("test_"):
            yield from _marks(getattr(value, "pytestmark", ()))


def test_every_reason_is_provoked() -> None:
    reasons = list(Reason)
    wanted = set(reasons[: reasons.index(FIRST_OF_RECORDS_AND_TASKS)])
    provoked: set[Reason] = set()
    for path in sorted(pathlib.Path(__file__).parent.glob("test_*.py")):
        provoked |= set(_provoked(importlib.import_module(f"tests.rpc.{path.stem}")))
    assert wanted - provoked == set()
    assert provoked <= wanted
