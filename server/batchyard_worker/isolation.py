"""How a worker's processes are kept together; for the server, standard library only.

Which levels this machine has, how a supervisor is started, and what an earlier server left behind.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from batchyard_worker import supervisor
from batchyard_worker.supervisor import Cgroup, descendants, signal_quietly

LEVELS = ("cgroup", "pid_namespace", "subreaper")
"""Strongest first; the names of Handler.Isolation in lower case."""

SERVER_MARKER = "BATCHYARD_SERVER_ID"
"""Environment variable of every process of a server's workers; its value is kept in the data directory."""

REAP_SECONDS = supervisor.DEFAULT_REAP_SECONDS
_UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
_AS_USER = ("--user", "--map-root-user")


def cgroup_mount() -> str | None:
    """Where cgroup v2 is mounted, on hybrid hosts too; None if it is not."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, kind = line.split()[:3]
        if kind == "cgroup2":
            return point.replace("\\040", " ")
    return None


def cgroup_parent(server_id: str) -> str | None:
    """The folder for the cgroups of a server's workers: below the server's own cgroup, which may be delegated to it.

    The first worker makes it, the last one's supervisor removes it.

    Args:
        server_id: The server's id, a file name.

    Returns:
        A path that need not exist yet; None without cgroup v2.
    """
    mount = cgroup_mount()
    if mount is None:
        return None
    own = "/"
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            own = line[3:]
    return str(Path(mount, own.lstrip("/"), _folder_name(server_id)))


def _folder_name(server_id: str) -> str:
    return f"batchyard-{server_id}"


def probe(server_id: str) -> list[str]:
    """The levels that work here, strongest first; each is really tried, which takes some 20 ms.

    Args:
        server_id: Names the cgroup in which level cgroup is tried.
    """
    parent = cgroup_parent(server_id)
    tries = {
        "cgroup": lambda: _try_cgroup(parent),
        "pid_namespace": lambda: bool(_unshare()),
        "subreaper": supervisor.has_subreaper,
    }
    return [level for level in LEVELS if tries[level]()]


def _try_cgroup(parent: str | None) -> bool:
    """Kills a sleeper in a cgroup of its own."""
    if parent is None:
        return False
    group = Cgroup(str(Path(parent, f"probe-{os.getpid()}")))
    try:
        group.create()
        # It ends by itself when this process does, even by SIGKILL, for that closes its input.
        argv = ["cat"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as sleeper:  # noqa: S603
            try:
                Path(group.path, "cgroup.procs").write_text(str(sleeper.pid))
                group.kill()
                return sleeper.wait(timeout=5) == -signal.SIGKILL
            finally:
                sleeper.kill()
                sleeper.wait()
                group.remove()
                with contextlib.suppress(OSError):
                    Path(parent).rmdir()
    except (OSError, subprocess.TimeoutExpired):
        return False


@functools.lru_cache(maxsize=1)
def _unshare() -> tuple[str, ...]:
    """The unshare command that gives a pid namespace here, with a user namespace if need be; empty if none does."""
    for command in (_UNSHARE, (*_UNSHARE[:1], *_AS_USER, *_UNSHARE[1:])):
        try:
            done = subprocess.run(  # noqa: S603 - a fixed command
                [*command, "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return command
    return ()


def cgroup_of(server_id: str, name: str) -> str:
    """The cgroup of one worker at level cgroup.

    Raises:
        OSError: There is no cgroup v2 here.
    """
    parent = cgroup_parent(server_id)
    if parent is None:
        raise OSError("cgroup v2 is not mounted")
    return str(Path(parent, name))


def command(
    level: str,
    argv: list[str],
    *,
    control_fd: int,
    server_id: str,
    name: str,
    status_fd: int | None = None,
    reap_seconds: float = REAP_SECONDS,
) -> list[str]:
    """The argument vector that runs a worker under a supervisor.

    The process takes its own descriptors and whatever the worker needs as inherited ones of the same numbers.

    Args:
        level: One of `probe`.
        argv: The worker's own argument vector.
        control_fd: The supervisor's end of the control socket or pipe (`supervisor`).
        server_id: The server's id, a file name.
        name: Of the worker, unique among the living ones of this server; names its cgroup.
        status_fd: Where the supervisor reports, if not on the control socket.
        reap_seconds: How long killed processes may take to vanish before they are reported as survivors.
    """
    own = [sys.executable, "-I", "-S", supervisor.__file__, "--level", level]
    own += ["--control-fd", str(control_fd), "--reap-seconds", str(reap_seconds)]
    if status_fd is not None:
        own += ["--status-fd", str(status_fd)]
    if level == "cgroup":
        own += ["--cgroup", cgroup_of(server_id, name)]
    prefix = list(_unshare()) if level == "pid_namespace" else []
    return [*prefix, *own, "--", *argv]


def worker_argv(python: str, socket_fd: int, cell_fd: int, log_fd: int) -> list[str]:
    """The argument vector of a worker under any interpreter: the package is found by its place, the path stays clean.

    Args:
        python: Interpreter of the handler, with protobuf.
        socket_fd: The worker's end of the socket pair.
        cell_fd: The progress cell.
        log_fd: The memory file for what the handler writes to its standard streams.
    """
    return [
        python,
        str(Path(__file__).resolve().with_name("__main__.py")),
        "--socket-fd",
        str(socket_fd),
        "--cell-fd",
        str(cell_fd),
        "--log-fd",
        str(log_fd),
    ]


def sweep(server_id: str) -> int:
    """Kills everything that an earlier server of the same id left, whatever its level; call before the first lease.

    Finds it by cgroup (anywhere below the mount, for the earlier server may have run in another session), by the
    environment marker, and by descent from what is marked. Idempotent.

    Args:
        server_id: Value of the marker and part of the cgroup's name.

    Returns:
        How many processes were killed.
    """
    folders = _cgroups_named(_folder_name(server_id))
    return sum(kill_cgroup(folder) for folder in folders) + kill_marked(SERVER_MARKER, server_id)


def _cgroups_named(name: str) -> list[str]:
    mount = cgroup_mount()
    if mount is None:
        return []
    return [str(Path(folder, name)) for folder, below, _ in os.walk(mount) if name in below]


def kill_cgroup(path: str) -> int:
    """Kills everything in a cgroup and below it and removes it; how many processes. Nothing if there is none."""
    group = Cgroup(path)
    pids = set(group.processes())
    deadline = time.monotonic() + REAP_SECONDS
    group.kill()
    while group.populated() and time.monotonic() < deadline:
        pids.update(group.processes())
        group.kill()
        time.sleep(0.005)
    group.remove()
    return len(pids)


def kill_marked(variable: str, value: str) -> int:
    """Kills every process that was started with ``variable=value`` in its environment, and all below it.

    Stops what it finds until it finds no more, so that none forks while the others are killed. The calling process and
    those above it are spared. Who cleared its environment and left its parents is not found: the levels cgroup and
    pid_namespace are for that.

    Returns:
        How many processes.
    """
    spared = _ancestors()
    killed: set[int] = set()
    deadline = time.monotonic() + REAP_SECONDS
    while True:
        found = _marked(variable, value, spared)
        if not found or time.monotonic() > deadline:
            return len(killed)
        stopped: set[int] = set()
        while found - stopped and time.monotonic() < deadline:
            for pid in found - stopped:
                signal_quietly(pid, signal.SIGSTOP)
            stopped |= found
            found = _marked(variable, value, spared)
        for pid in stopped:
            signal_quietly(pid, signal.SIGKILL)
        killed |= stopped
        time.sleep(0.005)


def _ancestors() -> set[int]:
    above = supervisor.parents()
    found, pid = set(), os.getpid()
    while pid and pid not in found:
        found.add(pid)
        pid = above.get(pid, 0)
    return found


def _marked(variable: str, value: str, spared: set[int]) -> set[int]:
    """The living processes with the marker, and their descendants."""
    needle = f"\0{variable}={value}\0".encode()
    found: set[int] = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) not in spared:
            try:
                if needle in b"\0" + (folder / "environ").read_bytes() + b"\0":
                    found.add(int(folder.name))
            except OSError:  # gone meanwhile, or another user's
                continue
    for pid in list(found):
        found.update(below for below in descendants(pid) if below not in spared and _alive(below))
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False
