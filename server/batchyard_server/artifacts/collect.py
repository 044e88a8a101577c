"""What did a record leave that is an artifact? Looked for in its folder, which may hold anything.

Everything is opened from an open folder by a plain name, and no link is followed, so nothing outside is ever read.
Nothing is removed here: what no row names goes when the subtask has ended.
"""

from __future__ import annotations

import errno
import hashlib
import mimetypes
import os
import stat
from collections.abc import Iterator, Sequence

import google_crc32c

from batchyard_server.artifacts import folders
from batchyard_server.artifacts.protocols import Collection
from batchyard_server.model import limits
from batchyard_server.model.artifact import RESERVED, Content, NewArtifact, Stage, path_problem
from batchyard_server.model.errors import Reason, ResourceExhausted, Unavailable

MOST_WARNINGS = 20  # of a record
OTHER_TYPE = "application/octet-stream"
_BLOCK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_OURS = (*_FULL, *_SHORT)  # troubles of the server, which may pass; all others are the record's own
_TYPES = mimetypes.MimeTypes()  # by the tables of Python alone: the same on every machine
_ENCODED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


def collect(root: bytes, stage: Stage, indexes: Sequence[int]) -> Collection:
    """See ArtifactFiles.collect. `root`: path of the folder that has those of the tasks."""
    found: list[NewArtifact] = []
    warnings: list[tuple[int, str]] = []
    rest = False
    try:
        with folders.opened(root, str(stage.folder), stage.name) as base:
            for index in indexes:
                record = _Record(base, str(index))
                contents = record.collect()
                found += [NewArtifact(index=index, stage=stage.name, content=each) for each in contents]
                warnings += [(index, text) for text in record.warnings]
                rest = rest or record.rest
            if found:
                os.fsync(base)
        for above in ((str(stage.folder),), ()) if found else ():
            with folders.opened(root, *above) as folder:
                os.fsync(folder)
    except FileNotFoundError:  # nobody made the folder, or the task was deleted meanwhile, and its files
        return Collection()
    except OSError as error:
        if error.errno in _FULL:
            raise ResourceExhausted(Reason.DISK_FULL, "the disk of the artifacts is full", subject="disk") from error
        if error.errno in _SHORT:
            raise Unavailable(Reason.STORE_UNAVAILABLE, f"artifacts cannot be read now: {error.strerror}") from error
        return Collection(warnings=[(index, f"nothing is kept: {error}") for index in indexes], rest=True)
    return Collection(artifacts=found, warnings=warnings, rest=rest)


def content_type(path: str) -> str:
    """The media type that the name of a file says."""
    guessed, encoding = _TYPES.guess_type("./" + path.rpartition("/")[2])  # a bare name may look like a URL
    return _ENCODED.get(encoding, OTHER_TYPE) if encoding else guessed or OTHER_TYPE


