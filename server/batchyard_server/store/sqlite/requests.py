"""The request table: which idempotent calls were done (AIP-155)?"""

from __future__ import annotations

from batchyard_server.model.errors import AlreadyExists, Reason
from batchyard_server.model.names import TASK_TYPE
from batchyard_server.model.task import RequestKey
from batchyard_server.store.sqlite.transaction import Transaction


def known(tx: Transaction, request: RequestKey | None) -> int | None:
    """The key of the task that the call was about, if it was done before; None if it is new.

    Raises AlreadyExists (REQUEST_ID_REUSED) if it was done with other content.
    """
    if request is None:
        return None
    rows = tx.run(
        "SELECT digest, task_key FROM request WHERE project = ? AND request_id = ?",
        (request.project, request.request_id),
    )
    if not rows:
        return None
    digest, task_key = rows[0]
    if digest != request.digest:
        raise AlreadyExists(
            Reason.REQUEST_ID_REUSED,
            f"request_id {request.request_id} was used before with other content",
            resource_type=TASK_TYPE,
            resource_name=request.request_id,
        )
    return task_key


def remember(tx: Transaction, request: RequestKey | None, task_key: int) -> None:
    """The call was done."""
    if request is not None:
        values = (request.project, request.request_id, request.digest, task_key, tx.clock.now_us())
        tx.run("INSERT INTO request VALUES (?, ?, ?, ?, ?)", values)
