"""Which tasks are asked for? One page of a list: a filter, an order, and where it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from batchyard_server.model.filter import EVERYTHING, NEWEST_FIRST, Node, TaskOrder

Position = tuple[int | str, str]
"""(value of the field that orders, id) of a task; in order of id the value is 0."""


def numbered(position: Position | None) -> tuple[int, str] | None:
    """A position in an order by a number."""
    if position is None:
        return None
    number, task_id = position
    assert isinstance(number, int), position
    return number, task_id


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """The next tasks of a project.

    Attributes:
        limit: the most tasks. max_bytes: of their entries; one task is never too large.
        after: they come after this position, at which a task need not be; None = from the first.
        running: by key of the task, how many records' handlers run now; needed where the filter looks at
            counts.running or counts.pending.
    """

    project: str
    limit: int
    max_bytes: int
    filter: Node = EVERYTHING
    order: TaskOrder = NEWEST_FIRST
    after: Position | None = None
    running: Mapping[int, int] = field(default_factory=dict[int, int])

    @property
    def is_usual(self) -> bool:
        """Whether all are asked for, newest first."""
        return self.filter == EVERYTHING and self.order == NEWEST_FIRST
