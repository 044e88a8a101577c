from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ToWorker(_message.Message):
    __slots__ = ("load", "run", "ack", "drop")
    LOAD_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    DROP_FIELD_NUMBER: _ClassVar[int]
    load: Load
    run: Run
    ack: Ack
    drop: Drop
    def __init__(self, load: _Optional[_Union[Load, _Mapping]] = ..., run: _Optional[_Union[Run, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., drop: _Optional[_Union[Drop, _Mapping]] = ...) -> None: ...

class Load(_message.Message):
    __slots__ = ("handler", "kind", "callable", "argv", "output_type", "dash_values", "path", "max_output_bytes", "max_error_bytes", "run_ahead_millis", "max_log_bytes")
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CALLABLE_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TYPE_FIELD_NUMBER: _ClassVar[int]
    DASH_VALUES_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_ERROR_BYTES_FIELD_NUMBER: _ClassVar[int]
    RUN_AHEAD_MILLIS_FIELD_NUMBER: _ClassVar[int]
    MAX_LOG_BYTES_FIELD_NUMBER: _ClassVar[int]
    handler: str
    kind: str
    callable: str
    argv: _containers.RepeatedScalarFieldContainer[str]
    output_type: str
    dash_values: bool
    path: _containers.RepeatedScalarFieldContainer[str]
    max_output_bytes: int
    max_error_bytes: int
    run_ahead_millis: int
    max_log_bytes: int
    def __init__(self, handler: _Optional[str] = ..., kind: _Optional[str] = ..., callable: _Optional[str] = ..., argv: _Optional[_Iterable[str]] = ..., output_type: _Optional[str] = ..., dash_values: bool = ..., path: _Optional[_Iterable[str]] = ..., max_output_bytes: _Optional[int] = ..., max_error_bytes: _Optional[int] = ..., run_ahead_millis: _Optional[int] = ..., max_log_bytes: _Optional[int] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("lease", "batch_task", "generation", "ranges", "inputs", "parameters", "attempts", "budget_millis", "artifacts_dir")
    class AttemptsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    LEASE_FIELD_NUMBER: _ClassVar[int]
    BATCH_TASK_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_MILLIS_FIELD_NUMBER: _ClassVar[int]
    ARTIFACTS_DIR_FIELD_NUMBER: _ClassVar[int]
    lease: int
    batch_task: str
    generation: int
    ranges: _containers.RepeatedScalarFieldContainer[int]
    inputs: bytes
    parameters: bytes
    attempts: _containers.ScalarMap[int, int]
    budget_millis: int
    artifacts_dir: bytes
    def __init__(self, lease: _Optional[int] = ..., batch_task: _Optional[str] = ..., generation: _Optional[int] = ..., ranges: _Optional[_Iterable[int]] = ..., inputs: _Optional[bytes] = ..., parameters: _Optional[bytes] = ..., attempts: _Optional[_Mapping[int, int]] = ..., budget_millis: _Optional[int] = ..., artifacts_dir: _Optional[bytes] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("flush",)
    FLUSH_FIELD_NUMBER: _ClassVar[int]
    flush: int
    def __init__(self, flush: _Optional[int] = ...) -> None: ...

class Drop(_message.Message):
    __slots__ = ("lease",)
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease: int
    def __init__(self, lease: _Optional[int] = ...) -> None: ...

class FromWorker(_message.Message):
    __slots__ = ("loaded", "outcomes", "dropped")
    LOADED_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    loaded: Loaded
    outcomes: Outcomes
    dropped: Dropped
    def __init__(self, loaded: _Optional[_Union[Loaded, _Mapping]] = ..., outcomes: _Optional[_Union[Outcomes, _Mapping]] = ..., dropped: _Optional[_Union[Dropped, _Mapping]] = ...) -> None: ...

class Loaded(_message.Message):
    __slots__ = ("error",)
    ERROR_FIELD_NUMBER: _ClassVar[int]
    error: str
    def __init__(self, error: _Optional[str] = ...) -> None: ...

class Dropped(_message.Message):
    __slots__ = ("lease", "untouched", "from_ordinal")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    UNTOUCHED_FIELD_NUMBER: _ClassVar[int]
    FROM_ORDINAL_FIELD_NUMBER: _ClassVar[int]
    lease: int
    untouched: bool
    from_ordinal: int
    def __init__(self, lease: _Optional[int] = ..., untouched: bool = ..., from_ordinal: _Optional[int] = ...) -> None: ...

class Outcomes(_message.Message):
    __slots__ = ("lease", "flush", "ranges", "count", "failed", "page", "last", "work_nanos", "failures", "block", "start", "end", "staged", "logged")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    FLUSH_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    WORK_NANOS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    STAGED_FIELD_NUMBER: _ClassVar[int]
    LOGGED_FIELD_NUMBER: _ClassVar[int]
    lease: int
    flush: int
    ranges: _containers.RepeatedScalarFieldContainer[int]
    count: int
    failed: _containers.RepeatedScalarFieldContainer[int]
    page: bytes
    last: bool
    work_nanos: int
    failures: _containers.RepeatedCompositeFieldContainer[Failure]
    block: int
    start: int
    end: int
    staged: _containers.RepeatedScalarFieldContainer[int]
    logged: bool
    def __init__(self, lease: _Optional[int] = ..., flush: _Optional[int] = ..., ranges: _Optional[_Iterable[int]] = ..., count: _Optional[int] = ..., failed: _Optional[_Iterable[int]] = ..., page: _Optional[bytes] = ..., last: bool = ..., work_nanos: _Optional[int] = ..., failures: _Optional[_Iterable[_Union[Failure, _Mapping]]] = ..., block: _Optional[int] = ..., start: _Optional[int] = ..., end: _Optional[int] = ..., staged: _Optional[_Iterable[int]] = ..., logged: bool = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("index", "status")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    index: int
    status: bytes
    def __init__(self, index: _Optional[int] = ..., status: _Optional[bytes] = ...) -> None: ...

class RecordPage(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[RecordInfo]
    def __init__(self, records: _Optional[_Iterable[_Union[RecordInfo, _Mapping]]] = ...) -> None: ...

class LoggedPage(_message.Message):
    __slots__ = ("records", "logs")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedScalarFieldContainer[bytes]
    logs: _containers.RepeatedCompositeFieldContainer[RecordLog]
    def __init__(self, records: _Optional[_Iterable[bytes]] = ..., logs: _Optional[_Iterable[_Union[RecordLog, _Mapping]]] = ...) -> None: ...

class RecordLog(_message.Message):
    __slots__ = ("index", "text")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    index: int
    text: bytes
    def __init__(self, index: _Optional[int] = ..., text: _Optional[bytes] = ...) -> None: ...

class InputPage(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[RecordInput]
    def __init__(self, records: _Optional[_Iterable[_Union[RecordInput, _Mapping]]] = ...) -> None: ...

class RecordInput(_message.Message):
    __slots__ = ("record_id", "payload")
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    record_id: str
    payload: Payload
    def __init__(self, record_id: _Optional[str] = ..., payload: _Optional[_Union[Payload, _Mapping]] = ...) -> None: ...

class Payload(_message.Message):
    __slots__ = ("content_type", "text", "data", "json", "message")
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    content_type: str
    text: str
    data: bytes
    json: bytes
    message: bytes
    def __init__(self, content_type: _Optional[str] = ..., text: _Optional[str] = ..., data: _Optional[bytes] = ..., json: _Optional[bytes] = ..., message: _Optional[bytes] = ...) -> None: ...

class RecordInfo(_message.Message):
    __slots__ = ("name", "index", "record_id", "state", "output", "error", "attempt", "generation", "exit_code", "start_time", "end_time", "artifact_count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
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
    state: int
    output: Payload
    error: Status
    attempt: int
    generation: int
    exit_code: int
    start_time: Timestamp
    end_time: Timestamp
    artifact_count: int
    def __init__(self, name: _Optional[str] = ..., index: _Optional[int] = ..., record_id: _Optional[str] = ..., state: _Optional[int] = ..., output: _Optional[_Union[Payload, _Mapping]] = ..., error: _Optional[_Union[Status, _Mapping]] = ..., attempt: _Optional[int] = ..., generation: _Optional[int] = ..., exit_code: _Optional[int] = ..., start_time: _Optional[_Union[Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[Timestamp, _Mapping]] = ..., artifact_count: _Optional[int] = ...) -> None: ...

class Timestamp(_message.Message):
    __slots__ = ("seconds", "nanos")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    NANOS_FIELD_NUMBER: _ClassVar[int]
    seconds: int
    nanos: int
    def __init__(self, seconds: _Optional[int] = ..., nanos: _Optional[int] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("code", "message", "details")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    details: _containers.RepeatedCompositeFieldContainer[Any]
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., details: _Optional[_Iterable[_Union[Any, _Mapping]]] = ...) -> None: ...

class Any(_message.Message):
    __slots__ = ("type_url", "value")
    TYPE_URL_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    type_url: str
    value: bytes
    def __init__(self, type_url: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...

class ErrorInfo(_message.Message):
    __slots__ = ("reason", "domain", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REASON_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    reason: str
    domain: str
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, reason: _Optional[str] = ..., domain: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class DebugInfo(_message.Message):
    __slots__ = ("stack_entries", "detail")
    STACK_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    stack_entries: _containers.RepeatedScalarFieldContainer[str]
    detail: str
    def __init__(self, stack_entries: _Optional[_Iterable[str]] = ..., detail: _Optional[str] = ...) -> None: ...
