"""Fixtures of the seeds' tests: a real server with handlers that tests hold back, and both clients of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import connect, server
from tests.support.server import Process, process

HANDLERS = """
[handlers.gated]
kind = "python"
callable = "gated:gated"
path = ["{folder}"]

[handlers.lives]
kind = "python"
callable = "lives:lives"
path = ["{folder}"]
"""

__all__ = ["connect", "server"]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """`batchyard-server` with the handlers `gated` and `lives` of tests/client/handlers, and one worker."""
    folder = tmp_path_factory.mktemp("seeds")
    file = folder / "handlers.toml"
    file.write_text(HANDLERS.format(folder=Path(__file__).parents[1] / "client" / "handlers"))
    with process(folder, "--handlers", str(file)) as running:
        yield running


@pytest.fixture
def project() -> str:
    """A project that nobody else has used."""
    return f"p{uuid.uuid4().hex[:12]}"


@pytest.fixture
def client(connect: Callable[..., Any], real: Process, project: str) -> Any:
    """`Client`, and in a second run `AsyncClient` behind its face, in a project of its own on the real server."""
    return connect(real.target, project=project)
