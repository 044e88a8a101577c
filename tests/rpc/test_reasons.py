"""Is every reason that an RPC, a record or a task can fail with provoked by some test of this folder, on the wire?

A test declares them with the mark `provokes`; the fixture in conftest.py fails it if that is not what it saw.
"""

from __future__ import annotations

import importlib
import pathlib
import types
from collections.abc import Iterator
from typing import Any

from batchyard_server.model.errors import Reason


def _marks(marks: Any) -> Iterator[Reason]:
    for mark in marks:
        mark = getattr(mark, "mark", mark)
        if mark.name == "provokes":
            yield from mark.args
        elif mark.name == "parametrize":
            for value in mark.args[1]:
                yield from _marks(getattr(value, "marks", ()))


def _provoked(module: types.ModuleType) -> Iterator[Reason]:
    if _left_out(getattr(module, "pytestmark", ())):
        return
    for name, value in vars(module).items():
        marks = getattr(value, "pytestmark", ())
        if name.startswith("test_") and not _left_out(marks):
            yield from _marks(marks)


def _left_out(marks: Any) -> bool:
    """Whether `make test` may leave a test with these marks out."""
    return any(
        mark.name in ("long", "skip", "skipif", "xfail") for mark in ([marks] if hasattr(marks, "name") else marks)
    )


def test_every_reason_is_provoked() -> None:
    provoked: set[Reason] = set()
    for path in sorted(pathlib.Path(__file__).parent.glob("test_*.py")):
        provoked |= set(_provoked(importlib.import_module(f"tests.rpc.{path.stem}")))
    assert set(Reason) - provoked == set()
