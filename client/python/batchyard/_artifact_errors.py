"""What can go wrong with artifacts, beside what `_errors` has."""

from __future__ import annotations

from batchyard._errors import BatchyardError, DataLossError, OutOfRangeError


class OffsetBeyondEndError(OutOfRangeError):
    """OFFSET_BEYOND_END: an artifact was to be read from behind its end; metadata `size`."""


class ArtifactDamagedError(DataLossError):
    """ARTIFACT_DAMAGED: the file of an artifact is missing on the server, or is not what was stored."""


class DownloadError(BatchyardError):
    """An artifact was not written: its path leads out of the destination, or what came is not what it should be.

    Attributes:
        name: resource name of the artifact.
    """

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        super().__init__(f"{name}: {why}")
