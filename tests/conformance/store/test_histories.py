"""Any history of reactivations, held against a plain model: what is still to be run, and what a reader sees in each.

A history that fails is told by its seed.
"""

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
from batchyard_server.model.errors import StaleLease
from batchyard_server.model.record import EVERY_GENERATION, Order, View
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Attempts, Lease, Task
from batchyard_server.store.protocols import Store
from tests.conformance.store.conftest import Driver
from tests.support import store as make
from tests.support.outcomes import flush

S = RecordInfo.State


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
        for view in View:
            every = await make.read_all(
                self.store,
                self.task,
                Order.COMPLETION,
                view=view,
                generation=EVERY_GENERATION,
                max_records=self.size(),
                whole=view is View.BASIC,
            )
            assert [raw[: len(stored)] for raw, stored in zip(every, model.every(), strict=True)] == model.every()
            texts = [str(record.index) if view is View.FULL else "" for record in make.parse(every)]
            assert [record.input.text for record in make.parse(every)] == texts

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
