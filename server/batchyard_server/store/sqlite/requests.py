"""The request table: which idempotent calls were done (AIP-155)?"""

# ruff: noqa: S608 - what is put into statements here are numbers of this module, never values of callers

from __future__ import annotations

from collections.abc import Sequence

from batchyard_server.model import limits
from batchyard_server.model.errors import AlreadyExists, Reason
from batchyard_server.model.names import PROJECT_TYPE, TASK_TYPE, TaskName
from batchyard_server.model.task import RequestKey, Task
from batchyard_server.store.sqlite.transaction import Rows, Transaction

_KNOWN = "SELECT digest, task_key, task_id FROM request WHERE project = ? AND request_id = ?"
_COLUMNS = "project, request_id, digest, task_key, task_id, create_us, made_task, expire_us"
_INSERT = Rows(3, f"INSERT INTO request ({_COLUMNS}) VALUES", "(?, ?, ?, ?, ?, ?, ?, ?)", whole=True)
_ANSWER = "SELECT answer FROM request WHERE project = ? AND request_id = ?"
_INSERT_ANSWER = (
    f"INSERT INTO request ({_COLUMNS}, answer) VALUES (?, ?, ?, ?, '', ?, 0, ?, ?) "
    "ON CONFLICT (project, request_id) DO UPDATE SET answer = excluded.answer"
)
KEPT_US = limits.REQUEST_ID_HOURS * 3600 * 1_000_000
_LET_EXPIRE = f"UPDATE request SET expire_us = create_us + {KEPT_US} WHERE (project, request_id) "
# The task is gone: its calls are forgotten 24 hours after they were made. Some of them, and its create.
LET_EXPIRE = (
    f"{_LET_EXPIRE} IN (SELECT project, request_id FROM request "
    "WHERE task_key = ? AND made_task = 0 AND expire_us IS NULL LIMIT 100)"
)
LET_CREATE_EXPIRE = f"{_LET_EXPIRE} = (SELECT project, request_id FROM task WHERE key = ?)"
FORGET = (
    "DELETE FROM request WHERE (project, request_id) IN (SELECT project, request_id FROM request "
    "WHERE expire_us IS NOT NULL AND expire_us <= ? ORDER BY expire_us LIMIT 100)"
)
_NO_TASK = 0  # no task has this key


def known(tx: Transaction, request: RequestKey | None) -> tuple[int, TaskName] | None:
    """Key and name of the task that the call was about, if it was done before; None if it is new.

    Raises AlreadyExists (REQUEST_ID_REUSED) if it was done with other content.
    """
    if request is None:
        return None
    row = tx.calls.get((request.project, request.request_id))
    if row is None:
        rows = tx.run(_KNOWN, (request.project, request.request_id))
        row = rows[0] if rows else None
    if row is None:
        return None
    digest, task_key, task_id = row
    name = TaskName(request.project, task_id)
    if digest != request.digest:
        raise AlreadyExists(
            Reason.REQUEST_ID_REUSED,
            f"request_id {request.request_id} was used before with other content",
            resource_type=TASK_TYPE if task_id else PROJECT_TYPE,
            resource_name=str(name) if task_id else f"projects/{request.project}",
        )
    return task_key, name


def known_to_create(tx: Transaction, request: RequestKey | None) -> tuple[int, TaskName] | None:
    """The same for a create. It is new as a rule: if it is not, the flush fails, and this is called again carefully."""
    if request is None or not (tx.careful or (request.project, request.request_id) in tx.calls):
        return None
    return known(tx, request)


def remember(tx: Transaction, request: RequestKey | None, task: Task, *, made_task: bool = False) -> None:
    """The call was done."""
    if request is not None:
        _add(tx, request, task.key, task.task_id, made_task, None)


def remember_batch(tx: Transaction, request: RequestKey | None) -> None:
    """The call that made many tasks was done."""
    if request is not None:
        _add(tx, request, _NO_TASK, "", False, tx.clock.now_us() + KEPT_US)


def remember_missing(tx: Transaction, request: RequestKey | None, task_id: str) -> None:
    """The call found no task and was content with that."""
    if request is not None:
        _add(tx, request, _NO_TASK, task_id, False, tx.clock.now_us() + KEPT_US)


def answer_to(tx: Transaction, request: RequestKey) -> bytes | None:
    """What the call, which is about many tasks, was answered; None if it is new. What waits was written.

    Raises AlreadyExists (REQUEST_ID_REUSED) if it was done with other content.
    """
    if known(tx, request) is None:
        return None
    return tx.run(_ANSWER, (request.project, request.request_id))[0][0]


def remember_answer(tx: Transaction, request: RequestKey, answer: bytes) -> None:
    """The call, which is about many tasks, is answered so from now on. What waits was written."""
    now = tx.clock.now_us()
    tx.run(_INSERT_ANSWER, (*request, _NO_TASK, now, now + KEPT_US, answer))


def mark(tx: Transaction, request: RequestKey, task: Task) -> None:
    """The call was done, in this group; it is written by `remember_many`."""
    tx.calls[request.project, request.request_id] = (request.digest, task.key, task.task_id)


def remember_many(tx: Transaction, calls: Sequence[tuple[RequestKey, Task]]) -> None:
    """Creates were done, which are marked. Whoever undoes this takes the marks back."""
    now = tx.clock.now_us()
    tx.add_many(
        _INSERT,
        [
            (request.project, request.request_id, request.digest, task.key, task.task_id, now, True, None)
            for request, task in calls
        ],
    )


def _add(
    tx: Transaction, request: RequestKey, task_key: int, task_id: str, made_task: bool, expire_us: int | None
) -> None:
    identity = (request.project, request.request_id)
    call = (request.digest, task_key, task_id)
    tx.add(_INSERT, (*identity, *call, tx.clock.now_us(), made_task, expire_us))
    tx.calls[identity] = call
    tx.on_undo(lambda: tx.calls.pop(identity, None))


def next_expiry_us(tx: Transaction) -> int | None:
    """When the next call is to be forgotten; None = there is none."""
    return tx.run("SELECT min(expire_us) FROM request WHERE expire_us IS NOT NULL")[0][0]
