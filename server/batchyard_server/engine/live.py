"""What does the living server know that the store does not? Protocols, whose implementations app.py injects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from batchyard_server.model.handler import HandlerStatus
from batchyard_server.model.states import WaitingReason


class Live(Protocol):
    """What happens to unfinished tasks at this moment. Calls are cheap look-ups in memory, on the loop."""

    def is_live(self, task_key: int) -> bool:
        """Whether anything is known of the task; if not, the other calls need not be made."""
        ...

    def running(self, task_key: int) -> frozenset[int]:
        """Indexes of the records whose handler runs now."""
        ...

    def waiting(self, task_key: int) -> WaitingReason:
        """Why the task does not move."""
        ...


class Handlers(Protocol):
    """The handlers of this server."""

    def get(self, handler_id: str) -> HandlerStatus | None:
        """One handler, None if there is none of that id."""
        ...

    def list(self) -> Sequence[HandlerStatus]:
        """All of them, in any order."""
        ...


class NullLive:
    """Nothing runs: a server without a dispatcher, and tests of the engine alone."""

    def is_live(self, task_key: int) -> bool:
        """See Live.is_live."""
        return False

    def running(self, task_key: int) -> frozenset[int]:
        """See Live.running."""
        return frozenset()

    def waiting(self, task_key: int) -> WaitingReason:
        """See Live.waiting."""
        return WaitingReason.NONE
