"""What a worker has finished comes once, whether it sends it or the server fetches it."""

from __future__ import annotations

import mmap
import socket
from collections.abc import Iterator

import pytest

from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.codec import segments
from batchyard_server.execution.cell import Cell
from batchyard_server.execution.inbox import UNSENT_NS, Inbox
from batchyard_server.model.task import Flush
from batchyard_worker import outbox, shared, wire
from batchyard_worker.v1 import worker_pb2

RANGES = [(10, 13), (20, 30)]
INDEXES = [index for start, end in RANGES for index in range(start, end)]


class Side:
    """A worker's outbox and the server's inbox over the same memory; the time is the test's."""

    def __init__(self) -> None:
        self.cell = Cell()
        self.said: list[int] = []
        self.inbox = Inbox(self.cell, self._hear)
        self.now_ns = 10**9
        self._ours, self._theirs = socket.socketpair()
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._blocks = shared.Blocks(memoryview(mmap.mmap(self.cell.fd, shared.BYTES)))
        self.box = outbox.Outbox(self._ours, self._blocks)
        self._done = 0

    def _hear(self, frame: bytes) -> None:
        self.said.append(worker_pb2.ToWorker.FromString(frame[4:]).ack.flush)

    def begin(self, number: int) -> None:
        self._done = 0
        self._blocks.cell[shared.LEASE] = number
        self.box.begin(number, RANGES, [])

    def finish(self, count: int, *, failed: bool = False, size: int = 5) -> None:
        """The next `count` records end."""
        for _ in range(count):
            index = INDEXES[self._done]
            encode = wire.RecordEncoder("projects/p/batchTasks/t", 1, 0, 5).encode
            error = worker_pb2.Status(code=3, message="no").SerializeToString()
            encoded = encode(index, "", 1, wire.Ended(error=error) if failed else b"1" * size, 7)
            if failed:
                self.box.failed.append((self._done, index, error))
            _, written, work = self.box.mark
            self._done += 1
            filled = written + len(encoded)
            if filled <= shared.BLOCK_BYTES:
                self._blocks.block[written:filled] = encoded
                self._blocks.cell[shared.WRITTEN] = filled
                self.box.mark = (self._done, filled, work + 1)
            else:
                self.box.flush_large(encoded, self._done, work + 1)

    def messages(self) -> list[worker_pb2.Outcomes]:
        """What the worker has sent and the server has not read."""
        try:
            data = self._theirs.recv(1 << 20, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        found: list[worker_pb2.Outcomes] = []
        while data:
            size = 4 + int.from_bytes(data[:4], "big")
            found.append(worker_pb2.FromWorker.FromString(data[4:size]).outcomes)
            data = data[size:]
        return found

    def take(self) -> list[Flush]:
        """Read them."""
        return [self.inbox.take(message) for message in self.messages()]

    def fetch(self, number: int = 1, *, after_ns: int = UNSENT_NS) -> Flush | None:
        """Look, and look again later."""
        first = self.inbox.fetch(number, RANGES, self.now_ns)
        if first is not None:
            return first
        self.now_ns += after_ns
        return self.inbox.fetch(number, RANGES, self.now_ns)

    def turn(self) -> bool:
        return self.box.turn()

    def close(self) -> None:
        self.cell.close()
        self._ours.close()
        self._theirs.close()


@pytest.fixture
def side() -> Iterator[Side]:
    made = Side()
    made.begin(1)
    yield made
    made.close()


def indexes(flush: Flush | None) -> list[int]:
    """Of its records; what it says of itself must fit them."""
    assert flush is not None
    infos = [RecordInfo.FromString(record) for record in segments.split_page(flush.page)]
    found = [info.index for info in infos]
    assert found == [index for start, end in flush.ranges for index in range(start, end)]
    assert len(found) == flush.count
    assert flush.failed == [info.index for info in infos if info.state == RecordInfo.FAILED]
    assert flush.failures == [
        (info.index, info.error.SerializeToString()) for info in infos if info.state == RecordInfo.FAILED
    ]
    return found


def test_flushes_come_as_they_are(side: Side) -> None:
    side.finish(4)
    side.box.flush()
    side.finish(2, failed=True)
    side.box.flush(last=True)
    assert [indexes(flush) for flush in side.take()] == [INDEXES[:4], INDEXES[4:6]]
    assert side.fetch() is None


def test_what_is_not_sent_is_fetched_once_and_cut_from_the_flush_that_brings_it(side: Side) -> None:
    side.finish(2)
    side.box.flush()
    side.take()
    side.finish(2)
    side.finish(1, failed=True)
    assert indexes(side.fetch()) == INDEXES[2:5]
    assert side.fetch() is None
    side.finish(3)
    side.box.flush()
    assert [indexes(flush) for flush in side.take()] == [INDEXES[5:8]]
    side.finish(1)
    side.box.flush(last=True)
    assert [indexes(flush) for flush in side.take()] == [INDEXES[8:9]]


def test_more_of_it_is_fetched_later(side: Side) -> None:
    side.finish(2)
    assert indexes(side.fetch()) == INDEXES[:2]
    side.finish(3)
    assert indexes(side.fetch()) == INDEXES[2:5]
    side.box.flush(last=True)
    assert [(flush.count, flush.ranges, flush.page) for flush in side.take()] == [(0, [], b"")]
    side.begin(2)
    side.finish(1)
    assert indexes(side.fetch(2)) == INDEXES[:1]


def test_nothing_is_fetched_soon_or_while_records_end(side: Side) -> None:
    side.finish(1)
    assert side.fetch(after_ns=UNSENT_NS - 1) is None
    side.finish(1)
    assert side.fetch(after_ns=UNSENT_NS - 1) is None
    assert indexes(side.fetch()) == INDEXES[:2]


def test_nothing_is_fetched_while_a_flush_is_on_its_way(side: Side) -> None:
    side.finish(3)
    side.box.flush()
    side.finish(1)
    assert side.fetch() is None
    assert [indexes(flush) for flush in side.take()] == [INDEXES[:3]]
    assert indexes(side.fetch()) == INDEXES[3:4]


def test_a_block_is_written_anew_when_the_server_has_copied_it(side: Side) -> None:
    for number in range(shared.BLOCKS):
        side.finish(1, size=100 + number)
        side.box.flush()
        assert side.turn() == (number < shared.BLOCKS - 1)
    assert [indexes(flush) for flush in side.take()] == [[index] for index in INDEXES[: shared.BLOCKS]]
    assert side.turn()
    side.finish(2)
    assert indexes(side.fetch()) == INDEXES[4:6]
    side.box.flush(last=True)
    assert [flush.count for flush in side.take()] == [0]


def test_an_outcome_that_fits_no_block_comes_in_its_flush(side: Side) -> None:
    side.finish(2)
    side.finish(1, size=shared.BLOCK_BYTES)
    side.finish(1)
    side.box.flush(last=True)
    assert [indexes(flush) for flush in side.take()] == [INDEXES[:3], INDEXES[3:4]]


def test_acknowledgements_go_out_in_order_and_after_what_was_fetched_before(side: Side) -> None:
    side.inbox.durable(2)
    assert side.said == []
    side.inbox.durable(1)
    assert side.said == [2]
    first, second = side.inbox.storing(), side.inbox.storing()
    side.inbox.durable(3)
    second()
    assert side.said == [2]
    first()
    assert side.said == [2, 3]
    side.inbox.durable(4)
    assert side.said == [2, 3, 4]


ELSEWHERE = [(-1, 0, 0), (shared.BLOCKS, 0, 0), (0, 5, 4), (0, -1, 4), (0, 0, shared.BLOCK_BYTES + 1)]


@pytest.mark.parametrize("part", ELSEWHERE)
def test_a_flush_that_speaks_of_other_memory_is_refused(side: Side, part: tuple[int, int, int]) -> None:
    block, start, end = part
    with pytest.raises(ValueError, match="no part"):
        side.inbox.take(worker_pb2.Outcomes(lease=1, flush=1, block=block, start=start, end=end))
