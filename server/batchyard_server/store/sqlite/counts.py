"""The task_count table: how many tasks of a project are in each state?

Each change of a task adds what it does to the numbers; a group of changes writes the sums, one row a state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Task
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.transaction import Row, Rows, Transaction

_OF_PROJECT = "SELECT state, count FROM task_count WHERE project = ? AND count <> 0"


class _Sums(Rows):
    """Rows of (project, state, difference), written as one for each state of a project."""

    def write(self, tx: Transaction, rows: Sequence[Row], shared: Row = ()) -> None:
        """See Rows.write."""
        sums = Counter[tuple[str, int]]()
        for project, state, difference in rows:
            sums[project, state] += difference
        super().write(tx, [(*key, difference) for key, difference in sums.items() if difference], shared)


_ADD = _Sums(
    10,
    "INSERT INTO task_count VALUES",
    "(?, ?, ?)",
    " ON CONFLICT (project, state) DO UPDATE SET count = count + excluded.count",
)


def come(tx: Transaction, task: Task) -> None:
    """The task is new."""
    tx.add(_ADD, (task.project, task.state, 1))


def come_many(tx: Transaction, tasks: Sequence[Task]) -> None:
    """Tasks are new."""
    sums = Counter((task.project, task.state) for task in tasks)
    tx.add_many(_ADD, [(*key, count) for key, count in sums.items()])


def moved(tx: Transaction, task: Task, state: TaskState) -> None:
    """The task, which is given as it was, is in another state now."""
    tx.add(_ADD, (task.project, task.state, -1))
    tx.add(_ADD, (task.project, state, 1))


def gone(tx: Transaction, task: Task) -> None:
    """The task was deleted."""
    tx.add(_ADD, (task.project, task.state, -1))


def of_project(reader: Reader, project: str) -> Mapping[TaskState, int]:
    """See Store.task_counts."""
    return {TaskState(state): count for state, count in reader.run(_OF_PROJECT, (project,))}
