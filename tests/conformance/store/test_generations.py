"""Generations: what is still to be run, and what a reader sees in each, of any history of reactivations."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.codec import segments
from batchyard_server.model import ranges as rg
from batchyard_server.model.errors import NotFound, StaleLease
from batchyard_server.model.record import EVERY_GENERATION, Order, View
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Attempts, Lease, Task
from batchyard_server.store.protocols import Store
from tests.conformance.store.conftest import Driver
from tests.support import store as make
from tests.support.outcomes import flush

S = RecordInfo.State


async def states(store: Store, task: Task, generation: int = 0) -> list[RecordInfo.State]:
    """Of all records by index."""
    return [record.state for record in make.parse(await make.read_all(store, task, generation=generation))]


async def order(store: Store, task: Task, generation: int = 0) -> list[tuple[int, int]]:
    """(index, generation) of all records in order of completion."""
    records = make.parse(await make.read_all(store, task, Order.COMPLETION, generation=generation))
    return [(record.index, record.generation) for record in records]


async def test_what_failed_is_run_again_and_the_rest_stays(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 6), None)
    first = await make.finish(store, task, failed=[1, 4])
    before = await make.read_all(store, first)
    second = await store.update_task(task.name, make.reactivate, None)
    assert (second.state, second.generation, second.base_generation) == (TaskState.QUEUED, 2, 1)
    assert (second.succeeded, second.failed, second.cancelled, second.next_sequence) == (4, 0, 0, 6)
    assert (await store.unfinished(second)).pending == [(1, 2), (4, 5)]
    assert await states(store, second) == [S.SUCCEEDED, S.PENDING, S.SUCCEEDED, S.SUCCEEDED, S.PENDING, S.SUCCEEDED]
    assert await order(store, second) == [(0, 1), (2, 1), (3, 1), (5, 1)]
    done = await make.finish(store, second, failed=[4])
    assert (done.state, done.succeeded, done.failed) == (TaskState.SUCCEEDED, 5, 1)
    after = await make.read_all(store, done)
    assert [after[index] == before[index] for index in range(6)] == [True, False, True, True, False, True]
    assert await order(store, done) == [(0, 1), (2, 1), (3, 1), (5, 1), (1, 2), (4, 2)]
    assert await make.read_all(store, done, generation=1) == before
    assert await order(store, done, EVERY_GENERATION) == [(index, 1) for index in range(6)] + [(1, 2), (4, 2)]


async def test_all_are_run_again(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 3), None)
    await make.finish(store, task, failed=[2])
    second = await store.update_task(task.name, make.reactivate_all, None)
    assert (second.base_generation, second.succeeded) == (2, 0)
    assert (await store.unfinished(second)).pending == [(0, 3)]
    assert await states(store, second) == [S.PENDING] * 3
    assert await order(store, second) == []
    done = await make.finish(store, second, failed=[0])
    third = await store.update_task(done.name, make.reactivate, None)
    assert (await store.unfinished(third)).pending == [(0, 1)]
    assert await order(store, third) == [(1, 2), (2, 2)]
    assert await order(store, third, 1) == [(0, 1), (1, 1), (2, 1)]
    assert len(await order(store, third, EVERY_GENERATION)) == 6


async def test_a_generation_of_which_nothing_was_run(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 5), None)
    await make.finish(store, task, failed=[2])
    second = await store.update_task(task.name, make.reactivate_all, None)
    page = await make.page(store, second, Order.COMPLETION)
    assert (page.count, page.next_position, page.more) == (0, 5, False)
    stopped = await store.update_task(task.name, make.cancel, None)
    for generation in (2, 3):
        records = make.parse(await make.read_all(store, stopped, Order.COMPLETION, generation=2, max_records=2))
        assert [(each.index, each.state, each.generation) for each in records] == [
            (index, S.CANCELLED, 2) for index in range(5)
        ]
        if generation == 2:
            await store.update_task(task.name, make.reactivate, None)


async def test_cancelled_records_stay_cancelled_in_their_generation(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 6), None)
    lease = await make.lease(store, task)
    await store.record_outcomes(lease, flush(task.name, ok=[3], failed=[1]))
    await store.update_task(task.name, make.cancel, None)
    await store.release(lease, {2: Attempts(begun=2)})
    second = await store.update_task(task.name, make.reactivate, None)
    assert (await store.unfinished(second)).pending == [(0, 3), (4, 6)]
    assert dict((await store.unfinished(second)).attempts) == {}
    ended = [S.CANCELLED, S.FAILED, S.CANCELLED, S.SUCCEEDED, S.CANCELLED, S.CANCELLED]
    assert await states(store, second, 1) == ended
    records = make.parse(await make.read_all(store, second, Order.COMPLETION, generation=1, max_records=2))
    assert [record.index for record in records] == [1, 3, 0, 2, 4, 5]
    assert [(record.generation, record.attempt) for record in records[2:]] == [(1, 0), (1, 2), (1, 0), (1, 0)]
    done = await make.finish(store, second)
    assert (done.state, done.succeeded) == (TaskState.SUCCEEDED, 6)
    assert await states(store, done, 1) == ended
    assert await order(store, done) == [(3, 1), (0, 2), (1, 2), (2, 2), (4, 2), (5, 2)]


async def test_what_runs_now_does_not_run_in_an_earlier_generation(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 3), None)
    await store.update_task(task.name, make.cancel, None)
    second = await store.update_task(task.name, make.reactivate, None)
    for generation, wanted in ((1, S.CANCELLED), (2, S.RUNNING)):
        got = await make.page(store, second, running=frozenset({0, 1, 2}), generation=generation)
        records = make.parse(segments.split_page(got.records))
        assert [(each.state, each.generation, each.attempt) for each in records] == [
            (wanted, generation, generation - 1)
        ] * 3


async def test_a_page_ends_before_what_is_not_seen_and_says_so(store: Store) -> None:
    """Successes at the beginning, failures behind them: nothing more, now; then what came since."""
    task = await store.create_task(make.new_task("a", 9), None)
    lease = await make.lease(store, task)
    for indexes, bad in (([0, 1, 2], []), ([], [3]), ([4], [5, 6]), ([], [7, 8])):
        await store.record_outcomes(lease, flush(task.name, ok=indexes, failed=bad))
    second = await store.update_task(task.name, make.reactivate, None)
    seen = [(0, 1), (1, 1), (2, 1), (4, 1)]
    for size in (1, 2, 3, 4, 5):
        page = await make.page(store, second, Order.COMPLETION, max_records=size)
        assert (page.count, page.more) == (min(size, 4), size < 4)
    assert (page.next_position, await order(store, second)) == (9, seen)
    lease = await make.lease(store, second, (3, 4), (5, 9))
    await store.record_outcomes(lease, flush(task.name, ok=[7], failed=[5], generation=2))
    later = await make.page(store, second, Order.COMPLETION, position=page.next_position)
    assert (make.indexes(segments.split_page(later.records)), later.next_position) == ([5, 7], 11)


async def test_a_success_is_not_leased_again(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 20_000), None)
    sparse = list(range(0, 20_000, 401))
    lease = await make.lease(store, task)
    await store.record_outcomes(lease, flush(task.name, ok=sparse[1:], failed=[0]))  # a wide segment
    rest = [index for index in range(20_000) if index not in set(sparse)]
    await store.record_outcomes(lease, flush(task.name, ok=rest[1:9_000], failed=rest[:1]))
    await store.record_outcomes(lease, flush(task.name, ok=rest[9_000:]))
    second = await store.update_task(task.name, make.reactivate, None)
    assert (await store.unfinished(second)).pending == [(0, 2)]
    for ranges in ([(0, 3)], [(401, 402)], [(0, 2), (15_000, 15_001)], [(9_000, 9_001)], [(0, 1), (802, 803)]):
        with pytest.raises(StaleLease):
            await store.grant(Lease(task_key=task.key, generation=2, ranges=ranges, worker="w"))
    lease = await make.lease(store, second, (0, 2))
    done = await store.record_outcomes(lease, flush(task.name, ok=[0], failed=[1], generation=2))
    assert (done.state, done.succeeded, done.failed) == (TaskState.SUCCEEDED, 19_999, 1)
    third = await store.update_task(task.name, make.reactivate, None)
    with pytest.raises(StaleLease):
        await make.lease(store, third, (0, 1))
    done = await make.finish(store, third)
    assert (done.succeeded, done.failed) == (20_000, 0)


async def test_a_generation_with_nothing_to_run_ends_at_once(driver: Driver) -> None:
    store = await driver.open()
    task = await store.create_task(make.new_task("a", 2), None)
    lease = await make.lease(store, task)
    await store.update_task(task.name, make.cancel, None)
    await store.record_outcomes(lease, flush(task.name, ok=[0, 1]))
    stopped = await store.release(lease, {})
    assert stopped is not None
    assert (stopped.state, stopped.succeeded) == (TaskState.CANCELLED, 2)
    second = await store.update_task(task.name, make.reactivate, None)
    assert (second.state, second.error, second.start_us, second.subtasks) == (TaskState.SUCCEEDED, b"", 0, 0)
    assert second.end_us == second.transition_us
    assert second.expire_us > second.end_us
    store = await driver.reopen()
    assert await store.recover() == []
    operation, _ = await store.get_operation(second.operation_name)
    assert operation.done
    assert await order(store, second) == [(0, 1), (1, 1)]


async def test_failures_are_those_of_a_generation(driver: Driver) -> None:
    store = await driver.open()
    task = await store.create_task(make.new_task("a", 5), None)
    await make.finish(store, task, failed=[1, 2])
    second = await store.update_task(task.name, make.reactivate, None)
    assert await store.failures(task.key, 2) == []
    await make.finish(store, second, failed=[2])
    third = await store.update_task(task.name, make.reactivate, None)
    store = await driver.reopen()
    await make.finish(store, third, failed=[2])
    found = [[index for index, _ in await store.failures(task.key, generation)] for generation in (1, 2, 3)]
    assert found == [[1, 2], [2], [2]]


async def test_operations_of_all_generations(driver: Driver) -> None:
    store = await driver.open()
    request = make.request()
    task = await store.create_task(make.new_task("a", 2, create_us=1_000), request)
    await make.finish(store, task, failed=[0])
    first = (await store.get_operation(task.operation_name))[0]
    second = await store.update_task(task.name, make.reactivate, None)
    assert (await store.get_operation(task.operation_name))[0] == first
    begun = (await store.get_operation(second.operation_name))[0]
    assert (begun.done, begun.generation, begun.create_us) == (False, 2, second.transition_us)
    await make.finish(store, second, failed=[0])
    listed = [operation for operation, _ in await store.list_operations("p", None, 10)]
    assert [(operation.operation_id, operation.done) for operation in listed] == [
        (second.operation, True),
        (task.operation, True),
    ]
    await store.delete_operation(task.operation_name)  # an old one: its task keeps the current one
    with pytest.raises(NotFound):
        await store.get_operation(task.operation_name)
    assert (await store.get_task(task.name)).operation == second.operation
    assert await order(store, second, 1) == [(0, 1), (1, 1)]
    await store.delete_operation(second.operation_name)
    with pytest.raises(NotFound) as caught:
        await store.create_task(make.new_task("a", 2), request)
    assert caught.value.resource_name == str(second.operation_name)
    third = await store.update_task(task.name, make.reactivate, None)
    assert third.operation
    store = await driver.reopen()
    assert await order(store, third, 2) == [(1, 1), (0, 2)]
    await store.update_task(task.name, make.cancel, None)
    await store.delete_task(task.name, make.allow_delete, None)
    while await store.sweep():
        pass
    for name in (task.operation_name, second.operation_name, third.operation_name):
        with pytest.raises(NotFound):
            await store.get_operation(name)


# -- any history ----------------------------------------------------------------------------------------------------


@dataclass
class Generation:
    """What was recorded in one: (index, whether it failed, the record's bytes), in order."""

    base: int
    outcomes: list[tuple[int, bool, bytes]] = field(default_factory=list[tuple[int, bool, bytes]])
    over: bool = False


class History:
    """The plain model of one task."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.generations = [Generation(1)]

    @property
    def now(self) -> Generation:
        """The current one."""
        return self.generations[-1]

    def seen(self, number: int) -> list[tuple[int, bytes]]:
        """(index, record) of the outcomes that are seen in a generation, in order of completion."""
        own = self.generations[number - 1]
        earlier = [each for before in self.generations[own.base - 1 : number - 1] for each in before.outcomes]
        return [(index, raw) for index, bad, raw in earlier if not bad] + [(i, raw) for i, _, raw in own.outcomes]

    def left(self, number: int) -> list[int]:
        """The records without one."""
        return sorted(set(range(self.total)) - {index for index, _ in self.seen(number)})

    def every(self) -> list[bytes]:
        """All outcomes."""
        return [raw for each in self.generations for _, _, raw in each.outcomes]


class Walk:
    """A task that is run and reactivated at random, held against its model. `grain`: records of the least portions."""

    def __init__(self, driver: Driver, store: Store, task: Task, chance: random.Random, grain: int) -> None:
        self.driver = driver
        self.store = store
        self.task = task
        self.chance = chance
        self.grain = grain
        self.model = History(task.total)

    async def run(self) -> None:
        """Run the current generation, to its end or to that of some leases, and stop it there."""
        stops = self.chance.random() < 0.3
        while not self.model.now.over:
            left = self.model.left(self.task.generation)
            if stops and self.chance.random() < 0.3:
                await self.stop()
                return
            await self.lease(self.some(left))
            if self.chance.random() < 0.2:
                while await self.store.merge():
                    pass
            if self.chance.random() < 0.1:
                await self.check()

    def some(self, left: Sequence[int]) -> list[int]:
        """A stretch of them, or some that are scattered."""
        count = self.chance.randint(min(self.grain, len(left)), len(left))
        if self.chance.random() < 0.5:
            first = self.chance.randint(0, len(left) - count)
            return list(left[first : first + count])
        return sorted(self.chance.sample(left, count))

    async def lease(self, indexes: list[int]) -> None:
        """Run these in some flushes, one by one at times; the lease may end before its last ones."""
        generation = self.task.generation
        lease = Lease(task_key=self.task.key, generation=generation, ranges=rg.from_indexes(indexes), worker="w")
        await self.store.grant(lease)
        ratio = self.chance.choice((0.0, 0.2, 0.2, 1.0))
        most = self.chance.choice((self.grain, 3 * self.grain, len(indexes)))
        while indexes:
            count = self.chance.randint(min(self.grain, len(indexes)), min(most, len(indexes)))
            part, indexes = indexes[:count], indexes[count:]
            bad = [index for index in part if self.chance.random() < ratio]
            sent = flush(self.task.name, ok=[i for i in part if i not in bad], failed=bad, generation=generation)
            self.task = await self.store.record_outcomes(lease, sent)
            raws = segments.split_page(sent.page)
            self.model.now.outcomes += [(i, i in bad, raw) for i, raw in zip(part, raws, strict=True)]
            if indexes and self.chance.random() < 0.1:
                await self.store.release(lease, {indexes[0]: Attempts(begun=1)})
                break
        self.model.now.over = not self.model.left(generation)
        assert self.task.state.is_final is self.model.now.over

    async def stop(self) -> None:
        """Cancel it."""
        self.task = await self.store.update_task(self.task.name, make.cancel, None)
        if not self.task.state.is_final:
            nothing = Lease(task_key=self.task.key, generation=self.task.generation, ranges=[], worker="")
            ended = await self.store.release(nothing, {})
            assert ended is not None
            self.task = ended
        assert self.task.state is TaskState.CANCELLED
        self.model.now.over = True

    async def reactivate(self) -> None:
        """The next generation."""
        everything = self.chance.random() < 0.25
        decide = make.reactivate_all if everything else make.reactivate
        self.task = await self.store.update_task(self.task.name, decide, None)
        number = len(self.model.generations) + 1
        self.model.generations.append(Generation(number if everything else self.model.now.base))
        self.model.now.over = not self.model.left(number)
        assert self.task.generation == number
        assert self.task.state is (TaskState.SUCCEEDED if self.model.now.over else TaskState.QUEUED)
        if self.chance.random() < 0.3:
            self.store = await self.driver.reopen()
            live = await self.store.recover()
            assert [each.pending for each in live] == (
                [] if self.model.now.over else [rg.from_indexes(self.model.left(number))]
            )

    async def check(self) -> None:
        """Every generation is read as the model says."""
        model, number = self.model, self.task.generation
        left = model.left(number)
        assert (await self.store.unfinished(self.task)).pending == rg.from_indexes(left)
        failed = sum(bad for _, bad, _ in model.now.outcomes)
        assert (self.task.succeeded, self.task.failed) == (model.total - len(left) - failed, failed)
        seen = [index for index, _ in model.seen(number)]
        if seen and not model.now.over:
            with pytest.raises(StaleLease):
                await make.lease(self.store, self.task, *rg.from_indexes([self.chance.choice(seen), *left[:2]]))
        for each in range(1, number + 1):
            await self._check_generation(each)
        every = await make.read_all(
            self.store, self.task, Order.COMPLETION, generation=EVERY_GENERATION, max_records=self.size()
        )
        assert every == model.every()

    async def _check_generation(self, number: int) -> None:
        seen, left = self.model.seen(number), self.model.left(number)
        over = self.model.generations[number - 1].over
        shown = number if self.chance.random() < 0.5 or number < self.task.generation else 0
        raws = dict(seen)
        view = self.chance.choice(list(View))
        for each in Order:
            found = await make.read_all(
                self.store,
                self.task,
                each,
                view=view,
                max_records=self.size(),
                max_bytes=self.chance.choice((make.BIG, 900 * self.grain, 200 * self.grain)),
                whole=self.chance.random() < 0.5,
                generation=shown,
            )
            records = make.parse(found)
            rest = left if over or each is Order.INDEX else []
            wanted = range(self.model.total) if each is Order.INDEX else [index for index, _ in seen] + rest
            assert [record.index for record in records] == list(wanted)
            for raw, record in zip(found, records, strict=True):
                stored = raws.get(record.index)
                if view is View.FULL:
                    assert record.input.text == str(record.index)
                if stored is None:
                    assert (record.state, record.generation) == (S.CANCELLED if over else S.PENDING, number)
                else:
                    assert raw.startswith(stored) if view is View.FULL else raw == stored
        index = self.chance.randrange(self.model.total)
        one = await make.page(self.store, self.task, position=index, max_records=1, generation=shown)
        (raw,) = segments.split_page(one.records)
        assert raw == raws.get(index, raw)
        assert make.indexes([raw]) == [index]

    def size(self) -> int:
        """A page size."""
        return self.chance.randint(self.grain, self.model.total + 5)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), total=st.integers(1, 90), generations=st.integers(1, 6))
async def test_any_history_is_read_as_it_was(driver: Driver, seed: int, total: int, generations: int) -> None:
    await check_history(driver, random.Random(seed), total, generations)


@pytest.mark.parametrize("seed", range(3))
async def test_a_history_over_wide_segments_is_read_as_it_was(driver: Driver, seed: int) -> None:
    await check_history(driver, random.Random(seed), 9_000, 4, grain=150)


async def check_history(driver: Driver, chance: random.Random, total: int, generations: int, grain: int = 1) -> None:
    store = await driver.reopen()
    task = await store.create_task(make.new_task(f"t{next(_numbers)}", total), None)
    walk = Walk(driver, store, task, chance, grain)
    for number in range(generations):
        if number:
            await walk.reactivate()
        await walk.run()
        await walk.check()
        while chance.random() < 0.7 and await walk.store.merge():
            pass
    await walk.check()


_numbers = iter(range(10**9))
