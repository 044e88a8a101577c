"""What does the worker give back when it is asked to, and does it keep what it promised?"""

from __future__ import annotations

import pathlib
import random
import threading
from collections.abc import Callable

from batchyard_worker.v1 import worker_pb2
from tests.support import zoo
from tests.unit.worker.fake_server import FakeServer, page

Start = Callable[..., FakeServer]


def test_drop_of_what_waits_behind_a_running_record(start: Start, tmp_path: pathlib.Path) -> None:
    server, gate = start("wait_for"), tmp_path / "gate"
    server.run(1, [str(gate)])
    server.run(2, ["", ""], first=10)
    server.run(3, [""], first=20)
    zoo.until(lambda: server.cell().index == 0)
    server.drop(2)
    assert server.receive("dropped") == worker_pb2.Dropped(lease=2, untouched=True)
    server.drop(1)
    assert server.receive("dropped") == worker_pb2.Dropped(lease=1, untouched=False)  # it has one record only
    server.drop(2)
    assert server.receive("dropped") == worker_pb2.Dropped(lease=2, untouched=False)
    gate.touch()
    assert [record.index for record in server.outcomes(1)] == [0]
    assert [record.index for record in server.outcomes(3)] == [20]


def test_a_subtask_that_is_told_to_stop_ends_after_the_record_at_hand(start: Start) -> None:
    """Without a frame, which the worker may not get to read: the handler does not let go of the interpreter."""
    server = start("holds_the_interpreter")
    server.run(1, [200, 0, 0], first=5)
    zoo.until(lambda: server.cell().index == 5)
    server.stop(2)  # another one
    server.run(2, [0], first=30)
    server.stop(1)
    server.drop(1)
    assert [record.index for record in server.outcomes(1)] == [5]
    assert server.receive("dropped").lease == 1  # says nothing that the end of the subtask has not said
    assert [record.index for record in server.outcomes(2)] == [30]


def test_a_drop_that_has_arrived_is_seen_before_its_subtask_begins(start: Start) -> None:
    server = start("holds_the_interpreter")
    server.run(1, [500])
    zoo.until(lambda: server.cell().index == 0)
    server.run(2, [0])
    server.drop(2)
    assert len(server.outcomes(1)) == 1
    assert server.receive("dropped") == worker_pb2.Dropped(lease=2, untouched=True)


def collect(server: FakeServer, lease: int) -> tuple[list[int], worker_pb2.Dropped]:
    """The indexes that ran, to `last`, and the one answer to a Drop on the way or right after it."""
    ran: list[int] = []
    dropped: worker_pb2.Dropped | None = None
    over = False
    while not over or dropped is None:
        message = server.next()
        if message.HasField("dropped"):
            assert dropped is None
            dropped = message.dropped
            over = over or dropped.untouched
            continue
        flush = message.outcomes
        assert flush.lease == lease
        assert not over
        ran += [record.index for record in page(flush)]
        server.ack(flush.flush)
        over = flush.last
    return ran, dropped


def test_the_rest_of_a_subtask_whose_record_runs_is_given_back(start: Start, tmp_path: pathlib.Path) -> None:
    server, gate = start("wait_for"), tmp_path / "gate"
    server.run(1, ["", str(gate), *[""] * 6], ranges=[5, 8, 20, 25])
    zoo.until(lambda: server.cell().index == 6)
    assert list(server.receive("outcomes").ranges) == [5, 6]
    server.drop(1)
    assert server.receive("dropped") == worker_pb2.Dropped(lease=1, from_ordinal=2)
    server.drop(1)
    assert server.receive("dropped") == worker_pb2.Dropped(lease=1)  # said once
    server.run(2, [""], first=30)
    assert server.says_nothing(0.1)
    assert (server.cell().lease, server.cell().index) == (1, 6)
    gate.touch()
    flush = server.receive("outcomes")
    assert (list(flush.ranges), flush.last) == ([6, 7], True)
    server.ack(flush.flush)
    assert [record.index for record in server.outcomes(2)] == [30]


def test_everything_behind_the_first_record_is_given_back(start: Start, tmp_path: pathlib.Path) -> None:
    server, gate = start("wait_for"), tmp_path / "gate"
    server.run(1, [str(gate), *[""] * 1023])
    zoo.until(lambda: server.cell().index == 0)
    server.drop(1)
    assert server.receive("dropped") == worker_pb2.Dropped(lease=1, from_ordinal=1)
    gate.touch()
    assert [record.index for record in server.outcomes(1)] == [0]
    server.run(2, [""] * 1023, first=1)  # nothing of the Drop is left
    assert len(server.outcomes(2)) == 1023


def test_nothing_is_given_back_of_the_last_record(start: Start, tmp_path: pathlib.Path) -> None:
    server, gate = start("wait_for"), tmp_path / "gate"
    server.run(1, ["", str(gate)])
    zoo.until(lambda: server.cell().index == 1)
    assert server.receive("outcomes").count == 1
    server.drop(1)
    assert server.receive("dropped") == worker_pb2.Dropped(lease=1)
    gate.touch()
    assert server.receive("outcomes").last


def test_a_subtask_that_waits_for_an_acknowledgement_ends(start: Start) -> None:
    """No record runs: the next one is not promised, and comes back with `last`."""
    server = start("sleep_millis")
    server.run(1, [60, 0, 0, 0])
    flush = server.receive("outcomes")
    assert (flush.count, server.says_nothing(0.1)) == (1, True)
    server.drop(1)
    assert server.receive("dropped") == worker_pb2.Dropped(lease=1, from_ordinal=2)
    server.ack(flush.flush)
    flush = server.receive("outcomes")
    assert (flush.count, flush.last) == (0, True)


def test_a_drop_after_the_end_gives_nothing_back_and_stops_nothing(start: Start) -> None:
    server = start()
    server.run(1, [0])
    server.outcomes(1)
    server.drop(1)
    assert server.receive("dropped") == worker_pb2.Dropped(lease=1)
    server.run(2, [0] * 100)
    assert len(server.outcomes(2)) == 100


def test_what_is_given_back_never_runs(start: Start) -> None:
    """The Drop meets the loop wherever it is: short records, and some that last as long as the watcher's pause."""
    server, chance = start("sleep_millis"), random.Random(5)
    trimmed = 0
    for lease in range(1, 60):
        count = chance.choice((2, 5, 300, 1000))
        millis = [chance.choice((0, 0, 0, 1, 26)) if count <= 5 or chance.random() < 0.02 else 0 for _ in range(count)]
        server.run(lease, millis, first=lease * 1000)
        timer = threading.Timer(chance.choice((0, 0.002, 0.03)), server.drop, (lease,))
        timer.start()
        ran, dropped = collect(server, lease)
        timer.join()
        assert ran == list(range(lease * 1000, lease * 1000 + len(ran)))
        if dropped.untouched:
            assert not ran
        elif dropped.from_ordinal:
            trimmed += 1
            assert dropped.from_ordinal - 1 <= len(ran) <= dropped.from_ordinal
            assert dropped.from_ordinal < count
        else:
            assert len(ran) in (count - 1, count)
    assert trimmed
