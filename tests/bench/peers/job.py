"""What a peer's worker does with one record: the same JSON bytes and the same handler body as ours."""

from __future__ import annotations

import os

import orjson

from tests.bench import procs
from tests.bench.handlers.noop import noop

# Environment of the workers and of the clients that steer them.
REDIS = "BENCH_REDIS_URL"
MARKS = "BENCH_MARKS_FILE"

_marks: tuple[int, int] | None = None

procs.forks_die_with_me()  # the worker processes of both peers


def run(text: str) -> str:
    """Parse, handle, serialize."""
    return orjson.dumps(noop(orjson.loads(text), None)).decode()


def run_marked(text: str) -> None:
    """The same without a result; one byte more in the marks file says that it is done."""
    global _marks
    run(text)
    if _marks is None or _marks[0] != os.getpid():
        _marks = os.getpid(), os.open(os.environ[MARKS], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(_marks[1], b"x")
