"""Connections come and go, in order and not: what the server opened for them it closes."""

from __future__ import annotations

import pathlib
import socket
import struct

import grpc
import pytest

from batchyard.v1.batch_task_service_pb2 import ListBatchTasksRequest
from batchyard.v1.batch_task_service_pb2_grpc import BatchTaskServiceStub
from tests.live.served import PARENT
from tests.soak.readers import ALONE
from tests.support import footprint
from tests.support.eventually import eventually
from tests.support.server import SECONDS, Process, process

ROUNDS, AT_ONCE = 4, 50
SPARE = 4  # what a first call may open for good; how far a pool of threads may breathe


def come_and_go(server: Process) -> None:
    """As many connections at once as there may be, each with a call, then all closed."""
    channels = [grpc.insecure_channel(server.target, options=ALONE) for _ in range(AT_ONCE)]
    for channel in channels:
        BatchTaskServiceStub(channel).ListBatchTasks(ListBatchTasksRequest(parent=PARENT), timeout=SECONDS)
    for channel in channels:
        channel.close()


def break_off(server: Process) -> None:
    """Connections that say nothing, or half a greeting, and are reset."""
    host, _, port = server.target.rpartition(":")
    sockets = [socket.create_connection((host, int(port))) for _ in range(AT_ONCE)]
    for number, one in enumerate(sockets):
        if number % 2:
            one.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[: number % 25])
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()


def settle(server: Process, descriptors: int, threads: int) -> None:
    """Wait until it has no more than these."""
    pid = server.popen.pid

    def at_rest() -> bool:
        assert footprint.descriptors(pid) <= descriptors
        assert footprint.threads(pid) <= threads
        return True

    eventually(at_rest, 30)


@pytest.mark.long
def test_two_hundred_connections(tmp_path: pathlib.Path) -> None:
    with process(tmp_path) as server:
        pid = server.popen.pid
        fresh = footprint.descriptors(pid), footprint.threads(pid)
        come_and_go(server)
        settle(server, fresh[0] + SPARE, fresh[1] + SPARE)
        descriptors, threads, resident = footprint.descriptors(pid), footprint.threads(pid), footprint.resident(pid)
        for _ in range(ROUNDS):
            come_and_go(server)
            break_off(server)
        settle(server, descriptors, threads + SPARE)
        grown = footprint.resident(pid) - resident
        print(f"{ROUNDS * AT_ONCE} connections and as many broken ones: {footprint.descriptors(pid)} descriptors,")
        print(f"{footprint.threads(pid)} threads, {grown / footprint.MB:+.1f} MB")
        assert grown < 16 * footprint.MB
