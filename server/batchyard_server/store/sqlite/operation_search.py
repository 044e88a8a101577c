"""Which operations match a filter? A page of them, with bounds on how many are looked at and how many are read for it.

index, down to a bound ─▶ the parts of the filter that columns tell ─▶ rows are read ─▶ judged by the whole filter
"""

# ruff: noqa: S608 - what is put into statements here are names and numbers of these modules, never values of callers

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from batchyard_server.model import limits
from batchyard_server.model.filter import conjuncts, fields_of
from batchyard_server.model.task import Operation, Task
from batchyard_server.store.operation_store import OperationPage, OperationQuery
from batchyard_server.store.sqlite import filters
from batchyard_server.store.sqlite.filters import Column, Expression, always
from batchyard_server.store.sqlite.operations import GENERATION, JOINED, with_task
from batchyard_server.store.sqlite.readers import Reader

# What is in columns. All else is in the snapshot of an operation that is done, or in the task of one that is not.
_COLUMNS: Mapping[str, Column] = {
    "id": always("operation_id"),
    "done": always("(length(result) > 0)"),
    "metadata.batch_task": always("('projects/' || task.project || '/batchTasks/' || task.task_id)"),
    "metadata.generation": always(GENERATION),
    "metadata.create_time": always("operation.create_us"),
}
# Both columns of the index bound it, from both sides.
_AFTER = "operation.project = ? AND hidden = 0 AND (operation.create_us, operation_id) < (?, ?)"
BOUND = (
    f"SELECT create_us, operation_id FROM operation WHERE {_AFTER} "
    "ORDER BY create_us DESC, operation_id DESC LIMIT 1 OFFSET ?"
)
_BEFORE_ALL, _BEHIND_ALL = (2**63 - 1, ""), (-1, "")


def statement(told: Expression) -> str:
    """What reads those of which `told` is true."""
    return (
        f"{JOINED}WHERE {_AFTER} AND (operation.create_us, operation_id) >= (?, ?) AND task.id_fold IS NOT NULL "
        f"AND {told.sql} ORDER BY operation.create_us DESC, operation_id DESC"
    )


def find(reader: Reader, query: OperationQuery) -> OperationPage:
    """See Store.find_operations."""
    after = query.after or _BEFORE_ALL
    bound = reader.run(BOUND, (query.project, *after, limits.EXAMINED_OPERATIONS - 1))
    last = bound[0] if bound else _BEHIND_ALL
    parts = [part for part in conjuncts(query.filter) if {field.name for field in fields_of(part)} <= _COLUMNS.keys()]
    told = filters.translate(parts, columns=_COLUMNS)
    found: list[tuple[Operation, Task]] = []
    size = 0
    with closing(reader.stream(statement(told), (query.project, *after, *last, *told.values))) as rows:
        for judged, row in enumerate(rows, 1):
            operation, task = with_task(row)
            if query.judge(operation, task):
                found.append((operation, task))
                size += len(operation.metadata) + len(operation.result) + len(task.fixed)
            if len(found) == query.limit or size > query.max_bytes or judged == limits.JUDGED_OPERATIONS:
                return OperationPage(operations=found, follows=(operation.create_us, operation.operation_id))
    return OperationPage(operations=found, follows=last if bound else None)
