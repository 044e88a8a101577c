"""What is a handler, inside the server?"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.IntEnum):
    """`Handler.Kind` on the wire."""

    PYTHON = 1
    COMMAND = 2


class Isolation(enum.IntEnum):
    """`Handler.Isolation` on the wire, strongest first."""

    CGROUP = 1
    PID_NAMESPACE = 2
    SUBREAPER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerSpec:
    """One entry of the handlers file (DESIGN §4.2), checked.

    Attributes:
        callable: `package.module:attribute` of a python handler, else "".
        argv: argument vector of a command handler, else ().
        python: interpreter, "" = the server's own.
        path: folders put before the worker's sys.path.
        env: names of environment variables passed on.
        kill_grace_seconds: between SIGTERM and SIGKILL.
        output_type: content type of a command's output.
        concurrency: most records of it that run at a time, over all tasks; 0 = no limit.
        rate: most records of it that begin per second, over all tasks; 0.0 = no limit.
    """

    handler_id: str
    kind: Kind
    description: str = ""
    callable: str = ""
    argv: tuple[str, ...] = ()
    python: str = ""
    path: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    kill_grace_seconds: float = 1.0
    output_type: str = "text/plain"
    dash_values: bool = False
    concurrency: int = 0
    rate: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerStatus:
    """A handler as callers see it."""

    spec: HandlerSpec
    isolation: Isolation
    available: bool
