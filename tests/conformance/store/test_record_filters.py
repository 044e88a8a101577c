"""Records of a filter: those that a look at every record finds, in both orders, in pages of any size."""

from __future__ import annotations

import itertools
import operator
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.codec import outcomes, segments
from batchyard_server.model import limits
from batchyard_server.model.record import EVERY_GENERATION, Order, View
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Attempts, Task
from batchyard_server.store.protocols import Store
from tests.conformance.store.conftest import Driver
from tests.support import store as make
from tests.support.outcomes import flush
from tests.support.record_history import History

TOTAL = 48
S = RecordInfo.State
_OPS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Filter:
    """Its text, and what it means."""

    text: str
    means: Callable[[RecordInfo], bool]


def _value(record: RecordInfo, field: str) -> Any:
    if field == "error.code":
        return record.error.code if record.HasField("error") else None
    if field == "exit_code":
        return record.exit_code if record.HasField("exit_code") else None
    return getattr(record, field)


def _compared(field: str, op: str, value: int, written: str = "") -> Filter:
    def means(record: RecordInfo) -> bool:
        found = _value(record, field)
        return found is not None and _OPS[op](found, value)

    return Filter(f"{field} {op} {written or value}", means)


def _set(field: str) -> Filter:
    return Filter(f"{field}:*", lambda record: _value(record, field) not in (None, ""))


def _state(op: str, state: S) -> Filter:
    return _compared("state", op, state, S.Name(state))


def _record_id(op: str, number: int) -> Filter:
    record_id = f"r{number}"
    return Filter(f'record_id {op} "{record_id}"', lambda record: _OPS[op](record.record_id, record_id))


def _not(it: Filter) -> Filter:
    return Filter(f"NOT ({it.text})", lambda record: not it.means(record))


def _both(a: Filter, b: Filter) -> Filter:
    return Filter(f"({a.text}) AND ({b.text})", lambda record: a.means(record) and b.means(record))


def _either(a: Filter, b: Filter) -> Filter:
    return Filter(f"({a.text}) OR ({b.text})", lambda record: a.means(record) or b.means(record))


ops = st.sampled_from([*_OPS])
numbers = {
    "index": st.integers(-2, TOTAL + 2),
    "attempt": st.integers(0, 4),
    "exit_code": st.sampled_from((-9, 0, 1, 2, 7)),
    "error.code": st.sampled_from((3, 5, 13, 14)),
}
singles = st.one_of(
    st.builds(_state, ops, st.sampled_from([S.PENDING, S.RUNNING, S.SUCCEEDED, S.FAILED, S.CANCELLED])),
    *(st.builds(_compared, st.just(field), ops, values) for field, values in numbers.items()),
    st.sampled_from(
        [
            _set("error.code"),
            _set("exit_code"),
            _set("record_id"),
            _compared("error.code", "=", 5, "NOT_FOUND"),
            Filter('record_id = ""', lambda record: not record.record_id),
            Filter('record_id = "r1*"', lambda record: record.record_id.startswith("r1")),
            Filter('record_id != "r1*"', lambda record: not record.record_id.startswith("r1")),
            Filter('record_id:"2"', lambda record: "2" in record.record_id),
            Filter('record_id < "r2"', lambda record: record.record_id < "r2"),
        ]
    ),
    st.builds(_record_id, st.sampled_from(["=", "!="]), st.integers(0, TOTAL + 2)),
)
filters = st.recursive(
    singles,
    lambda inner: st.one_of(st.builds(_not, inner), st.builds(_both, inner, inner), st.builds(_either, inner, inner)),
    max_leaves=4,
)
_names = (f"t{number}" for number in itertools.count())


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(seed=st.integers(0, 2**32), asked=st.lists(filters, min_size=6, max_size=6))
async def test_what_is_found_is_what_a_look_at_every_record_finds(
    driver: Driver, seed: int, asked: list[Filter]
) -> None:
    chance = random.Random(seed)
    store = await driver.reopen()
    history = await History.lived(store, next(_names), chance, TOTAL)
    task = history.task
    for one in asked:
        order, view = chance.choice(list(Order)), chance.choice(list(View))
        every = [EVERY_GENERATION] if order is Order.COMPLETION else []
        generation = chance.choice([0, *range(1, task.generation + 1), *every])
        running = history.running if generation in (0, task.generation) and order is Order.INDEX else frozenset[int]()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(limits, "EXAMINED_RECORDS", 1 << 20)
            everything = (
                await make.search(store, task, "*", order, view=view, generation=generation, running=running)
            )[0]
            wanted = [raw for raw in everything if one.means(RecordInfo.FromString(raw))]
            patch.setattr(limits, "EXAMINED_RECORDS", chance.choice((1, 5, 50_000)))
            for size in (1, 2, 7, 1000):
                found, _ = await make.search(
                    store,
                    task,
                    one.text,
                    order,
                    view=view,
                    max_records=size,
                    max_bytes=chance.choice((1, 300, make.BIG)),
                    whole=chance.random() < 0.5,
                    generation=generation,
                    running=running,
                )
                assert make.parse(found) == make.parse(wanted), (one.text, order, view, generation, size)
                assert found == wanted


