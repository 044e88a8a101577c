"""Can a stranger's tool find every service and every method, in both versions of reflection?"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

from batchyard.v1 import batch_task_service_pb2 as service
from tests.support.server import Served

Request = reflection_pb2.ServerReflectionRequest
VERSIONS = ["v1", "v1alpha"]
SERVICES = {
    "batchyard.v1.BatchTaskService",
    "google.longrunning.Operations",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
}


async def ask(server: Served, version: str, *requests: Request) -> list[reflection_pb2.ServerReflectionResponse]:
    async def each() -> AsyncIterator[Request]:
        for request in requests:
            yield request

    call = server.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=Request.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return [response async for response in call(each())]


def files(response: reflection_pb2.ServerReflectionResponse) -> set[str]:
    found = response.file_descriptor_response.file_descriptor_proto
    return {FileDescriptorProto.FromString(each).name for each in found}


@pytest.mark.parametrize("version", VERSIONS)
async def test_services_are_listed(server: Served, version: str) -> None:
    (response,) = await ask(server, version, Request(list_services=""))
    assert {each.name for each in response.list_services_response.service} == SERVICES


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_symbol_is_found(server: Served, version: str) -> None:
    ours = service.DESCRIPTOR.services_by_name["BatchTaskService"]
    symbols = [
        "batchyard.v1.BatchTaskInfo",
        "batchyard.v1.BatchTaskInfo.State",
        "batchyard.v1.ErrorReason",
        ours.full_name,
        *(f"{ours.full_name}.{method.name}" for method in ours.methods),
        *(f"google.longrunning.Operations.{verb}Operation" for verb in ("Get", "Wait", "Cancel", "Delete")),
        "google.longrunning.Operations.ListOperations",
        "grpc.health.v1.Health.Check",
    ]
    responses = await ask(server, version, *(Request(file_containing_symbol=each) for each in symbols))
    for symbol, response in zip(symbols, responses, strict=True):
        assert files(response), symbol
        assert response.original_request.file_containing_symbol == symbol
        if symbol.startswith(ours.full_name):
            assert "batchyard/v1/batch_task_service.proto" in files(response)


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_is_not_there_is_not_found(server: Served, version: str) -> None:
    symbols = ["batchyard.v1.Nothing", "batchyard.v1.BatchTaskService.Nothing", "Nothing", ""]
    for response in await ask(server, version, *(Request(file_containing_symbol=each) for each in symbols)):
        assert response.error_response.error_code == 5
    (response,) = await ask(server, version, Request(file_by_filename="batchyard/v1/record.proto"))
    assert "batchyard/v1/record.proto" in files(response)
