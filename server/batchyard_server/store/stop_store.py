"""What must a store do for a verb on many tasks at once? Find them, change some of them, remember the answer.

A part of the obligations in store/protocols.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from batchyard_server.model.names import TaskName
from batchyard_server.model.task import RequestKey, Task


class OpenTask(NamedTuple):
    """A task that can be stopped. `position`: (create_us, task_id), where it is in the list of its project."""

    key: int
    name: TaskName
    position: tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPage:
    """Some of them.

    Attributes:
        tasks: in the order of the list.
        follows: up to this position all were looked at, where the next page begins; None if it is the last one.
    """

    tasks: Sequence[OpenTask]
    follows: tuple[int, str] | None


class StopStore(Protocol):
    """Tasks that are stopped together."""

    async def open_tasks(
        self, project: str, wanted: Callable[[Task], bool], after: tuple[int, str] | None, limit: int
    ) -> OpenPage:
        """The next tasks that are wanted, and are neither final nor CANCELLING, in the order of list_tasks.

        At most `limit`; at most limits.EXAMINED_TASKS are looked at. One snapshot.
        """
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
        """What `update_tasks` remembered last with this request; None if it is new. Raises AlreadyExists, as there."""
        ...
