"""Which tasks does a verb on many find, and how are many of them changed in one transaction?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batchyard_server.model.filter import NEWEST_FIRST
from batchyard_server.model.names import TaskName
from batchyard_server.model.task import RequestKey, Task
from batchyard_server.model.task_query import TaskQuery, numbered
from batchyard_server.store.sqlite import changes, requests, searching, tasks
from batchyard_server.store.sqlite.readers import Reader, Readers
from batchyard_server.store.sqlite.transaction import Transaction
from batchyard_server.store.sqlite.writer import Writer
from batchyard_server.store.stop_store import NamedPage, NamedTask


class Stops:
    """Implements store.stop_store.StopStore: the part of SqliteStore for verbs on many tasks."""

    writer: Writer
    _readers: Readers

    async def named_tasks(self, query: TaskQuery) -> NamedPage:
        """See Store.named_tasks."""
        return await self._readers.page(lambda reader: page(reader, query))

    async def update_tasks(
        self,
        keys: Sequence[int],
        decide: Callable[[Task], Task],
        request: RequestKey | None,
        answer: Callable[[Sequence[Task]], bytes],
    ) -> Sequence[Task]:
        """See Store.update_tasks."""
        return await self.writer.submit(lambda tx: update(tx, keys, decide, request, answer), bulk=True, direct=True)

    async def answer_to(self, request: RequestKey) -> bytes | None:
        """See Store.answer_to. In the lane of `update_tasks`: it never overtakes what is still being written."""
        return await self.writer.submit(lambda tx: requests.answer_to(tx, request), bulk=True, direct=True)


def page(reader: Reader, query: TaskQuery) -> NamedPage:
    """See Store.named_tasks."""
    assert query.order == NEWEST_FIRST, query
    found = searching.search(reader, query, ("key",), query.limit)
    named = [NamedTask(key, TaskName(query.project, task_id), (at, task_id)) for key, at, task_id in found.rows]
    return NamedPage(tasks=named, follows=numbered(found.last) if found.more else None)


def update(
    tx: Transaction,
    keys: Sequence[int],
    decide: Callable[[Task], Task],
    request: RequestKey | None,
    answer: Callable[[Sequence[Task]], bytes],
) -> Sequence[Task]:
    """See Store.update_tasks. What waits was written."""
    requests.known(tx, request)
    changed: list[Task] = []
    for key in keys:
        held = tasks.entry(tx, key)
        decided = decide(held.task) if held is not None else None
        if held is not None and decided is not None and decided != held.task:
            changed.append(changes.write(tx, held, decided))
    if request is not None:
        requests.remember_answer(tx, request, answer(changed))
    return changed
