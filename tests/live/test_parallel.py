"""parallel_count, measured in the handlers: never more records of a task at once, and as many as may be."""

from __future__ import annotations

import pathlib
import time

import pytest
from google.protobuf.duration_pb2 import Duration

from batchyard.v1.batch_task_pb2 import BatchTaskInfo, Constraints
from batchyard_server.model.errors import Reason
from tests.live.seats import TOML, executions, most_at_once, seats, submit, update
from tests.live.served import living
from tests.support.errors import Answer
from tests.support.eventually import eventually

WORKERS = 3
SLOW, QUICK = {"sleep": 0.02}, {"n": 1}


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_slow_records(tmp_path: pathlib.Path, count: int) -> None:
    with living(tmp_path, workers=WORKERS, toml=TOML) as live:
        name = submit(live, "a", [SLOW] * 60, parallel_count=count)
        assert live.finish(name).counts.succeeded == 60
        assert seats(live, "a") == set(range(min(count, WORKERS)))
        assert [each.attempt for each in executions(live)] == [1] * 60


@pytest.mark.parametrize("count", [1, 2])
def test_quick_records(tmp_path: pathlib.Path, count: int) -> None:
    with living(tmp_path, workers=WORKERS, toml=TOML) as live:
        name = submit(live, "a", [QUICK] * 20_000, parallel_count=count)
        assert live.finish(name).counts.succeeded == 20_000
        assert seats(live, "a") == set(range(count))
        assert {each.attempt for each in executions(live)} == {1}


def test_free_slots_are_for_other_tasks(tmp_path: pathlib.Path) -> None:
    with living(tmp_path, workers=WORKERS, toml=TOML) as live:
        bounded = [submit(live, task, [SLOW] * 40, parallel_count=1) for task in ("a", "b")]
        free = submit(live, "c", [SLOW] * 40)
        other = submit(live, "d", [SLOW] * 40, "other", parallel_count=2)
        for name in (*bounded, free, other):
            assert live.finish(name).counts.succeeded == 40
        assert [seats(live, task) for task in "ab"] == [{0}, {0}]
        assert seats(live, "d") <= {0, 1}
        assert most_at_once(executions(live)) == WORKERS


def test_a_worker_counts_until_it_is_dead(tmp_path: pathlib.Path) -> None:
    """It is killed for its record's timeout, and does not care for SIGTERM; or it ends by itself."""
    with living(tmp_path, workers=WORKERS, toml=TOML) as live:
        records = [SLOW, {"stubborn": True}, SLOW, {"die": True}, *[SLOW] * 10]
        constraints = Constraints(record_timeout=Duration(nanos=200_000_000))
        name = submit(live, "a", records, parallel_count=1, constraints=constraints)
        info = live.finish(name)
        assert (info.counts.succeeded, info.counts.failed) == (len(records) - 1, 1)
        (failed,) = [each for each in live.records(name) if each.error.code]
        assert (failed.index, Answer(failed.error).reason) == (1, Reason.RECORD_TIMEOUT)
        assert seats(live, "a") == {0}
        assert {each.index: each.attempt for each in executions(live)}[3] == 2


def test_a_smaller_number_kills_nothing_and_holds_for_what_begins_later(tmp_path: pathlib.Path) -> None:
    with living(tmp_path, workers=WORKERS, toml=TOML) as live:
        name = submit(live, "a", [*({"gate": f"g{n}"} for n in range(WORKERS)), *[SLOW] * 30])
        eventually(lambda: len(seats(live, "a")) == WORKERS)
        info = update(live, name, parallel_count=1)
        changed_ns = time.monotonic_ns()
        assert (info.parallel_count, info.counts.running) == (1, WORKERS)
        for gate in range(WORKERS):
            assert len(executions(live)) == gate  # nothing begins while more than one runs
            live.open(f"g{gate}")
            eventually(lambda most=gate: len(executions(live)) > most)
        eventually(lambda: len(executions(live)) >= WORKERS + 10)
        later = executions(live)[WORKERS:]
        assert all(each.begin > changed_ns for each in later)
        assert most_at_once(later) == 1
        assert {each.attempt for each in executions(live)} == {1}
        update(live, name, parallel_count=2)
        assert live.finish(name).state == BatchTaskInfo.SUCCEEDED
        assert most_at_once(executions(live)[-10:]) == 2
        assert {each.attempt for each in executions(live)} == {1}


def test_a_larger_number_and_none(tmp_path: pathlib.Path) -> None:
    with living(tmp_path, workers=WORKERS, toml=TOML) as live:
        name = submit(live, "a", [SLOW] * 200, parallel_count=1)
        eventually(lambda: len(executions(live)) >= 10)
        assert seats(live, "a") == {0}
        update(live, name, parallel_count=2)
        eventually(lambda: seats(live, "a") == {0, 1})
        assert len(executions(live)) < 150
        update(live, name, parallel_count=None)
        eventually(lambda: seats(live, "a") == {0, 1, 2})
        assert live.finish(name).counts.succeeded == 200
