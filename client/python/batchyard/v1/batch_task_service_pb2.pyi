from batchyard.v1 import artifact_pb2 as _artifact_pb2
from batchyard.v1 import batch_task_pb2 as _batch_task_pb2
from batchyard.v1 import handler_pb2 as _handler_pb2
from batchyard.v1 import operation_status_pb2 as _operation_status_pb2
from batchyard.v1 import record_pb2 as _record_pb2
from batchyard.v1 import subtask_pb2 as _subtask_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import client_pb2 as _client_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import field_info_pb2 as _field_info_pb2
from google.api import resource_pb2 as _resource_pb2
from google.longrunning import operations_pb2 as _operations_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateBatchTaskRequest(_message.Message):
    __slots__ = ("parent", "batch_task", "batch_task_id", "records", "start", "request_id", "validate_only")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    BATCH_TASK_FIELD_NUMBER: _ClassVar[int]
    BATCH_TASK_ID_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    batch_task: _batch_task_pb2.BatchTaskInfo
    batch_task_id: str
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.RecordInput]
    start: bool
    request_id: str
    validate_only: bool
    def __init__(self, parent: _Optional[str] = ..., batch_task: _Optional[_Union[_batch_task_pb2.BatchTaskInfo, _Mapping]] = ..., batch_task_id: _Optional[str] = ..., records: _Optional[_Iterable[_Union[_record_pb2.RecordInput, _Mapping]]] = ..., start: bool = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class BatchCreateBatchTasksRequest(_message.Message):
    __slots__ = ("parent", "requests", "atomic", "request_id")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    ATOMIC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    parent: str
    requests: _containers.RepeatedCompositeFieldContainer[CreateBatchTaskRequest]
    atomic: bool
    request_id: str
    def __init__(self, parent: _Optional[str] = ..., requests: _Optional[_Iterable[_Union[CreateBatchTaskRequest, _Mapping]]] = ..., atomic: bool = ..., request_id: _Optional[str] = ...) -> None: ...

class BatchCreateBatchTasksResponse(_message.Message):
    __slots__ = ("results",)
    class Result(_message.Message):
        __slots__ = ("operation", "status")
        OPERATION_FIELD_NUMBER: _ClassVar[int]
        STATUS_FIELD_NUMBER: _ClassVar[int]
        operation: _operations_pb2.Operation
        status: _status_pb2.Status
        def __init__(self, operation: _Optional[_Union[_operations_pb2.Operation, _Mapping]] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchCreateBatchTasksResponse.Result]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchCreateBatchTasksResponse.Result, _Mapping]]] = ...) -> None: ...

class AppendRecordsRequest(_message.Message):
    __slots__ = ("name", "first_index", "records")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    first_index: int
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.RecordInput]
    def __init__(self, name: _Optional[str] = ..., first_index: _Optional[int] = ..., records: _Optional[_Iterable[_Union[_record_pb2.RecordInput, _Mapping]]] = ...) -> None: ...

class AppendRecordsResponse(_message.Message):
    __slots__ = ("next_index",)
    NEXT_INDEX_FIELD_NUMBER: _ClassVar[int]
    next_index: int
    def __init__(self, next_index: _Optional[int] = ...) -> None: ...

class StartBatchTaskRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetBatchTaskRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListBatchTasksRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "filter", "order_by")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    filter: str
    order_by: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[str] = ..., order_by: _Optional[str] = ...) -> None: ...