class _Record:
    """The folder `name` of the stage that is open as `base`.

    Attributes:
        warnings: what was left out and why.
        rest: whether there is anything but what is kept.
    """

    def __init__(self, base: int, name: str) -> None:
        self.warnings: list[str] = []
        self.rest = True
        self._base = base
        self._name = name
        self._left_out = 0
        self._entries = limits.ARTIFACT_ENTRIES
        self._room = limits.ARTIFACTS_BYTES
        self._found: list[Content] = []

    def collect(self) -> list[Content]:
        """What is kept of it, durable. Raises OSError for troubles of the server alone."""
        try:
            seen, parents = self._walk(), self._parents()
            self.rest = bool(self.warnings) or seen > len(parents)
            for parent in parents:
                with folders.opened(self._base, self._name, *parent) as folder:
                    os.fsync(folder)
        except FileNotFoundError:
            self.rest = False
            return []
        except OSError as error:
            if error.errno in _OURS:
                raise
            self.warnings = [f"nothing is kept: {error.strerror}"]
            return []
        if self._left_out > len(self.warnings):
            self.warnings.append(f"and {self._left_out - len(self.warnings)} more")
        return self._found

    def _walk(self) -> int:
        """Look at files before folders, both by name; how many folders. Each one is reached from the top again."""
        seen = 0
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            parent = waiting.pop()
            seen += 1
            try:
                with folders.opened(self._base, self._name, *parent) as here:
                    below = [each for each in self._entries_of(here, parent) if not self._file(here, each)]
            except OSError as error:
                if error.errno in _OURS or not parent:
                    raise
                self._warn(parent, f"cannot be read: {error.strerror}")
                continue
            waiting += reversed(below)
        return seen

    def _entries_of(self, here: int, parent: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        names = folders.names(here, self._entries + 1)
        if len(names) > self._entries:
            self._warn(parent, f"there are more than {limits.ARTIFACT_ENTRIES} entries; not all were looked at")
        for name in sorted(names)[: self._entries]:
            self._entries -= 1
            path = (*parent, name)
            if path == (RESERVED,):
                self._warn(path, "is the server's own name")
            elif problem := path_problem("/".join(path)):
                self._warn(path, problem)
            else:
                yield path

    def _file(self, here: int, path: tuple[str, ...]) -> bool:
        """Keep a file or say why not; False if it is a folder."""
        try:
            if stat.S_ISDIR(os.stat(path[-1], dir_fd=here, follow_symlinks=False).st_mode):
                return False
            content = self._content(here, path)
        except _LeftOut as why:
            self._warn(path, str(why))
        except OSError as error:
            if error.errno in _OURS:
                raise
            self._warn(path, error.strerror or str(error))
        else:
            self._room -= content.size
            self._found.append(content)
        return True

    def _content(self, here: int, path: tuple[str, ...]) -> Content:
        if len(self._found) >= limits.ARTIFACT_FILES:
            raise _LeftOut(f"the record has more than {limits.ARTIFACT_FILES} files")
        file = folders.open_file(here, path[-1])
        try:
            return _content(file, "/".join(path), self._room)
        finally:
            os.close(file)

    def _warn(self, path: tuple[str, ...], why: str) -> None:
        self._left_out += 1
        if self._left_out <= MOST_WARNINGS:
            shown = "/".join(path).encode("utf-8", "backslashreplace").decode()
            self.warnings.append(f"{shown[: limits.ARTIFACT_PATH.maximum]!r} {why}" if path else why)

    def _parents(self) -> list[tuple[str, ...]]:
        """The folders that hold what is kept, and those above them; the deepest first."""
        paths = [each.path.split("/") for each in self._found]
        parents = {tuple(path[:depth]) for path in paths for depth in range(len(path))}
        return sorted(parents, key=len, reverse=True)


class _LeftOut(Exception):
    """A file is none that is kept; the text says why."""


def _content(file: int, path: str, room: int) -> Content:
    """Read an open file to its end and make it durable. Raises _LeftOut, OSError."""
    before = os.fstat(file)
    if before.st_nlink != 1:
        raise _LeftOut("has another name (a hard link)")
    if before.st_size > limits.ARTIFACT_BYTES:
        raise _LeftOut(f"has more than {limits.ARTIFACT_BYTES} bytes")
    if before.st_size > room:
        raise _LeftOut(f"the files of the record have more than {limits.ARTIFACTS_BYTES} bytes")
    sha256, crc32c, size = hashlib.sha256(), 0, 0
    while size < before.st_size and (block := os.read(file, min(_BLOCK, before.st_size - size))):
        sha256.update(block)
        crc32c = google_crc32c.extend(crc32c, block)
        size += len(block)
    os.fsync(file)
    after = os.fstat(file)
    if size != after.st_size or before.st_mtime_ns != after.st_mtime_ns:
        raise _LeftOut("was written to while it was read")
    return Content(path=path, size=size, crc32c=crc32c, sha256=sha256.digest(), content_type=content_type(path))
