"""Which handlers does every server have?"""

from __future__ import annotations

from batchyard_server.model.handler import HandlerSpec, Kind

BUILTIN = (
    HandlerSpec(
        handler_id="echo",
        kind=Kind.PYTHON,
        description="Returns the record.",
        callable="batchyard_worker.builtin.echo:echo",
    ),
    HandlerSpec(
        handler_id="python_audit",
        kind=Kind.PYTHON,
        description="Measures Python source: functions, classes, lines, longest function, cyclomatic complexity.",
        callable="batchyard_worker.builtin.audit:python_audit",
    ),
    HandlerSpec(
        handler_id="thumbnail",
        kind=Kind.PYTHON,
        description="Makes a small copy of the image file at `path`, as an artifact; `size` is its longest side.",
        callable="batchyard_worker.builtin.thumbnail:thumbnail",
    ),
)
