"""What must a store do as time goes by? Say what is due, and keep itself small.

A part of the obligations in store/protocols.py.
"""

from __future__ import annotations

from typing import Protocol

from batchyard_server.model.task import Task


class TimeStore(Protocol):
    """What time alone changes, see Task.due_us. Cheap reads of an index; what they say is checked again in a change."""

    async def due(self, now_us: int, most: int) -> list[Task]:
        """The tasks whose time has come, the one that waits longest first."""
        ...

    async def next_due_us(self) -> int:
        """When the time of the next one comes; 0 if there is none."""
        ...

    async def oldest_unfinished(self) -> Task | None:
        """The task that was created first of all that are neither final nor CANCELLING."""
        ...


class MaintenanceStore(Protocol):
    """Slow work in slices. Each call holds the writer for at most about 20 ms."""

    async def merge(self) -> bool:
        """Join small neighbouring outcome segments (sequence, order and tokens unchanged). True = call again."""
        ...

    async def sweep(self) -> bool:
        """Remove some bytes of deleted tasks, outlived request ids (24 h, task gone), old events. True = call again."""
        ...
