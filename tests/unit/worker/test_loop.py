"""Does the worker's loop keep what it promises to the server?"""

from __future__ import annotations

import json
import pathlib
import socket
from collections.abc import Callable
from typing import Any

from batchyard_worker import loop, outbox, shared
from batchyard_worker.v1 import worker_pb2
from tests.unit.worker.fake_server import TASK, FakeServer, page

Start = Callable[..., FakeServer]


def texts(records: list[worker_pb2.RecordInfo]) -> list[Any]:
    return [json.loads(record.output.text) for record in records]


# ------------------------------------------------------------------------------------------------------- outcomes


def test_an_outcome_in_full(start: Start) -> None:
    server = start()
    record = worker_pb2.RecordInput(record_id="ä", payload=worker_pb2.Payload(text='{"a": 1}'))
    server.run(7, [record], first=41, attempts={41: 2})
    flush = server.receive("outcomes")
    assert (flush.lease, flush.flush, list(flush.ranges), flush.count, flush.last) == (7, 1, [41, 42], 1, True)
    assert (list(flush.failed), list(flush.failures)) == ([], [])
    (outcome,) = page(flush)
    assert (outcome.name, outcome.index, outcome.record_id) == (f"{TASK}/records/41", 41, "ä")
    assert (outcome.state, outcome.attempt, outcome.generation) == (3, 3, 1)
    assert outcome.output == worker_pb2.Payload(text='{"a":1}')
    assert not outcome.HasField("error")
    assert not outcome.HasField("exit_code")
    times = [stamp.seconds * 10**9 + stamp.nanos for stamp in (outcome.start_time, outcome.end_time)]
    assert 0 < times[1] - times[0] == flush.work_nanos


def test_ranges_with_gaps_come_back_in_order(start: Start) -> None:
    server = start()
    server.run(1, list(range(6)), ranges=[3, 4, 10, 12, 100, 103])
    flush = server.receive("outcomes")
    assert list(flush.ranges) == [3, 4, 10, 12, 100, 103]
    assert [record.index for record in page(flush)] == [3, 10, 11, 100, 101, 102]


