"""What do the protos declare? All descriptors with their comments, compiled once per test process.

The walks give every element of a package in file order, nested ones included, generated map entries left out.
"""

from __future__ import annotations

import functools
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

# Imported so that the options below are known before the descriptors are parsed.
from google.api import annotations_pb2, client_pb2, field_behavior_pb2, field_info_pb2, http_pb2, resource_pb2
from google.longrunning import operations_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    EnumValueDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from google.rpc import error_details_pb2

ROOT = pathlib.Path(__file__).resolve().parents[3]
# Resources of which there is one in each project, always (AIP-156).
SINGLETONS = {"batchyard.dev/BatchTaskCounts"}
PUBLIC = "batchyard.v1"
OURS = (PUBLIC, "batchyard_worker.v1", "batchyard_server.codec.v1")

Path = tuple[int, ...]


def _option(options: Any, extension: Any) -> Any:
    """An extension's value, its default if unset. Untyped: the stubs of google.api and of protobuf do not fit."""
    return options.Extensions[extension]


def _has(options: Any, extension: Any) -> bool:
    return options.HasExtension(extension)


@dataclass(frozen=True, slots=True)
class Message:
    """One message with its full name, without a leading dot, and where it stands in its file."""

    name: str
    proto: DescriptorProto
    file: FileDescriptorProto
    path: Path

    @property
    def short(self) -> str:
        """Name without the package: `BatchTaskInfo`, `Outer.Inner`."""
        return self.name.removeprefix(self.file.package + ".")

    def field(self, name: str) -> FieldDescriptorProto | None:
        """The field of that name, if there is one."""
        return next((field for field in self.proto.field if field.name == name), None)


