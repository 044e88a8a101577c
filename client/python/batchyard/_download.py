"""Where are downloaded artifacts written? Beside their target, which they take in one step, and never elsewhere."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import secrets
import unicodedata
from typing import TYPE_CHECKING

from batchyard._artifact_errors import DownloadError

if TYPE_CHECKING:
    from batchyard._artifact_info import Artifact


class Destination:
    """The folder that is written to.

    Args:
        root: its path; made if it is not there.
        by_record: whether each record has a folder of its own in it, called by its index.
    """

    def __init__(self, root: str | os.PathLike[str], *, by_record: bool) -> None:
        self._root = pathlib.Path(root)
        self._by_record = by_record

    def open(self, artifact: Artifact) -> Part:
        """Begin to write an artifact.

        Raises:
            DownloadError: its path leads out of the folder.
            OSError: it cannot be written.
        """
        segments = artifact.path.split("/")
        if problem := next(filter(None, map(_problem, segments)), ""):
            raise DownloadError(artifact.name, problem)
        if self._by_record:
            segments.insert(0, str(artifact.index))
        self._root.mkdir(parents=True, exist_ok=True)
        top = self._root.resolve()
        folder = self._root
        for segment in segments[:-1]:
            folder /= segment
            if not folder.resolve().is_relative_to(top):  # through a link that is there
                raise DownloadError(artifact.name, f"{folder} leads out of {self._root}")
            folder.mkdir(exist_ok=True)
        return Part(artifact, folder / segments[-1])


class Part:
    """A file that is being written under another name.

    Attributes:
        received: bytes so far.
    """

    def __init__(self, artifact: Artifact, target: pathlib.Path) -> None:
        self.received = 0
        self._artifact = artifact
        self._target = target
        self._path: pathlib.Path | None = target.with_name(f".batchyard-{secrets.token_hex(8)}.part")
        self._sha256 = hashlib.sha256()
        self._file = self._path.open("xb")

    def write(self, data: bytes) -> None:
        """The next bytes."""
        self._file.write(data)
        self._sha256.update(data)
        self.received += len(data)

    @property
    def is_whole(self) -> bool:
        """Whether these are the bytes of the artifact."""
        return self._sha256.digest() == self._artifact.sha256

    def finish(self) -> pathlib.Path:
        """Give the file its name, in place of what had it; return its path."""
        assert self._path is not None, "not given up"
        self._file.close()
        self._path.replace(self._target)
        self._path = None
        return self._target

    def discard(self) -> None:
        """Remove what was written, unless it is finished."""
        self._file.close()
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()


def _problem(segment: str) -> str:
    """Why no file may be called so, whatever the server says."""
    if segment in {"", ".", ".."}:
        return f"its path has the segment {segment!r}"
    if any(unicodedata.category(character) == "Cc" for character in segment):
        return "its path has a control character"
    if any(separator in segment for separator in (os.sep, os.altsep) if separator):
        return "its path has a separator of this system in a segment"
    return ""
