"""Hundreds of pauses and resumes of one task of quick records: nothing is killed, nothing runs twice or never."""

from __future__ import annotations

import contextlib
import pathlib
import random
import threading
from collections import Counter

import grpc
import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, RecordCounts
from tests.live.served import Live, living
from tests.support import processes
from tests.support.eventually import eventually
from tests.support.server import SECONDS

RECORDS, ROUNDS, WORKERS = 200_000, 200, 2


def pause(live: Live, name: str) -> BatchTaskInfo:
    return live.tasks.PauseBatchTask(service.PauseBatchTaskRequest(name=name), timeout=SECONDS)


def resume(live: Live, name: str) -> BatchTaskInfo:
    return live.tasks.ResumeBatchTask(service.ResumeBatchTaskRequest(name=name), timeout=SECONDS)


def workers(folder: pathlib.Path) -> set[int]:
    """Process ids of the workers."""
    return {seen.pid for seen in processes.marked(processes.server_id(folder / "data")) if seen.is_worker}


def warm(live: Live, folder: pathlib.Path) -> set[int]:
    """Every worker has begun before; returns their process ids."""
    live.finish(live.submit([{"sleep": 0.05}] * 2 * WORKERS))
    eventually(lambda: len(workers(folder)) == WORKERS)
    (live.folder / "ended.log").write_text("")
    return workers(folder)


def check(live: Live, folder: pathlib.Path, name: str, alive: set[int]) -> None:
    """Each record ran once and has one outcome, and the workers are those of the beginning."""
    info = live.finish(name)
    assert (info.state, info.counts) == (BatchTaskInfo.SUCCEEDED, RecordCounts(total=RECORDS, succeeded=RECORDS))
    ended = live.ended()
    assert sorted(index for index, _, _ in ended) == list(range(RECORDS))
    assert {attempt for _, attempt, _ in ended} == {1}
    assert {record.attempt for record in live.records(name)} == {1}
    assert workers(folder) == alive


def test_one_after_the_other(tmp_path: pathlib.Path) -> None:
    chance = random.Random(3)
    with living(tmp_path, workers=WORKERS) as live:
        alive = warm(live, tmp_path)
        name = live.submit([{}] * RECORDS)
        starts: set[int] = set()
        seen: Counter[BatchTaskInfo.State] = Counter()
        for _ in range(ROUNDS):
            try:
                paused = pause(live, name)
            except grpc.RpcError as error:
                assert error.details() == "cannot pause a batch task that is SUCCEEDED"  # noqa: PT017
                break
            if chance.random() < 0.3:
                eventually(lambda: live.info(name).state == BatchTaskInfo.PAUSED)
            resumed = resume(live, name)
            seen.update((paused.state, resumed.state))
            starts.update(each.start_time.ToNanoseconds() for each in (paused, resumed))
        assert seen[BatchTaskInfo.PAUSING] + seen[BatchTaskInfo.PAUSED] >= ROUNDS // 4
        assert seen.keys() <= {getattr(BatchTaskInfo, state) for state in ("PAUSING", "PAUSED", "RUNNING", "QUEUED")}
        assert len(starts - {0}) == 1
        check(live, tmp_path, name, alive)


def test_by_many_at_once(tmp_path: pathlib.Path) -> None:
    """Callers that contradict each other; each verb leaves a state from which the task can go on."""
    with living(tmp_path, workers=WORKERS) as live:
        alive = warm(live, tmp_path)
        name = live.submit([{}] * RECORDS)
        made = [0, 0]

        def change(which: int) -> None:
            with contextlib.suppress(grpc.RpcError):  # TASK_COMPLETED
                for _ in range(ROUNDS // 2):
                    (pause, resume)[which % 2](live, name)
                    made[which % 2] += 1

        callers = [threading.Thread(target=change, args=(which,)) for which in range(6)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert min(made) > ROUNDS // 2
        with contextlib.suppress(grpc.RpcError):
            resume(live, name)
        check(live, tmp_path, name, alive)


@pytest.mark.parametrize("records", [1, 3])
def test_a_task_that_is_paused_as_soon_as_it_is_made(tmp_path: pathlib.Path, records: int) -> None:
    """Its first lease is on its way then, and perhaps its only record runs already."""
    with living(tmp_path, workers=WORKERS) as live:
        alive = warm(live, tmp_path)
        for _ in range(100):
            name = live.submit([{}] * records)
            with contextlib.suppress(grpc.RpcError):  # it had ended
                pause(live, name)
                resume(live, name)
            assert live.finish(name).counts.succeeded == records
            assert {record.attempt for record in live.records(name)} == {1}
        assert len(live.ended()) == 100 * records
        assert workers(tmp_path) == alive
