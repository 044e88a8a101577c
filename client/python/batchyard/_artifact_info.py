"""What the server says about artifacts, as Python objects over the messages; and how far a download has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchyard._spans import time_of

if TYPE_CHECKING:
    from datetime import datetime

    from batchyard.v1 import artifact_pb2


class Artifact:
    """A file that a handler left for a record; what is known of it, not its bytes."""

    __slots__ = ("message",)

    def __init__(self, message: artifact_pb2.Artifact) -> None:
        self.message = message

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Artifact) and self.message == other.message

    __hash__ = None  # type: ignore[assignment]  # it wraps a mutable message

    def __repr__(self) -> str:
        return f"<Artifact {self.index} {self.path} {self.size}>"

    @property
    def name(self) -> str:
        """`projects/{project}/batchTasks/{batch_task}/records/{index}/artifacts/{path}`."""
        return self.message.name

    @property
    def index(self) -> int:
        """Position of its record in the task."""
        return int(self.message.name.split("/artifacts/", 1)[0].rpartition("/")[2])

    @property
    def path(self) -> str:
        """The file's path in the folder that the handler wrote to, with `/` between its segments."""
        return self.message.name.split("/artifacts/", 1)[1]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.message.size

    @property
    def crc32c(self) -> int:
        """CRC-32C (Castagnoli) of the whole."""
        return self.message.crc32c

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the whole."""
        return self.message.sha256

    @property
    def content_type(self) -> str:
        """Media type, as its name lets expect."""
        return self.message.content_type

    @property
    def create_time(self) -> datetime | None:
        """When it became an artifact: with the outcome of its record. Aware (UTC)."""
        return time_of(self.message, "create_time")


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """How far a download has come.

    Attributes:
        artifact: the one at hand.
        received: bytes of it so far.
        files: how many artifacts were written before it.
        total_received: bytes of all so far.
    """

    artifact: Artifact
    received: int
    files: int
    total_received: int
