"""The small parts: progress cell, frames, handler book."""

from __future__ import annotations

import asyncio
import logging
import struct

import pytest

from batchyard_server.execution import messages
from batchyard_server.execution.cell import Cell, Progress
from batchyard_server.execution.handlers import HandlerBook
from batchyard_server.execution.slot import BUSY_STRAYS_NS, STRAYS_NS
from batchyard_server.model.handler import HandlerSpec, Isolation, Kind
from batchyard_worker.v1 import worker_pb2


def test_a_cell_shows_what_was_written() -> None:
    cell = Cell()
    assert cell.read() == Progress(0, -1, 0, 0)
    cell._map[:32] = struct.pack("<qqqq", 7, 42, 1_000, 2)
    assert cell.read() == Progress(7, 42, 1_000, 2)
    cell.close()


@pytest.mark.parametrize(
    ("index", "finished", "expected"),
    [
        (-1, 0, (None, 0)),  # before the first
        (3, 0, (3, 1)),  # the first runs
        (3, 1, (None, 1)),  # it has ended
        (10, 1, (10, 2)),  # the second range
        (12, 3, (12, 4)),
        (12, 4, (None, 4)),  # all have ended
        (-1, 2, (None, 2)),  # it waits
    ],
)
def test_what_has_begun(index: int, finished: int, expected: tuple[int | None, int]) -> None:
    assert Progress(1, index, 0, finished).begun([(3, 4), (10, 13)]) == expected


def test_frames_come_in_any_pieces() -> None:
    sent = [worker_pb2.FromWorker(dropped=worker_pb2.Dropped(lease=n, untouched=n % 2 == 0)) for n in range(300)]
    data = b"".join(struct.pack(">I", len(m.SerializeToString())) + m.SerializeToString() for m in sent)
    for size in (1, 3, 7, 1000, len(data)):
        buffer = messages.FrameBuffer()
        got = [message for at in range(0, len(data), size) for message in buffer.feed(data[at : at + size])]
        assert got == sent


def book(*names: str, first_retry_seconds: float = 0.0) -> HandlerBook:
    specs = {name: HandlerSpec(handler_id=name, kind=Kind.PYTHON) for name in names}
    return HandlerBook(specs, Isolation.CGROUP, first_retry_seconds=first_retry_seconds)


def test_handlers_are_listed_by_id() -> None:
    made = book("b", "a")
    assert [status.spec.handler_id for status in made.list()] == ["a", "b"]
    assert all(status.available and status.isolation is Isolation.CGROUP for status in made.list())
    assert made.get("c") is None
    assert not made.can_start("c")


async def test_a_handler_that_fails_rests_and_is_tried_again() -> None:
    made = book("a")
    again = asyncio.Event()
    made.on_retry = again.set
    made.failed("a", "no such module")
    assert not made.can_start("a")
    await again.wait()
    assert made.can_start("a")
    status = made.get("a")
    assert status is not None
    assert not status.available  # until it was loaded
    made.loaded("a")
    status = made.get("a")
    assert status is not None
    assert status.available


async def test_rests_become_longer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    made = book("a", first_retry_seconds=1)
    for _ in range(2000):
        made.failed("a", "x")
    texts = [record.getMessage().partition("next try in ")[2].partition(" s")[0] for record in caplog.records]
    assert texts[:7] == ["1", "2", "4", "8", "16", "30", "30"]
    assert texts[-1] == "30"
    made.loaded("a")
    caplog.clear()
    made.failed("a", "x")
    assert "next try in 1 s" in caplog.text


def test_what_a_record_leaves_is_gone_in_time() -> None:
    """Within five seconds, kill ladder included, for an idle worker and one that is never idle."""
    assert STRAYS_NS + 1_000_000_000 < 5_000_000_000
    assert BUSY_STRAYS_NS + 1_000_000_000 < 5_000_000_000
