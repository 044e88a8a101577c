"""The entry point of the asynchronous client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from batchyard._aio.batch import AsyncBatch
from batchyard._aio.connection import AsyncConnection
from batchyard._aio.handlers import AsyncHandlers
from batchyard._aio.operation import AsyncOperations
from batchyard._channel import DEFAULT_TARGET, with_defaults
from batchyard._transport_aio import open_channel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    import grpc


class AsyncClient:
    """A connection to a Batchyard server.

    Opens nothing before the first call. Use it as context manager, or `close` it. The asynchronous client belongs to
    the event loop in which it was made, the synchronous one may be shared by threads. Neither polls in the background.

    Args:
        target: `host:port` of the server, or any gRPC target.
        project: id of the project that ids are looked up in and tasks are created in.
        credentials: TLS credentials (`grpc.ssl_channel_credentials(...)`). None: plaintext.
        channel_options: further gRPC channel arguments; they win over ours.

    Attributes:
        batch: the batch tasks of the project.
        handlers: the handlers of the server.
        operations: the operations of the project.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        project: str = "default",
        credentials: grpc.ChannelCredentials | None = None,
        channel_options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        self._target = target
        self._channel = open_channel(target, credentials, with_defaults(channel_options))
        connection = AsyncConnection(self._channel, project)
        self.project = project
        self.batch = AsyncBatch(connection)
        self.handlers = AsyncHandlers(connection)
        self.operations = AsyncOperations(connection)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._target} project={self.project}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def channel(self) -> Any:
        """The gRPC channel, for stubs of one's own."""
        return self._channel

    async def close(self) -> None:
        """Close the connection; tasks go on. May be repeated."""
        await self._channel.close()
