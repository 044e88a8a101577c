"""The request table: which idempotent calls were done (AIP-155)?"""

from __future__ import annotations

import apsw

from batchyard_server.model import limits
from batchyard_server.model.errors import AlreadyExists, Reason
from batchyard_server.model.names import TASK_TYPE, TaskName
from batchyard_server.model.task import RequestKey, Task
from batchyard_server.store.sqlite.transaction import Transaction

_KEPT_US = limits.REQUEST_ID_HOURS * 3600 * 1_000_000


def known(tx: Transaction, request: RequestKey | None) -> tuple[int, TaskName] | None:
    """Key and name of the task that the call was about, if it was done before; None if it is new.

    Raises AlreadyExists (REQUEST_ID_REUSED) if it was done with other content.
    """
    if request is None:
        return None
    rows = tx.run(
        "SELECT digest, task_key, task_id FROM request WHERE project = ? AND request_id = ?",
        (request.project, request.request_id),
    )
    if not rows:
        return None
    digest, task_key, task_id = rows[0]
    name = TaskName(request.project, task_id)
    if digest != request.digest:
        raise AlreadyExists(
            Reason.REQUEST_ID_REUSED,
            f"request_id {request.request_id} was used before with other content",
            resource_type=TASK_TYPE,
            resource_name=str(name),
        )
    return task_key, name


def claim(tx: Transaction, request: RequestKey | None, task: Task) -> tuple[int, TaskName] | None:
    """Remember the call and return None; if it is known, as `known`. One statement in the usual case."""
    try:
        remember(tx, request, task, made_task=True)
    except apsw.ConstraintError:
        return known(tx, request)
    return None


def remember(tx: Transaction, request: RequestKey | None, task: Task, *, made_task: bool = False) -> None:
    """The call was done."""
    if request is not None:
        identity = (request.project, request.request_id, request.digest)
        values = (*identity, task.key, task.task_id, tx.clock.now_us(), made_task)
        tx.run("INSERT INTO request VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", values)


def let_expire(tx: Transaction, task_key: int) -> None:
    """The task is gone: its calls are forgotten 24 hours after they were made."""
    expire = "UPDATE request SET expire_us = create_us + ? WHERE "
    tx.run(expire + "task_key = ? AND made_task = 0", (_KEPT_US, task_key))
    made = "(project, request_id) = (SELECT project, request_id FROM task WHERE key = ?)"
    tx.run(expire + made, (_KEPT_US, task_key))


def forget(tx: Transaction, most: int) -> int:
    """Remove up to `most` calls whose time is over; how many."""
    due = (
        "SELECT project, request_id FROM request WHERE expire_us IS NOT NULL AND expire_us <= ? "
        "ORDER BY expire_us LIMIT ?"
    )
    tx.run(f"DELETE FROM request WHERE (project, request_id) IN ({due})", (tx.clock.now_us(), most))  # noqa: S608
    return tx.connection.changes()


def next_expiry_us(tx: Transaction) -> int | None:
    """When the next call is to be forgotten; None = there is none."""
    return tx.run("SELECT min(expire_us) FROM request WHERE expire_us IS NOT NULL")[0][0]
