"""Every driver runs the same tests: add one here and it is held to all obligations of store/protocols.py."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncIterator

import apsw
import pytest
import pytest_asyncio

from batchyard_server.model import limits
from batchyard_server.store.protocols import Store
from batchyard_server.store.sqlite import open_sqlite
from tests.support.clock import FakeClock, SeededRandomness
from tests.support.failpoints import SwitchedFailpoints
from tests.support.kept import check_counts


class Driver:
    """One store of one driver: opened, closed and opened again by a test. `kept_events`: how long its log is."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.clock = FakeClock()
        self.failpoints = SwitchedFailpoints()
        self.kept_events = limits.EVENTS
        self._open: list[Store] = []

    async def open(self) -> Store:
        """Open the store, as a server that starts."""
        store = await open_sqlite(
            self.directory,
            clock=self.clock,
            randomness=SeededRandomness(),
            failpoints=self.failpoints,
            kept_events=self.kept_events,
        )
        self._open.append(store)
        return store

    async def close(self) -> None:
        """Close what is open, as a server that stops."""
        self.failpoints.armed.clear()
        while self._open:
            await self._open.pop().close()
        check_counts(self.directory)

    def bytes_in_use(self) -> int:
        """What a closed store holds; free pages are left out, since they are filled first."""
        path = self.directory / "store.sqlite3"
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        pages, free, size = (int(connection.pragma(name)) for name in ("page_count", "freelist_count", "page_size"))
        connection.close()
        assert path.stat().st_size == pages * size
        others = (each.stat().st_size for each in self.directory.iterdir() if each != path)
        return (pages - free) * size + sum(others)

    async def reopen(self) -> Store:
        """Stop and start."""
        await self.close()
        return await self.open()


@pytest_asyncio.fixture(params=["sqlite"])
async def driver(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> AsyncIterator[Driver]:
    """A driver with nothing stored yet."""
    made = Driver(tmp_path / "data")
    yield made
    await made.close()


@pytest_asyncio.fixture
async def store(driver: Driver) -> Store:
    """An empty store."""
    return await driver.open()
