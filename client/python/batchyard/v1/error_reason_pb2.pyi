from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    INVALID_FIELD: _ClassVar[ErrorReason]
    MALFORMED_REQUEST: _ClassVar[ErrorReason]
    INVALID_TOKEN: _ClassVar[ErrorReason]
    NO_RECORDS: _ClassVar[ErrorReason]
    DUPLICATE_RECORD_ID: _ClassVar[ErrorReason]
    RESOURCE_NOT_FOUND: _ClassVar[ErrorReason]
    RESOURCE_EXISTS: _ClassVar[ErrorReason]
    REQUEST_ID_REUSED: _ClassVar[ErrorReason]
    ILLEGAL_STATE: _ClassVar[ErrorReason]
    TASK_COMPLETED: _ClassVar[ErrorReason]
    OPERATION_NOT_DONE: _ClassVar[ErrorReason]
    INDEX_MISMATCH: _ClassVar[ErrorReason]
    APPEND_IN_PROGRESS: _ClassVar[ErrorReason]
    DISK_FULL: _ClassVar[ErrorReason]
    STORE_UNAVAILABLE: _ClassVar[ErrorReason]
    DRAINING: _ClassVar[ErrorReason]
    INTERNAL_ERROR: _ClassVar[ErrorReason]
    ALL_RECORDS_FAILED: _ClassVar[ErrorReason]
    TASK_CANCELLED: _ClassVar[ErrorReason]
    PROCESS_NOT_REAPED: _ClassVar[ErrorReason]
    HANDLER_EXCEPTION: _ClassVar[ErrorReason]
    RECORD_ERROR: _ClassVar[ErrorReason]
    INPUT_NOT_JSON: _ClassVar[ErrorReason]
    INVALID_PLACEHOLDER: _ClassVar[ErrorReason]
    OUTPUT_NOT_SERIALIZABLE: _ClassVar[ErrorReason]
    OUTPUT_TOO_LARGE: _ClassVar[ErrorReason]
    RECORD_TIMEOUT: _ClassVar[ErrorReason]
    WORKER_LOST: _ClassVar[ErrorReason]
    NONZERO_EXIT: _ClassVar[ErrorReason]
    COMMAND_NOT_STARTED: _ClassVar[ErrorReason]
ERROR_REASON_UNSPECIFIED: ErrorReason
INVALID_FIELD: ErrorReason
MALFORMED_REQUEST: ErrorReason
INVALID_TOKEN: ErrorReason
NO_RECORDS: ErrorReason
DUPLICATE_RECORD_ID: ErrorReason
RESOURCE_NOT_FOUND: ErrorReason
RESOURCE_EXISTS: ErrorReason
REQUEST_ID_REUSED: ErrorReason
ILLEGAL_STATE: ErrorReason
TASK_COMPLETED: ErrorReason
OPERATION_NOT_DONE: ErrorReason
INDEX_MISMATCH: ErrorReason
APPEND_IN_PROGRESS: ErrorReason
DISK_FULL: ErrorReason
STORE_UNAVAILABLE: ErrorReason
DRAINING: ErrorReason
INTERNAL_ERROR: ErrorReason
ALL_RECORDS_FAILED: ErrorReason
TASK_CANCELLED: ErrorReason
PROCESS_NOT_REAPED: ErrorReason
HANDLER_EXCEPTION: ErrorReason
RECORD_ERROR: ErrorReason
INPUT_NOT_JSON: ErrorReason
INVALID_PLACEHOLDER: ErrorReason
OUTPUT_NOT_SERIALIZABLE: ErrorReason
OUTPUT_TOO_LARGE: ErrorReason
RECORD_TIMEOUT: ErrorReason
WORKER_LOST: ErrorReason
NONZERO_EXIT: ErrorReason
COMMAND_NOT_STARTED: ErrorReason
