"""The task table: rows ⇄ Task, one task by name or key, and the one place where a task is written."""

# ruff: noqa: S608 - what is put into statements here are names and numbers of this module, never values of callers

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from batchyard_server.codec import pages, task_bytes
from batchyard_server.codec.searched import Searched, searched
from batchyard_server.model import settings
from batchyard_server.model.errors import NotFound
from batchyard_server.model.names import TASK_TYPE, TaskName
from batchyard_server.model.states import StopReason, TaskState
from batchyard_server.model.task import NewTask, RequestKey, Task
from batchyard_server.store.protocols import Change, TaskInfo
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.transaction import Entry, Row, Rows, Transaction

_APART_BYTES = 4096  # a fixed part that is larger is kept in task_fixed

_COUNTS = ["total", "succeeded", "failed", "next_sequence", "next_epoch", "subtasks", "live_subtasks"]
_CONDITION = [
    "state",
    "operation",
    "update_us",
    "transition_us",
    "start_us",
    "end_us",
    "stop_reason",
    "generation",
    "base_generation",
    "cancelled",
    "error",
    "due_us",
    "exit_code",
]
_CONSTANT = ["key", "project", "task_id", "uid", "create_us"]
_PLAIN = [*_CONSTANT, *_COUNTS, *_CONDITION, "handler", "revision"]  # columns that are fields of Task
_CONFIGURATION = ["handler", "revision", "settings", "parameters_size", "fixed_size", *Searched._fields]
_NAMES = [*_PLAIN, "settings", "parameters_size", "fixed_size", "info"]
_counts = attrgetter(*_COUNTS)
_condition = attrgetter(*_CONDITION)
_constant = attrgetter(*_CONSTANT)

# In the same statement as the row, since an update may move it while somebody reads.
_FIXED_APART = "(SELECT fixed FROM task_fixed WHERE task.fixed_size = 0 AND task_key = task.key)"
COLUMNS = ", ".join([*(f"task.{name}" for name in _NAMES), _FIXED_APART])
BY_NAME = f"SELECT {COLUMNS} FROM task WHERE project = ? AND id_fold = ?"
INFO = f"SELECT key, task_id, state IN (2, 3, 4, 6), info, {_FIXED_APART} FROM task WHERE project = ? AND id_fold = ?"
BY_KEY = f"SELECT {COLUMNS} FROM task WHERE key = ? AND id_fold IS NOT NULL"
LIVE = f"SELECT {COLUMNS} FROM task WHERE state < 7 AND state IN (2, 3, 4, 6) AND id_fold IS NOT NULL"
OLDEST = f"SELECT {COLUMNS} FROM task WHERE state < 7 AND state <> 6 AND id_fold IS NOT NULL ORDER BY key LIMIT 1"
DUE = f"SELECT {COLUMNS} FROM task WHERE due_us > 0 AND due_us <= ? AND id_fold IS NOT NULL ORDER BY due_us LIMIT ?"
NEXT_DUE = "SELECT due_us FROM task WHERE due_us > 0 AND id_fold IS NOT NULL ORDER BY due_us LIMIT 1"
_INSERTED = [*_CONSTANT, *_COUNTS, *_CONDITION, *_CONFIGURATION, "as_is", "info", "id_fold", "request_id"]
_INSERT = Rows(0, f"INSERT INTO task ({', '.join(_INSERTED)}) VALUES", f"({', '.join('?' * len(_INSERTED))})")
_OWN = ["key", "task_id", "id_fold", "uid", "operation", "fixed_size", "info", "request_id"]
_SHARED = [name for name in _INSERTED if name not in _OWN]
_LIKE = f"INSERT INTO task ({', '.join([*_SHARED, *_OWN])}) SELECT {', '.join('?' * len(_SHARED))}, v.* FROM (VALUES"
_LIKE_STATEMENTS: dict[int, str] = {}
_INSERT_FIXED = Rows(1, "INSERT OR REPLACE INTO task_fixed VALUES", "(?, ?)")


def _update_of(names: list[str]) -> Rows:
    settings = ", ".join(f"{name} = v.column{number}" for number, name in enumerate([*names, "info"], start=2))
    row = f"({', '.join('?' * (len(names) + 2))})"
    return Rows(0, f"UPDATE task SET {settings} FROM (VALUES", row, ") AS v WHERE key = v.column1")


