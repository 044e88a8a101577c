"""Do all files agree on where their code lands in each language?"""

from __future__ import annotations

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from tests.meta.contract import descriptors as d

GO = "github.com/batchyard/batchyard/client/go/batchyardpb;batchyardpb"
public = pytest.mark.parametrize("file", d.files(), ids=lambda file: file.name)
ours = pytest.mark.parametrize("file", [f for p in d.OURS for f in d.files(p)], ids=lambda file: file.name)


@public
def test_the_language_options_are_the_same_everywhere(file: FileDescriptorProto) -> None:
    options = file.options
    assert (options.go_package, options.java_package, options.csharp_namespace) == (
        GO,
        "dev.batchyard.v1",
        "Batchyard.V1",
    )
    assert options.java_multiple_files
    stem = file.name.rpartition("/")[2].removesuffix(".proto")
    assert options.java_outer_classname == "".join(part.capitalize() for part in stem.split("_")) + "Proto"


@ours
def test_the_folder_is_the_package(file: FileDescriptorProto) -> None:
    assert file.name.rpartition("/")[0] == file.package.replace(".", "/")
    assert file.syntax == "proto3"


@ours
def test_what_a_worker_reads_needs_protobuf_alone(file: FileDescriptorProto) -> None:
    if file.package == "batchyard_worker.v1":
        assert list(file.dependency) == []


@public
def test_public_files_import_public_files_and_google_only(file: FileDescriptorProto) -> None:
    assert [name for name in file.dependency if not name.startswith(("batchyard/v1/", "google/"))] == []
