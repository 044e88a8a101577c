"""What was last heard of an operation, as an object: `OperationStatus`, with the attributes of Yandex's SDK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchyard._error_map import unpack_any
from batchyard._info import BatchTaskInfo
from batchyard._status import OperationErrorInfo
from batchyard.v1 import batch_task_pb2

if TYPE_CHECKING:
    from google.longrunning.operations_pb2 import Operation


@dataclass(frozen=True, slots=True)
class OperationStatus:
    """What was last heard of an operation.

    Attributes:
        done: whether it has ended.
        error: why it failed; None while it runs and when it succeeded.
        response: the final `BatchTaskInfo` when it succeeded; the bare `Any` if it holds something else.
        metadata: `batchyard.v1.BatchTaskMetadata`; the bare `Any` if it holds something else.
    """

    done: bool
    error: OperationErrorInfo | None
    response: Any | None
    metadata: Any | None

    @classmethod
    def of(cls, operation: Operation) -> OperationStatus:
        """Make one from a `google.longrunning.Operation`."""
        response: Any = None
        if operation.HasField("response"):
            response = unpack_any(operation.response) or operation.response
            if isinstance(response, batch_task_pb2.BatchTaskInfo):
                response = BatchTaskInfo(response)
        metadata = (unpack_any(operation.metadata) or operation.metadata) if operation.HasField("metadata") else None
        failed = operation.HasField("error") and operation.error.code != 0
        error = OperationErrorInfo.of(operation.error) if failed else None
        return cls(operation.done, error, response, metadata)

    @property
    def is_running(self) -> bool:
        """Not ended."""
        return not self.done

    @property
    def is_succeeded(self) -> bool:
        """Ended without an error."""
        return self.done and self.error is None

    @property
    def is_failed(self) -> bool:
        """Ended with an error; a cancel is one, with code 1."""
        return self.done and self.error is not None

    @property
    def is_finished(self) -> bool:
        """Ended, well or badly."""
        return self.done

    @property
    def status_name(self) -> str:
        """`success`, `failed` or `running`."""
        if self.is_succeeded:
            return "success"
        return "failed" if self.is_failed else "running"
