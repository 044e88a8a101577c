"""A server for each test, and the check that a test saw the reasons it declares."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support import errors
from tests.support.server import Served, serving


@pytest.fixture
async def server(tmp_path: pathlib.Path) -> AsyncIterator[Served]:
    """A server without workers."""
    async with serving(tmp_path) as served:
        yield served


@pytest.fixture(autouse=True)
def _reasons(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test marked `provokes` must see exactly the reasons that it names."""
    errors.seen.clear()
    yield
    declared = [reason for mark in request.node.iter_markers("provokes") for reason in mark.args]
    if declared:
        assert set(errors.seen) == set(declared)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark."""
    config.addinivalue_line("markers", "provokes(*reasons): the reasons that this test must see on the wire")
