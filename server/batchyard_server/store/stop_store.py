"""What must a store do for a verb on many tasks at once? Find them, change those that are left, remember the answer.

A part of the obligations in store/protocols.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from batchyard_server.model.names import TaskName
from batchyard_server.model.task import RequestKey, Task
from batchyard_server.model.task_query import TaskQuery


class NamedTask(NamedTuple):
    """A task, and no more of it than how it is found. `position`: (create_us, task_id), where it is in the list."""

    key: int
    name: TaskName
    position: tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPage:
    """Some of them.

    Attributes:
        tasks: in the order of the list.
        follows: up to this position all were looked at, where the next page begins; None if it is the last one.
    """

    tasks: Sequence[NamedTask]
    follows: tuple[int, str] | None


class StopStore(Protocol):
    """Tasks that are changed together."""

    async def named_tasks(self, query: TaskQuery) -> NamedPage:
        """The next tasks that match, as list_tasks finds them, newest first; `max_bytes` are not looked at."""
        ...

    async def update_tasks(
        self,
        keys: Sequence[int],
        decide: Callable[[Task], Task],
        request: RequestKey | None,
        answer: Callable[[Sequence[Task]], bytes],
    ) -> Sequence[Task]:
        """Do what `update_task` does for each of these that was not deleted, in one commit; return those that changed.

        `decide` raises nothing. What `answer` makes of those that changed is remembered with `request` in the same
        commit, in place of what was remembered before, for limits.REQUEST_ID_HOURS. Raises AlreadyExists
        (REQUEST_ID_REUSED), changing nothing.
        """
        ...

    async def answer_to(self, request: RequestKey) -> bytes | None:
        """What `update_tasks` remembered last with this request; None if it is new.

        Waits for calls of that which were made before, also if who made them has left. Raises AlreadyExists, as there.
        """
        ...
