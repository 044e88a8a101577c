"""What does the living server know that the store does not? Protocols, whose implementations app.py injects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Protocol

from batchyard_server.model.handler import HandlerStatus
from batchyard_server.model.states import WaitingReason


class Live(Protocol):
    """What happens to unfinished tasks at this moment. Calls are cheap, on the loop; all but `hold` only look."""

    def is_live(self, task_key: int) -> bool:
        """Whether anything is known of the task; if not, the other calls need not be made."""
        ...

    def running(self, task_key: int) -> frozenset[int]:
        """Indexes of the records whose handler runs now."""
        ...

    def all_running(self) -> Mapping[int, int]:
        """How many records' handlers run now, by key of the task; none where it is 0."""
        ...

    def waiting(self, task_key: int) -> WaitingReason:
        """Why the task does not move."""
        ...

    def hold(self, task_key: int) -> AbstractAsyncContextManager[None]:
        """Begin no record of the task until the block is left; those that run may end.

        Entered once every lease that is being granted is durable or refused (after 2 s at the latest): so a change that
        refuses leases, made in the block, meets no record that has begun and has none.
        """
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

    def all_running(self) -> Mapping[int, int]:
        """See Live.all_running."""
        return {}

    def waiting(self, task_key: int) -> WaitingReason:
        """See Live.waiting."""
        return WaitingReason.NONE

    def hold(self, task_key: int) -> AbstractAsyncContextManager[None]:
        """See Live.hold."""
        return nullcontext()
