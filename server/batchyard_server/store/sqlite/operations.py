"""The operation table. One row a generation, under the key task_key × 2^20 + generation."""

# ruff: noqa: S608 - what is put into statements here are names and numbers of this module, never values of callers

from __future__ import annotations

from collections.abc import Sequence

from batchyard_server.codec import task_bytes
from batchyard_server.model.errors import NotFound
from batchyard_server.model.names import OPERATION_TYPE, OperationName
from batchyard_server.model.task import Operation, Task
from batchyard_server.store.sqlite import tasks
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.transaction import Row, Rows, Transaction

_GENERATIONS = 1 << 20  # of one task at most
GENERATION = f"(operation.key & {_GENERATIONS - 1})"
COLUMNS = "operation.key, operation.operation_id, operation.project, operation.create_us, metadata, result"
JOINED = f"SELECT {COLUMNS}, {tasks.COLUMNS} FROM operation JOIN task ON task.key = operation.key >> 20 "
_SEEN = "operation.project = ? AND hidden = 0 AND task.id_fold IS NOT NULL "
BY_ID = f"{JOINED}WHERE operation_id = ? AND {_SEEN}"
_LISTED = f"{JOINED}WHERE {_SEEN}"
LIST_EQUAL = _LISTED + "AND operation.create_us = ? AND operation_id < ? ORDER BY operation_id DESC LIMIT ?"
LIST_OLDER = _LISTED + "AND operation.create_us < ? ORDER BY operation.create_us DESC, operation_id DESC LIMIT ?"
GENERATIONS = (
    "SELECT base_generation, first_sequence FROM operation INDEXED BY operation_by_generation "
    f"WHERE key BETWEEN ? AND ? AND key & {_GENERATIONS - 1} > 1 ORDER BY key"
)
KEY_OF_TASK = f"task.key * {_GENERATIONS} + task.generation"  # of its present generation: see key_of
_LATEST = 2**63 - 1
_INSERT = Rows(2, "INSERT INTO operation VALUES", "(?, ?, ?, ?, 0, x'', x'', ?, ?)", whole=True)
FINISH = Rows(
    9,
    "UPDATE operation SET metadata = v.column2, result = v.column3 FROM (VALUES",
    "(?, ?, ?)",
    ") AS v WHERE key = v.column1",
)
_HIDE = (
    "UPDATE operation SET hidden = 1 WHERE key IN "
    "(SELECT key FROM operation WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT 64) AND hidden = 0"
)
REMOVE = "DELETE FROM operation WHERE key IN (SELECT key FROM operation WHERE key BETWEEN ? AND ? LIMIT 100)"


def key_of(task_key: int, generation: int) -> int:
    """Key of the operation of a generation."""
    assert 0 < generation < _GENERATIONS, generation
    return task_key * _GENERATIONS + generation


def not_found(name: OperationName) -> NotFound:
    """The error for an operation that does not exist."""
    return NotFound(OPERATION_TYPE, str(name))


def deleted(source: Reader | Transaction, task: Task) -> NotFound:
    """The error for the operation of the task's generation, which was deleted."""
    rows = source.run("SELECT project, operation_id FROM operation WHERE key = ?", (key_of(task.key, task.generation),))
    return not_found(OperationName(*rows[0]))


def of_row(row: Row) -> Operation:
    """An operation from COLUMNS."""
    key, operation_id, project, create_us, metadata, result = row
    return Operation(
        operation_id=operation_id,
        project=project,
        task_key=key // _GENERATIONS,
        generation=key % _GENERATIONS,
        create_us=create_us,
        metadata=metadata,
        result=result,
    )


def with_task(row: Row) -> tuple[Operation, Task]:
    """An operation and its task from a row of JOINED."""
    return of_row(row[:6]), tasks.of_row(row[6:])


def by_name(source: Reader | Transaction, name: OperationName) -> tuple[Operation, Task]:
    """An operation and its task. Raises NotFound."""
    rows = source.run(BY_ID, (name.operation, name.project))
    if not rows:
        raise not_found(name)
    return with_task(rows[0])


def page(reader: Reader, project: str, after: tuple[int, str] | None, limit: int) -> list[tuple[Operation, Task]]:
    """See Store.list_operations."""
    create_us, operation_id = after or (_LATEST, "")
    rows = reader.run(LIST_EQUAL, (project, create_us, operation_id, limit)) if after else []
    if len(rows) < limit:
        rows += reader.run(LIST_OLDER, (project, create_us, limit - len(rows)))
    return [with_task(row) for row in rows]


def generations(reader: Reader, task_key: int) -> list[tuple[int, int]]:
    """Base and first completion number of each generation of a task from 2 on. A deleted operation tells them too."""
    return [(base, first) for base, first in reader.run(GENERATIONS, keys_of(task_key))]


def first_of(task: Task) -> Operation | None:
    """The operation of a task in its first generation while that has not ended; None if it is another or is gone."""
    if task.generation > 1 or not task.operation or task.state.is_final:
        return None
    return Operation(
        operation_id=task.operation,
        project=task.project,
        task_key=task.key,
        generation=1,
        create_us=task.create_us,
        metadata=b"",
        result=b"",
    )


def insert(tx: Transaction, task: Task, create_us: int) -> None:
    """Store the operation of the generation that the task begins, not done."""
    row = (key_of(task.key, task.generation), task.operation, task.project, create_us)
    tx.add(_INSERT, (*row, task.base_generation, task.next_sequence))


def insert_many(tx: Transaction, new: Sequence[Task]) -> None:
    """Store the operations of new tasks."""
    tx.add_many(
        _INSERT,
        [(task.key * _GENERATIONS + 1, task.operation, task.project, task.create_us, 1, 0) for task in new],
    )


def finish(tx: Transaction, task: Task) -> Operation:
    """Store the snapshot that the operation of the final `task` shows from now on; return it so."""
    key = key_of(task.key, task.generation)
    create_us = task.create_us  # the first one is made with the task
    if task.generation > 1:
        waiting = [row[3] for row in tx.waiting(_INSERT) if row[0] == key]
        create_us = waiting[0] if waiting else tx.run("SELECT create_us FROM operation WHERE key = ?", (key,))[0][0]
    metadata, result = task_bytes.metadata(task, create_us=create_us), task_bytes.final_result(task)
    tx.add(FINISH, (key, metadata, result))
    return Operation(
        operation_id=task.operation,
        project=task.project,
        task_key=task.key,
        generation=task.generation,
        create_us=create_us,
        metadata=metadata,
        result=result,
    )


def hide(tx: Transaction, operation: Operation) -> None:
    """Forget an operation: its row stays as a mark that the id was used, its bytes go at once."""
    hide_one = "UPDATE operation SET hidden = 1, metadata = x'', result = x'' WHERE key = ?"
    tx.run(hide_one, (key_of(operation.task_key, operation.generation),))


def hide_latest(tx: Transaction, task_key: int) -> None:
    """The task was deleted, so none of its operations is seen any more. Lists need not pass over the latest ones."""
    tx.run(_HIDE, keys_of(task_key))


def keys_of(task_key: int) -> tuple[int, int]:
    """The lowest and the highest key that an operation of the task may have."""
    return key_of(task_key, 1), key_of(task_key, _GENERATIONS - 1)
