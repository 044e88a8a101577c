"""What a process costs, as the system counts it: memory, processor time, descriptors, threads."""

from __future__ import annotations

import os
import pathlib

MB = 1024 * 1024
_TICK = os.sysconf("SC_CLK_TCK")


def _status(pid: int, key: str) -> int:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0])
    raise KeyError(key)


def resident(pid: int) -> int:
    """Bytes in memory now (VmRSS)."""
    return _status(pid, "VmRSS") * 1024


def peak(pid: int) -> int:
    """The most that were in memory (VmHWM) since the start or the last `forget_peak`."""
    return _status(pid, "VmHWM") * 1024


def forget_peak(pid: int) -> int:
    """Let the peak begin anew; returns what is in memory now."""
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak(pid)


def cpu_seconds(pid: int) -> float:
    """User and system time so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def threads(pid: int) -> int:
    """How many threads it has."""
    return _status(pid, "Threads")


def descriptors(pid: int) -> int:
    """How many files, sockets and pipes it holds open."""
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))
