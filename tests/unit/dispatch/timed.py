"""A store, its clock, and who keeps the time in it."""

from __future__ import annotations

import pathlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

from batchyard_server.dispatch.timekeeper import Timekeeper
from batchyard_server.model.errors import NotFound
from batchyard_server.model.settings import DAY_US, DRAFT_US, Settings
from batchyard_server.model.states import Event, after
from batchyard_server.model.task import Task
from batchyard_server.store.protocols import Store
from batchyard_server.store.sqlite import open_sqlite
from tests.support import store as make
from tests.support.clock import FakeClock, SeededRandomness
from tests.support.failpoints import SwitchedFailpoints

LIFETIME_US = 180 * DAY_US
LONG = 1000.0  # seconds that no test waits


class World:
    """All three. The store may be opened anew, as by a server that was killed."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.failpoints = SwitchedFailpoints()
        self.store: Store

    async def open(self) -> None:
        self.store = await open_sqlite(
            self.folder, clock=self.clock, randomness=SeededRandomness(), failpoints=self.failpoints
        )

    def keeper(self, store: Any = None, *, lifetime_us: int = LIFETIME_US, interval: float = LONG) -> Timekeeper:
        return Timekeeper(
            cast(Store, store or self.store), self.clock, lifetime_us=lifetime_us, interval_seconds=interval
        )

    async def look(self, **options: Any) -> float:
        """What a new keeper does in one look, and when it would look again."""
        return await self.keeper(**options).look()

    async def create(self, task_id: str, records: int = 2, *, draft: bool = False, **settings: Any) -> Task:
        new = make.new_task(task_id, records, draft=draft, create_us=self.clock.now_us(), settings=Settings(**settings))
        due_us = self.clock.now_us() + DRAFT_US if draft else 0
        return await self.store.create_task(replace(new, task=replace(new.task, due_us=due_us)), None)

    async def read(self, task: Task) -> Task:
        return await self.store.get_task(task.name)

    async def is_there(self, task: Task) -> bool:
        try:
            return (await self.read(task)).key == task.key
        except NotFound:
            return False


async def paused(world: World, task: Task) -> Task:
    def decide(found: Task) -> Task:
        state = after(found.state, Event.PAUSE)
        return found.enter(after(state, Event.NOTHING_RUNS) if found.start_us else state, world.clock.now_us())

    return await world.store.update_task(task.name, decide, None)


class Meddled:
    """The store; somebody changes a task between the read of what is due and what follows from it."""

    def __init__(self, store: Store, meddle: Callable[[], Awaitable[Any]]) -> None:
        self._store = store
        self._meddle = meddle

    async def due(self, now_us: int, most: int) -> list[Task]:
        found = await self._store.due(now_us, most)
        await self._meddle()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
