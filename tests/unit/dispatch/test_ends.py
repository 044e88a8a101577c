"""How does a lease end? As told to the store: by its last outcomes, given back, lost, or killed and why."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from batchyard_server.dispatch import ends
from batchyard_server.dispatch.protocols import Cause, Loss, Subtask
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.states import StopReason, SubtaskState, TaskState
from batchyard_server.model.subtask import COMPLETED, RETURNED, Killed
from batchyard_server.model.task import Lease
from tests.support import store as make
from tests.support.memory_store import Held
from tests.support.subtasks import end_of
from tests.support.tickets import make_ticket
from tests.unit.dispatch.stage import MAX_WORKER_LOST, NODE, Stage, attempts, reason, running

State = SubtaskState


def states(held: Held) -> list[SubtaskState]:
    """How its leases ended, the oldest first."""
    assert not held.leases
    return [held.ended[epoch].state for epoch in sorted(held.ended)]


async def test_by_its_last_outcomes() -> None:
    stage = Stage()
    held, _ = await running(stage, 20)
    await stage.work()
    assert list(held.ended.values()) == [COMPLETED]
    assert held.nodes == {NODE}


async def test_by_its_budget() -> None:
    stage = Stage()
    held, worker = await running(stage, 20, at=2)
    worker.step(over=True)
    worker.deliver()
    await stage.work()
    assert held.task.state is TaskState.SUCCEEDED
    assert held.ended[1] == RETURNED
    assert set(states(held)[1:]) == {State.COMPLETED}


async def test_drained() -> None:
    stage = Stage()
    held, worker = await running(stage, 20, at=2)
    draining = asyncio.ensure_future(stage.dispatcher.drain(30))
    await stage.turn()
    worker.read()
    worker.step()
    worker.deliver()
    await draining
    # The others were given back before: those that are left have their outcomes.
    assert sorted(held.outcomes) == [0, 1, 2]
    assert states(held) == [State.COMPLETED]


async def test_taken_back_untouched() -> None:
    stage = Stage()
    await running(stage, 1)
    held = stage.create(1)
    await stage.turn()
    draining = asyncio.ensure_future(stage.dispatcher.drain(30))
    await stage.turn()
    stage.workers[0].read()
    stage.workers[0].deliver()
    await stage.turn()
    assert list(held.ended.values()) == [RETURNED]
    stage.workers[0].step()
    stage.workers[0].deliver()
    await draining


async def test_lost_with_all_that_the_worker_had() -> None:
    stage = Stage()
    held, worker = await running(stage, 20, at=3)
    behind = stage.create(1)
    await stage.turn()
    worker.crash()
    worker.reap()
    await stage.turn()
    for lost in (held.ended[1], behind.ended[1]):
        assert (lost.state, lost.exit_code) == (State.LOST, -11)
        assert end_of(lost) == (Code.ABORTED, Reason.WORKER_LOST, {"exit": "signal 11 (SIGSEGV)"})
    await stage.work()
    assert set(states(held)[1:]) == set(states(behind)[1:]) == {State.COMPLETED}


async def test_lost_for_good_by_its_only_record() -> None:
    """The outcome that the server gives to it is the last one of the lease; still its worker was lost."""
    stage = Stage()
    held, worker = await running(stage, 1)
    for _ in range(MAX_WORKER_LOST):
        worker.crash()
        worker.reap()
        await stage.load()
        worker = stage.workers[0]
        assert worker.step()
    worker.crash()
    worker.reap()
    await stage.turn()
    assert reason(held.outcomes[0]) == Reason.WORKER_LOST
    assert states(held) == [State.LOST] * (MAX_WORKER_LOST + 1)
    assert {end.exit_code for end in held.ended.values()} == {-11}


async def test_lost_after_its_last_outcome_was_durable() -> None:
    stage = Stage()
    held, worker = await running(stage, 2, at=1)
    worker.step()
    worker.deliver()
    await stage.turn()
    worker.crash()
    worker.reap()
    await stage.turn()
    assert states(held) == [State.COMPLETED]


@pytest.mark.parametrize("records", [1, 5])
async def test_killed_for_a_record_that_passed_its_time(records: int) -> None:
    stage = Stage()
    held, worker = await running(stage, records, record_timeout_us=1_500_000)
    behind = stage.create(1)
    await stage.turn()
    stage.tick(2)
    assert worker.killed
    worker.reap()
    await stage.turn()
    first = held.ended[1]
    assert (first.state, first.exit_code) == (State.KILLED, None)
    assert end_of(first) == (Code.DEADLINE_EXCEEDED, Reason.RECORD_TIMEOUT, {"record_timeout": "1.5s"})
    await stage.work()
    assert attempts(held) == dict.fromkeys(range(records), 1)
    assert set(states(held)[1:]) <= {State.COMPLETED}
    assert states(behind) in ([State.RETURNED, State.COMPLETED], [State.COMPLETED])


async def test_killed_because_its_task_was_cancelled() -> None:
    stage = Stage()
    held, worker = await running(stage, 20, at=3)
    stage.store.cancel(held.task.key)
    worker.reap()
    await stage.turn()
    assert held.task.state is TaskState.CANCELLED
    [end] = held.ended.values()
    assert (end.state, end.exit_code) == (State.KILLED, None)
    assert end_of(end) == (
        Code.CANCELLED,
        Reason.WORKER_KILLED,
        {"cause": "task_stopped", "stop_reason": "CANCEL"},
    )


async def test_cancelled_untouched() -> None:
    stage = Stage()
    _, worker = await running(stage, 1)
    held = stage.create(1)
    await stage.turn()
    stage.store.cancel(held.task.key)
    await stage.turn()
    worker.read()
    worker.deliver()
    await stage.turn()
    assert (held.task.state, list(held.ended.values())) == (TaskState.CANCELLED, [RETURNED])


async def test_killed_for_a_record_of_another_subtask() -> None:
    """The worker does not say whether it had begun what is to be stopped; so it is ended with the record it runs."""
    stage = Stage()
    held, worker = await running(stage, 1)
    other = stage.create(1)
    await stage.turn()
    stage.store.cancel(other.task.key)
    stage.tick(0.5)
    stage.tick(0.6)
    assert worker.killed
    worker.reap()
    await stage.turn()
    end = held.ended[1]
    assert end.state is State.KILLED
    assert end_of(end) == (Code.CANCELLED, Reason.WORKER_KILLED, {"cause": "other_record"})
    assert [each.state for each in other.ended.values()] == [State.KILLED]
    await stage.work()
    assert states(held) == [State.KILLED, State.COMPLETED]


async def test_killed_at_the_end_of_the_server() -> None:
    stage = Stage()
    held, _ = await running(stage, 20, at=3)
    stopping = asyncio.ensure_future(stage.stop())
    await stage.turn()
    await stopping
    [end] = held.ended.values()
    assert end.state is State.KILLED
    assert end_of(end) == (Code.CANCELLED, Reason.WORKER_KILLED, {"cause": "server_shut_down"})


def a_loss(cause: Cause, *, begun_to: int = 0, index: int | None = None) -> Loss:
    return Loss(cause=cause, index=index, begun_to=begun_to, started_us=0, ended_us=0, exit="exit code 3", exit_code=3)


async def a_subtask() -> Subtask:
    return Subtask(
        task=make.new_task("t", 2).task,
        lease=Lease(task_key=1, generation=1, ranges=[(0, 2)], worker="w"),
        inputs=b"",
        attempts={},
        estimate_ns=None,
        ticket=make_ticket(2),
        open=[(0, 2)],
        granted=asyncio.get_running_loop().create_future(),
    )


@pytest.mark.parametrize("stopped", [each for each in StopReason if each])
@pytest.mark.parametrize("begun_to", [0, 1])
async def test_every_reason_to_stop_a_task_is_told(stopped: StopReason, begun_to: int) -> None:
    subtask = await a_subtask()
    now = replace(subtask.task, stop_reason=stopped)
    end = ends.of_loss(a_loss(Cause.KILLED, begun_to=begun_to), subtask, now, shuts_down=True)
    assert end.state is State.KILLED
    assert end_of(end)[2] == {"cause": Killed.TASK_STOPPED, "stop_reason": stopped.name}


async def test_an_untouched_subtask_of_a_killed_worker_is_returned() -> None:
    subtask = await a_subtask()
    for cause in (Cause.KILLED, Cause.TIMEOUT):
        assert ends.of_loss(a_loss(cause), subtask, subtask.task, shuts_down=False) == RETURNED
        assert ends.of_loss(a_loss(cause), subtask, None, shuts_down=False) == RETURNED


async def test_a_crash_is_a_loss_whatever_else_goes_on() -> None:
    subtask = await a_subtask()
    now = replace(subtask.task, stop_reason=StopReason.CANCEL)
    end = ends.of_loss(a_loss(Cause.CRASH), subtask, now, shuts_down=True)
    assert (end.state, end.exit_code) == (State.LOST, 3)
