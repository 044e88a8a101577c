"""Fixtures: a scripted server, both clients of it, and the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from batchyard import AsyncClient, Client, cli
from tests.client.blocking import Blocking, Loop
from tests.client.fake_server import FakeServer


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@pytest.fixture(params=["sync", "aio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Any]]:
    """A function target → client, of either kind; the clients are closed at the end."""
    with ExitStack() as stack:
        if request.param == "sync":
            yield lambda target, **more: stack.enter_context(Client(target, **more))
            return
        loop = Loop()
        stack.callback(loop.close)

        async def made(target: str, **more: Any) -> AsyncClient:
            return AsyncClient(target, **more)

        def open_client(target: str, **more: Any) -> Blocking:
            client = Blocking(loop.run(made(target, **more)), loop)
            stack.callback(client.close)
            return client

        yield open_client


@pytest.fixture
def client(connect: Callable[[str], Any], server: FakeServer) -> Any:
    return connect(server.target)


@pytest.fixture
def run(server: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command line over the scripted server: a function (arguments) → (exit code, stdout, stderr)."""
    monkeypatch.setenv("BATCHYARD_TARGET", server.target)

    def command(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return command
