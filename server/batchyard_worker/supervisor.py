# Each worker has one of these: pathlib and contextlib would double its start and its memory.
# ruff: noqa: PTH103, PTH106, PTH116, PTH118, PTH120, PTH123, PTH208, SIM105
"""Supervisor of one worker: starts it, and kills it with everything that it started.

    supervisor.py --level LEVEL --control-fd N [--status-fd M] [--cgroup PATH] [--reap-seconds S] -- ARGV…

Runs alone (``python -I -S …/supervisor.py``): standard library only, few modules, one thread, small.

Control, a pipe or socket from the server: ``T`` sends SIGTERM to every process of the worker, ``K`` kills them all
now; its end of file (the server is gone, however it went) kills them all too. Status, to the server (the same socket
if not given): when the worker has exited and all that it started is gone, one line of JSON, then end of file:
``{"exit": code or null, "signal": number or null, "survivors": [pid, …], "error": text or null}``.
``survivors`` are processes that not even SIGKILL ended within the reap bound (of level pid_namespace: by their number
in the namespace); ``error`` says why the worker could not be started. A worker that exits by itself takes the rest
with it at once; after ``T`` the rest has until ``K``.

Levels. All are subreapers: whoever loses its parent becomes a child of the supervisor, whatever session it is in.
    subreaper      stops and kills all descendants until the kernel says that there are none.
    cgroup         the worker is in a cgroup v2 of its own, ended by `cgroup.kill`; survives the supervisor's own death,
                   but `isolation.sweep` finds it.
    pid_namespace  the supervisor is the first process of a pid namespace (`isolation.command` wraps it into `unshare`);
                   the kernel kills the namespace when it dies.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
DEFAULT_REAP_SECONDS = 10.0
"""How long after SIGKILL a process may take to vanish."""
_FATAL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_STOP_ROUNDS = 5
_CREATE_TRIES = 100

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """The system call of that name.

    Raises:
        OSError: As the kernel says.
    """
    if _libc.prctl(option, ctypes.c_ulong(value), *(ctypes.c_ulong(0),) * 3):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def has_subreaper() -> bool:
    """Whether the kernel has subreapers."""
    state = ctypes.c_int()
    return _libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(state), *(ctypes.c_ulong(0),) * 3) == 0


def parents() -> dict[int, int]:
    """Every process that /proc shows: pid → parent's pid. A zombie counts: other threads of it may live on."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    found[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError):  # gone meanwhile
                continue
    return found


def descendants(root: int) -> list[int]:
    """The pids below a process, parents before children."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(0), [])
        found += below
        queue += below
    return found


def signal_quietly(pid: int, number: int) -> None:
    """Sends a signal; a process that is gone or not ours to signal is passed over."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


class Cgroup:
    """A cgroup v2 and everything below it.

    Args:
        path: Its folder.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def create(self) -> None:
        """Makes the folder; an existing one is taken over.

        Raises:
            OSError: It cannot be made, or there is no cgroup v2.
        """
        for _ in range(_CREATE_TRIES):
            try:
                os.makedirs(self.path, exist_ok=True)
                break
            except FileNotFoundError:  # the last worker beside us ended and took the parent with it
                continue
        os.stat(os.path.join(self.path, "cgroup.kill"))

    def enter(self) -> None:
        """Moves the calling process into it."""
        self._write("cgroup.procs", "0")

    def kill(self) -> None:
        """SIGKILL to every process in it, forks in flight included; nothing if it is gone."""
        try:
            self._write("cgroup.kill", "1")
        except OSError:
            pass

    def processes(self) -> list[int]:
        """The pids in it and below."""
        found = []
        for folder, _, _ in os.walk(self.path):
            try:
                with open(os.path.join(folder, "cgroup.procs")) as file:
                    found += [int(line) for line in file]
            except OSError:  # gone meanwhile
                continue
        return found

    def populated(self) -> bool:
        """Whether a process lives in it or below."""
        try:
            with open(os.path.join(self.path, "cgroup.events")) as file:
                return "populated 1" in file.read()
        except OSError:
            return False

    def remove(self) -> bool:
        """Removes the folders; False while a process, even a zombie's last moment, holds one."""
        done = True
        for folder, _, _ in os.walk(self.path, topdown=False):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError:
                done = False
        return done

    def remove_if_empty(self) -> None:
        """Removes the folder if nothing is in it."""
        try:
            os.rmdir(self.path)
        except OSError:
            pass

    def _write(self, name: str, text: str) -> None:
        fd = os.open(os.path.join(self.path, name), os.O_WRONLY)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


