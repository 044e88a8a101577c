"""The one place where a task changes: what follows from its new state is done here, and the subscribers hear of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from batchyard_server.codec import task_bytes
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Task
from batchyard_server.store.protocols import Change
from batchyard_server.store.sqlite import leases, merge, operations, tasks
from batchyard_server.store.sqlite.transaction import Entry, Transaction


def write(tx: Transaction, held: Entry, task: Task) -> Task:
    """Replace the held task by `task`, tell the subscribers, and return it as it will be stored.

    When its state became final its end_time, its cancelled count and the snapshot of its operation are set here.
    """
    before, operation = held.task, None
    if task.state.is_final and not before.state.is_final:
        task = _finish(task)
        tx.failpoints.hit("store.final_state")
        operation = operations.finish(tx, task)
        merge.generation_ended(tx, task.key, task.generation)
    tx.hold(task.key, held._replace(task=task))
    tx.publish(task, Change.STATE if task.state is not before.state else Change.COUNTS, operation)
    return task


def write_entries(tx: Transaction, pairs: Sequence[tuple[Entry, Entry]]) -> None:
    """Write the difference between entries as stored and as they are to be."""
    tasks.update(tx, [(stored.task, entry.task) for stored, entry in pairs if stored.task != entry.task])
    leases.update(tx, [(stored, entry) for stored, entry in pairs if stored.leases != entry.leases])


def _finish(task: Task) -> Task:
    if task.state is TaskState.CANCELLED:
        task = replace(
            task,
            cancelled=task.total - task.succeeded - task.failed,
            error=task.error or task_bytes.cancelled_error(),
        )
    return replace(task, end_us=task.end_us or task.transition_us)