def flushed(failures: int, size: int) -> worker_pb2.Outcomes:
    """What an Outbox sends of so many failed records with errors of this size."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        box = outbox.Outbox(ours, shared.Blocks(memoryview(bytearray(shared.BYTES))))
        box.begin(1, [(1000, 1000 + failures)], [])
        for ordinal in range(failures):
            box.failed.append((ordinal, 1000 + ordinal, b"x" * size))
            box.mark = (ordinal + 1, 0, 0)
        box.flush(last=True)
        data = theirs.recv(1 << 20, socket.MSG_WAITALL | socket.MSG_DONTWAIT)
        return worker_pb2.FromWorker.FromString(data[4:]).outcomes


def test_failures_are_listed(start: Start) -> None:
    server = start("fails")
    server.run(1, ["value"] * 3, first=1000)
    records, listed, details = [], [], []
    while len(records) < 3:
        flush = server.receive("outcomes")
        records += page(flush)
        listed += flush.failed
        details += flush.failures
    assert listed == [1000, 1001, 1002] == [failure.index for failure in details]
    assert [failure.status for failure in details] == [record.error.SerializeToString() for record in records]
    assert {record.state for record in records} == {4}


def test_listed_failures_are_bounded() -> None:
    flush = flushed(150, 10)
    assert list(flush.failed) == list(range(1000, 1150))
    assert [failure.index for failure in flush.failures] == list(range(1000, 1100))


def test_listed_failures_are_bounded_in_bytes() -> None:
    flush = flushed(10, 16 << 10)
    assert len(flush.failed) == 10
    assert sum(len(failure.status) for failure in flush.failures) == outbox.MAX_FAILURE_BYTES


def test_a_large_lease_comes_in_flushes(start: Start) -> None:
    server = start()
    server.run(1, [{"i": i} for i in range(1200)], first=20_000)
    flushes = [server.receive("outcomes")]
    while not flushes[-1].last:
        flushes.append(server.receive("outcomes"))
    assert [flush.flush for flush in flushes] == list(range(1, len(flushes) + 1))
    assert all(flush.count <= loop.FLUSH_RECORDS for flush in flushes)
    records = [record for flush in flushes for record in page(flush)]
    assert [record.index for record in records] == list(range(20_000, 21_200))
    assert texts(records) == [{"i": i} for i in range(1200)]
    bounds = [bound for flush in flushes for bound in flush.ranges]
    assert bounds[1:-1:2] == bounds[2::2]
    ends = [record.end_time for record in records]
    assert [record.start_time for record in records][1:] == ends[:-1]


def test_large_outputs_are_sent_early(start: Start) -> None:
    server = start("huge")
    server.run(1, [100_000] * 10)
    flush = server.receive("outcomes")
    assert flush.count == 3
    assert not flush.last
    assert len(server.outcomes(1)) == 7


def test_slow_records_are_sent_one_by_one(start: Start) -> None:
    server = start("sleep_millis")
    server.run(1, [25, 25])
    assert server.receive("outcomes").count == 1
    assert server.receive("outcomes").count == 1


def test_outcomes_leave_while_the_next_record_runs(start: Start, tmp_path: pathlib.Path) -> None:
    server, gate = start("wait_for"), tmp_path / "gate"
    server.run(1, ["", "", str(gate)])
    flush = server.receive("outcomes")
    assert (flush.count, flush.last, server.cell().index) == (2, False, 2)
    gate.touch()
    flush = server.receive("outcomes")
    assert (flush.count, flush.last, list(flush.ranges)) == (1, True, [2, 3])


def test_short_records_do_not_wait_for_each_other_long(start: Start) -> None:
    server = start("sleep_millis", run_ahead_millis=10_000)
    server.run(1, [8] * 40)
    assert server.receive("outcomes").count < 20  # 25 ms and what a busy machine adds, not the whole lease
    server.outcomes(1)


# ------------------------------------------------------------------------------------------------------ run-ahead


def begun(log: pathlib.Path) -> list[int]:
    return [int(line) for line in log.read_text().split()]


def test_the_run_ahead_is_bounded(start: Start, tmp_path: pathlib.Path) -> None:
    server, log = start("sleep_millis"), tmp_path / "log"
    server.run(1, [[10, str(log)]] * 30)
    flushes: list[worker_pb2.Outcomes] = []
    while sum(flush.work_nanos for flush in flushes) <= 50e6:
        flushes.append(server.receive("outcomes"))
    assert server.says_nothing(0.2)
    assert server.cell().index == -1
    ahead = sum(flush.count for flush in flushes)
    assert ahead <= 6
    assert begun(log) == list(range(ahead))
    server.ack(flushes[-1].flush)
    assert len(server.outcomes(1)) == 30 - ahead
    assert begun(log) == list(range(30))


def test_of_long_records_one_is_ahead(start: Start, tmp_path: pathlib.Path) -> None:
    server, log = start("sleep_millis"), tmp_path / "log"
    server.run(1, [[60, str(log)]] * 3)
    for number in (1, 2):
        flush = server.receive("outcomes")
        assert (flush.flush, flush.count) == (number, 1)
        assert server.says_nothing(0.15)
        assert begun(log) == list(range(number))
        server.ack(number)
    assert server.receive("outcomes").last


def test_the_bound_spans_leases(start: Start, tmp_path: pathlib.Path) -> None:
    server, log = start("sleep_millis"), tmp_path / "log"
    server.run(1, [[60, str(log)]])
    server.run(2, [[1, str(log)]])
    assert server.receive("outcomes").last
    assert server.says_nothing(0.15)
    assert begun(log) == [0]
    server.ack(1)
    assert server.receive("outcomes").lease == 2


def test_an_old_acknowledgement_frees_nothing(start: Start) -> None:
    server = start("sleep_millis")
    server.run(1, [60, 60, 1])
    server.receive("outcomes")
    server.ack(1)
    server.receive("outcomes")
    server.ack(1)
    assert server.says_nothing(0.15)
    server.ack(2)
    assert server.receive("outcomes").last


def test_unacknowledged_bytes_are_bounded(start: Start) -> None:
    server = start("huge", run_ahead_millis=100_000)
    server.run(1, [1_000_000] * 12)
    sent = 0
    while sent <= outbox.MAX_UNACKED_BYTES:
        flush = server.receive("outcomes")
        sent += len(flush.page)
    assert server.says_nothing(0.2)
    server.ack(flush.flush)
    server.outcomes(1)


# --------------------------------------------------------------------------------------------------------- budget


def test_a_subtask_ends_at_its_budget(start: Start) -> None:
    server = start("sleep_millis")
    server.run(1, [15] * 50, first=100, budget_millis=40)
    records = server.outcomes(1)
    assert 1 <= len(records) <= 3
    assert [record.index for record in records] == list(range(100, 100 + len(records)))
    server.run(2, [0], first=149)
    assert [record.index for record in server.outcomes(2)] == [149]


def test_a_record_longer_than_the_budget_runs(start: Start) -> None:
    server = start("sleep_millis")
    server.run(1, [30, 30], budget_millis=1)
    assert len(server.outcomes(1)) == 1
