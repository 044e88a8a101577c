import datetime

from batchyard.v1 import payload_pb2 as _payload_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import code_pb2 as _code_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BatchTaskInfo(_message.Message):
    __slots__ = ("name", "uid", "display_name", "handler", "parameters", "state", "stop_reason", "waiting_reason", "generation", "operation", "labels", "priority", "parallel_count", "constraints", "retry_policy", "failure_policy", "counts", "error", "archived", "create_time", "start_time", "end_time", "update_time", "state_transition_time", "expire_time", "etag")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[BatchTaskInfo.State]
        DRAFT: _ClassVar[BatchTaskInfo.State]
        QUEUED: _ClassVar[BatchTaskInfo.State]
        RUNNING: _ClassVar[BatchTaskInfo.State]
        PAUSING: _ClassVar[BatchTaskInfo.State]
        PAUSED: _ClassVar[BatchTaskInfo.State]
        CANCELLING: _ClassVar[BatchTaskInfo.State]
        SUCCEEDED: _ClassVar[BatchTaskInfo.State]
        FAILED: _ClassVar[BatchTaskInfo.State]
        CANCELLED: _ClassVar[BatchTaskInfo.State]
    STATE_UNSPECIFIED: BatchTaskInfo.State
    DRAFT: BatchTaskInfo.State
    QUEUED: BatchTaskInfo.State
    RUNNING: BatchTaskInfo.State
    PAUSING: BatchTaskInfo.State
    PAUSED: BatchTaskInfo.State
    CANCELLING: BatchTaskInfo.State
    SUCCEEDED: BatchTaskInfo.State
    FAILED: BatchTaskInfo.State
    CANCELLED: BatchTaskInfo.State
    class StopReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STOP_REASON_UNSPECIFIED: _ClassVar[BatchTaskInfo.StopReason]
        CANCEL: _ClassVar[BatchTaskInfo.StopReason]
        DEADLINE: _ClassVar[BatchTaskInfo.StopReason]
        FAILURE_POLICY: _ClassVar[BatchTaskInfo.StopReason]
        TASK_LIFETIME: _ClassVar[BatchTaskInfo.StopReason]
    STOP_REASON_UNSPECIFIED: BatchTaskInfo.StopReason
    CANCEL: BatchTaskInfo.StopReason
    DEADLINE: BatchTaskInfo.StopReason
    FAILURE_POLICY: BatchTaskInfo.StopReason
    TASK_LIFETIME: BatchTaskInfo.StopReason
    class WaitingReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        WAITING_REASON_UNSPECIFIED: _ClassVar[BatchTaskInfo.WaitingReason]
        HANDLER_UNAVAILABLE: _ClassVar[BatchTaskInfo.WaitingReason]
        NO_SLOT: _ClassVar[BatchTaskInfo.WaitingReason]
        LIMITED: _ClassVar[BatchTaskInfo.WaitingReason]
    WAITING_REASON_UNSPECIFIED: BatchTaskInfo.WaitingReason
    HANDLER_UNAVAILABLE: BatchTaskInfo.WaitingReason
    NO_SLOT: BatchTaskInfo.WaitingReason
    LIMITED: BatchTaskInfo.WaitingReason
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STOP_REASON_FIELD_NUMBER: _ClassVar[int]
    WAITING_REASON_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    PARALLEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    RETRY_POLICY_FIELD_NUMBER: _ClassVar[int]
    FAILURE_POLICY_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ARCHIVED_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_TRANSITION_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    uid: str
    display_name: str
    handler: str
    parameters: _payload_pb2.Payload
    state: BatchTaskInfo.State
    stop_reason: BatchTaskInfo.StopReason
    waiting_reason: BatchTaskInfo.WaitingReason
    generation: int
    operation: str
    labels: _containers.ScalarMap[str, str]
    priority: int
    parallel_count: int
    constraints: Constraints
    retry_policy: RetryPolicy
    failure_policy: FailurePolicy
    counts: RecordCounts
    error: _status_pb2.Status
    archived: bool
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    state_transition_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    etag: str
    def __init__(self, name: _Optional[str] = ..., uid: _Optional[str] = ..., display_name: _Optional[str] = ..., handler: _Optional[str] = ..., parameters: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., state: _Optional[_Union[BatchTaskInfo.State, str]] = ..., stop_reason: _Optional[_Union[BatchTaskInfo.StopReason, str]] = ..., waiting_reason: _Optional[_Union[BatchTaskInfo.WaitingReason, str]] = ..., generation: _Optional[int] = ..., operation: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., priority: _Optional[int] = ..., parallel_count: _Optional[int] = ..., constraints: _Optional[_Union[Constraints, _Mapping]] = ..., retry_policy: _Optional[_Union[RetryPolicy, _Mapping]] = ..., failure_policy: _Optional[_Union[FailurePolicy, _Mapping]] = ..., counts: _Optional[_Union[RecordCounts, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., archived: bool = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state_transition_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class RecordCounts(_message.Message):
    __slots__ = ("total", "pending", "running", "succeeded", "failed", "cancelled")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    total: int
    pending: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    def __init__(self, total: _Optional[int] = ..., pending: _Optional[int] = ..., running: _Optional[int] = ..., succeeded: _Optional[int] = ..., failed: _Optional[int] = ..., cancelled: _Optional[int] = ...) -> None: ...

class Constraints(_message.Message):
    __slots__ = ("max_wall_clock_time", "record_timeout", "retention_time", "max_retry_count")
    MAX_WALL_CLOCK_TIME_FIELD_NUMBER: _ClassVar[int]
    RECORD_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RETENTION_TIME_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    max_wall_clock_time: _duration_pb2.Duration
    record_timeout: _duration_pb2.Duration
    retention_time: _duration_pb2.Duration
    max_retry_count: int
    def __init__(self, max_wall_clock_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., record_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., retention_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_retry_count: _Optional[int] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("initial_backoff", "max_backoff", "multiplier", "retryable_codes")
    INITIAL_BACKOFF_FIELD_NUMBER: _ClassVar[int]
    MAX_BACKOFF_FIELD_NUMBER: _ClassVar[int]
    MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_CODES_FIELD_NUMBER: _ClassVar[int]
    initial_backoff: _duration_pb2.Duration
    max_backoff: _duration_pb2.Duration
    multiplier: float
    retryable_codes: _containers.RepeatedScalarFieldContainer[_code_pb2.Code]
    def __init__(self, initial_backoff: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_backoff: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., multiplier: _Optional[float] = ..., retryable_codes: _Optional[_Iterable[_Union[_code_pb2.Code, str]]] = ...) -> None: ...

class FailurePolicy(_message.Message):
    __slots__ = ("max_failed_records", "max_failed_ratio")
    MAX_FAILED_RECORDS_FIELD_NUMBER: _ClassVar[int]
    MAX_FAILED_RATIO_FIELD_NUMBER: _ClassVar[int]
    max_failed_records: int
    max_failed_ratio: float
    def __init__(self, max_failed_records: _Optional[int] = ..., max_failed_ratio: _Optional[float] = ...) -> None: ...

class BatchTaskMetadata(_message.Message):
    __slots__ = ("batch_task", "generation", "state", "stop_reason", "counts", "create_time", "start_time", "end_time", "subtask_count", "live_subtask_count", "failed_requests", "failed_requests_truncated")
    class FailedRequestsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: _status_pb2.Status
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...
    BATCH_TASK_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STOP_REASON_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    SUBTASK_COUNT_FIELD_NUMBER: _ClassVar[int]
    LIVE_SUBTASK_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    FAILED_REQUESTS_TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    batch_task: str
    generation: int
    state: BatchTaskInfo.State
    stop_reason: BatchTaskInfo.StopReason
    counts: RecordCounts
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    subtask_count: int
    live_subtask_count: int
    failed_requests: _containers.MessageMap[int, _status_pb2.Status]
    failed_requests_truncated: bool
    def __init__(self, batch_task: _Optional[str] = ..., generation: _Optional[int] = ..., state: _Optional[_Union[BatchTaskInfo.State, str]] = ..., stop_reason: _Optional[_Union[BatchTaskInfo.StopReason, str]] = ..., counts: _Optional[_Union[RecordCounts, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., subtask_count: _Optional[int] = ..., live_subtask_count: _Optional[int] = ..., failed_requests: _Optional[_Mapping[int, _status_pb2.Status]] = ..., failed_requests_truncated: bool = ...) -> None: ...

class BatchTaskCounts(_message.Message):
    __slots__ = ("name", "draft", "queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DRAFT_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    PAUSING_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    CANCELLING_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    name: str
    draft: int
    queued: int
    running: int
    pausing: int
    paused: int
    cancelling: int
    succeeded: int
    failed: int
    cancelled: int
    def __init__(self, name: _Optional[str] = ..., draft: _Optional[int] = ..., queued: _Optional[int] = ..., running: _Optional[int] = ..., pausing: _Optional[int] = ..., paused: _Optional[int] = ..., cancelling: _Optional[int] = ..., succeeded: _Optional[int] = ..., failed: _Optional[int] = ..., cancelled: _Optional[int] = ...) -> None: ...
