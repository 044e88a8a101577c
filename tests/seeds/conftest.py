"""Fixtures of the seeds' tests: a real server with handlers that tests hold back, and both clients of it."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchyard import Client
from batchyard.service import Service
from tests.client.conftest import connect, server
from tests.client.fake_server import FakeServer
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

[handlers.command]
kind = "command"
argv = ["/bin/sh", "-c", "{{command_line}}"]

[handlers.alone]
kind = "command"
argv = ["/bin/sh", "-c", "{{command_line}}"]
concurrency = 1

[handlers.with_environment]
kind = "command"
argv = ["{python}", "{seeds}/run_command.py"]

[handlers.filing]
kind = "python"
callable = "filing:filing"
path = ["{folder}"]
description = "leaves files"
"""

__all__ = ["connect", "server"]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """`batchyard-server` with the handlers `gated`, `lives` and `filing` of tests/client/handlers, and one worker.

    And `command`, `alone` (one at a time) and `with_environment`, which run command lines as the operator of a server
    may want it for users of seed 004.
    """
    folder = tmp_path_factory.mktemp("seeds")
    file = folder / "handlers.toml"
    here = Path(__file__).parent
    names = {"folder": here.parent / "client" / "handlers", "seeds": here / "handlers", "python": sys.executable}
    file.write_text(HANDLERS.format(**names))
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


@pytest.fixture
def service(real: Process, project: str) -> Iterator[Service]:
    """The handler `filing` of the real server, as a service."""
    with Client(real.target, project=project) as client:
        yield Service(client, "filing")


@pytest.fixture
def fake(server: FakeServer) -> Iterator[Service]:
    """A service of the scripted server."""
    with Service(server.target, "echo") as service:
        yield service


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that is not there yet."""
    return tmp_path / "gate"
