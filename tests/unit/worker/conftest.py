"""Property tests here run beside real worker processes: how long an example takes says nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.unit.worker.fake_server import FakeServer

settings.register_profile("worker", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("worker")


@pytest.fixture
def start() -> Iterator[Callable[..., FakeServer]]:
    """Starts workers; at the end of the test none may have complained."""
    servers: list[FakeServer] = []

    def make(*arguments: Any, **options: Any) -> FakeServer:
        servers.append(FakeServer(*arguments, **options))
        return servers[-1]

    yield make
    for server in servers:
        assert server.close() == ""
