"""Entry of a worker process: ``python -m batchyard_worker --socket-fd N --cell-fd M --log-fd L``."""

from __future__ import annotations

import argparse
import faulthandler
import gc
import mmap
import os
import signal
import socket
import sys
import traceback

from batchyard_worker import capture, command_kind, frames, loop, memory, python_kind, shared
from batchyard_worker.v1 import worker_pb2

_KINDS = {"python": python_kind.PythonHandler.load, "command": command_kind.CommandHandler}


def main(arguments: list[str] | None = None) -> None:
    """Runs a worker to its end; never returns.

    Exits with 0 when the server closes the socket or is gone, with 70 after a fault of the worker itself, whose
    traceback goes to the standard error that the process was started with.
    """
    parser = argparse.ArgumentParser(prog="batchyard_worker")
    parser.add_argument("--socket-fd", type=int, required=True)
    parser.add_argument("--cell-fd", type=int, required=True)
    parser.add_argument("--log-fd", type=int, required=True)
    options = parser.parse_args(arguments)
    error_fd = _detach()
    memory.keep()
    code = 70
    try:
        sock = socket.socket(fileno=options.socket_fd)
        os.set_inheritable(options.socket_fd, False)
        log = capture.Capture(options.log_fd)
        faulthandler.enable(2)
        _serve(sock, shared.Blocks(_map(options.cell_fd)), log)
    except frames.Closed:
        code = 0
    except BaseException:  # noqa: BLE001 - its traceback must reach the log, whatever it is
        os.write(error_fd, traceback.format_exc().encode("utf-8", "backslashreplace"))
    os._exit(code)  # no handler's thread or exit hook may hold a worker that nobody talks to


def _detach() -> int:
    """Keeps the handler's standard input off everything that matters; a copy of the old standard error."""
    error_fd = os.dup(2)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    # A function, not SIG_IGN: ignored signals stay ignored in the programs that a handler starts.
    signal.signal(signal.SIGINT, _ignore)
    return error_fd


def _ignore(number: int, frame: object) -> None:
    """A signal that means nothing here."""


def _map(fd: int) -> memoryview:
    memory = mmap.mmap(fd, shared.BYTES)
    os.close(fd)
    # A child that a handler forks and that comes back into the loop must not write here: it dies instead.
    memory.madvise(mmap.MADV_DONTFORK)
    return memoryview(memory)


def _serve(sock: socket.socket, blocks: shared.Blocks, log: capture.Capture) -> None:
    reader = frames.FrameReader(sock)
    messages = reader.read(block=True)
    first = messages.pop(0)
    if first.WhichOneof("kind") != "load":
        raise ValueError("the first message is not Load")
    os.register_at_fork(after_in_child=lambda: os.close(sock.fileno()))
    kind, error = _load(first.load)
    frames.send(sock, worker_pb2.FromWorker(loaded=worker_pb2.Loaded(error=error)))
    if kind is None:
        while True:  # the server ends this process
            reader.read(block=True)
    gc.collect()
    gc.freeze()
    log.limit(first.load.max_log_bytes)
    log.take()  # what loading wrote is of no record
    worker = loop.Worker(sock, reader, blocks, kind, log, first.load.run_ahead_millis)
    worker.take(messages)
    worker.serve()


def _load(load: worker_pb2.Load) -> tuple[loop.Kind | None, str]:
    """The handler, or why it cannot be loaded: one line, then the traceback."""
    sys.path[0:0] = load.path
    try:
        return _KINDS[load.kind](load), ""
    except BaseException as error:  # noqa: BLE001 - a handler's import may raise anything, SystemExit too
        text = f"{type(error).__name__}: {error}".replace("\n", " ")
        return None, text + "\n" + traceback.format_exc()
