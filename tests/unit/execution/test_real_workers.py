"""Do the promises hold with real processes? At each level of isolation."""

from __future__ import annotations

import pathlib
import signal
from collections import Counter

import pytest

from batchyard.v1.record_pb2 import RecordInfo
from batchyard.v1.subtask_pb2 import Subtask
from batchyard_server.execution.launch import PASSED_ON, choose_isolation
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.handler import Isolation
from batchyard_server.model.states import TaskState, WaitingReason
from batchyard_worker import isolation
from tests.support import processes
from tests.support import store as tasks
from tests.support.eventually import eventually_in_loop
from tests.support.subtasks import listed, why
from tests.unit.dispatch.stage import reason
from tests.unit.execution.yard import HANDLERS, NODE, SECONDS, Yard, handler, noted, values, yard

ECHO = handler("echo", callable="batchyard_worker.builtin.echo:echo")
ACT = handler("act")


@pytest.fixture(params=list(Isolation), ids=lambda level: level.name.lower())
def level(request: pytest.FixtureRequest) -> Isolation:
    return request.param


async def test_every_record_gets_its_outcome(tmp_path: pathlib.Path, level: Isolation) -> None:
    async with yard(tmp_path, ECHO, level=level, slots=2) as made:
        task = await made.create(list(range(5000)), "echo")
        assert (await made.final(task)).state is TaskState.SUCCEEDED
        records = await made.records(task)
        assert values(records) == list(range(5000))
        assert {record.attempt for record in records} == {1}
        assert len(made.workers()) == 2


async def test_a_crash_is_counted_against_one_record(tmp_path: pathlib.Path, level: Isolation) -> None:
    log = tmp_path / "log"
    async with yard(tmp_path, ACT, level=level) as made:
        records = [{"log": str(log)} for _ in range(30)]
        records[7] = {"log": str(log), "crash": 1}  # type: ignore[dict-item]
        records[20] = {"log": str(log), "crash": 9}  # type: ignore[dict-item]
        task = await made.create(records)
        ended = await made.final(task)
        assert (ended.succeeded, ended.failed) == (29, 1)
        found = await made.records(task)
        assert reason(found[20]) == Reason.WORKER_LOST
        assert found[20].error.code == Code.ABORTED
        assert "SIGSEGV" in found[20].error.message
        begun = Counter(index for index, _ in noted(log))
        assert [record.attempt for record in found] == [begun[index] for index in range(30)]
        assert (begun[7], begun[20]) == (2, 3)


async def test_a_record_that_takes_too_long_is_killed(tmp_path: pathlib.Path, level: Isolation) -> None:
    async with yard(tmp_path, ACT, level=level) as made:
        task = await made.create([{}, {"hang": 1, "ignore": 1, "stray": 1}, {}], record_timeout_us=300_000)
        ended = await made.final(task)
        assert (ended.succeeded, ended.failed) == (2, 1)
        found = (await made.records(task))[1]
        assert (reason(found), found.error.code) == (Reason.RECORD_TIMEOUT, Code.DEADLINE_EXCEEDED)
        assert found.end_time.ToMicroseconds() - found.start_time.ToMicroseconds() >= 300_000
        assert len(made.processes()) == {Isolation.PID_NAMESPACE: 3}.get(level, 2)


async def cancelled(made: Yard, record: dict[str, int]) -> None:
    task = await made.create([record, {}])
    await made.until_runs(task, 0)
    await made.store.update_task(task.name, tasks.cancel, None)
    assert made.now(task).state is TaskState.CANCELLING
    assert (await made.final(task)).state is TaskState.CANCELLED
    assert made.processes() == []
    assert [record.state for record in await made.records(task)] == [RecordInfo.CANCELLED] * 2


@pytest.mark.parametrize("record", [{"hang": 1}, {"hang": 1, "ignore": 1, "stray": 1}], ids=["plain", "stubborn"])
async def test_cancel_kills(tmp_path: pathlib.Path, level: Isolation, record: dict[str, int]) -> None:
    async with yard(tmp_path, ACT, level=level) as made:
        await cancelled(made, record)
        task = await made.create([{}])
        assert (await made.final(task)).state is TaskState.SUCCEEDED


