# Generated from _aio/client.py by client/python/unasync.py; change that file and run `make gen`.
"""The entry point of the asynchronous client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from batchyard._channel import DEFAULT_TARGET, with_defaults
from batchyard._sync.batch import Batch
from batchyard._sync.connection import Connection
from batchyard._sync.handlers import Handlers
from batchyard._sync.operation import Operations
from batchyard._transport_sync import open_channel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    import grpc


class Client:
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
        connection = Connection(self._channel, project)
        self.project = project
        self.batch = Batch(connection)
        self.handlers = Handlers(connection)
        self.operations = Operations(connection)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._target} project={self.project}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def channel(self) -> Any:
        """The gRPC channel, for stubs of one's own."""
        return self._channel

    def close(self) -> None:
        """Close the connection; tasks go on. May be repeated."""
        self._channel.close()