UPDATE_COUNTS = _update_of(_COUNTS)
UPDATE_ALL = _update_of([*_COUNTS, *_CONDITION, "as_is"])  # also the indexes that depend on the state
UPDATE_CONFIGURATION = _update_of([*_COUNTS, *_CONDITION, *_CONFIGURATION, "as_is"])
_FIXED = "SELECT fixed FROM task_fixed WHERE task_key = ?"
_TASK_ID = _NAMES.index("task_id")


def not_found(name: TaskName) -> NotFound:
    """The error for a task that does not exist."""
    return NotFound(TASK_TYPE, str(name))


def deleted(source: Reader | Transaction, key: int) -> NotFound:
    """The error for a task that was deleted while somebody read it."""
    rows = source.run("SELECT project, task_id FROM task WHERE key = ?", (key,))
    return not_found(TaskName(*rows[0]) if rows else TaskName("-", str(key)))


def of_row(row: Row) -> Task:
    """The Task in a row of COLUMNS."""
    values: dict[str, Any] = dict(zip(_PLAIN, row, strict=False))
    settings_text, parameters_size, fixed_size, stored, apart = row[-5:]
    fixed = pages.info_of(stored)[:fixed_size] if apart is None else apart
    values["state"] = TaskState(values["state"])
    values["stop_reason"] = StopReason(values["stop_reason"])
    parameters = fixed[len(fixed) - parameters_size :] if parameters_size else b""
    return Task(**values, settings=settings.parse(settings_text), fixed=fixed, parameters=parameters)


def fixed_apart(source: Reader | Transaction, key: int) -> bytes:
    """The fixed part of a task that keeps it in task_fixed, in the snapshot in which its row was read."""
    rows = source.run(_FIXED, (key,))
    return rows[0][0] if rows else b""


def by_name(source: Reader | Transaction, name: TaskName) -> Task:
    """The task of that name, written exactly so. Raises NotFound."""
    rows = source.run(BY_NAME, (name.project, name.task.lower()))
    if not rows or rows[0][_TASK_ID] != name.task:
        raise not_found(name)
    return of_row(rows[0])


def by_key(source: Reader | Transaction, key: int) -> Task | None:
    """The task with that key, unless it was deleted."""
    rows = source.run(BY_KEY, (key,))
    return of_row(rows[0]) if rows else None


def live(source: Reader | Transaction) -> list[Task]:
    """QUEUED, RUNNING, PAUSING and CANCELLING tasks, oldest first."""
    found = [of_row(row) for row in source.run(LIVE)]
    return sorted(found, key=lambda task: (task.create_us, task.key))


def oldest_unfinished(source: Reader | Transaction) -> Task | None:
    """See Store.oldest_unfinished."""
    rows = source.run(OLDEST)
    return of_row(rows[0]) if rows else None


def due(source: Reader | Transaction, now_us: int, most: int) -> list[Task]:
    """See Store.due."""
    return [of_row(row) for row in source.run(DUE, (now_us, most))]


def next_due_us(source: Reader | Transaction) -> int:
    """See Store.next_due_us."""
    rows = source.run(NEXT_DUE)
    return rows[0][0] if rows else 0


def info(source: Reader | Transaction, name: TaskName) -> TaskInfo:
    """See Store.get_info. Raises NotFound."""
    rows = source.run(INFO, (name.project, name.task.lower()))
    if not rows or rows[0][1] != name.task:
        raise not_found(name)
    key, _, lives, stored, apart = rows[0]
    whole = pages.info_of(stored) if apart is None else apart + stored
    return TaskInfo(key=key, info=whole, live=bool(lives))


def entry(tx: Transaction, key: int) -> Entry | None:
    """The task with that key as the writer knows it; None if it was deleted."""
    held = tx.held(key)
    if held is None:
        task = by_key(tx, key)
        if task is None:
            return None
        held = Entry(task)
        tx.learn(key, held)
    return held


def named_entry(tx: Transaction, name: TaskName) -> Entry:
    """The same by name. Raises NotFound."""
    key = key_of(tx, name)
    found = None if key is None else entry(tx, key)
    if found is None or found.task.task_id != name.task:
        raise not_found(name)
    return found


def key_of(tx: Transaction, name: TaskName) -> int | None:
    """The key of the task that has this id, in whatever case."""
    fold = (name.project, name.task.lower())
    if fold in tx.names:
        return tx.names[fold]
    rows = tx.run("SELECT key FROM task WHERE project = ? AND id_fold = ?", fold)
    return rows[0][0] if rows else None


