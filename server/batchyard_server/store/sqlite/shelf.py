"""Which part of the store on SQLite is about artifacts and logs? Methods that `SqliteStore` has, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batchyard_server.model.artifact import Artifact, ArtifactPage, ArtifactQuery, Stage
from batchyard_server.model.names import ArtifactName
from batchyard_server.model.record import LogPage, PastAttempt
from batchyard_server.model.task import RequestKey, Task
from batchyard_server.store.artifact_store import Unnamed
from batchyard_server.store.sqlite import artifacts, logged, tasks
from batchyard_server.store.sqlite.readers import Readers
from batchyard_server.store.sqlite.transaction import Transaction
from batchyard_server.store.sqlite.writer import Writer


class Shelf:
    """Implements store.artifact_store.ArtifactStore and store.log_store.LogStore."""

    writer: Writer
    _readers: Readers
    _watchers: list[Callable[[Sequence[Unnamed]], None]]

    async def artifact_page(self, query: ArtifactQuery) -> ArtifactPage:
        """See Store.artifact_page."""
        return await self._readers.page(lambda reader: artifacts.page(reader, query))

    async def artifact(self, task_key: int, index: int, path: str) -> Artifact | None:
        """See Store.artifact."""
        return self._readers.now(lambda reader: artifacts.one(reader, task_key, index, path))

    async def delete_artifact(self, name: ArtifactName, request: RequestKey | None, *, allow_missing: bool) -> None:
        """See Store.delete_artifact."""
        await self._telling(
            lambda tx, unnamed: artifacts.delete(tx, name, request, allow_missing, unnamed), direct=True
        )

    async def record_log(self, task_key: int, index: int) -> list[PastAttempt]:
        """See Store.record_log."""
        return await self._readers.page(lambda reader: logged.of_record(reader, task_key, index))

    async def log_page(self, task_key: int, start: int, limit: int, max_bytes: int) -> LogPage:
        """See Store.log_page."""
        return await self._readers.page(lambda reader: logged.page(reader, task_key, start, limit, max_bytes))

    async def artifacts_in(self, stage: Stage, indexes: Sequence[int]) -> Mapping[int, frozenset[str]]:
        """See Store.artifacts_in."""
        key = stage.folder.task_key
        return await self._readers.page(lambda reader: artifacts.named(reader, key, stage.name, indexes))

    async def task_of(self, key: int) -> Task | None:
        """See Store.task_of."""
        return self._readers.now(lambda reader: tasks.by_key(reader, key))

    def watch_unnamed(self, watcher: Callable[[Sequence[Unnamed]], None]) -> Callable[[], None]:
        """See Store.watch_unnamed."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher) if watcher in self._watchers else None

    async def _telling(self, call: Callable[[Transaction, list[Unnamed]], Any], **how: Any) -> Any:
        """Run a mutation that says which files it leaves without a row, and pass that on once it is durable."""
        unnamed: list[Unnamed] = []

        def run(tx: Transaction) -> Any:
            unnamed.clear()  # it may be run twice
            return call(tx, unnamed)

        result = await self.writer.submit(run, **how)
        if unnamed:
            for watcher in list(self._watchers):
                watcher(unnamed)
        return result
