"""Which tasks can be stopped, and how are many of them changed in one transaction?"""

# ruff: noqa: S608 - what is put into statements here are names and numbers of this module, never values of callers

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

from batchyard_server.model import limits
from batchyard_server.model.task import RequestKey, Task
from batchyard_server.store.sqlite import changes, requests, tasks
from batchyard_server.store.sqlite.readers import Reader, Readers
from batchyard_server.store.sqlite.transaction import Row, Transaction
from batchyard_server.store.sqlite.writer import Writer
from batchyard_server.store.stop_store import OpenPage, OpenTask

_OPEN = f"SELECT {tasks.COLUMNS} FROM task WHERE project = ? AND id_fold IS NOT NULL AND state < 7 AND state <> 6"
OPEN_EQUAL = f"{_OPEN} AND create_us = ? AND task_id > ? ORDER BY task_id LIMIT ?"
OPEN_OLDER = f"{_OPEN} AND create_us < ? ORDER BY create_us DESC, task_id LIMIT ?"
_LATEST = 2**63 - 1


class Stops:
    """Implements store.stop_store.StopStore: the part of SqliteStore for verbs on many tasks."""

    writer: Writer
    _readers: Readers

    async def open_tasks(
        self, project: str, wanted: Callable[[Task], bool], after: tuple[int, str] | None, limit: int
    ) -> OpenPage:
        """See Store.open_tasks."""
        return await self._readers.page(lambda reader: page(reader, project, wanted, after, limit))

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
        """See Store.answer_to."""
        return await self.writer.submit(lambda tx: requests.answer_to(tx, request), direct=True)


def page(
    reader: Reader, project: str, wanted: Callable[[Task], bool], after: tuple[int, str] | None, limit: int
) -> OpenPage:
    """See Store.open_tasks."""
    found: list[OpenTask] = []
    looked_at = 0
    parts: list[tuple[str, Row]] = [(OPEN_OLDER, (project, after[0] if after else _LATEST))]
    if after:
        parts.insert(0, (OPEN_EQUAL, (project, *after)))
    for sql, values in parts:
        with closing(reader.stream(sql, (*values, limits.EXAMINED_TASKS - looked_at))) as rows:
            for row in rows:
                task = tasks.of_row(row)
                looked_at += 1
                position = task.create_us, task.task_id
                if wanted(task):
                    found.append(OpenTask(task.key, task.name, position))
                if len(found) == limit or looked_at == limits.EXAMINED_TASKS:
                    return OpenPage(tasks=found, follows=position)
    return OpenPage(tasks=found, follows=None)


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
