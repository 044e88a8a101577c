"""Our server, which also writes down when the last commit that ended a task became durable.

python -m tests.bench.stamped FILE serve …      FILE: 8 bytes, nanoseconds since 1970, native order
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from batchyard_server import cli
from batchyard_server.store.protocols import TaskEvent
from batchyard_server.store.sqlite import writer

STAMP = struct.Struct("=q")


def read(path: Path) -> int:
    """When the last task ended, by the clock of time.time_ns."""
    (moment,) = STAMP.unpack(path.read_bytes())
    return int(moment)


def install(path: Path) -> None:
    """Have the writer note the time of each commit that ends a task, before it tells anybody."""
    path.write_bytes(STAMP.pack(0))
    with path.open("r+b") as file:
        shared = mmap.mmap(file.fileno(), STAMP.size)
    tell = writer.Writer._tell

    def noted(self: writer.Writer, events: Sequence[TaskEvent], ended: Sequence[writer.Ended]) -> None:
        if any(event.task.state.is_final for event in events):
            STAMP.pack_into(shared, 0, time.time_ns())
        tell(self, events, ended)

    setattr(writer.Writer, "_tell", noted)  # noqa: B010 - a method of a class that does not expect it


if __name__ == "__main__":
    install(Path(sys.argv.pop(1)).resolve())
    sys.exit(cli.main())
