"""Server reflection, v1 and v1alpha: what grpcurl and its like need to know the contract.

The stock servicer speaks v1alpha only and finds no methods (grpc/grpc#34743). Both versions have the same bytes on the
wire, so one handler serves both; a wrapped pool finds a method by the file of its service.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from batchyard.v1 import error_reason_pb2
from batchyard_server.codec.parts import parse
from batchyard_server.rpc.interceptors.errors import Context, Messages
from batchyard_server.rpc.registry import Service

# No method mentions the reasons, so nothing else brings them into the pool.
_MENTIONED_NOWHERE = (error_reason_pb2.DESCRIPTOR,)
NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class _Pool:
    """A descriptor pool that also finds methods."""

    def __init__(self, pool: descriptor_pool.DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - the pool's own name
        """The file that declares `symbol`. Raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            found = self._pool.FindServiceByName(service)
            if method not in found.methods_by_name:
                raise
            return found.file


class Reflection:
    """Describes `services`."""

    def __init__(self, services: Sequence[str]) -> None:
        _describe_v1(descriptor_pool.Default())
        pool: Any = _Pool(descriptor_pool.Default())
        self._servicer = aio.ReflectionServicer([*services, *NAMES], pool=pool)

    def register(self, service: Service) -> None:
        """Add the method."""
        service.bidi("ServerReflectionInfo", self.info)

    async def info(self, raws: AsyncIterator[bytes], context: Context) -> Messages:
        """ServerReflectionInfo."""
        responses: Any = self._servicer.ServerReflectionInfo(_requests(raws), context)
        async for response in responses:
            yield response.SerializeToString()


def _describe_v1(pool: descriptor_pool.DescriptorPool) -> None:
    """Add the descriptors of v1 to `pool`: those of v1alpha, which alone grpcio-reflection ships, by the other name.

    Tools that describe every listed service fail as a whole if one is not found.
    """
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    renamed = text_format.MessageToString(file).replace("v1alpha", "v1")
    file = text_format.Parse(renamed, descriptor_pb2.FileDescriptorProto())
    try:
        pool.FindFileByName(file.name)
    except KeyError:
        pool.AddSerializedFile(file.SerializeToString())


async def _requests(raws: AsyncIterator[bytes]) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
    async for raw in raws:
        yield parse(reflection_pb2.ServerReflectionRequest, raw)
