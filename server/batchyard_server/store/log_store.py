"""What must a store do for logs? The part of `store.protocols.Store` that is about what records wrote.

They come with outcomes, see Flush.logs, and with executions that became none, see Retries.logs and `release`. A log is
seen until the record has an execution in a later generation, and is forgotten with its artifact (`delete_artifact`) or
its task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from batchyard_server.model.record import LogPage, PastAttempt

NO_LOGS: Mapping[int, bytes] = {}


class LogStore(Protocol):
    """Logs."""

    async def record_log(self, task_key: int, index: int) -> list[PastAttempt]:
        """The executions of a record that ended, with what they wrote, in the last generation in which one did.

        By attempt, the last limits.RECORD_ATTEMPTS. Empty if none of them wrote anything. Raises NotFound if the task
        was deleted.
        """
        ...

    async def log_page(self, task_key: int, start: int, limit: int, max_bytes: int) -> LogPage:
        """The same of the next records from index `start` on that have a log.

        Ends once it has looked at `limit` records, or has `max_bytes` of logs. Keyset. Raises NotFound if the task was
        deleted.
        """
        ...
