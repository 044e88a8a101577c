"""How is a worker started? Its command, its scrubbed environment, its isolation."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping

from batchyard_server.execution import messages
from batchyard_server.execution.worker import REAP_SECONDS, Callbacks, Exit, Fds, Worker
from batchyard_server.model.handler import HandlerSpec, Isolation
from batchyard_worker import isolation as levels
from batchyard_worker.v1 import worker_pb2

log = logging.getLogger(__name__)
MARKER = "BATCHYARD_SERVER_ID"
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")  # what programs need to work at all
LEVELS = {Isolation.CGROUP: "cgroup", Isolation.PID_NAMESPACE: "pidns", Isolation.SUBREAPER: "subreaper"}

Make = Callable[[Callable[[worker_pb2.FromWorker], None], Callable[[Exit], None]], Worker]


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

    def maker(self, spec: HandlerSpec, slot: str, loaded: Callable[[str], None], gone: Callable[[], None]) -> Make:
        """What starts a worker of this handler; `gone` is called after the slot has dealt with its end."""

        def make(message: Callable[[worker_pb2.FromWorker], None], exited: Callable[[Exit], None]) -> Worker:
            def on_exited(end: Exit) -> None:
                exited(end)
                gone()

            return Worker(
                argv=lambda fds: self._argv(spec, slot, fds),
                env=self._env(spec),
                first=messages.load(spec, (*spec.path, *self._module_path)),
                grace_seconds=spec.kill_grace_seconds,
                callbacks=Callbacks(message=message, loaded=loaded, exited=on_exited),
            )

        return make

    def _argv(self, spec: HandlerSpec, slot: str, fds: Fds) -> list[str]:
        cgroup = None
        if self._isolation is Isolation.CGROUP:
            self._started += 1
            cgroup = f"{levels.cgroup_parent(self._server_id)}/{slot}-{self._started}"
        return levels.command(
            LEVELS[self._isolation],
            levels.worker_argv(spec.python or sys.executable, fds.socket, fds.cell),
            control_fd=fds.control,
            status_fd=fds.status,
            cgroup=cgroup,
            reap_seconds=REAP_SECONDS,
        )

    def _env(self, spec: HandlerSpec) -> dict[str, str]:
        names = (*PASSED_ON, *spec.env)
        env = {name: self._environment[name] for name in names if name in self._environment}
        env[MARKER] = self._server_id
        return env


def choose_isolation(wanted: str, server_id: str) -> Isolation:
    """The strongest level that works here, or `wanted` (a name of Isolation, lower-case).

    Raises:
        ValueError: `wanted` does not work on this machine.
    """
    usable = levels.probe(levels.cgroup_parent(server_id))
    names = [level for level, name in LEVELS.items() if name in usable]
    if wanted and Isolation[wanted.upper()] not in names:
        known = ", ".join(level.name.lower() for level in names)
        raise ValueError(f"isolation {wanted} does not work here; usable: {known}")
    return Isolation[wanted.upper()] if wanted else names[0]


def sweep(server_id: str) -> int:
    """Kill everything that an earlier server of this data directory left; return how many processes."""
    return levels.sweep(server_id, levels.cgroup_parent(server_id))
