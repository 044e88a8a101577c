"""Batchyard: batches of records through handlers, over gRPC.

    from batchyard import Client

    with Client() as client:
        result = client.batch.run("echo", [{"n": 1}, {"n": 2}]).wait()
        print(result.counts, list(result.outputs()))

Names are loaded when they are first used, so that `import batchyard.v1.…` (the generated stubs) loads nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchyard._aio.batch import AsyncBatch
    from batchyard._aio.client import AsyncClient
    from batchyard._aio.handlers import AsyncHandlers
    from batchyard._aio.many import AsyncSubmission
    from batchyard._aio.operation import AsyncOperation, AsyncOperations
    from batchyard._aio.result import AsyncBatchTaskResult
    from batchyard._aio.task import AsyncBatchTaskOperation
    from batchyard._artifact_errors import ArtifactDamagedError, DownloadError, OffsetBeyondEndError
    from batchyard._artifact_info import Artifact, DownloadProgress
    from batchyard._cancelled import CancelledTasks
    from batchyard._enums import (
        BatchTaskState,
        HandlerIsolation,
        HandlerKind,
        RecordState,
        StopReason,
        SubtaskState,
        WaitingReason,
    )
    from batchyard._errors import (
        AbortedError,
        AllRecordsFailedError,
        AlreadyExistsError,
        AppendInProgressError,
        BatchTaskCancelled,
        BatchTaskError,
        BatchyardError,
        CallCancelledError,
        CommandNotStartedError,
        DataLossError,
        DeadlineExceededError,
        DiskFullError,
        DrainingError,
        DuplicateRecordIdError,
        ErrorDetail,
        EtagMismatchError,
        FailedPreconditionError,
        FailurePolicyError,
        FieldViolation,
        HandlerExceptionError,
        HandlerRecordError,
        IllegalStateError,
        IndexMismatchError,
        InputNotJsonError,
        InternalError,
        InvalidArgumentError,
        InvalidFieldError,
        InvalidPlaceholderError,
        InvalidTokenError,
        MalformedRequestError,
        NonzeroExitError,
        NoRecordsError,
        NotFoundError,
        OperationNotDoneError,
        OutOfRangeError,
        OutputNotSerializableError,
        OutputTooLargeError,
        PermissionDeniedError,
        ProcessNotReapedError,
        RecordFailedError,
        RecordTimeoutError,
        RequestIdReusedError,
        ResourceExhaustedError,
        ResourceExistsError,
        ResourceNotFoundError,
        ResumeTokenExpiredError,
        RpcError,
        ServerFaultError,
        StoreUnavailableError,
        TaskCompletedError,
        TaskLifetimeExceededError,
        TaskNotCompletedError,
        TaskSucceededError,
        UnauthenticatedError,
        UnavailableError,
        UnimplementedError,
        UnknownError,
        WaitTimeoutError,
        WallClockExceededError,
        WorkerLostError,
        WrongOperationStatusError,
    )
    from batchyard._filter_errors import InvalidFilterError, InvalidOrderByError
    from batchyard._filter_text import quoted
    from batchyard._info import BatchTaskInfo, HandlerInfo
    from batchyard._new_task import NewTask
    from batchyard._operation_status import OperationStatus
    from batchyard._policies import FailurePolicy, RetryPolicy
    from batchyard._progress import RichProgress, rich_progress
    from batchyard._record_info import (
        RecordAttempt,
        RecordInfo,
        Subtask,
    )
    from batchyard._records import Record, RecordValueError
    from batchyard._settings import TaskChanges, TaskSettings
    from batchyard._status import BatchTaskStatus, OperationErrorInfo
    from batchyard._sync.batch import Batch
    from batchyard._sync.client import Client
    from batchyard._sync.handlers import Handlers
    from batchyard._sync.many import Submission
    from batchyard._sync.operation import Operation, Operations
    from batchyard._sync.result import BatchTaskResult
    from batchyard._sync.task import BatchTaskOperation
    from batchyard._undefined import UNDEFINED, Undefined

# Public name -> the module that holds it.
_HOME = {
    "_aio.batch": ("AsyncBatch",),
    "_aio.client": ("AsyncClient",),
    "_aio.handlers": ("AsyncHandlers",),
    "_aio.many": ("AsyncSubmission",),
    "_aio.operation": (
        "AsyncOperation",
        "AsyncOperations",
    ),
    "_aio.result": ("AsyncBatchTaskResult",),
    "_aio.task": ("AsyncBatchTaskOperation",),
    "_artifact_errors": (
        "ArtifactDamagedError",
        "DownloadError",
        "OffsetBeyondEndError",
    ),
    "_artifact_info": (
        "Artifact",
        "DownloadProgress",
    ),
    "_cancelled": ("CancelledTasks",),
    "_enums": (
        "BatchTaskState",
        "HandlerIsolation",
        "HandlerKind",
        "RecordState",
        "StopReason",
        "SubtaskState",
        "WaitingReason",
    ),
    "_errors": (
        "AbortedError",
        "AllRecordsFailedError",
        "AlreadyExistsError",
        "AppendInProgressError",
        "BatchTaskCancelled",
        "BatchTaskError",
        "BatchyardError",
        "CallCancelledError",
        "CommandNotStartedError",
        "DataLossError",
        "DeadlineExceededError",
        "DiskFullError",
        "DrainingError",
        "DuplicateRecordIdError",
        "ErrorDetail",
        "EtagMismatchError",
        "FailedPreconditionError",
        "FailurePolicyError",
        "FieldViolation",
        "HandlerExceptionError",
        "HandlerRecordError",
        "IllegalStateError",
        "IndexMismatchError",
        "InputNotJsonError",
        "InternalError",
        "InvalidArgumentError",
        "InvalidFieldError",
        "InvalidPlaceholderError",
        "InvalidTokenError",
        "MalformedRequestError",
        "NoRecordsError",
        "NonzeroExitError",
        "NotFoundError",
        "OperationNotDoneError",
        "OutOfRangeError",
        "OutputNotSerializableError",
        "OutputTooLargeError",
        "PermissionDeniedError",
        "ProcessNotReapedError",
        "RecordFailedError",
        "RecordTimeoutError",
        "RequestIdReusedError",
        "ResourceExhaustedError",
        "ResourceExistsError",
        "ResourceNotFoundError",
        "ResumeTokenExpiredError",
        "RpcError",
        "ServerFaultError",
        "StoreUnavailableError",
        "TaskCompletedError",
        "TaskLifetimeExceededError",
        "TaskNotCompletedError",
        "TaskSucceededError",
        "UnauthenticatedError",
        "UnavailableError",
        "UnimplementedError",
        "UnknownError",
        "WaitTimeoutError",
        "WallClockExceededError",
        "WorkerLostError",
        "WrongOperationStatusError",
    ),
    "_filter_errors": (
        "InvalidFilterError",
        "InvalidOrderByError",
    ),
    "_filter_text": ("quoted",),
    "_info": (
        "BatchTaskInfo",
        "HandlerInfo",
    ),
    "_new_task": ("NewTask",),
    "_operation_status": ("OperationStatus",),
    "_policies": (
        "FailurePolicy",
        "RetryPolicy",
    ),
    "_progress": (
        "RichProgress",
        "rich_progress",
    ),
    "_record_info": (
        "RecordAttempt",
        "RecordInfo",
        "Subtask",
    ),
    "_records": (
        "Record",
        "RecordValueError",
    ),
    "_settings": (
        "TaskChanges",
        "TaskSettings",
    ),
    "_status": (
        "BatchTaskStatus",
        "OperationErrorInfo",
    ),
    "_sync.batch": ("Batch",),
    "_sync.client": ("Client",),
    "_sync.handlers": ("Handlers",),
    "_sync.many": ("Submission",),
    "_sync.operation": (
        "Operation",
        "Operations",
    ),
    "_sync.result": ("BatchTaskResult",),
    "_sync.task": ("BatchTaskOperation",),
    "_undefined": (
        "UNDEFINED",
        "Undefined",
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "UNDEFINED",
    "AbortedError",
    "AllRecordsFailedError",
    "AlreadyExistsError",
    "AppendInProgressError",
    "Artifact",
    "ArtifactDamagedError",
    "AsyncBatch",
    "AsyncBatchTaskOperation",
    "AsyncBatchTaskResult",
    "AsyncClient",
    "AsyncHandlers",
    "AsyncOperation",
    "AsyncOperations",
    "AsyncSubmission",
    "Batch",
    "BatchTaskCancelled",
    "BatchTaskError",
    "BatchTaskInfo",
    "BatchTaskOperation",
    "BatchTaskResult",
    "BatchTaskState",
    "BatchTaskStatus",
    "BatchyardError",
    "CallCancelledError",
    "CancelledTasks",
    "Client",
    "CommandNotStartedError",
    "DataLossError",
    "DeadlineExceededError",
    "DiskFullError",
    "DownloadError",
    "DownloadProgress",
    "DrainingError",
    "DuplicateRecordIdError",
    "ErrorDetail",
    "EtagMismatchError",
    "FailedPreconditionError",
    "FailurePolicy",
    "FailurePolicyError",
    "FieldViolation",
    "HandlerExceptionError",
    "HandlerInfo",
    "HandlerIsolation",
    "HandlerKind",
    "HandlerRecordError",
    "Handlers",
    "IllegalStateError",
    "IndexMismatchError",
    "InputNotJsonError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidFieldError",
    "InvalidFilterError",
    "InvalidOrderByError",
    "InvalidPlaceholderError",
    "InvalidTokenError",
    "MalformedRequestError",
    "NewTask",
    "NoRecordsError",
    "NonzeroExitError",
    "NotFoundError",
    "OffsetBeyondEndError",
    "Operation",
    "OperationErrorInfo",
    "OperationNotDoneError",
    "OperationStatus",
    "Operations",
    "OutOfRangeError",
    "OutputNotSerializableError",
    "OutputTooLargeError",
    "PermissionDeniedError",
    "ProcessNotReapedError",
    "Record",
    "RecordAttempt",
    "RecordFailedError",
    "RecordInfo",
    "RecordState",
    "RecordTimeoutError",
    "RecordValueError",
    "RequestIdReusedError",
    "ResourceExhaustedError",
    "ResourceExistsError",
    "ResourceNotFoundError",
    "ResumeTokenExpiredError",
    "RetryPolicy",
    "RichProgress",
    "RpcError",
    "ServerFaultError",
    "StopReason",
    "StoreUnavailableError",
    "Submission",
    "Subtask",
    "SubtaskState",
    "TaskChanges",
    "TaskCompletedError",
    "TaskLifetimeExceededError",
    "TaskNotCompletedError",
    "TaskSettings",
    "TaskSucceededError",
    "UnauthenticatedError",
    "UnavailableError",
    "Undefined",
    "UnimplementedError",
    "UnknownError",
    "WaitTimeoutError",
    "WaitingReason",
    "WallClockExceededError",
    "WorkerLostError",
    "WrongOperationStatusError",
    "quoted",
    "rich_progress",
]


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
