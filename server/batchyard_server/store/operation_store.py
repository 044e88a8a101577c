"""What must a store do to find operations by a filter? A part of the obligations in store/protocols.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from batchyard_server.model.filter import Node
from batchyard_server.model.task import Operation, Task

Position = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationQuery:
    """The next operations of a project, in order create_us descending, operation_id descending.

    Attributes:
        max_bytes: of what they show, about; one operation is never too large.
        after: (create_us, operation_id) behind which they come; None = from the first.
        filter: which ones. A driver leaves to `judge` what it cannot tell from its columns.
        judge: whether an operation matches, of which this is the task. Called on any thread.
    """

    project: str
    limit: int
    max_bytes: int
    after: Position | None
    filter: Node
    judge: Callable[[Operation, Task], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationPage:
    """Those that match, each with its task.

    `follows`: up to this position all were looked at, where the next page begins; None if it is the last one.
    """

    operations: Sequence[tuple[Operation, Task]]
    follows: Position | None


class OperationStore(Protocol):
    """Operations by a filter."""

    async def find_operations(self, query: OperationQuery) -> OperationPage:
        """Look at limits.EXAMINED_OPERATIONS at most, and of them judge limits.JUDGED_OPERATIONS; one snapshot."""
        ...
