"""priority and parallel_count, and what a change of settings means for a task that runs."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from batchyard_server.execution.slot import Phase
from batchyard_server.model.errors import Reason
from batchyard_server.model.states import TaskState
from tests.support.dispatch import FakeWorker
from tests.support.memory_store import Held
from tests.unit.dispatch.stage import Stage, attempts, reason, running


class Floor:
    """Workers that step in turns, and how many of them are at which task at once."""

    def __init__(self, slots: int, handlers: tuple[str, ...] = ("echo",)) -> None:
        self.stage = Stage(slots=slots, handlers=handlers)
        self.begun: list[str] = []
        self.stage.launcher.on_start = self.on_start

    def on_start(self, worker: FakeWorker) -> None:
        worker.begun = lambda name, _index, _attempt: self.begun.append(name)

    @property
    def running(self) -> Counter[str]:
        """Workers that are in a subtask now, by task."""
        return Counter(worker.current.batch_task for worker in self.stage.workers if worker.current is not None)

    async def warm(self, *handlers: str) -> None:
        """Workers are there, and how long records take is known: 10 ms."""
        for handler in handlers or self.stage.handlers:
            self.stage.create(self.stage.slots, handler=handler)
        await self.go(0.5)
        self.begun.clear()

    async def go(self, seconds: float, most: dict[str, int] | None = None) -> Counter[str]:
        """Time passes in steps of 10 ms; `most` may run at once. Returns how many did at most, by task."""
        seen: Counter[str] = Counter()
        for _ in range(round(seconds * 100)):
            for worker in self.stage.workers:
                if worker.killed or worker.dead:
                    worker.reap()
                elif not worker.is_loaded:
                    worker.load()
                else:
                    worker.read()
                    worker.step(flush=True)
                worker.deliver()
                seen |= self.running
                assert all(self.running[name] <= count for name, count in (most or {}).items())
            await self.stage.turn(6)
            self.stage.tick(0.01)
        return seen

    async def finish(self, *tasks: Held) -> None:
        await self.go(20)
        for held in tasks:
            assert held.task.state is TaskState.SUCCEEDED
            assert attempts(held) == dict.fromkeys(range(held.task.total), 1)
        await self.stage.stop()
        self.stage.check_books()


# -- parallel_count ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
async def test_so_many_at_once_and_no_more(count: int) -> None:
    floor = Floor(4)
    held = floor.stage.create(200, parallel_count=count)
    name = str(held.task.name)
    seen = await floor.go(3, {name: count})
    assert seen[name] == min(count, 4)
    await floor.finish(held)


async def test_quick_records_too() -> None:
    """Several subtasks lie ready at a slot; it is the slots that count."""
    stage = Stage(slots=3)
    await running(stage, 1)
    held = stage.create(5000, parallel_count=2)
    most = 0
    while not held.task.state.is_final:
        for worker in stage.workers:
            if not worker.is_loaded:
                worker.load()
            worker.read()
            for _ in range(20):
                worker.step(flush=True)
            worker.deliver()
        await stage.turn(4)
        stage.clock.advance(0.001)
        queue = stage.dispatcher._queues.get(held.task.key)
        if queue is not None:
            at = {subtask.lease.worker for subtask in queue.subtasks}
            assert len(at) <= 2
            assert set(queue.slots) >= at
            most = max(most, len(queue.subtasks))
    assert most > 2
    assert attempts(held) == dict.fromkeys(range(5000), 1)


async def test_free_slots_go_to_those_behind() -> None:
    floor = Floor(3)
    await floor.warm()
    first = floor.stage.create(300, parallel_count=1)
    second = floor.stage.create(300, parallel_count=1)
    third = floor.stage.create(900)
    names = [str(each.task.name) for each in (first, second, third)]
    seen = await floor.go(2, {names[0]: 1, names[1]: 1})
    assert [seen[name] for name in names[:2]] == [1, 1]
    count = Counter(floor.begun)
    assert len(floor.begun) > 250  # of the 300 that fit: no slot is idle
    assert min(count[name] for name in names) > 60
    await floor.finish(first, second, third)


async def test_a_slot_counts_until_its_worker_is_reaped() -> None:
    stage = Stage(slots=3)
    held, worker = await running(stage, 2, record_timeout_us=1_000_000, parallel_count=1)
    worker.flush()
    stage.tick(0.2)
    worker.read()
    worker.deliver()
    await stage.turn()
    stage.tick(2)
    assert worker.killed
    for _ in range(5):
        await stage.load()
        assert not any(each.step() for each in stage.workers if each is not worker)
        stage.tick(0.1)
    worker.reap()
    await stage.work()
    assert reason(held.outcomes[0]) == Reason.RECORD_TIMEOUT
    assert attempts(held) == {0: 1, 1: 1}


async def test_a_slot_that_was_taken_by_another_task_is_not_waited_for() -> None:
    """When the one subtask is over, another slot will do."""
    floor = Floor(2)
    await floor.warm()
    bounded = floor.stage.create(40, parallel_count=1)
    others = [floor.stage.create(40, priority=1) for _ in range(2)]
    await floor.finish(bounded, *others)


async def test_bounded_tasks_of_two_handlers_share_one_slot() -> None:
    """The one that has the slot keeps it for its second, as without a bound."""
    floor = Floor(1, ("a", "b"))
    for handler in ("a", "b"):
        floor.stage.create(5000, handler=handler, parallel_count=1)
    await floor.go(20)
    count = Counter(floor.begun)
    assert min(count.values()) > 0.35 * len(floor.begun)
    assert 10 <= floor.stage.launcher.started <= 22
    assert len(floor.begun) > 800


async def test_a_bounded_handler_does_not_keep_another_one_from_free_slots() -> None:
    floor = Floor(3, ("a", "b"))
    held = floor.stage.create(2000, handler="a", parallel_count=1)
    await floor.go(2)
    other = floor.stage.create(2000, handler="b")
    await floor.go(2)
    seen = await floor.go(2, {str(held.task.name): 1})
    assert seen == {str(held.task.name): 1, str(other.task.name): 2}


# -- priority ---------------------------------------------------------------------------------------------------------


async def test_the_higher_priority_first() -> None:
    floor = Floor(2)
    await floor.warm()
    low = floor.stage.create(200)
    await floor.go(0.3)
    high = floor.stage.create(60, priority=5)
    await floor.stage.turn()
    before = len(low.outcomes)
    while len(high.outcomes) < 60:
        await floor.go(0.02)
    # What ran, and what lay ready at a worker, ended.
    assert len(low.outcomes) - before <= 2 * 16
    await floor.finish(low, high)


async def test_a_lower_one_gets_no_slot_while_a_higher_one_is_being_cut() -> None:
    floor = Floor(4)
    await floor.warm()
    floor.stage.store.slow_reads = True
    high = floor.stage.create(100, priority=1)
    low = floor.stage.create(100)
    await floor.stage.turn()
    assert floor.stage.dispatcher._queues[high.task.key].cutting
    assert not floor.stage.dispatcher._queues[low.task.key].slots
    floor.stage.store.slow_reads = False
    floor.stage.store.read()
    await floor.stage.turn()
    assert len(floor.stage.dispatcher._queues[high.task.key].slots) == 4
    assert not low.leases
    await floor.finish(high, low)


async def test_a_lower_one_gets_what_a_higher_one_may_not_use() -> None:
    floor = Floor(3)
    await floor.warm()
    high = floor.stage.create(100, priority=1, parallel_count=2)
    low = floor.stage.create(100)
    seen = await floor.go(0.5, {str(high.task.name): 2})
    assert seen == {str(high.task.name): 2, str(low.task.name): 1}
    await floor.finish(high, low)


async def test_across_handlers() -> None:
    floor = Floor(2, ("a", "b"))
    low = floor.stage.create(5000, handler="a")
    await floor.go(2)
    high = floor.stage.create(100, handler="b", priority=1)
    await floor.stage.turn()
    before = len(low.outcomes)
    while len(high.outcomes) < 100:
        await floor.go(0.02)
    assert len(low.outcomes) - before <= 2 * 16
    starts = floor.stage.launcher.started
    await floor.go(2)
    assert floor.running == {str(low.task.name): 2}
    assert floor.stage.launcher.started <= starts + 2


async def test_a_handler_that_cannot_be_loaded_keeps_nobody_waiting() -> None:
    floor = Floor(1, ("a",))
    floor.stage.create(5, handler="gone", priority=1000)
    low = floor.stage.create(100, handler="a")
    await floor.go(3)
    assert low.task.state is TaskState.SUCCEEDED


async def test_a_handler_in_its_pause_after_a_failed_load_keeps_nobody_waiting() -> None:
    floor = Floor(1, ("a", "b"))
    floor.stage.book._first_retry_seconds = 1000
    low = floor.stage.create(100, handler="a")
    await floor.go(0.1)
    floor.stage.create(5, handler="b", priority=1)
    for _ in range(20):
        for worker in floor.stage.workers:
            if worker.handler == "b":
                worker.load("broken")
                worker.deliver()
        await floor.go(0.05)
    await floor.go(3)
    assert low.task.state is TaskState.SUCCEEDED


async def test_a_slot_that_cannot_be_used_again_does_not_count_as_a_slot_to_come() -> None:
    """It was let go for a handler, which gets another one."""
    stage = Stage(slots=2, handlers=("a", "b"))
    low = [stage.create(1, handler="a") for _ in range(2)]
    await stage.work()
    assert all(each.task.state is TaskState.SUCCEEDED for each in low)
    high = stage.create(1, handler="b", priority=1)
    await stage.turn()
    (given,) = [worker for worker in stage.workers if worker.killed]
    given.reap(unreaped=(77,))
    await stage.work()
    assert [slot.phase for slot in stage.executor._slots].count(Phase.RETIRED) == 1
    assert high.task.state is TaskState.SUCCEEDED


async def test_thousands_of_tasks_wait() -> None:
    stage = Stage(slots=2)
    for number in range(2000):
        stage.create(1, priority=number % 5)
    begun: list[int] = []
    for worker in stage.workers:
        worker.begun = lambda name, _index, _attempt: begun.append(int(name.rpartition("/t")[2]) % 5)
    await stage.work()
    assert all(held.task.state is TaskState.SUCCEEDED for held in stage.store.held.values())
    assert len(begun) == 2000
    late = sum(before < after for before, after in itertools.pairwise(begun))
    assert late <= 2 * 16 * 5  # only what lay ready at a worker


# -- changes ----------------------------------------------------------------------------------------------------------


async def test_a_new_record_timeout_holds_for_the_next_record() -> None:
    stage = Stage()
    held, worker = await running(stage, 3)
    await stage.configure(held, record_timeout_us=1_000_000)
    worker.read()
    stage.tick(5)
    assert not worker.killed
    worker.step()
    worker.deliver()
    await stage.turn()
    assert worker.step()
    assert worker.blamed == (str(held.task.name), 1)
    stage.tick(5)
    assert worker.killed
    await stage.work()
    assert {index: reason(record) for index, record in held.outcomes.items()} == {
        0: "",
        1: Reason.RECORD_TIMEOUT,
        2: "",
    }
    await stage.stop()
    stage.check_books()


async def test_what_lies_ready_at_a_worker_is_cut_anew() -> None:
    stage = Stage()
    first, worker = await running(stage, 1)
    held = stage.create(2)
    await stage.turn()
    worker.read()
    assert worker.runs
    await stage.configure(held, record_timeout_us=1_000_000)
    worker.read()
    worker.deliver()
    await stage.work()
    assert (first.task.state, held.task.state) == (TaskState.SUCCEEDED, TaskState.SUCCEEDED)
    assert stage.store.log.count("shrink: ok") == 0
    assert attempts(held) == {0: 1, 1: 1}


async def test_a_change_that_is_none_of_the_workers_takes_nothing_back() -> None:
    """Labels, say."""
    stage = Stage()
    held, worker = await running(stage, 20)
    await stage.configure(held)
    assert held.task.revision == 2
    worker.read()
    assert worker.deliver() == 0
    await stage.work()
    assert stage.store.log.count("shrink: ok") == 0


async def test_a_smaller_parallel_count_kills_nothing() -> None:
    floor = Floor(4)
    await floor.warm()
    held = floor.stage.create(400)
    name = str(held.task.name)
    assert (await floor.go(0.3))[name] == 4
    await floor.stage.configure(held, parallel_count=1)
    await floor.go(0.1)  # what ran ends
    assert (await floor.go(1, {name: 1}))[name] == 1
    await floor.stage.configure(held, parallel_count=3)
    await floor.go(0.1)
    assert (await floor.go(1, {name: 3}))[name] == 3
    await floor.stage.configure(held, parallel_count=0)
    await floor.go(0.1)
    assert (await floor.go(0.3))[name] == 4
    assert not any(worker.killed for worker in floor.stage.workers)
    await floor.finish(held)


async def test_a_new_priority_holds_at_once() -> None:
    floor = Floor(1)
    await floor.warm()
    first = floor.stage.create(100)
    second = floor.stage.create(100)
    await floor.go(0.2)
    await floor.stage.configure(second, priority=1)
    await floor.go(0.2)
    before = len(first.outcomes)
    await floor.go(0.5)
    assert len(first.outcomes) == before
    await floor.stage.configure(second, priority=-1)
    await floor.go(0.2)
    before = len(second.outcomes)
    await floor.go(0.3)
    assert len(second.outcomes) == before
    await floor.finish(first, second)
