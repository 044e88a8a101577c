"""The whole server inside the test: does what holds it together work?"""

from __future__ import annotations

import asyncio
import pathlib

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from batchyard_server import app
from batchyard_server.config import handlers_file
from batchyard_server.config.settings import Config, parse_address
from batchyard_server.store.sqlite import SqliteStore
from tests.support.server import SECONDS

Status = health_pb2.HealthCheckResponse


async def test_a_store_that_takes_no_writes_any_more_is_told_by_health(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "HEALTH_SECONDS", 0.01)
    config = Config(
        data=tmp_path / "data", listen=parse_address("127.0.0.1:0"), handlers=handlers_file.load(None), workers=1
    )
    server = app.App(config)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(str(server.address)) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == Status.SERVING
            monkeypatch.setattr(SqliteStore, "healthy", property(lambda _: False))
            assert (await asyncio.wait_for(watch.read(), SECONDS)).status == Status.NOT_SERVING
            monkeypatch.undo()
    finally:
        await server.stop()


async def test_a_start_that_fails_gives_the_data_back(tmp_path: pathlib.Path) -> None:
    def config(listen: str) -> Config:
        return Config(
            data=tmp_path / "data", listen=parse_address(listen), handlers=handlers_file.load(None), workers=1
        )

    with pytest.raises(app.CannotStart, match="cannot listen"):
        await app.App(config("192.0.2.1:1")).start()  # an address of documentation, never of a machine
    server = app.App(config("127.0.0.1:0"))
    await server.start()
    await server.stop()
