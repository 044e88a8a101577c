"""Where can a test make it fail? Named points that do nothing unless the environment arms them.

    BATCHYARD_FAILPOINTS="store.before_commit=kill@3,rpc.before_answer=error"

Actions: `kill` ends this process with SIGKILL; `error` raises Injected; `disk_full` and `io_error` raise it with that
kind, which the store treats as SQLite's own. `@n` acts on the n-th hit only; without it on every hit.
Every point is listed in POINTS, which the crash tests walk.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

POINTS = (
    "store.before_commit",
    "store.after_commit",
    "engine.create.before_store",
    "engine.create.after_store",
    "engine.append.after_store",
    "engine.start.after_store",
    "engine.pause.after_store",
    "engine.resume.after_store",
    "engine.update.after_store",
    "engine.reactivate.after_store",
    "engine.cancel.after_store",
    "engine.delete.after_store",
    "dispatch.before_grant",
    "dispatch.after_grant",
    "dispatch.before_outcomes",
    "dispatch.after_outcomes",
    "dispatch.before_release",
    "store.final_state",
    "store.merge",
    "store.sweep",
    "store.migrate",
)


class Injected(Exception):
    """Raised by an armed point; `kind` is `error`, `disk_full` or `io_error`."""

    def __init__(self, point: str, kind: str) -> None:
        super().__init__(f"failpoint {point}: {kind}")
        self.kind = kind


@dataclass(slots=True)
class _Armed:
    action: str
    only_hit: int
    hits: int = 0


class Failpoints:
    """The armed points of one process. `hit(name)` costs one dict look-up when nothing is armed."""

    def __init__(self, spec: str = "") -> None:
        self._armed: dict[str, _Armed] = {}
        for part in filter(None, (p.strip() for p in spec.split(","))):
            name, _, action = part.partition("=")
            action, _, only = action.partition("@")
            if name not in POINTS or action not in {"kill", "error", "disk_full", "io_error"}:
                raise ValueError(f"unknown failpoint {part!r}")
            self._armed[name] = _Armed(action, int(only or 0))

    def hit(self, name: str) -> None:
        """Act if `name` is armed. Raises Injected for every action but `kill`."""
        armed = self._armed.get(name)
        if armed is None:
            return
        armed.hits += 1
        if armed.only_hit and armed.hits != armed.only_hit:
            return
        if armed.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise Injected(name, armed.action)


OFF = Failpoints()
