"""What became of a subtask? Its lease lives, or how it ended. Plain values; errors are serialized by codec/."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from batchyard_server.model.states import SubtaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseEnd:
    """How a lease ended.

    Attributes:
        state: any but RUNNING.
        exit_code: of the worker when it is LOST, −n if signal n ended it; None = not known.
        error: serialized google.rpc.Status when it is LOST or KILLED, else b"".
    """

    state: SubtaskState
    exit_code: int | None = None
    error: bytes = b""


COMPLETED = LeaseEnd(state=SubtaskState.COMPLETED)
RETURNED = LeaseEnd(state=SubtaskState.RETURNED)


class Killed(enum.StrEnum):
    """Why a worker was killed, if not for a record of the subtask; metadata `cause` of WORKER_KILLED."""

    TASK_STOPPED = "task_stopped"
    SERVER_SHUT_DOWN = "server_shut_down"
    SERVER_KILLED = "server_killed"
    OTHER_RECORD = "other_record"
    """One of another subtask of the worker took too long, or was to be stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtaskInfo:
    """A subtask as it is listed. Times are microseconds since 1970 UTC, 0 = not known, or not yet.

    Attributes:
        ranges: with which it was leased, packed (`ranges.pack`).
        end: how its lease ended; None = it lives.
    """

    epoch: int
    worker: str
    node: str
    ranges: bytes
    start_us: int
    end_us: int = 0
    end: LeaseEnd | None = None
