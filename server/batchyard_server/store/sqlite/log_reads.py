"""What the store answers those who watch: the part of SqliteStore that reads the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchyard_server.model.names import TaskName
from batchyard_server.model.task import Operation, Task
from batchyard_server.model.task_query import TaskQuery
from batchyard_server.store.event_log import LogPage, Watched, WatchedPage
from batchyard_server.store.protocols import TaskEvent
from batchyard_server.store.sqlite import events
from batchyard_server.store.sqlite.readers import Readers


class LogReads:
    """Implements store.event_log.EventStore. `last_seq`: of the log as it was found."""

    def __init__(self, readers: Readers, last_seq: int) -> None:
        self._readers = readers
        self._last_seq = last_seq

    def _on_logged(self, committed: Sequence[TaskEvent]) -> None:
        """The subscribers are about to be told of these."""
        last = committed[-1].entry
        assert last is not None, "nothing follows the last one that it could be joined with"
        self._last_seq = last.seq

    @property
    def last_seq(self) -> int:
        """See Store.last_seq."""
        return self._last_seq

    async def events(self, after: int, upto: int, project: str, task_key: int | None) -> LogPage:
        """See Store.events."""
        return await self._readers.page(lambda reader: events.page(reader, after, upto, project, task_key))

    async def watched(self, name: TaskName) -> tuple[Watched, int]:
        """See Store.watched."""
        return self._readers.now(lambda reader: reader.snapshot(lambda same: events.watched(same, name)))

    async def watched_page(self, query: TaskQuery) -> WatchedPage:
        """See Store.watched_page."""
        return await self._readers.page(lambda reader: events.watched_page(reader, query))

    async def tasks_of(self, keys: Sequence[int]) -> Mapping[int, Task]:
        """See Store.tasks_of."""
        return await self._readers.page(lambda reader: events.tasks_of(reader, keys))

    async def operation_of(self, task_key: int, generation: int) -> Operation | None:
        """See Store.operation_of."""
        return self._readers.now(lambda reader: events.operation_of(reader, task_key, generation))
