"""What happened to a task in a commit, as it is kept for those who watch?"""

from __future__ import annotations

import enum
from typing import NamedTuple

from batchyard_server.model.names import OperationName, TaskName
from batchyard_server.model.states import TaskState


class Change(enum.IntEnum):
    """What happened to a task in a commit."""

    STATE = 1
    """Created, or its state, generation or configuration changed."""
    COUNTS = 2
    """Outcomes or records came; all else is as before."""
    DELETED = 3


class LogEntry(NamedTuple):
    """One committed change with the task as of that commit (for DELETED: as it was before).

    Attributes:
        seq: its number in the log: ascending in the order of the commits, without gaps.
        operation: id of its generation's operation; "" once that was deleted.
        ends: whether the generation became final in this commit.
        first_sequence: [first_sequence, next_sequence) are the completion numbers of the outcomes that came with it.
        time_us: when it was committed.
        error: serialized google.rpc.Status of a final task; b"" = none.
    """

    seq: int
    project: str
    task_key: int
    task_id: str
    operation: str
    generation: int
    change: Change
    ends: bool
    state: TaskState
    total: int
    succeeded: int
    failed: int
    cancelled: int
    first_sequence: int
    next_sequence: int
    create_us: int
    time_us: int
    error: bytes

    @property
    def name(self) -> TaskName:
        """Resource name of the task."""
        return TaskName(self.project, self.task_id)

    @property
    def operation_name(self) -> str:
        """Resource name of the operation; "" once that was deleted."""
        return str(OperationName(self.project, self.operation)) if self.operation else ""

    @property
    def position(self) -> tuple[int, str]:
        """Where the task is in the list of its project: ascending in the order of that list."""
        return -self.create_us, self.task_id