def insert(tx: Transaction, task: Task, request_id: str | None) -> None:
    """Store a new task. If its id is taken by one that was there before this group, the flush fails."""
    shown, apart, as_is = _stored_info(task)
    fold = task.task_id.lower()
    tx.add(_INSERT, (*_row(task, apart=apart), as_is, shown, fold, request_id))
    if apart:
        tx.add(_INSERT_FIXED, (task.key, task.fixed))
    tx.names[task.project, fold] = task.key
    tx.on_undo(lambda: tx.names.pop((task.project, fold), None))
    tx.created(task.key, Entry(task, {}, (0, 0)))
    tx.publish(task, Change.STATE)


def insert_many(tx: Transaction, new: Sequence[tuple[NewTask, RequestKey | None]]) -> None:
    """The same for tasks that have their keys. Their names are in `tx.names`, and go from there if this is undone."""
    alike: dict[int, _Alike] = {}
    rows: dict[int, list[Row]] = {}
    entries: dict[int, Entry] = {}
    for create, request in new:
        task, like = create.task, create.like
        request_id = None if request is None else request.request_id
        if like is None or len(task.fixed) > _APART_BYTES:
            insert(tx, task, request_id)
            continue
        kind = id(like)
        if kind not in alike:
            alike[kind], rows[kind] = _Alike(like), []
        info = pages.entry(task.fixed + create.mutable)
        task_id = task.task_id
        rows[kind].append(
            (task.key, task_id, task_id.lower(), task.uid, task.operation, len(task.fixed), info, request_id)
        )
        entries[task.key] = Entry(task, {}, (0, 0))
        tx.publish(task, Change.STATE)
    tx.created_many(entries)
    for kind, statement in alike.items():
        tx.add_many(statement, rows[kind])


class _Alike(Rows):
    """The statement that writes new tasks like one of them but for _OWN."""

    def __init__(self, like: Task) -> None:
        super().__init__(0, _LIKE, f"({', '.join('?' * len(_OWN))})", ") AS v", whole=True)
        shared = dict(zip(_INSERTED, _row(like, apart=False), strict=False))
        shared["as_is"] = not like.state.is_live
        self._shared = tuple(shared[name] for name in _SHARED)
        self._statements = _LIKE_STATEMENTS

    def write(self, tx: Transaction, rows: Sequence[Row], shared: Row = ()) -> None:
        """See Rows.write."""
        super().write(tx, rows, self._shared)


def update(tx: Transaction, pairs: Sequence[tuple[Task, Task]]) -> None:
    """Write tasks, (as they are stored, as they are to be), now."""
    rows: dict[Rows, list[Row]] = {UPDATE_COUNTS: [], UPDATE_ALL: [], UPDATE_CONFIGURATION: []}
    for before, task in pairs:
        shown, apart, as_is = _stored_info(task)
        counts, condition = _counts(task), _condition(task)
        if task.revision != before.revision:
            row = (task.key, *counts, *condition, *_configuration(task, apart), as_is, shown)
            rows[UPDATE_CONFIGURATION].append(row)
            if apart:
                _INSERT_FIXED.write(tx, [(task.key, task.fixed)])
            elif len(before.fixed) > _APART_BYTES:
                tx.run("DELETE FROM task_fixed WHERE task_key = ?", (task.key,))
        elif condition == _condition(before):
            rows[UPDATE_COUNTS].append((task.key, *counts, shown))
        else:
            rows[UPDATE_ALL].append((task.key, *counts, *condition, as_is, shown))
    for statement, values in rows.items():
        statement.write(tx, values)


def _row(task: Task, *, apart: bool) -> Row:
    """The first values of _INSERTED, those that are in the task."""
    return (*_constant(task), *_counts(task), *_condition(task), *_configuration(task, apart))


def _configuration(task: Task, apart: bool) -> Row:
    """Values of the columns _CONFIGURATION."""
    assert task.fixed.endswith(task.parameters), "fixed_info puts the parameters last"
    fixed_size = 0 if apart else len(task.fixed)
    texts = task.handler, task.revision, task.settings.text()
    return *texts, len(task.parameters), fixed_size, *searched(task.fixed)


def _stored_info(task: Task) -> tuple[bytes, bool, bool]:
    """The column `info`; whether the fixed part is kept apart; whether `info` goes out as it is (0002.sql)."""
    mutable = task_bytes.mutable_info(task)
    if len(task.fixed) > _APART_BYTES:
        return mutable, True, False
    return pages.entry(task.fixed + mutable), False, not task.state.is_live
