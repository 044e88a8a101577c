"""The handler of most tests: does what the record says, `{"do": NAME, …}`."""

from __future__ import annotations

import collections
import ctypes
import dataclasses
import datetime
import enum
import json
import os
import pathlib
import signal
import socket
import threading
import uuid
from collections.abc import Callable
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, struct_pb2

from batchyard_worker import Context, RecordError

PR_SET_PTRACER = 0x59616D61


class Colour(enum.Enum):
    RED = "red"


class Code(enum.IntEnum):
    LOST = 15


class Own(Exception):
    """An exception of the handler's own module."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Refused(RecordError):
    """A RecordError with a name of its own."""


@dataclasses.dataclass
class Point:
    x: int = 1


def _cycle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def _deep() -> list[Any]:
    found: list[Any] = []
    for _ in range(100_000):
        found = [found]
    return found


def _any() -> any_pb2.Any:
    return any_pb2.Any(type_url="type.example.com/never.Heard", value=b"\x08\x01")


VALUES: dict[str, Callable[[], Any]] = {
    "object": lambda: {"a": [1, 2.5, None, True, {"b": "ä"}]},
    "list": lambda: [1, "2"],
    "tuple": lambda: (1, (2,)),
    "true": lambda: True,
    "int": lambda: -7,
    "big int": lambda: -(10**40),
    "64 bits": lambda: [2**63, 2**64 - 1, 2**64, -(2**63) - 1],
    "float": lambda: 0.1,
    "zero": lambda: 0,
    "empty object": dict,
    "empty list": list,
    "int keys": lambda: {1: "one", 2**70: "many"},
    "ordered": lambda: collections.OrderedDict(z=1, a=2),
    "uuid": lambda: {"id": uuid.UUID(int=1)},
    "enum": lambda: {"colour": Colour.RED},
    "text": lambda: "grün\n\u2028",
    "empty text": str,
    "digits": lambda: "12345678901234567890123",
    "bytes": lambda: b"\x00\xff",
    "empty bytes": bytes,
    "bytearray": lambda: bytearray(b"ab"),
    "memoryview": lambda: memoryview(b"cd"),
    "none": lambda: None,
    "message": lambda: struct_pb2.Value(string_value="x"),
    "any": _any,
    # what no payload can hold
    "set": lambda: {1, 2},
    "plain object": object,
    "nan": lambda: {"n": float("nan")},
    "infinity": lambda: [float("inf")],
    "half a pair": lambda: "\ud800",
    "half a pair within": lambda: {"text": "\udfff"},
    "dataclass": Point,
    "datetime": lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),  # noqa: UP017 - as users write
    "cycle": _cycle,
    "too deep": _deep,
    "generator": lambda: (n for n in range(3)),
    "complex": lambda: 1j,
    "bytes within": lambda: [b"x"],
    "class": lambda: Point,
    "unfinished message": lambda: descriptor_pb2.UninterpretedOption.NamePart(name_part="x"),
}
SIZED: dict[str, Callable[[int], Any]] = {
    "str": lambda n: "x" * n,
    "bytes": lambda n: b"x" * n,
    "json": lambda n: ["x" * (n - 4)],
    "message": lambda n: any_pb2.Any(value=b"x" * n),
}
EXCEPTIONS: dict[str, Callable[..., BaseException]] = {
    each.__name__: each
    for each in (ValueError, KeyError, Own, Unprintable, SystemExit, KeyboardInterrupt, MemoryError, BaseException)
}


def act(record: dict[str, Any], context: Context) -> Any:
    """Does it, and returns what it returns."""
    return ACTS[record.pop("do")](context, **record)


def give(context: Context, what: str) -> Any:
    """Returns a value by its name."""
    return VALUES[what]()


def sized(context: Context, kind: str, size: int) -> Any:
    """Returns something of so many bytes."""
    return SIZED[kind](size)


def fail(context: Context, kind: str = "ValueError", text: str = "no good", times: int = 1, depth: int = 0) -> None:
    """Raises an exception, from a stack as deep as asked for."""
    if depth:
        fail(context, kind, text, times, depth - 1)
    raise EXCEPTIONS[kind](text * times) if text else EXCEPTIONS[kind]()


def fail_surrogate(context: Context) -> None:
    """Raises an exception with half a character in its text."""
    raise ValueError("half \ud800")


def fail_because(context: Context) -> None:
    """Raises an exception with a cause."""
    try:
        fail(context, "Own")
    except Own as error:
        raise ValueError("second") from error


def refuse(
    context: Context,
    code: Any = "NOT_FOUND",
    text: Any = "not here",
    times: int = 1,
    kind: str = "RecordError",
    **more: Any,
) -> None:
    """Raises a RecordError."""
    codes = {"enum": Code.LOST, "list": [5]}
    make = {"RecordError": RecordError, "Refused": Refused}[kind]
    raise make(codes.get(code, code) if isinstance(code, str) else code, text * times if times > 1 else text, **more)


def die(context: Context, code: int = 0, number: int = 0, before: str = "") -> str:
    """Ends the worker by itself; with `before`, an empty file, only if that is there, which it removes."""
    if before and not pathlib.Path(before).exists():
        return f"alive at attempt {context.attempt}"
    if before:
        pathlib.Path(before).unlink()
    if number:
        os.kill(os.getpid(), number)
    os._exit(code)


def hang(context: Context, stubborn: bool = False) -> None:
    """Never returns; a stubborn one ends by SIGKILL only."""
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Event().wait()


def stage(context: Context, name: str, stubborn: bool = False, stuck: bool = False) -> Any:
    """Tells the test at the abstract socket that it runs, waits for its word, and does what that says.

    One that will be stuck lets everybody trace it, and needs no word: it never returns.
    """
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if stuck:
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(-1))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\0" + name)
        said = {"index": context.index, "record_id": context.record_id, "attempt": context.attempt, "pid": os.getpid()}
        with connection.makefile("rw") as lines:
            lines.write(json.dumps(said) + "\n")
            lines.flush()
            line = "" if stuck else lines.readline()
    if stuck:
        hang(context)
    if not line:
        raise RuntimeError("the test is gone")
    return act(json.loads(line), context)


def until(context: Context, attempt: int, before: dict[str, Any]) -> Any:
    """From this attempt on it returns which one it is; before that it does something else."""
    return f"attempt {context.attempt}" if context.attempt >= attempt else act(before, context)


def echo(context: Context, value: Any = None) -> Any:
    """Returns what it was sent."""
    return value


def shout(context: Context, size: int) -> str:
    """Writes to both standard streams in every way, lets a child do so, and returns what there is to read."""
    text = "handlers may shout\n"
    for _ in range(size // len(text) + 1):
        print(text, end="")
        os.write(1, text.encode())
        os.write(2, text.encode())
    for path in ("/dev/stdout", "/dev/stderr", "/proc/self/fd/1", "/proc/self/fd/2"):
        pathlib.Path(path).write_text(text)
    os.system("yes 'children may shout' | head -c 1000000; yes 'children may shout' | head -c 1000000 >&2")
    return os.read(0, 100).decode()


def close_streams(context: Context) -> str:
    """Closes the standard streams for good."""
    for descriptor in range(3):
        os.close(descriptor)
    return "closed"


ACTS: dict[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        give, sized, fail, fail_surrogate, fail_because, refuse, die, hang, stage, until, echo, shout, close_streams,
    )
}  # fmt: skip
