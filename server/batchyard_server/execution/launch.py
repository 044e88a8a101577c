"""How is a worker started? Its command, its scrubbed environment, its isolation."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from batchyard_server.execution import messages
from batchyard_server.execution.worker import REAP_SECONDS, Callbacks, Command, Fds, Worker
from batchyard_server.model.handler import HandlerSpec, Isolation
from batchyard_worker import isolation as levels
from batchyard_worker.supervisor import Cgroup

WORKER_MARKER = "BATCHYARD_WORKER_ID"
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")  # what programs need to work at all


class Launcher:
    """Starts workers for one server.

    Args:
        server_id: marks every process, so that a later server finds what this one left.
        environment: the server's own; only PASSED_ON and what a handler's `env` names reach a worker.
        module_path: folders of the server's PYTHONPATH, for workers only.
    """

    def __init__(
        self, *, server_id: str, isolation: Isolation, environment: Mapping[str, str], module_path: tuple[str, ...]
    ) -> None:
        self._server_id = server_id
        self._isolation = isolation
        self._environment = environment
        self._module_path = module_path
        self._started = 0

    def start(self, spec: HandlerSpec, callbacks: Callbacks) -> Worker:
        """Start a worker of this handler. Raises OSError."""
        self._started += 1
        name = f"worker-{self._started}"
        worker_id = f"{self._server_id}-{self._started}"

        def argv(fds: Fds) -> list[str]:
            return levels.command(
                _level(self._isolation),
                levels.worker_argv(spec.python or sys.executable, fds.socket, fds.cell, fds.log),
                control_fd=fds.control,
                server_id=self._server_id,
                name=name,
                reap_seconds=REAP_SECONDS,
            )

        def sweep() -> None:
            if self._isolation is Isolation.CGROUP:
                levels.kill_cgroup(levels.cgroup_of(self._server_id, name))
            levels.kill_marked(WORKER_MARKER, worker_id)

        command = Command(
            argv=argv,
            env={**self._env(spec), WORKER_MARKER: worker_id},
            first=messages.load(spec, (*spec.path, *self._module_path)),
            grace_seconds=spec.kill_grace_seconds,
            sweep=sweep,
        )
        return Worker(command, callbacks)

    def _env(self, spec: HandlerSpec) -> dict[str, str]:
        names = (*PASSED_ON, *spec.env)
        env = {name: self._environment[name] for name in names if name in self._environment}
        return {**env, levels.SERVER_MARKER: self._server_id}


def choose_isolation(wanted: str, server_id: str) -> Isolation:
    """The strongest level that works here, or `wanted` (a name of Isolation, lower-case; "" = any).

    Raises:
        ValueError: `wanted` does not work on this machine.
    """
    usable = levels.probe(server_id)
    if wanted and wanted not in usable:
        raise ValueError(f"isolation {wanted} does not work here; usable: {', '.join(usable)}")
    return next(level for level in Isolation if _level(level) == (wanted or usable[0]))


def _level(isolation: Isolation) -> str:
    """As the worker package calls it."""
    return isolation.name.lower()


def sweep(server_id: str) -> int:
    """Kill everything that an earlier server of this data directory left; return how many processes."""
    return levels.sweep(server_id)


def tidy(server_id: str) -> None:
    """Remove the cgroups of this server's workers, which have ended; one in which something lives stays."""
    parent = levels.cgroup_parent(server_id)
    if parent is not None:
        Cgroup(parent).remove()
