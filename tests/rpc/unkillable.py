"""How is a process kept alive through SIGKILL? As the kernel does it to processes that wait for a broken disk.

Two ways: a frozen group of the first cgroup version's freezer (root only), and a tracer that lets its process stop on
its way out (Linux 5.18 or newer; no privilege). Where neither works the test that needs one fails.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import platform
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from tests.support.eventually import eventually

_FREEZER = pathlib.Path("/sys/fs/cgroup/freezer")
_TRACER = """\
import ctypes, sys
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
SEIZE, TRACE_EXIT = 0x4206, 1 << 6
failed = ptrace(SEIZE, int(sys.argv[1]), None, TRACE_EXIT)
print(ctypes.get_errno() if failed else "holds", flush=True)
sys.stdin.read()
"""
Way = Callable[[int], AbstractContextManager[None]]


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Freeze the process; it is thawed, and ends if it was killed meanwhile, at the end of the block."""
    group = _FREEZER / f"batchyard-test-{uuid.uuid4()}"
    group.mkdir()
    state = group / "freezer.state"
    try:
        (group / "cgroup.procs").write_text(str(pid))
        state.write_text("FROZEN")
        eventually(lambda: state.read_text() == "FROZEN\n")
        yield
    finally:
        state.write_text("THAWED")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
        eventually(lambda: not (group / "cgroup.procs").read_text(), what="the group is empty")
        group.rmdir()


@contextlib.contextmanager
def traced(pid: int) -> Iterator[None]:
    """Trace the process: if it is killed it ends at the end of the block."""
    argv = [sys.executable, "-I", "-S", "-c", _TRACER, str(pid)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tracer:
        assert tracer.stdin is not None
        assert tracer.stdout is not None
        try:
            said = tracer.stdout.readline().strip()
            assert said == "holds", f"ptrace: {os.strerror(int(said or 0))}"
            yield
        finally:
            tracer.stdin.close()
            tracer.wait(30)


def ways() -> list[Way]:
    """Those that work here, at least one."""
    found: list[Way] = []
    if os.access(_FREEZER / "cgroup.procs", os.W_OK):
        found.append(frozen)
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    assert version is not None
    if (int(version[1]), int(version[2])) >= (5, 18):  # from then on no second SIGKILL wakes who is stopped so
        found.append(traced)
    assert found, "no way to make a process unkillable here: neither a cgroup v1 freezer nor Linux 5.18"
    return found
