"""Random walks: a store and a plain model of it take the same steps and must agree after each."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.model import ranges as rg
from batchyard_server.model.errors import FailedPrecondition, StaleLease
from batchyard_server.model.record import Order, View
from batchyard_server.model.states import SubtaskState, TaskState
from batchyard_server.model.subtask import LeaseEnd
from batchyard_server.model.task import Attempts, Lease, Task
from batchyard_server.store.protocols import Store
from tests.conformance.store.conftest import Driver
from tests.support import store as make
from tests.support.outcomes import flush, retries
from tests.support.subtasks import listed, ranges

TOTAL = 60


@dataclass(slots=True)
class Model:
    """What must be in the store: outcomes in the order of their commits, and who holds which records."""

    total: int = TOTAL
    done: list[tuple[int, bool]] = field(default_factory=list)
    retried: dict[int, Attempts] = field(default_factory=dict)
    held: list[tuple[Lease, set[int]]] = field(default_factory=list)
    ended: dict[int, SubtaskState] = field(default_factory=dict)
    cancelling: bool = False
    final: bool = False

    @property
    def taken(self) -> set[int]:
        """Records that may not be leased."""
        return {index for index, _ in self.done}.union(*(open_ for _, open_ in self.held), set())


class Walk:
    """One task, stepped at random."""

    def __init__(self, driver: Driver, store: Store, task: Task, chance: random.Random) -> None:
        self.driver = driver
        self.store = store
        self.task = task
        self.chance = chance
        self.model = Model()
        self.old: list[Lease] = []

    def some(self, indexes: set[int]) -> list[int]:
        """A part of them, never none."""
        return sorted(self.chance.sample(sorted(indexes), self.chance.randint(1, len(indexes))))

    async def grant(self) -> None:
        """A lease on some records, which may be taken."""
        start = self.chance.randrange(TOTAL)
        wanted = set(self.some(set(range(start, min(TOTAL, start + 12)))))
        lease = Lease(task_key=self.task.key, generation=1, ranges=rg.from_indexes(wanted), worker="w")
        allowed = not wanted & self.model.taken and not self.model.cancelling and not self.model.final
        try:
            await self.store.grant(lease)
        except StaleLease:
            assert not allowed
        else:
            assert allowed
            self.model.held.append((lease, wanted))

    async def record(self) -> None:
        """Outcomes of some records of a live lease."""
        if not self.model.held:
            return
        lease, open_ = self.chance.choice(self.model.held)
        indexes = self.some(open_)
        bad = [index for index in indexes if self.chance.random() < 0.2]
        sent = flush(self.task.name, ok=[index for index in indexes if index not in bad], failed=bad)
        again = self.retry([index for index in bad if self.chance.random() < 0.5])
        await self.store.record_outcomes(lease, sent, retries(sent, again) if again else None)
        if self.model.cancelling:
            again.clear()
        self.model.retried |= again
        self.model.done += [(index, index in bad) for index in indexes if index not in again]
        open_ -= set(indexes)
        if not open_:
            self.end(lease, open_, SubtaskState.COMPLETED)
        self.model.final = len(self.model.done) == TOTAL and not self.model.cancelling

    def retry(self, indexes: list[int]) -> dict[int, Attempts]:
        """What is known of these records once each has failed once more."""
        known = {index: self.model.retried.get(index, Attempts(begun=0)) for index in indexes}
        return {
            index: Attempts(begun=each.begun + 1, failures=each.failures + 1, retry_us=self.chance.randrange(9))
            for index, each in known.items()
        }

    async def record_wrongly(self) -> None:
        """Outcomes that are stored already, of a lease that has ended, or of records that the lease never had."""
        lease = self.chance.choice([*self.old, *(lease for lease, _ in self.model.held)] or [None])
        if lease is None:
            return
        open_ = next((open_ for held, open_ in self.model.held if held is lease), set[int]())
        others = set(range(TOTAL)) - open_
        if others:
            stale = self.some(others)[:3]
            try:
                await self.store.record_outcomes(lease, flush(self.task.name, ok=stale))
            except StaleLease:
                return
            raise AssertionError(f"{stale} were stored under a lease that holds {open_}")

    async def release(self) -> None:
        """A lease ends without outcomes of what is open in it."""
        if self.model.held:
            lease, open_ = self.chance.choice(self.model.held)
            state = self.chance.choice([SubtaskState.RETURNED, SubtaskState.LOST, SubtaskState.KILLED])
            await self.store.release(lease, {}, end=LeaseEnd(state=state))
            self.end(lease, open_, state)
            self.model.final = self.model.cancelling and not self.model.held

    async def shrink(self) -> None:
        """Some records of a live lease are given back, or some that it does not hold, which is refused."""
        if not self.model.held:
            return
        lease, open_ = self.chance.choice(self.model.held)
        given = self.some(open_)
        wrong = set(range(TOTAL)) - open_
        if wrong and self.chance.random() < 0.3:
            with pytest.raises(StaleLease):
                await self.store.shrink(lease, rg.from_indexes([*given, *self.some(wrong)]))
            return
        await self.store.shrink(lease, rg.from_indexes(given))
        open_ -= set(given)
        if not open_:
            self.end(lease, open_, SubtaskState.RETURNED)

    def end(self, lease: Lease, open_: set[int], state: SubtaskState) -> None:
        """A lease has ended."""
        self.old.append(lease)
        self.model.held.remove((lease, open_))
        self.model.ended[lease.epoch] = state

    async def cancel(self) -> None:
        """The task is stopped, rarely."""
        if self.chance.random() < 0.9:
            return
        try:
            stopped = await self.store.update_task(self.task.name, make.cancel, None)
        except FailedPrecondition:
            assert self.model.final
        else:
            self.model.cancelling = True
            self.model.final = stopped.state is TaskState.CANCELLED

    async def restart(self) -> None:
        """The server stops and starts."""
        self.store = await self.driver.reopen()
        live = await self.store.recover()
        for lease, open_ in list(self.model.held):
            self.end(lease, open_, SubtaskState.KILLED)
        self.model.final |= self.model.cancelling
        assert [each.task.key for each in live] == ([] if self.model.final else [self.task.key])
        for each in live:
            assert each.pending == rg.from_indexes(set(range(TOTAL)) - self.model.taken)
            assert each.attempts == {i: a for i, a in self.model.retried.items() if i not in self.model.taken}

    async def merge(self) -> None:
        """Small segments are joined."""
        while await self.store.merge():
            pass

    async def check(self) -> None:
        """The store shows what the model says."""
        model = self.model
        task = await self.store.get_task(self.task.name)
        failed = sum(bad for _, bad in model.done)
        assert (task.succeeded, task.failed) == (len(model.done) - failed, failed)
        assert (task.live_subtasks, task.next_sequence) == (len(model.held), len(model.done))
        assert task.state.is_final is model.final
        await self.check_subtasks()
        assert task.cancelled == (TOTAL - len(model.done) if model.final else 0)
        ended = dict(model.done)
        waiting = RecordInfo.CANCELLED if model.final else RecordInfo.PENDING
        by_index = make.parse(
            await make.read_all(self.store, task, view=self.chance.choice(list(View)), max_records=self.size())
        )
        assert [record.index for record in by_index] == list(range(TOTAL))
        for record in by_index:
            bad = ended.get(record.index)
            known = self.model.retried.get(record.index)
            if bad is None and known is not None:
                assert record.attempt == known.begun
            past = await self.store.record_attempts(task.key, record.index)
            begun = (known.begun if known is not None else 0) + (bad is not None)
            assert len(past) == begun
            assert record.state == (waiting if bad is None else RecordInfo.FAILED if bad else RecordInfo.SUCCEEDED)
        by_completion = make.indexes(await make.read_all(self.store, task, Order.COMPLETION, max_records=self.size()))
        rest = [index for index in range(TOTAL) if index not in ended] if model.final else []
        assert by_completion == [index for index, _ in model.done] + rest

    async def check_subtasks(self) -> None:
        """Every lease is listed once, as it was granted."""
        leases = [*self.old, *(lease for lease, _ in self.model.held)]
        found = await listed(self.store, self.task.key, size=self.size())
        assert {each.epoch: ranges(each) for each in found} == {lease.epoch: lease.ranges for lease in leases}
        running = dict.fromkeys((lease.epoch for lease, _ in self.model.held), SubtaskState.RUNNING)
        assert {each.epoch: each.state for each in found} == running | self.model.ended

    def size(self) -> int:
        """A page size."""
        return self.chance.randint(1, TOTAL + 5)


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 120), restarts=st.booleans())
async def test_a_store_does_what_its_model_does(driver: Driver, seed: int, steps: int, restarts: bool) -> None:
    chance = random.Random(seed)
    store = await driver.reopen()
    task = await store.create_task(make.new_task(f"t{seed}-{next(_numbers)}", TOTAL), None)
    walk = Walk(driver, store, task, chance)
    kinds = (
        [walk.grant] * 6
        + [walk.record] * 8
        + [walk.record_wrongly] * 2
        + [walk.release, walk.shrink, walk.cancel, walk.merge]
    )
    for number in range(steps):
        await chance.choice(kinds)()
        if restarts and chance.random() < 0.05:
            await walk.restart()
        if number % 10 == 0:
            await walk.check()
    await walk.merge()
    await walk.check()
    if not walk.model.final and not walk.model.cancelling:  # the next walk finds nothing alive
        await walk.store.update_task(task.name, make.cancel, None)


_numbers = iter(range(10**9))
