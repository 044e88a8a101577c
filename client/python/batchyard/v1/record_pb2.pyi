import datetime

from batchyard.v1 import payload_pb2 as _payload_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecordInput(_message.Message):
    __slots__ = ("record_id", "payload")
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    record_id: str
    payload: _payload_pb2.Payload
    def __init__(self, record_id: _Optional[str] = ..., payload: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ...) -> None: ...

class RecordInfo(_message.Message):
    __slots__ = ("name", "index", "record_id", "state", "input", "output", "error", "attempt", "generation", "exit_code", "start_time", "end_time", "artifact_count")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[RecordInfo.State]
        PENDING: _ClassVar[RecordInfo.State]
        RUNNING: _ClassVar[RecordInfo.State]
        SUCCEEDED: _ClassVar[RecordInfo.State]
        FAILED: _ClassVar[RecordInfo.State]
        CANCELLED: _ClassVar[RecordInfo.State]
    STATE_UNSPECIFIED: RecordInfo.State
    PENDING: RecordInfo.State
    RUNNING: RecordInfo.State
    SUCCEEDED: RecordInfo.State
    FAILED: RecordInfo.State
    CANCELLED: RecordInfo.State
    class View(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        VIEW_UNSPECIFIED: _ClassVar[RecordInfo.View]
        BASIC: _ClassVar[RecordInfo.View]
        FULL: _ClassVar[RecordInfo.View]
    VIEW_UNSPECIFIED: RecordInfo.View
    BASIC: RecordInfo.View
    FULL: RecordInfo.View
    class Order(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ORDER_UNSPECIFIED: _ClassVar[RecordInfo.Order]
        INDEX: _ClassVar[RecordInfo.Order]
        COMPLETION: _ClassVar[RecordInfo.Order]
    ORDER_UNSPECIFIED: RecordInfo.Order
    INDEX: RecordInfo.Order
    COMPLETION: RecordInfo.Order
    NAME_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    index: int
    record_id: str
    state: RecordInfo.State
    input: _payload_pb2.Payload
    output: _payload_pb2.Payload
    error: _status_pb2.Status
    attempt: int
    generation: int
    exit_code: int
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    artifact_count: int
    def __init__(self, name: _Optional[str] = ..., index: _Optional[int] = ..., record_id: _Optional[str] = ..., state: _Optional[_Union[RecordInfo.State, str]] = ..., input: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., output: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., attempt: _Optional[int] = ..., generation: _Optional[int] = ..., exit_code: _Optional[int] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., artifact_count: _Optional[int] = ...) -> None: ...

class RecordAttempt(_message.Message):
    __slots__ = ("attempt", "generation", "state", "error", "exit_code", "worker", "start_time", "end_time")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    generation: int
    state: RecordInfo.State
    error: _status_pb2.Status
    exit_code: int
    worker: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, attempt: _Optional[int] = ..., generation: _Optional[int] = ..., state: _Optional[_Union[RecordInfo.State, str]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., exit_code: _Optional[int] = ..., worker: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
