"""Why did a task or a record of it fail, in the seed's words?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from batchyard._error_map import record_error
from batchyard._errors import RecordFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard._info import BatchTaskInfo

# Reasons for which the seed's service has codes of its own; of all others the reason itself is the code.
_CODES: Final = {
    "NONZERO_EXIT": "FailureExitCode",
    "COMMAND_NOT_STARTED": "CommandProgramNotFound",
    "TASK_CANCELLED": "TaskEnded",
    "WALL_CLOCK_EXCEEDED": "TaskEnded",
    "TASK_LIFETIME_EXCEEDED": "TaskEnded",
    "RECORD_TIMEOUT": "TaskEnded",
}
_SERVERS: Final = {"WORKER_LOST", "PROCESS_NOT_REAPED"}


class ExecutionResult(StrEnum):
    """How a task or subtask ended."""

    success = "success"
    failure = "failure"


class ErrorCategory(StrEnum):
    """Whose fault it was, as far as that is known."""

    user_error = "usererror"
    server_error = "servererror"


@dataclass(frozen=True, slots=True)
class NameValuePair:
    """One more fact about a failure."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FailureInformation:
    """Why a task failed.

    Attributes:
        category: the user's or the server's fault.
        code: "FailureExitCode", "CommandProgramNotFound" or "TaskEnded"; else our reason, "HandlerException".
        message: text for people.
        details: `reason` (name of our `ErrorReason`) with its metadata, such as `exit_code`.
    """

    category: ErrorCategory
    code: str
    message: str
    details: Sequence[NameValuePair]


def failure_of_record(error: RecordFailedError) -> FailureInformation:
    """Describe why a record failed."""
    reason = error.reason
    details = [NameValuePair("reason", reason)] if reason else []
    details += [NameValuePair(name, value) for name, value in error.metadata.items()]
    return FailureInformation(
        category=ErrorCategory.server_error if reason in _SERVERS else ErrorCategory.user_error,
        code=_CODES.get(reason) or "".join(map(str.capitalize, reason.split("_"))) or "Unknown",
        message=error.message,
        details=details,
    )


def failure_of_task(info: BatchTaskInfo) -> FailureInformation | None:
    """Describe why a task failed; None if it did not."""
    return failure_of_record(record_error(info.message.error)) if info.message.HasField("error") else None
