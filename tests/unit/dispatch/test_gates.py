"""Do never more records of a handler run, or begin, than its limits allow, and no fewer than could?"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest

from batchyard_server.dispatch.gates import BURST_SECONDS, Bucket, Gate
from batchyard_server.dispatch.shares import Shares
from batchyard_server.dispatch.tickets import Ticket
from batchyard_server.model.states import TaskState, WaitingReason
from tests.unit.dispatch.market import Market
from tests.unit.dispatch.stage import Stage, running


def worst(starts: Sequence[float], rate: float) -> float:
    """How many records more than `rate` allows began within some time: the burst."""
    most = lowest = 0.0
    for count, at in enumerate(starts):
        lowest = min(lowest, count - rate * at) if count else count - rate * at
        most = max(most, count + 1 - rate * at - lowest)
    return most


def in_windows(starts: Sequence[float], seconds: float, until: float) -> list[int]:
    """How many began in each stretch of so many seconds, one every tenth of them."""
    begins = [starts[0] + n * seconds / 10 for n in range(int((until - starts[0] - seconds) / seconds * 10))]
    return [sum(begin <= at < begin + seconds for at in starts) for begin in begins]


# -- concurrency ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2, 3, 9])
async def test_so_many_run_at_once_over_all_tasks(most: int) -> None:
    market = Market(slots=4, limits={"echo": {"concurrency": most}}, step=0.01)
    for project in ("a", "a", "b"):
        market.create(project, 200, 0.03)
    await market.go(3)
    assert market.most == {"echo": min(most, 4)}
    assert sum(market.worked.values()) > 0.7 * 2.9e9 * min(most, 4)  # a step passes between two records
    await market.finish()
    assert market.most == {"echo": min(most, 4)}


async def test_quick_records_too() -> None:
    """Several subtasks lie ready at a slot; it is the slots that count."""
    stage = Stage(slots=3, limits={"echo": {"concurrency": 2}})
    await running(stage, 1)
    held = [stage.create(3000), stage.create(3000, project="q")]
    most = 0
    while not all(each.task.state.is_final for each in held):
        for worker in stage.workers:
            if not worker.is_loaded:
                worker.load()
            worker.read()
            for _ in range(20):
                worker.step(flush=True)
            worker.deliver()
        await stage.turn(4)
        stage.clock.advance(0.001)
        queues = [stage.dispatcher._queues[each.task.key] for each in held if not each.task.state.is_final]
        assert len({subtask.lease.worker for queue in queues for subtask in queue.subtasks}) <= 2
        most = max(most, sum(len(queue.subtasks) for queue in queues))
    assert most > 2
    await stage.stop()
    stage.check_books()


async def test_the_other_slots_are_for_others() -> None:
    market = Market(slots=3, handlers=("x", "y"), limits={"x": {"concurrency": 1}})
    market.create("a", 500, 0.03, handler="x", priority=10)
    market.create("a", 500, 0.03, handler="y")
    await market.go(4)
    assert market.most == {"x": 1, "y": 2}


async def test_a_worker_counts_until_it_is_reaped() -> None:
    stage = Stage(slots=3, limits={"echo": {"concurrency": 1}})
    held, worker = await running(stage, 2, record_timeout_us=1_000_000)
    other = stage.create(1, project="q")
    stage.tick(2)
    assert worker.killed
    for _ in range(5):
        await stage.load()
        assert not any(each.step() for each in stage.workers if each is not worker)
        stage.tick(0.1)
    assert stage.dispatcher.waiting(other.task.key) is WaitingReason.LIMITED
    worker.reap()
    await stage.work()
    assert (held.task.ended, other.task.ended) == (2, 1)
    await stage.stop()
    stage.check_books()


async def test_a_limit_of_the_task_and_one_of_its_handler_hold_both() -> None:
    market = Market(slots=4, limits={"echo": {"concurrency": 3}}, step=0.01)
    narrow = market.create("a", 100, 0.03, parallel_count=1)
    market.create("b", 300, 0.03)
    await market.go(3)
    assert market.most == {"echo": 3}
    began = [each.at for each in market.starts if each.task == narrow.task.task_id]
    assert all(later - before > 0.029 for before, later in itertools.pairwise(began))
    await market.finish()


# -- rate -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "seconds", "slots"),
    [(1.0, 0.1, 1), (2.5, 1.0, 4), (10.0, 0.01, 2), (10.0, 0.3, 4), (60.0, 0.002, 2), (200.0, 0.001, 1)],
)
async def test_so_many_begin(rate: float, seconds: float, slots: int) -> None:
    market = Market(slots=slots, limits={"echo": {"rate": rate}}, step=0.002)
    for project in ("a", "b"):
        market.create(project, int(20 * rate), seconds)
    await market.go(14)
    starts = [each.at for each in market.starts]
    burst = max(1.0, rate * BURST_SECONDS)
    assert worst(starts, rate) <= burst + 0.05 * rate  # a timer that was late is made up for
    counts = in_windows(starts, 10.0, market.now)
    assert counts
    assert all(0.9 * 10 * rate <= count <= 10 * rate + burst for count in counts), (min(counts), max(counts))
    await market.stage.stop()


async def test_after_a_pause_a_burst_begins_and_no_more() -> None:
    market = Market(slots=2, limits={"echo": {"rate": 50.0}}, step=0.002)
    market.create("a", 1, 0.001)
    await market.go(5)
    market.create("a", 200, 0.001)
    await market.go(2)
    assert worst([each.at for each in market.starts], 50.0) <= 5.0 + 1.0


async def test_a_retry_takes_a_token_again() -> None:
    stage = Stage(limits={"echo": {"rate": 1.0}})
    held = stage.create(1, max_retry_count=5, initial_backoff_us=0)
    await stage.load()
    begun: list[int] = []
    (worker,) = stage.workers
    worker.begun = lambda _name, _index, attempt: begun.append(attempt)
    for second in range(1, 4):
        for _ in range(20):
            if worker.step(failed=True):
                worker.deliver()
            await stage.turn()
        assert begun == list(range(1, second + 1))
        assert stage.dispatcher.waiting(held.task.key) is WaitingReason.LIMITED
        stage.tick(1.01)
        await stage.turn()
    await stage.stop()


async def test_what_is_given_back_has_taken_nothing() -> None:
    stage = Stage(limits={"echo": {"rate": 100.0}})
    stage.dispatcher._chooser.paces["echo"].record_ns = 1000.0
    held = stage.create(100)
    await stage.load()
    bucket = stage.dispatcher._gates.of("echo").bucket
    assert bucket is not None
    (worker,) = stage.workers
    worker.step()
    sent = sum(subtask.count for subtask in stage.dispatcher._queues[held.task.key].subtasks)
    assert sent == 7
    assert (int(bucket.level), bucket.unbegun) == (0, sent - 1)
    await stage.pause(held)
    worker.read()
    worker.step()
    worker.deliver()
    await stage.turn()
    assert held.task.state is TaskState.PAUSED
    assert (int(bucket.level), bucket.unbegun) == (sent - 1, 0)
    await stage.stop()


async def test_a_crash_has_taken_what_had_begun() -> None:
    stage = Stage(limits={"echo": {"rate": 100.0}})
    stage.dispatcher._chooser.paces["echo"].record_ns = 1000.0
    stage.create(100)
    await stage.load()
    bucket = stage.dispatcher._gates.of("echo").bucket
    assert bucket is not None
    (worker,) = stage.workers
    for _ in range(3):
        worker.step()
    worker.crash()
    worker.reap()
    assert int(bucket.level) in (7 - 2, 0)  # or another worker has taken them already
    assert bucket.level + bucket.unbegun + len([each for each in stage.workers if not each.dead]) >= 4
    await stage.stop()
    stage.check_slots()


async def test_a_limited_handler_leaves_the_slots_to_others() -> None:
    market = Market(slots=1, handlers=("x", "y"), limits={"x": {"rate": 0.2}}, step=0.01)
    market.create("a", 10, 0.1, handler="x", priority=10)
    market.create("a", 4000, 0.01, handler="y")
    await market.go(30)
    begun = [each.handler for each in market.starts]
    assert 5 <= begun.count("x") <= 7
    assert begun.count("y") > 2000


@pytest.mark.parametrize("rate", [1.0, 2.0, 10.0])
async def test_a_limited_handler_keeps_a_worker_for_its_next_token(rate: float) -> None:
    market = Market(slots=2, handlers=("x", "y"), limits={"x": {"rate": rate}})
    market.create("a", 500, 0.02, handler="x")
    market.create("b", 4000, 0.02, handler="y")
    await market.go(5)
    starts = market.stage.launcher.started
    before = len([each for each in market.starts if each.handler == "x"])
    await market.go(20)
    assert market.stage.launcher.started == starts
    assert len([each for each in market.starts if each.handler == "x"]) - before >= 0.9 * 20 * rate


async def test_limits_are_no_credit() -> None:
    market = Market(slots=2, handlers=("x", "y"), limits={"x": {"rate": 1.0}})
    market.create("a", 100, 0.01, handler="x")
    market.create("b", 9000, 0.01, handler="y")
    await market.go(20)
    market.create("a", 9000, 0.01, handler="y")
    await market.go(6)
    worked = await market.go(10)
    assert worked["a"] / sum(worked.values()) == pytest.approx(0.5, abs=0.06)


async def test_why_a_task_waits() -> None:
    stage = Stage(slots=1, handlers=("x", "y"), limits={"x": {"rate": 0.001}, "y": {"concurrency": 1}})
    first = stage.create(2, handler="x")
    await stage.load()
    (worker,) = stage.workers
    worker.step()
    worker.step(flush=True)
    worker.deliver()
    await stage.turn()
    assert len(first.outcomes) == 1
    assert stage.dispatcher.waiting(first.task.key) is WaitingReason.LIMITED
    second, third = stage.create(1, handler="y"), stage.create(1, handler="y")
    await stage.turn()
    assert stage.dispatcher.waiting(third.task.key) is WaitingReason.NO_SLOT
    worker.reap()
    await stage.turn()
    assert stage.dispatcher.waiting(second.task.key) is WaitingReason.NONE
    assert stage.dispatcher.waiting(third.task.key) is WaitingReason.LIMITED
    await stage.stop()


async def test_nothing_wakes_the_server_when_nobody_waits() -> None:
    stage = Stage(limits={"echo": {"rate": 20.0}})
    stage.create(5)
    for _ in range(40):
        await stage.work()
        stage.tick(0.05)
    assert all(held.task.state is TaskState.SUCCEEDED for held in stage.store.held.values())
    stage.tick(1)
    assert stage.dispatcher._gates._timer is None


# -- the parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.01, 1.0, 10.0, 33.0, 1000.0])
def test_a_bucket(rate: float) -> None:
    """Whoever comes whenever for whatever: never more than the burst above the rate, and never much less in the end."""
    chance = random.Random(str(rate))
    bucket, now_ns, taken, times = Bucket(rate, 0), 0, 0, list[float]()
    while taken < 500:
        now_ns += round(chance.choice((0.0, 0.1, 1.0)) * 1e9 / rate * chance.random())
        if bucket.look(now_ns):
            count = chance.randint(1, int(bucket.level))
            bucket.level -= count
            taken += count
            times += [now_ns / 1e9] * count
        else:
            assert bucket.wait_ns() > 0
    assert worst(times, rate) <= max(1.0, rate * BURST_SECONDS) + 0.2
    assert taken > 0.75 * rate * now_ns / 1e9


def test_records_that_have_not_begun_are_part_of_the_burst() -> None:
    bucket = Bucket(100.0, 0)
    shares = Shares(lambda _: 1.0)
    assert bucket.look(0)
    ticket = Ticket(shares, shares.of("p"), Gate(0, bucket), slot="s", count=7, ns=1)
    assert bucket.look(10**12)
    assert bucket.level == 10 - 6
    ticket.ran(3, 100)
    assert bucket.look(2 * 10**12)
    assert bucket.level == 10 - 3
    ticket.end()
    assert bucket.look(3 * 10**12)
    assert (bucket.level, bucket.unbegun) == (7.5, 0)
