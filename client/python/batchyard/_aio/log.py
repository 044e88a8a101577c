"""What a record wrote, read whole: it is never large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc

from batchyard._error_map import rpc_error
from batchyard._errors import NotFoundError
from batchyard._retry import Backoff, now, transient
from batchyard._transport_aio import open_stream, sleep
from batchyard.v1 import batch_task_service_pb2

if TYPE_CHECKING:
    from batchyard._aio.connection import AsyncConnection

_ARTIFACT_TYPE: Final = "batchyard.dev/Artifact"


async def read_log(connection: AsyncConnection, record_name: str, timeout: float) -> str:
    """Return the log of a record, "" if it has none.

    A stream that is cut is read again from its beginning, for what there is to read may have changed.

    Args:
        connection: to the server.
        record_name: resource name of the record.
        timeout: seconds for the whole, repetitions included.

    Raises:
        NotFoundError: no such record.
        RpcError: not read within `timeout` seconds, or refused.
    """
    request = batch_task_service_pb2.ReadArtifactRequest(name=f"{record_name}/artifacts/.batchyard/log.txt")
    deadline = now() + timeout
    backoff = Backoff()
    while True:
        try:
            return await _read(connection.service.ReadArtifact, request, max(deadline - now(), 0.0))
        except grpc.RpcError as error:
            failure = rpc_error(error)
            if isinstance(failure, NotFoundError) and failure.detail.resource_type == _ARTIFACT_TYPE:
                return ""
            again = transient(error)
            delay = backoff.delay(again)
            if again is None or now() + delay >= deadline:
                raise failure from error
        await sleep(delay)


async def _read(method: Any, request: Any, timeout: float) -> str:
    """Read all messages of one stream."""
    current = open_stream(method, request, timeout)
    parts: list[bytes] = []
    try:
        while True:
            message = await current.read()
            if message is None:
                return b"".join(parts).decode("utf-8", "backslashreplace")
            parts.append(message.data)
    finally:
        current.cancel()
