"""Generations: what is still to be run, and what a reader sees in each."""

from __future__ import annotations

import pytest

from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.codec import segments
from batchyard_server.model.errors import NotFound, StaleLease
from batchyard_server.model.record import EVERY_GENERATION, Order
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