class ListBatchTasksResponse(_message.Message):
    __slots__ = ("batch_tasks", "next_page_token")
    BATCH_TASKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    batch_tasks: _containers.RepeatedCompositeFieldContainer[_batch_task_pb2.BatchTaskInfo]
    next_page_token: str
    def __init__(self, batch_tasks: _Optional[_Iterable[_Union[_batch_task_pb2.BatchTaskInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StreamBatchTasksRequest(_message.Message):
    __slots__ = ("parent", "page_size", "resume_token", "filter", "order_by")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    resume_token: str
    filter: str
    order_by: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., resume_token: _Optional[str] = ..., filter: _Optional[str] = ..., order_by: _Optional[str] = ...) -> None: ...

class StreamBatchTasksResponse(_message.Message):
    __slots__ = ("batch_tasks", "resume_token")
    BATCH_TASKS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    batch_tasks: _containers.RepeatedCompositeFieldContainer[_batch_task_pb2.BatchTaskInfo]
    resume_token: str
    def __init__(self, batch_tasks: _Optional[_Iterable[_Union[_batch_task_pb2.BatchTaskInfo, _Mapping]]] = ..., resume_token: _Optional[str] = ...) -> None: ...

class GetBatchTaskCountsRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class WatchBatchTaskRequest(_message.Message):
    __slots__ = ("name", "resume_token", "include_records", "view")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_RECORDS_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    name: str
    resume_token: str
    include_records: bool
    view: _record_pb2.RecordInfo.View
    def __init__(self, name: _Optional[str] = ..., resume_token: _Optional[str] = ..., include_records: bool = ..., view: _Optional[_Union[_record_pb2.RecordInfo.View, str]] = ...) -> None: ...

class WatchBatchTasksRequest(_message.Message):
    __slots__ = ("parent", "resume_token", "include_records", "view", "filter")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_RECORDS_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    parent: str
    resume_token: str
    include_records: bool
    view: _record_pb2.RecordInfo.View
    filter: str
    def __init__(self, parent: _Optional[str] = ..., resume_token: _Optional[str] = ..., include_records: bool = ..., view: _Optional[_Union[_record_pb2.RecordInfo.View, str]] = ..., filter: _Optional[str] = ...) -> None: ...

class CancelBatchTaskRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CancelBatchTasksRequest(_message.Message):
    __slots__ = ("parent", "page_token", "filter", "request_id", "validate_only", "reason")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_token: str
    filter: str
    request_id: str
    validate_only: bool
    reason: str
    def __init__(self, parent: _Optional[str] = ..., page_token: _Optional[str] = ..., filter: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ..., reason: _Optional[str] = ...) -> None: ...

class CancelBatchTasksResponse(_message.Message):
    __slots__ = ("cancelled_count", "next_page_token", "batch_tasks")
    CANCELLED_COUNT_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    BATCH_TASKS_FIELD_NUMBER: _ClassVar[int]
    cancelled_count: int
    next_page_token: str
    batch_tasks: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, cancelled_count: _Optional[int] = ..., next_page_token: _Optional[str] = ..., batch_tasks: _Optional[_Iterable[str]] = ...) -> None: ...

class PauseBatchTaskRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ResumeBatchTaskRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class UpdateBatchTaskRequest(_message.Message):
    __slots__ = ("batch_task", "update_mask", "request_id")
    BATCH_TASK_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    batch_task: _batch_task_pb2.BatchTaskInfo
    update_mask: _field_mask_pb2.FieldMask
    request_id: str
    def __init__(self, batch_task: _Optional[_Union[_batch_task_pb2.BatchTaskInfo, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class ReactivateBatchTaskRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id", "scope")
    class Scope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SCOPE_UNSPECIFIED: _ClassVar[ReactivateBatchTaskRequest.Scope]
        FAILED_AND_UNFINISHED: _ClassVar[ReactivateBatchTaskRequest.Scope]
        ALL: _ClassVar[ReactivateBatchTaskRequest.Scope]
    SCOPE_UNSPECIFIED: ReactivateBatchTaskRequest.Scope
    FAILED_AND_UNFINISHED: ReactivateBatchTaskRequest.Scope
    ALL: ReactivateBatchTaskRequest.Scope
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    scope: ReactivateBatchTaskRequest.Scope
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ..., scope: _Optional[_Union[ReactivateBatchTaskRequest.Scope, str]] = ...) -> None: ...

class DeleteBatchTaskRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id", "allow_missing", "force")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    allow_missing: bool
    force: bool
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ..., allow_missing: bool = ..., force: bool = ...) -> None: ...

class ListSubtasksRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSubtasksResponse(_message.Message):
    __slots__ = ("subtasks", "next_page_token")
    SUBTASKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    subtasks: _containers.RepeatedCompositeFieldContainer[_subtask_pb2.Subtask]
    next_page_token: str
    def __init__(self, subtasks: _Optional[_Iterable[_Union[_subtask_pb2.Subtask, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetRecordRequest(_message.Message):
    __slots__ = ("name", "view", "generation")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    name: str
    view: _record_pb2.RecordInfo.View
    generation: int
    def __init__(self, name: _Optional[str] = ..., view: _Optional[_Union[_record_pb2.RecordInfo.View, str]] = ..., generation: _Optional[int] = ...) -> None: ...

class ListRecordsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "filter", "order", "view", "generation")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    filter: str
    order: _record_pb2.RecordInfo.Order
    view: _record_pb2.RecordInfo.View
    generation: int
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[str] = ..., order: _Optional[_Union[_record_pb2.RecordInfo.Order, str]] = ..., view: _Optional[_Union[_record_pb2.RecordInfo.View, str]] = ..., generation: _Optional[int] = ...) -> None: ...

class ListRecordsResponse(_message.Message):
    __slots__ = ("records", "next_page_token", "resume_token")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.RecordInfo]
    next_page_token: str
    resume_token: str
    def __init__(self, records: _Optional[_Iterable[_Union[_record_pb2.RecordInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., resume_token: _Optional[str] = ...) -> None: ...

class StreamRecordsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "resume_token", "filter", "order", "view", "generation")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    resume_token: str
    filter: str
    order: _record_pb2.RecordInfo.Order
    view: _record_pb2.RecordInfo.View
    generation: int
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., resume_token: _Optional[str] = ..., filter: _Optional[str] = ..., order: _Optional[_Union[_record_pb2.RecordInfo.Order, str]] = ..., view: _Optional[_Union[_record_pb2.RecordInfo.View, str]] = ..., generation: _Optional[int] = ...) -> None: ...

class StreamRecordsResponse(_message.Message):
    __slots__ = ("records", "resume_token")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.RecordInfo]
    resume_token: str
    def __init__(self, records: _Optional[_Iterable[_Union[_record_pb2.RecordInfo, _Mapping]]] = ..., resume_token: _Optional[str] = ...) -> None: ...

class ListRecordAttemptsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListRecordAttemptsResponse(_message.Message):
    __slots__ = ("attempts", "next_page_token")
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    attempts: _containers.RepeatedCompositeFieldContainer[_record_pb2.RecordAttempt]
    next_page_token: str
    def __init__(self, attempts: _Optional[_Iterable[_Union[_record_pb2.RecordAttempt, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListArtifactsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "prefix")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    prefix: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., prefix: _Optional[str] = ...) -> None: ...

class ListArtifactsResponse(_message.Message):
    __slots__ = ("artifacts", "next_page_token")
    ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    artifacts: _containers.RepeatedCompositeFieldContainer[_artifact_pb2.Artifact]
    next_page_token: str
    def __init__(self, artifacts: _Optional[_Iterable[_Union[_artifact_pb2.Artifact, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetArtifactRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ReadArtifactRequest(_message.Message):
    __slots__ = ("name", "offset", "limit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    offset: int
    limit: int
    def __init__(self, name: _Optional[str] = ..., offset: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class ReadArtifactResponse(_message.Message):
    __slots__ = ("data", "crc32c")
    DATA_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    crc32c: int
    def __init__(self, data: _Optional[bytes] = ..., crc32c: _Optional[int] = ...) -> None: ...

class DeleteArtifactRequest(_message.Message):
    __slots__ = ("name", "request_id", "allow_missing")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    allow_missing: bool
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ..., allow_missing: bool = ...) -> None: ...

class GetHandlerRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListHandlersRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListHandlersResponse(_message.Message):
    __slots__ = ("handlers", "next_page_token")
    HANDLERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    handlers: _containers.RepeatedCompositeFieldContainer[_handler_pb2.Handler]
    next_page_token: str
    def __init__(self, handlers: _Optional[_Iterable[_Union[_handler_pb2.Handler, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
