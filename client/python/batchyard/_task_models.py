"""Which classes do the task operations take and return? All of them, as users of the seed import its `models`."""

from __future__ import annotations

from batchyard._task_errors import (
    BatchError,
    BatchErrorDetail,
    BatchErrorException,
    CreateTasksErrorException,
    ErrorMessage,
    NotModified,
    Response,
)
from batchyard._task_failure import ErrorCategory, ExecutionResult, FailureInformation, NameValuePair
from batchyard._task_files import FileProperties, NodeFile
from batchyard._task_options import (
    FileDeleteFromTaskOptions,
    FileGetFromTaskOptions,
    FileGetPropertiesFromTaskOptions,
    FileListFromTaskOptions,
    TaskAddCollectionOptions,
    TaskAddOptions,
    TaskDeleteOptions,
    TaskGetOptions,
    TaskListOptions,
    TaskListSubtasksOptions,
    TaskReactivateOptions,
    TaskTerminateOptions,
    TaskUpdateOptions,
)
from batchyard._task_parameters import EnvironmentSetting, MultiInstanceSettings, TaskAddParameter, TaskConstraints
from batchyard._task_results import ClientRawResponse, Paged, TaskAddCollectionResult, TaskAddResult, TaskAddStatus
from batchyard._task_views import (
    CloudTask,
    CloudTaskListSubtasksResult,
    SubtaskInformation,
    SubtaskState,
    TaskExecutionInformation,
    TaskState,
    TaskStatistics,
)

# Other names that users of the seed know some of them by.
CloudTaskPaged = Paged
TaskExecutionResult = ExecutionResult
TaskFailureInformation = FailureInformation

__all__ = [
    "BatchError",
    "BatchErrorDetail",
    "BatchErrorException",
    "ClientRawResponse",
    "CloudTask",
    "CloudTaskListSubtasksResult",
    "CloudTaskPaged",
    "CreateTasksErrorException",
    "EnvironmentSetting",
    "ErrorCategory",
    "ErrorMessage",
    "ExecutionResult",
    "FailureInformation",
    "FileDeleteFromTaskOptions",
    "FileGetFromTaskOptions",
    "FileGetPropertiesFromTaskOptions",
    "FileListFromTaskOptions",
    "FileProperties",
    "MultiInstanceSettings",
    "NameValuePair",
    "NodeFile",
    "NotModified",
    "Paged",
    "Response",
    "SubtaskInformation",
    "SubtaskState",
    "TaskAddCollectionOptions",
    "TaskAddCollectionResult",
    "TaskAddOptions",
    "TaskAddParameter",
    "TaskAddResult",
    "TaskAddStatus",
    "TaskConstraints",
    "TaskDeleteOptions",
    "TaskExecutionInformation",
    "TaskExecutionResult",
    "TaskFailureInformation",
    "TaskGetOptions",
    "TaskListOptions",
    "TaskListSubtasksOptions",
    "TaskReactivateOptions",
    "TaskState",
    "TaskStatistics",
    "TaskTerminateOptions",
    "TaskUpdateOptions",
]
