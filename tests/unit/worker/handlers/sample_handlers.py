"""Handlers for the tests of the worker: found on its own path, not in any package."""

from __future__ import annotations

import ctypes
import importlib.util
import multiprocessing
import os
import pathlib
import select
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
