"""The processes of a server's workers, as the system shows them."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import tempfile
from typing import NamedTuple

import apsw

MARKER = "BATCHYARD_SERVER_ID"


class Seen(NamedTuple):
    """One living process. `born`: in clock ticks since boot, as for every other."""

    pid: int
    parent: int
    born: int
    command: str

    @property
    def is_supervisor(self) -> bool:
        """Whether it is a supervisor, or the `unshare` that holds its namespace."""
        return "supervisor.py" in self.command

    @property
    def is_worker(self) -> bool:
        """Whether it was started as a worker (or is a fork of one)."""
        return "batchyard_worker/__main__.py" in self.command and not self.is_supervisor


def see(pid: int) -> Seen | None:
    """One process; None if it is gone or dead."""
    folder = pathlib.Path("/proc", str(pid))
    try:
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None
    return None if fields[0] in "ZX" else Seen(pid, int(fields[1]), int(fields[19]), command)


def marked(server_id: str) -> list[Seen]:
    """Every living process that was started with the server's marker, and all below it."""
    needle = f"{MARKER}={server_id}".encode()
    living: dict[int, Seen] = {}
    ours: set[int] = set()
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit() and (seen := see(int(folder.name))) is not None:
            living[seen.pid] = seen
            with contextlib.suppress(OSError):
                if needle in (folder / "environ").read_bytes().split(b"\0"):
                    ours.add(seen.pid)
    grown = True
    while grown:
        below = {seen.pid for seen in living.values() if seen.parent in ours} - ours
        ours |= below
        grown = bool(below)
    return [living[pid] for pid in sorted(ours)]


def send(seen: Seen, number: int = signal.SIGKILL) -> bool:
    """Signal a process, if it is still the one that was seen."""
    now = see(seen.pid)
    if now is None or now.born != seen.born:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(seen.pid, number)
        return True
    return False


def server_id(data: pathlib.Path) -> str:
    """The id that a data directory gives to its servers; looks at the file without touching it.

    Who was killed while it moved its log into the file leaves one that makes sense only with the log: a copy of both.
    """
    try:
        return _server_id(f"file:{data / 'store.sqlite3'}?immutable=1", apsw.SQLITE_OPEN_READONLY)
    except apsw.CorruptError:
        with tempfile.TemporaryDirectory() as folder:
            for each in data.glob("store.sqlite3*"):
                shutil.copy(each, folder)
            return _server_id(f"file:{folder}/store.sqlite3", apsw.SQLITE_OPEN_READWRITE)


def _server_id(uri: str, flags: int) -> str:
    connection = apsw.Connection(uri, flags=flags | apsw.SQLITE_OPEN_URI)
    try:
        rows = connection.execute("SELECT value FROM meta WHERE name = 'server_id'").fetchall()
    finally:
        connection.close()
    value = rows[0][0]
    assert isinstance(value, bytes)
    return value.decode()
