"""Handlers for the tests of the worker: found on its own path, not in any package."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import multiprocessing
import os
import pathlib
import select
import subprocess
import sys
import threading

from batchyard_worker import RecordError


def echo(record, context):
    return record


def whole_context(record, context):
    context.parameters and context.parameters.update(touched=True)
    return [context.index, context.record_id, context.attempt, context.generation, context.parameters]


def leave(record, context):
    """Writes an empty file of the record's name; null leaves nothing. Keeps the contexts of all records."""
    _kept.append(context)
    if record is None:
        return None
    (context.artifacts_dir / record).touch()
    return str(context.artifacts_dir)


_kept = []


def leave_late(record, context):
    """Asks for the folder of the first record when the third one runs."""
    _kept.append(context)
    if context.index == 2:
        _kept[0].artifacts_dir.joinpath("late").touch()


def wait_after_asking(record, context):
    """Asks for its folder, then waits until the named file exists."""
    context.artifacts_dir.joinpath("asked").touch()
    wait_for(record, context)


def sleep_millis(record, context):
    """Waits as many milliseconds as the record says; notes in a side log that it began."""
    if isinstance(record, list):
        record, log = record
        with pathlib.Path(log).open("a") as file:
            file.write(f"{context.index}\n")
    select.select([], [], [], record / 1000)
    return context.index


def wait_for(record, context):
    """Waits until the named file exists; an empty name waits for nothing."""
    pause = threading.Event()
    while record and not pathlib.Path(record).exists():
        pause.wait(0.005)
    return context.index


def holds_the_interpreter(record, context):
    """Lets no other thread of this process run for as many milliseconds as the record says."""
    ctypes.PyDLL(None).usleep(record * 1000)
    return context.index


def crash_at(record, context):
    if record == "crash":
        ctypes.string_at(0)
    return record


def noisy(record, context):
    print("x" * 200_000)
    sys.stderr.write("y" * 200_000)
    os.write(1, b"z" * 200_000)
    return [sys.stdin.read(), os.read(0, 1).decode()]


def fork_and_both_return(record, context):
    os.fork()
    return context.index


def fails(record, context):
    if record == "text raises":

        class Mute(Exception):
            def __str__(self):
                raise ValueError

        raise Mute
    if record == "deep":
        return fails(record, context)
    if record == "long":
        raise ValueError("ä" * 100_000)
    if record == "record error":
        raise RecordError("NOT_FOUND", "no such thing", retryable=True)
    if record == "code":
        raise RecordError(5, "")
    if record == "surrogate":
        raise ValueError("half \ud800 pair")
    raise {
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "memory": MemoryError(),
        "value": ValueError("bad"),
    }[record]


class Built:
    """Built once per worker, called per record."""

    count = 0

    def __init__(self):
        type(self).count += 1
        self.calls = 0

    def __call__(self, record, context):
        self.calls += 1
        return [self.count, self.calls]


class Unbuildable:
    def __init__(self):
        raise OSError("no model file")


class Outer:
    @staticmethod
    def inner(record, context):
        return "inner"


async def coroutine(record, context):
    return record


def generator(record, context):
    yield record


not_callable = 5


def search_path(record, context):
    return [
        sys.path,
        str(pathlib.Path.cwd()),
        sorted(name for name in sys.modules if name.startswith("batchyard_server")),
    ]


def double(record):
    if record < 0:
        raise RecordError("OUT_OF_RANGE", "negative")
    return record * 2


def spawns(record, context):
    """Works in processes of its own, as handlers with heavy libraries do."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(double, record)


def importable(record, context):
    return importlib.util.find_spec(record) is not None


def child_files(record, context):
    """The descriptors that a program sees which a handler starts in the most careless way."""
    return os.popen("ls -l /proc/self/fd | grep -c socket").read().strip()


def huge(record, context):
    return "x" * record


def says(record, context):
    """Does what the record, a list of [how, what], says, in that order."""
    return [SAYS[how](what, context) for how, what in record]


def _child(text, context):
    return subprocess.run(["sh", "-c", text], check=False).returncode


def _thread(text, context):
    thread = threading.Thread(target=print, args=(text,))
    thread.start()
    thread.join()


def _later(gate, context):
    """Writes once the file is there, whatever runs then, and makes another one."""

    def wait():
        wait_for(gate, context)
        print("from behind")
        pathlib.Path(gate + ".done").touch()

    threading.Thread(target=wait, daemon=True).start()


def _flood(done, context):
    """Writes 200 MB in the background."""

    def write():
        for _ in range(200):
            os.write(1, b"x" * 1_000_000)
        pathlib.Path(done).touch()

    threading.Thread(target=write, daemon=True).start()


def _caught(text, context):
    try:
        raise ValueError(text)
    except ValueError:
        context.log.exception("caught")


def _redirected(text, context):
    """As libraries do that silence others."""
    kept, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    print(text)
    os.dup2(kept, 1)
    os.close(kept)
    os.close(null)


def _raise(text, context):
    if text == "chained":
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("then") from error
    if text == "deep":
        _raise(text, context)
    if text == "syntax":
        compile("a b", "there.py", "exec")
    raise RecordError("NOT_FOUND", text) if text == "record error" else ValueError(text)


SAYS = {
    "print": lambda text, context: print(text),
    "partial": lambda text, context: print(text, end=""),
    "error": lambda text, context: print(text, file=sys.stderr),
    "log": lambda text, context: context.log.warning("%s", text),
    "debug": lambda text, context: context.log.debug(text),
    "logging": lambda text, context: logging.getLogger("lib").error(text),
    "os": lambda text, context: os.write(2, text.encode("latin-1")),
    "buffer": lambda text, context: sys.stdout.buffer.write(text.encode()),
    "lines": lambda count, context: [print(f"{context.index}: line {n}") for n in range(count)] and None,
    "wait": wait_for,
    "segv": lambda text, context: ctypes.string_at(0),
    "abort": lambda text, context: os.abort(),
    "child": _child,
    "thread": _thread,
    "later": _later,
    "flood": _flood,
    "caught": _caught,
    "redirected": _redirected,
    "raise": _raise,
}
