from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Handler(_message.Message):
    __slots__ = ("name", "kind", "description", "isolation", "available")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Handler.Kind]
        PYTHON: _ClassVar[Handler.Kind]
        COMMAND: _ClassVar[Handler.Kind]
    KIND_UNSPECIFIED: Handler.Kind
    PYTHON: Handler.Kind
    COMMAND: Handler.Kind
    class Isolation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ISOLATION_UNSPECIFIED: _ClassVar[Handler.Isolation]
        CGROUP: _ClassVar[Handler.Isolation]
        PID_NAMESPACE: _ClassVar[Handler.Isolation]
        SUBREAPER: _ClassVar[Handler.Isolation]
    ISOLATION_UNSPECIFIED: Handler.Isolation
    CGROUP: Handler.Isolation
    PID_NAMESPACE: Handler.Isolation
    SUBREAPER: Handler.Isolation
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ISOLATION_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: Handler.Kind
    description: str
    isolation: Handler.Isolation
    available: bool
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[Handler.Kind, str]] = ..., description: _Optional[str] = ..., isolation: _Optional[_Union[Handler.Isolation, str]] = ..., available: bool = ...) -> None: ...