class Supervisor:
    """Runs one worker to its end.

    Args:
        level: ``subreaper``, ``cgroup`` or ``pid_namespace``.
        control_fd: Read end of the control pipe.
        status_fd: Write end of the status pipe.
        cgroup: The worker's cgroup, at level cgroup.
        reap_seconds: How long to wait for what was killed.
    """

    def __init__(self, level: str, control_fd: int, status_fd: int, cgroup: Cgroup | None, reap_seconds: float) -> None:
        self._level = level
        self._control_fd = control_fd
        self._status_fd = status_fd
        self._cgroup = cgroup
        self._reap_seconds = reap_seconds
        self._worker = 0
        self._status: int | None = None
        self._wake_fd = self._wake_write = -1
        self._terminating = False

    def run(self, argv: list[str]) -> None:
        """Starts the worker, waits for its end or for the server's word, kills the rest, reports."""
        self._settle()
        error = self._start(argv)
        if error is None:
            self._wait()
        survivors = self._kill_all()
        if self._cgroup is not None:
            self._cgroup.remove()
            Cgroup(os.path.dirname(self._cgroup.path)).remove_if_empty()
        self._report(survivors, error)

    def _settle(self) -> None:
        """Signals to the server's group or terminal are not for us: the control pipe alone decides."""
        try:
            os.setsid()
        except PermissionError:  # already a leader
            pass
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
        os.set_inheritable(self._control_fd, False)
        os.set_inheritable(self._status_fd, False)
        self._wake_fd, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ignore)
        for number in _FATAL:
            signal.signal(number, signal.SIG_IGN)

    def _start(self, argv: list[str]) -> str | None:
        """Forks (there is one thread) and executes the worker; why not, if not."""
        error_read, error_write = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        try:
            if self._cgroup is not None:
                self._cgroup.create()
            self._worker = os.fork()
        except OSError as error:
            return f"{error.filename or 'fork'}: {error.strerror}"
        if self._worker == 0:
            self._become_worker(argv, parent, error_write)
        os.close(error_write)
        # The worker's socket and cell are its own now: the server must see their end when the worker ends.
        keep = {0, 1, 2, self._control_fd, self._status_fd, self._wake_fd, self._wake_write, error_read}
        for name in os.listdir("/proc/self/fd"):
            if int(name) not in keep:
                try:
                    os.close(int(name))
                except OSError:  # the listing's own
                    pass
        text = b"".join(iter(lambda: os.read(error_read, 4096), b""))
        os.close(error_read)
        return text.decode("utf-8", "replace") or None

    def _become_worker(self, argv: list[str], parent: int, error_fd: int) -> NoReturn:
        try:
            if self._cgroup is not None:
                self._cgroup.enter()
            signal.set_wakeup_fd(-1)
            for number in (*_FATAL, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == parent:
                os.execvp(argv[0], argv)  # noqa: S606 - starting programs is its job
            os._exit(127)
        except BaseException as error:  # noqa: BLE001 - a fork must never return
            os.write(error_fd, f"{argv[0]}: {error}".encode("utf-8", "backslashreplace")[:4096])
            os._exit(127)

    def _wait(self) -> None:
        """Until the worker has exited (after ``T``: until all are gone), ``K``, or the server's end."""
        while True:
            none_left = self._reap()
            if none_left or (self._status is not None and not self._terminating):
                return
            if self._sleep(None):
                command = os.read(self._control_fd, 1)
                if command != b"T":
                    return
                self._terminating = True
                self._signal_all(signal.SIGTERM)

    def _sleep(self, milliseconds: int | None) -> bool:
        """Until a child has ended, or the time has passed, or (without a time) the server has spoken, which is True."""
        poller = select.poll()  # a server with many connections hands over numbers that select() cannot take
        poller.register(self._wake_fd, select.POLLIN)
        if milliseconds is None:
            poller.register(self._control_fd, select.POLLIN)
        ready = [fd for fd, _ in poller.poll(milliseconds)]
        if self._wake_fd in ready:
            os.read(self._wake_fd, 4096)
        return self._control_fd in ready

    def _members(self) -> list[int]:
        found = descendants(os.getpid())
        if self._cgroup is not None:
            found += [pid for pid in self._cgroup.processes() if pid not in found]
        return found

    def _signal_all(self, number: int) -> None:
        if self._level == "pid_namespace":
            signal_quietly(-1, number)
        else:
            for pid in self._members():
                signal_quietly(pid, number)

    def _kill_all(self) -> list[int]:
        """Kills until the kernel says that nothing is left; who is left after the reap bound."""
        deadline = time.monotonic() + self._reap_seconds
        if self._worker and self._status is None:
            signal_quietly(self._worker, signal.SIGKILL)
        while True:
            if self._cgroup is not None:
                self._cgroup.kill()
            none_left = self._reap()
            populated = self._cgroup is not None and self._cgroup.populated()
            if none_left and not populated:
                return []
            if time.monotonic() > deadline:
                return self._members()
            self._stop_and_kill()
            self._sleep(10)

    def _stop_and_kill(self) -> None:
        """Stops what it finds until it finds no more, so that none forks while the others are killed."""
        if self._level == "pid_namespace":
            signal_quietly(-1, signal.SIGKILL)
            return
        stopped: set[int] = set()
        for _ in range(_STOP_ROUNDS):
            new = [pid for pid in self._members() if pid not in stopped]
            if not new:
                break
            for pid in new:
                signal_quietly(pid, signal.SIGSTOP)
            stopped.update(new)
        for pid in stopped:
            signal_quietly(pid, signal.SIGKILL)

    def _reap(self) -> bool:
        """Takes the dead; True if no child is left, and with it no descendant."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._worker:
                self._status = status

    def _report(self, survivors: list[int], error: str | None) -> None:
        code = number = "null"
        if error is None and self._status is not None:
            if os.WIFSIGNALED(self._status):
                number = str(os.WTERMSIG(self._status))
            else:
                code = str(os.WEXITSTATUS(self._status))
        text = "null" if error is None else _quote(error)
        line = f'{{"exit": {code}, "signal": {number}, "survivors": {survivors}, "error": {text}}}\n'
        try:
            os.write(self._status_fd, line.encode())
        except OSError:  # nobody listens any more
            pass


def _ignore(number: int, frame: object) -> None:
    """SIGCHLD only wakes the poll."""


def _quote(text: str) -> str:
    """A JSON string, without the json module: other than printable ASCII becomes a question mark."""
    plain = "".join(c if " " <= c <= "~" else "?" for c in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def main(arguments: list[str]) -> int:
    """Runs a supervisor; 0, or 2 for arguments that make no sense."""
    options = {"--reap-seconds": str(DEFAULT_REAP_SECONDS)}
    rest = list(arguments)
    while len(rest) > 2 and rest[0] != "--":
        options[rest[0]] = rest[1]
        del rest[:2]
    level = options.get("--level")
    if rest[:1] != ["--"] or "--control-fd" not in options or level not in ("subreaper", "cgroup", "pid_namespace"):
        os.write(2, (__doc__ or "").encode())
        return 2
    if (level == "cgroup") != ("--cgroup" in options):
        os.write(2, b"--cgroup belongs to level cgroup\n")
        return 2
    cgroup = Cgroup(options["--cgroup"]) if level == "cgroup" else None
    control = int(options["--control-fd"])
    status = int(options.get("--status-fd", control))
    Supervisor(str(level), control, status, cgroup, float(options["--reap-seconds"])).run(rest[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