async def test_a_page_looks_at_a_bounded_number_of_records(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 120_000), None)
    lease = await make.lease(store, task)
    for first in range(0, 120_000, 10_000):
        await store.record_outcomes(lease, flush(task.name, ok=range(first, first + 10_000)))
    most = limits.EXAMINED_RECORDS
    for order in Order:
        assert await make.search(store, task, "exit_code = 3", order) == ([], [most, 2 * most, 120_000])
        found, ends = await make.search(store, task, "attempt > 1 OR index = 60000", order)
        assert (make.indexes(found), len(ends)) == ([60_000], 3)


async def test_what_has_not_begun_is_not_looked_at_one_by_one(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 120_000), None)
    lease = await make.lease(store, task, (70_000, 70_010))
    await store.release(lease, {70_003: Attempts(begun=2)})
    running = frozenset({119_999})
    for asked in ("state = FAILED", "error.code:*", "exit_code > 0", "state = CANCELLED"):
        assert await make.search(store, task, asked, running=running) == ([], [120_000])
    found, ends = await make.search(store, task, "attempt > 0", running=running)
    assert (make.indexes(found), ends) == ([70_003, 119_999], [120_000])
    found, ends = await make.search(store, task, "state = RUNNING", running=running)
    assert (make.indexes(found), ends) == ([119_999], [120_000])
    got = await make.page(store, task, filter="state = PENDING", max_records=3, position=10)
    assert (got.count, got.next_position, got.more) == (3, 13, True)


async def test_a_cancelled_task_of_many_records(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 120_000), None)
    lease = await make.lease(store, task, (0, 10))
    await store.record_outcomes(lease, flush(task.name, ok=[1, 4]))
    await store.update_task(task.name, make.cancel, None)
    await store.release(lease, {2: Attempts(begun=1)})
    task = await store.get_task(task.name)
    for order in Order:
        found, ends = await make.search(store, task, "state = CANCELLED AND index < 6", order)
        assert (make.indexes(found), len(ends)) == ([0, 2, 3, 5], 1)
        assert await make.search(store, task, "state = RUNNING", order) == ([], [120_000])
        found, _ = await make.search(store, task, "NOT state = SUCCEEDED AND attempt = 1", order)
        assert make.indexes(found) == [2]


async def test_the_last_position_goes_on_with_what_ends_later(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 10), None)
    lease = await make.lease(store, task)
    await store.record_outcomes(lease, flush(task.name, ok=[7, 8], failed=[2]))
    found, ends = await make.search(store, task, "state = FAILED", Order.COMPLETION)
    assert (make.indexes(found), ends) == ([2], [3])
    await store.record_outcomes(lease, flush(task.name, ok=[0, 1]))
    await store.record_outcomes(lease, flush(task.name, ok=[3], failed=[9]))
    got = await make.page(store, task, Order.COMPLETION, position=3, filter="state = FAILED")
    assert (make.indexes(segments.split_page(got.records)), got.next_position, got.more) == ([9], 7, False)


async def test_records_that_are_appended_later_are_found_from_the_last_position_on(store: Store) -> None:
    new = make.new_task("a", 3, ids=True, draft=True)
    task = await store.create_task(new, None)
    got = await make.page(store, task, filter='record_id = "r4"')
    assert (got.count, got.more) == (0, False)
    later = segments.cut_inputs([make.record_input(index, record_id=f"r{index}") for index in (3, 4)], 3)
    await store.append_records(task.name, task.uid, 3, later, [("r3", 3), ("r4", 4)])
    again = await make.page(store, task, filter='record_id = "r4"', position=got.next_position)
    assert make.indexes(segments.split_page(again.records)) == [4]


async def test_the_exit_code_of_a_task_with_one_record(driver: Driver) -> None:
    store = await driver.open()

    async def ended(task: Task, code: int | None, *, failed: bool = False) -> Task:
        record = RecordInfo(index=0, state=S.FAILED if failed else S.SUCCEEDED, exit_code=code)
        if failed:
            record.error.code = 2
        lease = await make.lease(store, task, (0, 1))
        sent = outcomes.of_records([(0, 1)], [record.SerializeToString()])
        return await store.record_outcomes(lease, sent)

    one = await store.create_task(make.new_task("one", 1), None)
    assert one.exit_code is None
    one = await ended(one, 7, failed=True)
    assert one.exit_code == 7
    store = await driver.reopen()
    assert await store.get_task(one.name) == one
    again = await store.update_task(one.name, make.reactivate, None)
    assert again.exit_code is None
    assert (await store.get_task(one.name)).exit_code is None
    assert (await ended(again, 0)).exit_code == 0
    assert (await store.update_task(one.name, make.reactivate_all, None)).exit_code is None
    none = await store.create_task(make.new_task("none", 1), None)
    assert (await ended(none, None)).exit_code is None
    two = await store.create_task(make.new_task("two", 2), None)
    assert (await ended(two, 7)).exit_code is None


async def test_a_record_that_is_kept_keeps_its_exit_code(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 1), None)
    lease = await make.lease(store, task)
    await store.update_task(task.name, make.cancel, None)
    record = RecordInfo(index=0, state=S.SUCCEEDED, exit_code=0).SerializeToString()
    await store.record_outcomes(lease, outcomes.of_records([(0, 1)], [record]))
    ended = await store.release(lease, {})
    assert ended is not None
    assert (ended.state, ended.exit_code) == (TaskState.CANCELLED, 0)
    again = await store.update_task(task.name, make.reactivate, None)
    assert (again.state, again.exit_code) == (TaskState.SUCCEEDED, 0)
