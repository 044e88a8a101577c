"""Who removes files that no row names? It does so in slices, in the background, and nothing is lost if it is late.

    subtask over ─▶ its stage        rows went ─▶ those records        task deleted ─▶ its folder
    start of the server ─▶ all that is there: what the server before did not come to

A file is removed only once no row names it, and where no record writes any more. Rows come first and go first, so at
every moment a row has its file.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from batchyard_server.artifacts import ArtifactFiles
from batchyard_server.dispatch.pause import Pause
from batchyard_server.model.artifact import Folder, Stage
from batchyard_server.model.errors import BatchyardError
from batchyard_server.store.artifact_store import Unnamed
from batchyard_server.store.protocols import Change, Store, TaskEvent

log = logging.getLogger(__name__)
SLICE_SECONDS = 0.005  # between two slices
AT_ONCE = 256  # records, or tasks, of one look
ALL = frozenset[int]()  # of a stage


class Janitor:
    """Removes what is not needed any more. What it could not remove is found again by the next start."""

    def __init__(self, store: Store, files: ArtifactFiles, *, slice_seconds: float = SLICE_SECONDS) -> None:
        self._store = store
        self._files = files
        self._slice_seconds = slice_seconds
        self._folders: list[Folder] = []
        self._stages: dict[Stage, frozenset[int]] = {}  # the records to look at
        self._wake = asyncio.Event()
        self._pause = Pause()
        self._tasks: list[asyncio.Task[None]] = []
        self._leave: list[Callable[[], None]] = []

    def start(self) -> None:
        """Look once at all that is there, then at what one hears of."""
        self._leave = [self._store.subscribe(self._on_events), self._store.watch_unnamed(self._on_unnamed)]
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._run()), loop.create_task(self._look_at_all())]

    async def stop(self) -> None:
        """Finish the slice at hand and end."""
        for leave in self._leave:
            leave()
        self._pause.end()
        self._wake.set()
        for task in self._tasks:
            await task

    def tidy(self, stage: Stage) -> None:
        """No record writes into this stage any more: remove what no row names."""
        self._stages[stage] = ALL
        self._wake.set()

    def _on_unnamed(self, unnamed: Sequence[Unnamed]) -> None:
        for each in unnamed:
            known = self._stages.get(each.stage)
            self._stages[each.stage] = ALL if known is not None and not known else each.indexes | (known or ALL)
        self._wake.set()

    def _on_events(self, events: Sequence[TaskEvent]) -> None:
        gone = [event.task.folder for event in events if event.change is Change.DELETED]
        if gone:
            self._folders += gone
            self._wake.set()

    async def _run(self) -> None:
        while not self._pause.ended:
            await self._wake.wait()
            self._wake.clear()
            while not self._pause.ended and (self._folders or self._stages):
                try:
                    await self._next()
                except BatchyardError as error:
                    log.warning("files that are not needed stay until the next start: %s", error)
                except Exception:
                    log.exception("files that are not needed stay until the next start")
                await self._pause(self._slice_seconds)

    async def _next(self) -> None:
        if self._folders:
            now, self._folders = self._folders[:AT_ONCE], self._folders[AT_ONCE:]
            left = await self._files.remove(now)
            self._folders += left
        else:
            stage = next(iter(self._stages))
            await self._tidy(stage, sorted(self._stages.pop(stage)))

    async def _tidy(self, stage: Stage, indexes: Sequence[int]) -> None:
        """Of these records; of all that are there if none are named."""
        indexes = indexes or await self._files.indexes(stage)
        for at in range(0, max(len(indexes), 1), AT_ONCE):
            some = indexes[at : at + AT_ONCE]
            named = await self._store.artifacts_in(stage, some)
            left: Mapping[int, Collection[str]] = {index: named.get(index, frozenset()) for index in some}
            while not self._pause.ended:
                left = await self._files.tidy(stage, left)
                if not left:
                    break
                await self._pause(self._slice_seconds)

    async def _look_at_all(self) -> None:
        """Find what an earlier server left."""
        try:
            for folder in await self._files.folders():
                task = await self._store.task_of(folder.task_key)
                if task is None or task.uid != folder.uid:
                    self._folders.append(folder)
                    self._wake.set()
                    continue
                for stage in await self._files.stages(folder):
                    if self._pause.ended:
                        return
                    await self._tidy(stage, ())
                    await self._pause(self._slice_seconds)
        except BatchyardError as error:
            log.warning("files that an earlier server left stay until the next start: %s", error)
        except Exception:
            log.exception("files that an earlier server left stay until the next start")
