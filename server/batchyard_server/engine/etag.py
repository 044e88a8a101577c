"""Is the configuration still the one that the caller saw (AIP-154)?"""

from __future__ import annotations

from batchyard_server.model.errors import Aborted, Reason
from batchyard_server.model.task import Task


def check(task: Task, etag: str) -> None:
    """Raise Aborted (ETAG_MISMATCH) unless `etag` is the task's, or empty."""
    if etag and etag != task.etag:
        raise Aborted(
            Reason.ETAG_MISMATCH,
            f"the configuration of {task.name} has changed: its etag is {task.etag}, not {etag[:64]}",
            metadata={"batch_task": str(task.name), "etag": task.etag},
        )
