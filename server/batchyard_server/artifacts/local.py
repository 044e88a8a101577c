"""Where on this machine are the files of artifacts? In a folder beside the store.

    artifacts/KEY-UID/GENERATION-SERVER-NUMBER/INDEX/…     a task, one of its subtasks, a record, what its handler left

SERVER is made anew with each start, so a stage of an earlier server is known to be one that nobody writes to any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pathlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import TypeVar

from batchyard_server.artifacts import collect, folders, logs
from batchyard_server.artifacts.protocols import Collection as Found
from batchyard_server.artifacts.protocols import Damaged
from batchyard_server.model.artifact import Artifact, Folder, NewArtifact, Stage
from batchyard_server.model.clock import Clock, Randomness

log = logging.getLogger(__name__)
T = TypeVar("T")
SLICE_NS = 10_000_000  # of removing
_FOLDER = re.compile(r"([1-9][0-9]{0,18})-(.+)")
_INDEX = re.compile(r"0|[1-9][0-9]{0,17}")


class LocalArtifacts:
    """Implements ArtifactFiles below `root`, which is made if it is not there. Raises OSError."""

    def __init__(self, root: pathlib.Path, *, clock: Clock, randomness: Randomness) -> None:
        root.mkdir(mode=0o700, exist_ok=True)
        self._root = os.fsencode(root.resolve())
        self._clock = clock
        self._server = randomness.bytes(6).hex()
        self._numbers = count(1)
        # Apart, so that who reads does not wait for what is collected or removed.
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="artifact-reader")
        self._collectors = ThreadPoolExecutor(2, thread_name_prefix="artifact-collector")
        self._remover = ThreadPoolExecutor(1, thread_name_prefix="artifact-remover")

    async def close(self) -> None:
        """Finish what is under way."""
        for pool in (self._readers, self._collectors, self._remover):
            await asyncio.to_thread(pool.shutdown, wait=True)

    def stage(self, folder: Folder, generation: int) -> Stage:
        """See ArtifactFiles.stage."""
        return Stage(folder, f"{generation}-{self._server}-{next(self._numbers)}")

    def location(self, stage: Stage) -> bytes:
        """See ArtifactFiles.location."""
        return b"/".join((self._root, os.fsencode(str(stage.folder)), os.fsencode(stage.name)))

    async def collect(self, stage: Stage, indexes: Sequence[int]) -> Found:
        """See ArtifactFiles.collect."""
        return await _within(self._collectors, partial(collect.collect, self._root, stage, indexes))

    async def keep_logs(self, stage: Stage, texts: Sequence[tuple[int, bytes]]) -> list[NewArtifact]:
        """See ArtifactFiles.keep_logs."""
        return await _within(self._collectors, partial(logs.keep, self._root, stage, texts))

    async def open(self, folder: Folder, artifact: Artifact) -> _Reading:
        """See ArtifactFiles.open."""
        opening = self._readers.submit(_open, self._root, folder, artifact)
        try:
            return _Reading(self._readers, await asyncio.wrap_future(opening))
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            raise

    async def folders(self) -> list[Folder]:
        """See ArtifactFiles.folders. What is called otherwise is not ours and left alone."""
        found = map(_FOLDER.fullmatch, await self._names())
        return [Folder(int(each[1]), each[2]) for each in found if each]

    async def stages(self, folder: Folder) -> list[Stage]:
        """See ArtifactFiles.stages."""
        names = await self._names(str(folder))
        return [Stage(folder, name) for name in names if name.split("-")[1:2] != [self._server]]

    async def indexes(self, stage: Stage) -> list[int]:
        """See ArtifactFiles.indexes."""
        return [int(name) for name in await self._names(str(stage.folder), stage.name) if _INDEX.fullmatch(name)]

    async def tidy(self, stage: Stage, kept: Mapping[int, Collection[str]]) -> Mapping[int, Collection[str]]:
        """See ArtifactFiles.tidy."""
        return await _within(self._remover, lambda: self._tidy(stage, kept))

    async def remove(self, folders: Sequence[Folder]) -> Sequence[Folder]:
        """See ArtifactFiles.remove."""
        return await _within(self._remover, lambda: self._remove(folders))

    async def _names(self, *segments: str) -> list[str]:
        return await _within(self._remover, lambda: _all_names(self._root, segments))

    def _tidy(self, stage: Stage, kept: Mapping[int, Collection[str]]) -> Mapping[int, Collection[str]]:
        is_over, left = self._is_over(), dict(kept)
        with contextlib.suppress(FileNotFoundError), folders.opened(self._root, str(stage.folder)) as above:
            with contextlib.suppress(FileNotFoundError), folders.opened(above, stage.name) as base:
                for index, paths in kept.items():
                    if not folders.keep_only(base, str(index), paths, is_over):
                        return left
                    del left[index]
                    if left and is_over():
                        return left
            folders.remove_if_empty(above, stage.name)
        with folders.opened(self._root) as top:
            folders.remove_if_empty(top, str(stage.folder))
        return left

    def _remove(self, tasks: Sequence[Folder]) -> Sequence[Folder]:
        is_over = self._is_over()
        with folders.opened(self._root) as top:
            for at, folder in enumerate(tasks):
                try:
                    if not folders.remove(top, str(folder), is_over):
                        return tasks[at:]
                    if is_over():
                        return tasks[at + 1 :]
                except OSError as error:
                    log.warning("files of a deleted task cannot be removed: %s: %s", folder, error)
        return ()

    def _is_over(self) -> Callable[[], bool]:
        deadline = self._clock.monotonic_ns() + SLICE_NS
        return lambda: self._clock.monotonic_ns() >= deadline


class _Reading:
    """Implements Reading with an open file, which is closed when the last read has ended."""

    def __init__(self, pool: ThreadPoolExecutor, file: int) -> None:
        self._pool = pool
        self._file = file
        self._last: Future[bytes] | None = None
        self._closed = False

    async def read(self, offset: int, size: int) -> bytes:
        """See Reading.read. One at a time."""
        self._last = self._pool.submit(_read, self._file, offset, size)
        return await asyncio.wrap_future(self._last)

    def close(self) -> None:
        """See Reading.close."""
        if self._closed:
            return
        self._closed = True
        if self._last is None:
            os.close(self._file)
        else:
            self._last.add_done_callback(lambda _: os.close(self._file))


def _open(root: bytes, folder: Folder, artifact: Artifact) -> int:
    *parents, name = artifact.content.path.split("/")
    try:
        with folders.opened(root, str(folder), artifact.stage, str(artifact.index), *parents) as here:
            file = folders.open_file(here, name)
    except OSError as error:
        raise Damaged(f"its file cannot be opened: {error.strerror}") from error
    size = os.fstat(file).st_size
    if size != artifact.content.size:
        os.close(file)
        raise Damaged(f"its file has {size} bytes instead of {artifact.content.size}")
    return file


def _close_opened(opening: Future[int]) -> None:
    """Nobody waits for this file any more."""
    if not opening.cancelled() and opening.exception() is None:
        os.close(opening.result())


def _read(file: int, offset: int, size: int) -> bytes:
    try:
        data = os.pread(file, size, offset)
        while len(data) < size and (more := os.pread(file, size - len(data), offset + len(data))):
            data += more
    except OSError as error:
        raise Damaged(f"its file cannot be read: {error.strerror}") from error
    if len(data) < size:
        raise Damaged(f"its file ends after {offset + len(data)} bytes")
    return data


def _all_names(root: bytes, segments: Sequence[str]) -> list[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), folders.opened(root, *segments) as here:
        return sorted(folders.names(here, None))
    return []


async def _within(pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, call)
