"""Pages of records: dense by index, by commit in order of completion, bounded, with inputs where they are wanted."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from batchyard.v1.record_pb2 import RecordInfo, RecordInput
from batchyard_server.codec import segments
from batchyard_server.codec.v1.shadow_pb2 import RawInputs
from batchyard_server.model import limits
from batchyard_server.model.record import Order, View
from batchyard_server.model.task import Attempts, Task
from batchyard_server.store.protocols import Store
from tests.support import store as make
from tests.support.outcomes import flush

S = RecordInfo.State


async def test_records_without_an_outcome_are_placeholders(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 5, ids=True), None)
    lease = await make.lease(store, task)
    await store.record_outcomes(lease, flush(task.name, ok=[3], failed=[1]))
    got = await make.page(store, task, running=frozenset({2, 3}))
    records = make.parse(segments.split_page(got.records))
    assert [record.state for record in records] == [S.PENDING, S.FAILED, S.RUNNING, S.SUCCEEDED, S.PENDING]
    assert [record.record_id for record in records if record.state in (S.PENDING, S.RUNNING)] == ["r0", "r2", "r4"]
    assert records[0] == RecordInfo(
        name=f"{task.name}/records/0", index=0, record_id="r0", state=S.PENDING, generation=1
    )
    assert (got.count, got.next_position, got.more) == (5, 5, False)


async def test_placeholders_say_how_often_their_records_began(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 6), None)
    lease = await make.lease(store, task)
    await store.record_outcomes(lease, flush(task.name, ok=[0]))
    await store.release(lease, {2: Attempts(begun=2, lost=1), 4: Attempts(begun=1, lost=0)})
    got = await make.page(store, task, running=frozenset({4, 5}))
    records = make.parse(segments.split_page(got.records))
    assert [record.attempt for record in records][1:] == [0, 2, 0, 2, 1]
    await store.update_task(task.name, make.cancel, None)
    await store.release(lease, {})
    for order in Order:
        records = make.parse(await make.read_all(store, task, order))
        assert [record.attempt for record in records if record.state == S.CANCELLED] == [0, 2, 0, 1, 0]


async def test_view_full_adds_the_input(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 6, ids=True), None)
    lease = await make.lease(store, task)
    await store.record_outcomes(lease, flush(task.name, ok=[4, 5]))
    await store.record_outcomes(lease, flush(task.name, ok=[1]))
    by_index = make.parse(await make.read_all(store, task, view=View.FULL))
    assert [record.input.text for record in by_index] == [str(i) for i in range(6)]
    by_completion = make.parse(await make.read_all(store, task, Order.COMPLETION, view=View.FULL))
    assert [(record.index, record.input.text) for record in by_completion] == [(4, "4"), (5, "5"), (1, "1")]
    assert not any(record.HasField("input") for record in make.parse(await make.read_all(store, task)))


async def test_a_record_without_a_payload_has_no_input(store: Store) -> None:
    new = make.new_task("a")
    inputs = [RecordInput(record_id="x").SerializeToString(), RecordInput(payload={}).SerializeToString()]
    new = replace(new, segments=segments.cut_inputs(inputs, 0), record_ids=[("x", 0)])
    task = await store.create_task(new, None)
    records = make.parse(await make.read_all(store, task, view=View.FULL))
    assert [record.HasField("input") for record in records] == [False, True]


async def test_completion_order_is_that_of_the_commits(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 10), None)
    lease = await make.lease(store, task)
    for indexes in ([7, 8], [0], [3, 4, 5], [9]):
        await store.record_outcomes(lease, flush(task.name, ok=indexes))
    assert make.indexes(await make.read_all(store, task, Order.COMPLETION)) == [7, 8, 0, 3, 4, 5, 9]
    got = await make.page(store, task, Order.COMPLETION, position=4, max_records=2)
    assert (make.indexes(segments.split_page(got.records)), got.next_position, got.more) == ([4, 5], 6, True)
    # At the end nothing is there now, and the position goes on later.
    end = await make.page(store, task, Order.COMPLETION, position=7)
    assert (end.count, end.next_position, end.more) == (0, 7, False)
    await store.record_outcomes(lease, flush(task.name, ok=[1]))
    later = await make.page(store, task, Order.COMPLETION, position=7)
    assert make.indexes(segments.split_page(later.records)) == [1]


async def test_cancelled_records_come_last_in_completion_order(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 10), None)
    lease = await make.lease(store, task)
    await store.record_outcomes(lease, flush(task.name, ok=[7], failed=[2]))
    await store.update_task(task.name, make.cancel, None)
    assert make.indexes(await make.read_all(store, task, Order.COMPLETION)) == [2, 7]
    assert await store.release(lease, {}) is not None
    for size in (1, 2, 3, 100):
        records = make.parse(await make.read_all(store, task, Order.COMPLETION, max_records=size, view=View.FULL))
        assert [record.index for record in records] == [2, 7, 0, 1, 3, 4, 5, 6, 8, 9]
        assert [record.state for record in records[2:]] == [S.CANCELLED] * 8
        assert [record.input.text for record in records] == [str(record.index) for record in records]
    by_index = make.parse(await make.read_all(store, task))
    assert [record.state for record in by_index].count(S.CANCELLED) == 8


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("view", list(View))
async def test_pages_of_any_size_give_the_same_records(store: Store, order: Order, view: View) -> None:
    task = await store.create_task(make.new_task("a", 60, size=50), None)
    await _scatter(store, task)
    whole = await make.read_all(store, task, order, view=view)
    assert len(whole) == (60 if order is Order.INDEX else 48)
    one = max(segments.framed(len(record)) for record in whole)
    for segments_whole in (False, True):
        read = partial(make.read_all, store, task, order, view=view, whole=segments_whole)
        for max_records in (1, 2, 7, 59, 60):
            assert await read(max_records=max_records) == whole
        for max_bytes in (1, one, 3 * one + 1, 10 * one):
            assert await read(max_bytes=max_bytes) == whole


async def _scatter(store: Store, task: Task) -> None:
    """48 outcomes of two leases in turns, so that segments are dense, sparse and overlap."""
    first = await make.lease(store, task, (0, 10), (20, 30), (40, 50))
    second = await make.lease(store, task, (10, 20), (30, 40), (50, 57))
    for mine, indexes in (
        (first, range(5)),
        (second, [10, 12, 55]),
        (first, [5, 29, 40]),
        (second, range(30, 40)),
        (first, [6, 7, 8, 9, *range(20, 28)]),
        (second, [11, *range(13, 20), 50, 51, 52]),
        (first, [28, 41, 49]),
        (second, [53]),
    ):
        await store.record_outcomes(mine, flush(task.name, ok=list(indexes)))


@pytest.mark.parametrize("order", list(Order))
async def test_a_stream_page_ends_with_a_whole_segment_once_half_is_there(store: Store, order: Order) -> None:
    task = await store.create_task(make.new_task("a", 100), None)
    lease = await make.lease(store, task)
    for first in range(0, 100, 20):
        await store.record_outcomes(lease, flush(task.name, ok=range(first, first + 20)))
    pages = [await make.page(store, task, order, max_records=most, whole=True) for most in (70, 39, 30, 100)]
    assert [got.count for got in pages] == [60, 20, 20, 100]
    assert (await make.page(store, task, order, max_records=70)).count == 70


async def test_wide_and_narrow_segments_lie_between_each_other(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 20_000), None)
    lease = await make.lease(store, task)
    sparse = list(range(100, 20_000, 501))
    await store.record_outcomes(lease, flush(task.name, ok=sparse))
    await store.record_outcomes(lease, flush(task.name, ok=[i for i in range(9_000, 9_500) if i not in sparse]))
    done = {*sparse, *range(9_000, 9_500)}
    for position in (0, 8_990, 9_100, 13_000, 19_990):
        got = await make.page(store, task, position=position, max_records=700)
        records = make.parse(segments.split_page(got.records))
        assert [record.index for record in records] == list(range(position, min(position + 700, 20_000)))
        assert [record.state == S.SUCCEEDED for record in records] == [record.index in done for record in records]


async def test_a_single_record_is_read_wherever_it_is(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 3_000), None)
    lease = await make.lease(store, task, (1_000, 2_000))
    await store.record_outcomes(lease, flush(task.name, ok=range(1_000, 2_000)))
    for index in (0, 999, 1_000, 1_500, 1_999, 2_000, 2_999):
        got = await make.page(store, task, position=index, max_records=1, view=View.FULL)
        (record,) = make.parse(segments.split_page(got.records))
        assert (record.index, record.input.text) == (index, str(index))
        assert (record.state == S.SUCCEEDED) == (1_000 <= index < 2_000)


async def test_inputs_are_those_asked_for(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 5_000), None)
    for ranges in (
        [(0, 1)],
        [(0, 1024)],
        [(1024, 2048)],
        [(5, 9), (1000, 1100), (4_999, 5_000)],
        [(1023, 1025)],
        [(0, 5_000)],
    ):
        taken, blob = await store.inputs(task.key, ranges, limits.SEGMENT_BYTES)
        texts = [int(RecordInput.FromString(raw).payload.text) for raw in RawInputs.FromString(blob).records]
        wanted = [i for a, b in ranges for i in range(a, b)]
        assert texts == [i for a, b in taken for i in range(a, b)]
        assert texts == wanted[: len(texts)]
        assert len(texts) * 2 >= len(wanted)


async def test_inputs_stop_at_the_end_of_a_segment_once_half_is_there(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 5_000), None)
    taken, _ = await store.inputs(task.key, [(0, 2_000)], limits.SEGMENT_BYTES)
    assert taken == [(0, 1024)]
    taken, _ = await store.inputs(task.key, [(1_000, 2_000)], limits.SEGMENT_BYTES)
    assert taken == [(1_000, 2_000)]  # the end of the first segment comes too early


async def test_inputs_are_bounded_by_bytes_but_never_nothing(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 40, size=10_000), None)
    taken, blob = await store.inputs(task.key, [(0, 40)], 35_000)
    assert taken == [(0, 3)]
    assert len(blob) <= 35_000
    taken, _ = await store.inputs(task.key, [(7, 20)], 1)
    assert taken == [(7, 8)]
