import datetime

from batchyard.v1 import batch_task_pb2 as _batch_task_pb2
from batchyard.v1 import record_pb2 as _record_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OperationStatus(_message.Message):
    __slots__ = ("name", "batch_task", "done", "state", "error", "response", "metadata", "counts", "records", "deleted", "resume_token", "event_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BATCH_TASK_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    batch_task: str
    done: bool
    state: _batch_task_pb2.BatchTaskInfo.State
    error: _status_pb2.Status
    response: _batch_task_pb2.BatchTaskInfo
    metadata: _batch_task_pb2.BatchTaskMetadata
    counts: _batch_task_pb2.RecordCounts
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.RecordInfo]
    deleted: bool
    resume_token: str
    event_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., batch_task: _Optional[str] = ..., done: bool = ..., state: _Optional[_Union[_batch_task_pb2.BatchTaskInfo.State, str]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., response: _Optional[_Union[_batch_task_pb2.BatchTaskInfo, _Mapping]] = ..., metadata: _Optional[_Union[_batch_task_pb2.BatchTaskMetadata, _Mapping]] = ..., counts: _Optional[_Union[_batch_task_pb2.RecordCounts, _Mapping]] = ..., records: _Optional[_Iterable[_Union[_record_pb2.RecordInfo, _Mapping]]] = ..., deleted: bool = ..., resume_token: _Optional[str] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
