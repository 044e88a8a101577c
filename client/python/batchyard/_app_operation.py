"""The operation of a batch, as `wait_operation` of `batchyard.app_batches` takes and gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard._app_batch import OpenStrEnum
from batchyard._app_errors import FailedOperation
from batchyard._names import last_id
from batchyard._spans import time_of
from batchyard.v1 import batch_task_pb2

if TYPE_CHECKING:
    from datetime import datetime

    from batchyard._operation_status import OperationStatus


class AppOperation:
    """The running of a batch, as it was last heard of. Times are aware (UTC), None while unset.

    Attributes:
        id: resource name of the operation.
        last: the same as `batchyard.OperationStatus`.
    """

    class Status(OpenStrEnum):
        """How far it has come. CANCELLED is FAIL."""

        PENDING = "PENDING"
        RUNNING = "RUNNING"
        SUCCESS = "SUCCESS"
        FAIL = "FAIL"

    __slots__ = ("_metadata", "id", "last")

    def __init__(self, name: str, last: OperationStatus) -> None:
        self.id = name
        self.last = last
        self._metadata = batch_task_pb2.BatchTaskMetadata()
        if isinstance(last.metadata, batch_task_pb2.BatchTaskMetadata):
            self._metadata = last.metadata

    def __repr__(self) -> str:
        return f"<AppOperation {self.id} {self.status} {self.progress}%>"

    @property
    def status(self) -> AppOperation.Status:
        """PENDING until its first items are given to a worker."""
        if self.last.done:
            return AppOperation.Status.FAIL if self.last.error else AppOperation.Status.SUCCESS
        return AppOperation.Status.PENDING if self.started is None else AppOperation.Status.RUNNING

    @property
    def batch_id(self) -> str:
        """The batch that it runs."""
        return last_id(self._metadata.batch_task)

    @property
    def submitted(self) -> datetime | None:
        """When it was created, with its batch."""
        return time_of(self._metadata, "create_time")

    @property
    def started(self) -> datetime | None:
        """When its first items were given to a worker."""
        return time_of(self._metadata, "start_time")

    @property
    def finished(self) -> datetime | None:
        """When it ended."""
        return time_of(self._metadata, "end_time")

    @property
    def progress(self) -> int:
        """How many of a hundred items have ended, rounded down; 100 once it is completed."""
        if self.last.done:
            return 100
        counts = self._metadata.counts
        return 100 * (counts.succeeded + counts.failed + counts.cancelled) // max(counts.total, 1)

    @property
    def details(self) -> str:
        """Why it failed; empty if it did not."""
        return self.last.error.message if self.last.error else ""

    def is_completed(self) -> bool:
        """Whether it ended, well or badly."""
        return self.last.done

    def raise_on_fail(self) -> None:
        """Do nothing unless it failed.

        Raises:
            FailedOperation: it did.
        """
        if self.status is AppOperation.Status.FAIL:
            raise FailedOperation(self)