@dataclass(frozen=True, slots=True)
class Enum:
    """One enum with its full name, and whether it is nested in a message."""

    name: str
    proto: EnumDescriptorProto
    file: FileDescriptorProto
    path: Path
    nested: bool

    @property
    def short(self) -> str:
        """Name without the package."""
        return self.name.removeprefix(self.file.package + ".")

    @property
    def values(self) -> Iterable[EnumValueDescriptorProto]:
        """Its values in order."""
        return self.proto.value


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC of a service of ours."""

    name: str
    proto: MethodDescriptorProto
    service: str
    path: Path

    @property
    def http(self) -> http_pb2.HttpRule | None:
        """Its `google.api.http`, if it has one."""
        options = self.proto.options
        return _option(options, annotations_pb2.http) if _has(options, annotations_pb2.http) else None

    @property
    def signatures(self) -> list[str]:
        """Its `google.api.method_signature`s."""
        return list(_option(self.proto.options, client_pb2.method_signature))

    @property
    def operation_info(self) -> operations_pb2.OperationInfo | None:
        """Its `google.longrunning.operation_info`, if it has one."""
        extension = operations_pb2.operation_info
        return _option(self.proto.options, extension) if _has(self.proto.options, extension) else None


@functools.cache
def all_files() -> dict[str, FileDescriptorProto]:
    """Every file, imports included, by its name; and the details of errors, which only travel packed."""
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder) / "all.binpb"
        command = [sys.executable, str(ROOT / "proto/generate.py"), "--descriptor-set", str(target)]
        subprocess.run(command, check=True)
        files = {file.name: file for file in FileDescriptorSet.FromString(target.read_bytes()).file}
    details = FileDescriptorProto()
    error_details_pb2.DESCRIPTOR.CopyToProto(details)
    return files | {details.name: details}


def files(package: str = PUBLIC) -> list[FileDescriptorProto]:
    """The files of one package."""
    found = [file for file in all_files().values() if file.package == package]
    assert found, f"no file of package {package}"
    return found


def _nested(
    prefix: str, protos: Iterable[DescriptorProto], file: FileDescriptorProto, path: Path, number: int
) -> Iterator[Message]:
    for position, proto in enumerate(protos):
        if proto.options.map_entry:
            continue
        message = Message(f"{prefix}.{proto.name}", proto, file, (*path, number, position))
        yield message
        yield from _nested(message.name, proto.nested_type, file, message.path, 3)


def messages(package: str = PUBLIC) -> list[Message]:
    """All messages of a package."""
    return [found for file in files(package) for found in _nested(package, file.message_type, file, (), 4)]


def enums(package: str = PUBLIC) -> list[Enum]:
    """All enums of a package."""
    found: list[Enum] = []
    for file in files(package):
        for position, proto in enumerate(file.enum_type):
            found.append(Enum(f"{package}.{proto.name}", proto, file, (5, position), nested=False))
    for message in messages(package):
        for position, proto in enumerate(message.proto.enum_type):
            path = (*message.path, 4, position)
            found.append(Enum(f"{message.name}.{proto.name}", proto, message.file, path, nested=True))
    return found


def services(package: str = PUBLIC) -> list[tuple[FileDescriptorProto, ServiceDescriptorProto, Path]]:
    """All services of a package, with where they stand."""
    return [(file, proto, (6, index)) for file in files(package) for index, proto in enumerate(file.service)]


def methods(package: str = PUBLIC) -> list[Method]:
    """All RPCs of a package."""
    return [
        Method(proto.name, proto, f"{package}.{service.name}", (*path, 2, index))
        for _, service, path in services(package)
        for index, proto in enumerate(service.method)
    ]


def operations_methods() -> list[MethodDescriptorProto]:
    """The RPCs of google.longrunning.Operations."""
    [service] = all_files()["google/longrunning/operations.proto"].service
    return list(service.method)


@functools.cache
def message_index() -> dict[str, Message]:
    """Messages of every package that ours reach, by full name."""
    packages = {file.package for file in all_files().values()}
    return {message.name: message for package in packages for message in messages(package)}


def message(name: str) -> Message:
    """The message of that full name; a leading dot is allowed."""
    return message_index()[name.removeprefix(".")]


def behaviors(field: FieldDescriptorProto) -> set[str]:
    """Names of its field behaviors."""
    values = _option(field.options, field_behavior_pb2.field_behavior)
    return {field_behavior_pb2.FieldBehavior.Name(value) for value in values}


def field_format(field: FieldDescriptorProto) -> str:
    """Name of its `field_info` format; FORMAT_UNSPECIFIED if it has none."""
    return field_info_pb2.FieldInfo.Format.Name(_option(field.options, field_info_pb2.field_info).format)


def resource(found: Message) -> resource_pb2.ResourceDescriptor | None:
    """Its resource option, if it is a resource."""
    options = found.proto.options
    return _option(options, resource_pb2.resource) if _has(options, resource_pb2.resource) else None


def reference(field: FieldDescriptorProto) -> resource_pb2.ResourceReference:
    """Its resource reference; empty if it has none."""
    return _option(field.options, resource_pb2.resource_reference)


def repeated(field: FieldDescriptorProto) -> bool:
    """Whether it is repeated (a map is)."""
    return field.label == FieldDescriptorProto.LABEL_REPEATED


def comments(file: FileDescriptorProto) -> dict[Path, str]:
    """Leading comments of a file by the path of what they stand before."""
    return {tuple(at.path): at.leading_comments.strip() for at in file.source_code_info.location}


def reachable(roots: Iterable[str]) -> list[Message]:
    """Messages of ours that are reached from the named ones through their fields, the named ones first."""
    found: dict[str, Message] = {}
    waiting = [name.removeprefix(".") for name in roots]
    while waiting:
        name = waiting.pop(0)
        if name in found or not name.startswith(PUBLIC + "."):
            continue
        found[name] = message(name)
        waiting += [
            field.type_name.removeprefix(".") for field in found[name].proto.field if field.type_name in _types()
        ]
    return list(found.values())


@functools.cache
def _types() -> frozenset[str]:
    return frozenset("." + name for name in message_index())