async def test_what_a_record_leaves_behind_is_killed(tmp_path: pathlib.Path, level: Isolation) -> None:
    async with yard(tmp_path, ACT, level=level) as made:
        task = await made.create([{"stray": 1}])
        assert (await made.final(task)).state is TaskState.SUCCEEDED
        await eventually_in_loop(lambda: not any("sleep" in seen.command for seen in made.processes()), SECONDS)


async def test_what_a_handler_needs_is_left_alone(tmp_path: pathlib.Path, level: Isolation) -> None:
    async with yard(tmp_path, handler("helped", "Helped"), level=level) as made:
        task = await made.create([1, 2], "helped")
        await made.final(task)
        helpers = [seen for seen in made.processes() if "sleep" in seen.command]
        slot = made.executor._slots[0]
        await eventually_in_loop(lambda: slot.is_inspected and made.executor._ticking is None, SECONDS)
        assert [seen for seen in made.processes() if "sleep" in seen.command] == helpers


async def test_a_killed_supervisor_takes_its_worker_along(tmp_path: pathlib.Path, level: Isolation) -> None:
    async with yard(tmp_path, ACT, level=level) as made:
        task = await made.create([{"hang": 1, "stray": 1}])
        await made.until_runs(task, 0)
        await eventually_in_loop(lambda: any("sleep" in seen.command for seen in made.processes()), SECONDS)
        before = made.processes()
        supervisor = max((seen for seen in before if seen.is_supervisor), key=lambda seen: seen.pid)
        processes.send(supervisor, signal.SIGKILL)
        await eventually_in_loop(lambda: not {s.pid for s in before} & {s.pid for s in made.processes()}, SECONDS)
        await made.until_runs(task, 0)
        assert made.now(task).state is TaskState.RUNNING


