"""Commits and those who hear of them: order, isolation, durability for callers that went away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from batchyard_server.model.errors import FailedPrecondition, NotFound, Reason, StaleLease
from batchyard_server.model.names import TaskName
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Lease, Task
from batchyard_server.store.protocols import Change, Decide, Store, TaskEvent
from tests.support import store as make
from tests.support.outcomes import flush


async def test_subscribers_hear_every_change_in_order_with_the_task_as_of_then(store: Store) -> None:
    heard: list[TaskEvent] = []
    stop = store.subscribe(heard.extend)
    task = await store.create_task(make.new_task("a", 4, draft=True), None)
    more = replace(make.new_task("x", 2).segments[0], first=4)
    await store.append_records(task.name, task.uid, 4, [more], [])
    queued = await store.update_task(task.name, make.start, None)
    lease = await make.lease(store, queued)
    await store.record_outcomes(lease, flush(task.name, ok=range(3)))
    done = await store.record_outcomes(lease, flush(task.name, ok=range(3, 6)))
    await store.delete_task(task.name, make.allow_delete, None)
    assert [(event.change, event.task.state, event.task.total, event.task.succeeded) for event in heard] == [
        (Change.STATE, TaskState.DRAFT, 4, 0),
        (Change.COUNTS, TaskState.DRAFT, 6, 0),
        (Change.STATE, TaskState.QUEUED, 6, 0),
        (Change.STATE, TaskState.RUNNING, 6, 0),
        (Change.COUNTS, TaskState.RUNNING, 6, 3),
        (Change.STATE, TaskState.SUCCEEDED, 6, 6),
        (Change.DELETED, TaskState.SUCCEEDED, 6, 6),
    ]
    assert heard[-1].task == done
    stop()
    await store.create_task(make.new_task("b"), None)
    assert len(heard) == 7


async def test_subscribers_hear_before_the_caller_goes_on_and_can_read_it(store: Store) -> None:
    order: list[str] = []

    def heard(events: Sequence[TaskEvent]) -> None:
        order.extend(f"event {event.task.task_id}" for event in events)

    store.subscribe(heard)

    async def create(task_id: str) -> None:
        await store.create_task(make.new_task(task_id), None)
        order.append(f"caller {task_id}")
        assert await store.get_task(TaskName("p", task_id))

    await asyncio.gather(*(create(f"t{n}") for n in range(30)))
    for n in range(30):
        assert order.index(f"event t{n}") < order.index(f"caller t{n}")
    events = [each for each in order if each.startswith("event")]
    assert events == [f"event t{n}" for n in range(30)]  # in the order of the calls


async def test_a_subscriber_that_fails_harms_nobody(store: Store) -> None:
    heard: list[TaskEvent] = []

    def fail(_: Sequence[TaskEvent]) -> None:
        raise RuntimeError("a subscriber's own fault")

    store.subscribe(fail)
    store.subscribe(heard.extend)
    await store.create_task(make.new_task("a"), None)
    assert len(heard) == 1


async def test_a_mutation_that_changes_nothing_tells_nobody(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 2), None)
    heard: list[TaskEvent] = []
    store.subscribe(heard.extend)
    assert await store.update_task(task.name, lambda found: found, None) == task
    with pytest.raises(NotFound):
        await store.update_task(TaskName("p", "none"), make.cancel, None)
    with pytest.raises(StaleLease):
        await store.grant(Lease(task_key=task.key, generation=2, ranges=[(0, 1)], worker="w"))
    assert heard == []


async def test_a_failing_mutation_harms_no_neighbour_in_its_commit(store: Store) -> None:
    """Submitted at once, so that they share a commit: each one stands or falls alone."""
    taken = await store.create_task(make.new_task("taken", 10), None)

    def refuse(_: Task) -> Task:
        raise FailedPrecondition(Reason.ILLEGAL_STATE, "no", subject="state")

    lease = Lease(task_key=taken.key, generation=1, ranges=[(0, 10)], worker="w")
    overlapping = Lease(task_key=taken.key, generation=1, ranges=[(5, 6)], worker="w")
    results = await asyncio.gather(
        store.create_task(make.new_task("Taken", uid="again"), make.request(1)),
        store.create_task(make.new_task("a", 3), make.request(2)),
        store.update_task(taken.name, refuse, make.request(3)),
        store.grant(lease),
        store.grant(overlapping),
        store.record_outcomes(lease, flush(taken.name, ok=[0, 1])),
        store.record_outcomes(lease, flush(taken.name, ok=[1, 2])),
        store.record_outcomes(lease, flush(taken.name, failed=[3])),
        store.update_task(TaskName("p", "none"), make.start, make.request(4)),
        store.create_task(make.new_task("b", 3), make.request(5)),
        return_exceptions=True,
    )
    failed = [number for number, result in enumerate(results) if isinstance(result, BaseException)]
    assert failed == [0, 2, 4, 6, 8]
    assert set(await make.listed(store)) == {"a", "b", "taken"}
    now = await store.get_task(taken.name)
    assert (now.succeeded, now.failed, now.subtasks, overlapping.epoch) == (2, 1, 1, 0)
    assert make.indexes(await make.read_all(store, now, order=make.Order.COMPLETION)) == [0, 1, 3]
    # The failed ones left no trace of their request ids.
    again = await store.update_task(taken.name, make.cancel, make.request(3))
    assert again.state is TaskState.CANCELLING


async def test_a_cancelled_caller_does_not_undo_its_commit(store: Store) -> None:
    heard = asyncio.Event()
    store.subscribe(lambda _: heard.set())
    caller = asyncio.ensure_future(store.create_task(make.new_task("a"), None))
    await asyncio.sleep(0)  # let it submit
    caller.cancel()
    await heard.wait()
    assert (await store.get_task(TaskName("p", "a"))).task_id == "a"


async def test_mutations_of_one_task_take_effect_in_the_order_of_the_calls(store: Store) -> None:
    task = await store.create_task(make.new_task("a", 1, draft=True), None)
    seen: list[int] = []

    def note(number: int, found: Task) -> Task:
        seen.append(number)
        return replace(found, update_us=found.update_us + 1)

    def decide(number: int) -> Decide:
        return lambda found: note(number, found)

    await asyncio.gather(*(store.update_task(task.name, decide(n), None) for n in range(200)))
    assert seen == list(range(200))
    assert (await store.get_task(task.name)).update_us == task.update_us + 200
