from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RawInputs(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, records: _Optional[_Iterable[bytes]] = ...) -> None: ...

class RawCreate(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, records: _Optional[_Iterable[bytes]] = ...) -> None: ...

class RawBatchCreate(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[RawCreate]
    def __init__(self, requests: _Optional[_Iterable[_Union[RawCreate, _Mapping]]] = ...) -> None: ...

class RawBatchCreated(_message.Message):
    __slots__ = ("results",)
    class Result(_message.Message):
        __slots__ = ("operation", "status")
        OPERATION_FIELD_NUMBER: _ClassVar[int]
        STATUS_FIELD_NUMBER: _ClassVar[int]
        operation: bytes
        status: bytes
        def __init__(self, operation: _Optional[bytes] = ..., status: _Optional[bytes] = ...) -> None: ...
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[RawBatchCreated.Result]
    def __init__(self, results: _Optional[_Iterable[_Union[RawBatchCreated.Result, _Mapping]]] = ...) -> None: ...

class RawRecordPage(_message.Message):
    __slots__ = ("records", "next_page_token", "resume_token")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedScalarFieldContainer[bytes]
    next_page_token: str
    resume_token: str
    def __init__(self, records: _Optional[_Iterable[bytes]] = ..., next_page_token: _Optional[str] = ..., resume_token: _Optional[str] = ...) -> None: ...

class RawTaskPage(_message.Message):
    __slots__ = ("batch_tasks", "token")
    BATCH_TASKS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    batch_tasks: _containers.RepeatedScalarFieldContainer[bytes]
    token: str
    def __init__(self, batch_tasks: _Optional[_Iterable[bytes]] = ..., token: _Optional[str] = ...) -> None: ...

class RecordInputHead(_message.Message):
    __slots__ = ("record_id",)
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    record_id: str
    def __init__(self, record_id: _Optional[str] = ...) -> None: ...

class RecordHead(_message.Message):
    __slots__ = ("index", "record_id", "state", "error", "attempt", "exit_code")
    class Error(_message.Message):
        __slots__ = ("code",)
        CODE_FIELD_NUMBER: _ClassVar[int]
        code: int
        def __init__(self, code: _Optional[int] = ...) -> None: ...
    INDEX_FIELD_NUMBER: _ClassVar[int]
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    index: int
    record_id: str
    state: int
    error: RecordHead.Error
    attempt: int
    exit_code: int
    def __init__(self, index: _Optional[int] = ..., record_id: _Optional[str] = ..., state: _Optional[int] = ..., error: _Optional[_Union[RecordHead.Error, _Mapping]] = ..., attempt: _Optional[int] = ..., exit_code: _Optional[int] = ...) -> None: ...

class RecordHeads(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[RecordHead]
    def __init__(self, records: _Optional[_Iterable[_Union[RecordHead, _Mapping]]] = ...) -> None: ...

class RawRecordInput(_message.Message):
    __slots__ = ("input",)
    INPUT_FIELD_NUMBER: _ClassVar[int]
    input: bytes
    def __init__(self, input: _Optional[bytes] = ...) -> None: ...

class RawInput(_message.Message):
    __slots__ = ("record_id", "payload")
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    record_id: str
    payload: bytes
    def __init__(self, record_id: _Optional[str] = ..., payload: _Optional[bytes] = ...) -> None: ...

class RawOperationStatus(_message.Message):
    __slots__ = ("error", "response", "metadata", "records", "resume_token")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    error: bytes
    response: bytes
    metadata: bytes
    records: _containers.RepeatedScalarFieldContainer[bytes]
    resume_token: str
    def __init__(self, error: _Optional[bytes] = ..., response: _Optional[bytes] = ..., metadata: _Optional[bytes] = ..., records: _Optional[_Iterable[bytes]] = ..., resume_token: _Optional[str] = ...) -> None: ...
