"""The one place where a task changes: what follows from its new state is done here, and the subscribers hear of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from batchyard_server.codec import task_bytes
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Task
from batchyard_server.store.protocols import Change
from batchyard_server.store.sqlite import counts, leases, merge, operations, outcomes, tasks
from batchyard_server.store.sqlite.transaction import Entry, Transaction


def write(tx: Transaction, held: Entry, task: Task) -> Task:
    """Replace the held task by `task`, tell the subscribers, and return it as it will be stored.

    When its state became final its end_time, its cancelled count, the details of its error and the snapshot of its
    operation are set here; when it begins another generation the operation of that one is stored.
    """
    before, operation = held.task, None
    begins = task.generation != before.generation
    if begins:
        operations.insert(tx, task, task.transition_us)
        held = held._replace(failures=(0, 0))
    if task.state is not before.state:
        counts.moved(tx, before, task.state)
    ends = task.state.is_final and (begins or not before.state.is_final)
    if ends:
        task = _finish(tx, task)
    due_us = _due_us(task)
    if due_us != task.due_us:
        task = replace(task, due_us=due_us)
    if ends:
        tx.failpoints.hit("store.final_state")
        operation = operations.finish(tx, task)
        merge.generation_ended(tx, task.key, task.generation)
    tx.hold(task.key, held._replace(task=task))
    change = Change.COUNTS if _same_but_for_counts(before, task) else Change.STATE
    tx.publish(task, change, operation, before.next_sequence)
    return task


def write_entries(tx: Transaction, pairs: Sequence[tuple[Entry, Entry]]) -> None:
    """Write the difference between entries as stored and as they are to be."""
    tasks.update(tx, [(stored.task, entry.task) for stored, entry in pairs if stored.task != entry.task])
    leases.update(tx, [(stored, entry) for stored, entry in pairs if stored.leases != entry.leases])


def _same_but_for_counts(before: Task, task: Task) -> bool:
    """Whether state, generation and configuration are as before."""
    return task.state is before.state and task.generation == before.generation and task.revision == before.revision


def _finish(tx: Transaction, task: Task) -> Task:
    error = task.error
    if task.state is TaskState.CANCELLED:
        error = error or task_bytes.cancelled_error()
    elif task.state is TaskState.FAILED:
        error = task_bytes.with_failures(error, task, outcomes.failures(tx, task.key, task.generation))
    return replace(
        task,
        cancelled=task.total - task.succeeded - task.failed,
        error=error,
        end_us=task.end_us or task.transition_us,
    )


def _due_us(task: Task) -> int:
    """See Task.due_us. Of a DRAFT it is set where records are appended."""
    if task.state is TaskState.DRAFT:
        return task.due_us
    return task.end_us + task.settings.retention_us if task.state.is_final else task.deadline_us
