"""What does a store keep for those who watch? The last committed changes, in order, and reads that fit together.

A part of the obligations in store/protocols.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from batchyard_server.model.names import TaskName
from batchyard_server.model.task import Operation, Task
from batchyard_server.model.task_query import TaskQuery
from batchyard_server.model.watch import LogEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Some changes.

    Attributes:
        entries: those that were asked for, in the order of the commits.
        last: up to this one all of them are in `entries`; where the next page begins.
        kept: whether everything after the place that was asked for is still there.
    """

    entries: Sequence[LogEntry]
    last: int
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A task with the operation of its generation.

    `first_sequence`: the completion number of the first outcome of the generation.
    """

    task: Task
    operation: Operation
    first_sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedPage:
    """Some tasks of a project.

    Attributes:
        seq: the last change that they show.
        follows: up to this position, (create_us, task_id), all were looked at, where the next page begins; None if it
            is the last one.
    """

    tasks: Sequence[Watched]
    seq: int
    follows: tuple[int, str] | None


class EventStore(Protocol):
    """The log of committed changes. The last limits.EVENTS are kept, a sixteenth more at times."""

    @property
    def last_seq(self) -> int:
        """Number of the last change of which the subscribers were told, or that was there at the start; 0 = none."""
        ...

    async def events(self, after: int, upto: int, project: str, task_key: int | None) -> LogPage:
        """The changes of a project, or of one task of it, after number `after` and up to `upto`.

        May stop earlier, and looks at a bounded number of changes; so `entries` may be empty though there are more.
        """
        ...

    async def watched(self, name: TaskName) -> tuple[Watched, int]:
        """A task and the number of the last change that it shows. Raises NotFound. One snapshot."""
        ...

    async def watched_page(self, query: TaskQuery) -> WatchedPage:
        """The next tasks that match, as list_tasks finds them, newest first. One snapshot.

        Stops once `max_bytes` are exceeded.
        """
        ...

    async def tasks_of(self, keys: Sequence[int]) -> Mapping[int, Task]:
        """Those of the tasks with these keys that were not deleted. One snapshot."""
        ...

    async def operation_of(self, task_key: int, generation: int) -> Operation | None:
        """The operation of a generation; None once it was deleted, or its task and that was swept."""
        ...