async def test_a_worker_sees_little_of_the_server(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT_SECRET", "1")
    monkeypatch.setenv("GIVEN_SECRET", "1")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    async with yard(tmp_path, handler("act", "environment", env=("GIVEN_SECRET", "NOT_THERE"))) as made:
        task = await made.create([1])
        await made.final(task)
        (seen,) = values(await made.records(task))
        ours = {"BATCHYARD_SERVER_ID", "BATCHYARD_WORKER_ID", "GIVEN_SECRET"}
        assert ours <= set(seen["names"]) <= {*ours, *PASSED_ON}
        assert seen["path"][0] == str(HANDLERS)
        assert "/somewhere" not in seen["path"]


def test_the_strongest_level_or_the_one_that_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_isolation("", "a-test") is Isolation.CGROUP
    assert choose_isolation("subreaper", "a-test") is Isolation.SUBREAPER
    monkeypatch.setattr(isolation, "probe", lambda _: ["pid_namespace", "subreaper"])
    assert choose_isolation("", "a-test") is Isolation.PID_NAMESPACE
    with pytest.raises(ValueError, match="cgroup does not work here; usable: pid_namespace, subreaper"):
        choose_isolation("cgroup", "a-test")


async def test_a_record_that_hangs_holds_nothing_back(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    async with yard(tmp_path, ACT, slots=2) as made:
        await made.final(await made.create([{}] * 100))  # their pace is known: the next ones come in large subtasks
        task = await made.create([{"log": str(log), "hang": 1}, *[{"log": str(log)}] * 40])
        await eventually_in_loop(lambda: made.now(task).succeeded == 40, SECONDS)
        await made.until_runs(task, 0)
        assert sorted(noted(log)) == [(index, 1) for index in range(41)]
        assert len({pid for _, _, pid in (line.split() for line in log.read_text().splitlines())}) == 2
        await made.store.update_task(task.name, tasks.cancel, None)
        ended = await made.final(task)
        assert (ended.state, ended.succeeded, ended.cancelled) == (TaskState.CANCELLED, 40, 1)


async def test_an_exit_is_a_crash(tmp_path: pathlib.Path) -> None:
    async with yard(tmp_path, ACT) as made:
        task = await made.create([{"exit": 1}])
        assert (await made.final(task)).state is TaskState.FAILED
        assert "exit code 3" in (await made.records(task))[0].error.message
        found = await listed(made.store, task.key)
        assert {(each.state, each.exit_code, each.worker, each.node) for each in found} == {
            (Subtask.LOST, 3, "worker-0", NODE)
        }


async def test_stop_gives_back_what_runs(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    async with yard(tmp_path, ACT) as made:
        task = await made.create([{"log": str(log)}, {"log": str(log), "hang": 1}])
        await made.until_runs(task, 1)
        await made.dispatcher.drain(0)
        await made.dispatcher.stop()
        assert made.processes() == []
        live = await made.store.recover()
        assert [(each.pending, dict(each.attempts)[1].begun) for each in live] == [([(1, 2)], 1)]
        assert live[0].attempts[1].lost == 0
        newest = (await listed(made.store, task.key))[0]
        assert newest.state == Subtask.KILLED
        assert why(newest.error)[2] == {"cause": "server_shut_down"}
    assert noted(log) == [(0, 1), (1, 1)]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (handler("broken", "nothing"), "AttributeError"),
        (handler("broken", "Dies"), "exit code 4"),
        (handler("broken", python="/no/such/python"), "/no/such/python"),
    ],
    ids=["import", "exit", "interpreter"],
)
async def test_a_handler_that_cannot_be_loaded(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, spec: object, text: str
) -> None:
    async with yard(tmp_path, spec, ACT) as made:  # type: ignore[arg-type]
        task = await made.create([1], "broken")
        other = await made.create([{}])
        assert (await made.final(other)).state is TaskState.SUCCEEDED
        reasons = (WaitingReason.HANDLER_UNAVAILABLE,)
        await eventually_in_loop(lambda: made.dispatcher.waiting(task.key) in reasons, SECONDS)
        status = made.book.get("broken")
        assert status is not None
        assert not status.available
        assert text in caplog.text
        await made.store.update_task(task.name, tasks.cancel, None)
        assert (await made.final(task)).state is TaskState.CANCELLED


@pytest.mark.parametrize("kind", ["disk_full", "error"])
@pytest.mark.parametrize("point", ["store.before_commit", "dispatch.before_grant", "dispatch.before_outcomes"])
async def test_a_store_that_takes_nothing_for_a_while(tmp_path: pathlib.Path, kind: str, point: str) -> None:
    log = tmp_path / "log"
    async with yard(tmp_path, ACT, slots=2) as made:
        task = await made.create([{"log": str(log), "take": 0.02}] * 100)
        await eventually_in_loop(lambda: made.now(task).ended > 0, SECONDS)
        made.failpoints.hits.clear()
        made.failpoints.armed[point] = kind
        await eventually_in_loop(lambda: made.failpoints.hits.get(point, 0) > 20, SECONDS)
        assert not made.now(task).state.is_final
        made.failpoints.armed.clear()
        ended = await made.final(task)
        assert (ended.succeeded, ended.failed) == (100, 0)
        assert sorted(noted(log)) == [(index, 1) for index in range(100)]


async def test_a_store_that_takes_nothing_until_a_restart(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    async with yard(tmp_path, ACT, slots=2) as made:
        task = await made.create([{"log": str(log), "take": 0.02}] * 100)
        await eventually_in_loop(lambda: made.now(task).ended > 0, SECONDS)
        made.failpoints.armed["store.before_commit"] = "io_error"
        await eventually_in_loop(lambda: not made.store.healthy, SECONDS)
    async with yard(tmp_path, ACT, slots=2) as made:
        await eventually_in_loop(lambda: made.runs(task), SECONDS)
        ended = await made.final(task)
        assert (ended.succeeded, ended.failed) == (100, 0)
    times = Counter(index for index, _ in noted(log))
    assert sorted(times) == list(range(100))
    assert max(times.values()) <= 2
    assert sum(times.values()) <= 100 + 2 * 6  # at most 50 ms of work and the running record, per worker


async def test_an_idle_yard_sleeps(tmp_path: pathlib.Path) -> None:
    async with yard(tmp_path, ECHO, slots=2) as made:
        await made.final(await made.create(list(range(100)), "echo"))
        await eventually_in_loop(lambda: made.executor._ticking is None, SECONDS)
        assert not made.dispatcher._jobs.running
        assert len(made.workers()) == 2
