"""Who may record which outcomes? A lease and its set of open indexes make them exactly one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from batchyard_server.codec import outcomes as codec
from batchyard_server.codec import subtasks, task_bytes
from batchyard_server.model import ranges as rg
from batchyard_server.model.errors import StaleLease
from batchyard_server.model.states import Event, StopReason, SubtaskState, TaskState, after
from batchyard_server.model.subtask import RETURNED, Killed, LeaseEnd
from batchyard_server.model.task import Attempts, Flush, Lease, Retries, Task
from batchyard_server.store.artifact_store import Unnamed
from batchyard_server.store.protocols import LiveTask
from batchyard_server.store.sqlite import artifacts, changes, history, leases, merge, outcomes, tasks
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.transaction import Entry, OpenLease, Transaction


def grant(tx: Transaction, lease: Lease, asked_us: int) -> Task:
    """See Store.grant. `asked_us`: when it was asked for, since its records may begin then."""
    held = _held(tx, lease)
    task = held.task
    live = leases.of_task(tx, held)
    wanted = rg.normalize(lease.ranges)
    if not task.state.may_start_records:
        raise StaleLease(f"{task.name} is {task.state.name}")
    if not wanted or wanted[0][0] < 0 or wanted[-1][1] > task.total:
        raise StaleLease(f"{task.name} has no records {lease.ranges}")
    if any(rg.subtract(wanted, other.open) != wanted for other in live.values()):
        raise StaleLease(f"a record of {task.name} is leased already")
    if task.next_sequence and outcomes.any_within(tx, task, wanted):
        raise StaleLease(f"a record of {task.name} has an outcome already")
    epoch = task.next_epoch
    now_us = max(asked_us, task.update_us)
    running = replace(
        task.enter(after(task.state, Event.LEASE), now_us),
        start_us=task.start_us or now_us,
        next_epoch=epoch + 1,
        subtasks=task.subtasks + 1,
        live_subtasks=task.live_subtasks + 1,
    )
    opened = {**live, epoch: OpenLease(task.generation, lease.worker, lease.node, now_us, wanted, wanted)}
    stored = changes.write(tx, held._replace(leases=opened), running)
    lease.epoch = epoch
    tx.on_undo(lambda: setattr(lease, "epoch", 0))
    return stored


def record_outcomes(
    tx: Transaction,
    lease: Lease,
    flush: Flush,
    retries: Retries | None,
    end: LeaseEnd,
    unnamed: list[Unnamed],
) -> Task:
    """See Store.record_outcomes. `unnamed` is filled with the artifacts that went."""
    held = _held(tx, lease)
    task = held.task
    live = leases.of_task(tx, held)
    mine = live.get(lease.epoch)
    done = rg.normalize(flush.ranges)
    if mine is None or mine.generation != task.generation or not rg.contains_all(mine.open, done):
        raise StaleLease(f"lease {lease.epoch} of {task.name} does not hold {flush.ranges}")
    as_sent = list(flush.ranges)
    if rg.count(done) != flush.count or rg.count(as_sent) != flush.count or as_sent != sorted(as_sent) or not done:
        raise ValueError(f"a flush of {flush.count} records has the indexes {flush.ranges}")
    if retries is not None and task.state is not TaskState.CANCELLING:
        flush = _take_out(tx, task, done, retries)
    if flush.count:
        outcomes.insert(tx, task.key, task.generation, task.next_sequence, flush)
        merge.segment_came(tx, task.key, task.generation, flush.count, len(flush.page))
        held = artifacts.replace(tx, held, flush, unnamed)
    left = rg.subtract(mine.open, done)
    held = held._replace(leases=leases.shrink(tx, task, live, lease.epoch, left, end))
    if left and not flush.count:  # nobody sees a difference
        tx.hold(task.key, held)
        return task
    if flush.failures:
        held = outcomes.add_failures(tx, held, flush.failures)
    failed = len(flush.failed)
    counted = replace(
        task,
        succeeded=task.succeeded + flush.count - failed,
        failed=task.failed + failed,
        next_sequence=task.next_sequence + flush.count,
        live_subtasks=task.live_subtasks - (not left),
        exit_code=codec.exit_code(flush) if task.total == 1 and flush.count else None,
    )
    return changes.write(tx, held, _settled(tx, held, counted))


def _take_out(tx: Transaction, task: Task, done: list[tuple[int, int]], retries: Retries) -> Flush:
    """Remember the records that are tried again; what is left of their flush, whose indexes were `done`."""
    again = rg.from_indexes(retries.attempts)
    if rg.subtract(done, again) != rg.normalize(retries.rest.ranges) or not rg.contains_all(done, again):
        raise ValueError(f"of {done} are retried {again} and left {retries.rest.ranges}")
    outcomes.remember_attempts(tx, task.key, task.generation, retries.attempts)
    history.add(tx, task.key, task.generation, retries.attempts, retries.history, retries.logs)
    return retries.rest


def release(
    tx: Transaction,
    lease: Lease,
    begun: Mapping[int, Attempts],
    unreaped: Sequence[int],
    interrupted: Sequence[tuple[int, bytes]],
    logs: Mapping[int, bytes],
    ends_cancel: bool,
    end: LeaseEnd,
) -> Task | None:
    """See Store.release."""
    held = tasks.entry(tx, lease.task_key)
    if held is None:
        return None
    task = held.task
    live = leases.of_task(tx, held)
    held = held._replace(leases=live)
    mine = live.get(lease.epoch)
    if mine is not None and mine.generation == lease.generation:
        open_ = {index: each for index, each in begun.items() if outcomes.holds(mine.open, index)}
        outcomes.remember_attempts(tx, task.key, task.generation, open_)
        kept = [each for each in interrupted if each[0] in open_]
        history.add(tx, task.key, task.generation, open_, kept, logs)
        live = leases.shrink(tx, task, live, lease.epoch, [], end)
        held = held._replace(leases=live)
        task = _settled(tx, held, replace(task, live_subtasks=task.live_subtasks - 1))
    if task.state is TaskState.CANCELLING and lease.generation == task.generation:
        if unreaped:  # shown once the task is final
            error = task.error or task_bytes.cancelled_error()
            task = replace(task, error=task_bytes.add_unreaped(error, unreaped))
        if ends_cancel and not live:
            task = _reaped(tx, task)
    return task if task == held.task else changes.write(tx, held, task)


def shrink(tx: Transaction, lease: Lease, ranges: Sequence[tuple[int, int]]) -> Task:
    """See Store.shrink."""
    held = _held(tx, lease)
    task = held.task
    live = leases.of_task(tx, held)
    mine = live.get(lease.epoch)
    taken = rg.normalize(ranges)
    if mine is None or mine.generation != task.generation or not rg.contains_all(mine.open, taken):
        raise StaleLease(f"lease {lease.epoch} of {task.name} does not hold {ranges}")
    left = rg.subtract(mine.open, taken)
    held = held._replace(leases=leases.shrink(tx, task, live, lease.epoch, left, RETURNED))
    if left:  # nobody sees a difference
        tx.hold(task.key, held)
        return task
    return changes.write(tx, held, _settled(tx, held, replace(task, live_subtasks=task.live_subtasks - 1)))


def recover(tx: Transaction) -> list[LiveTask]:
    """See Store.recover."""
    killed = subtasks.killed_error(Killed.SERVER_KILLED)
    leases.end_all(tx, LeaseEnd(state=SubtaskState.KILLED, error=killed))
    found: list[LiveTask] = []
    for stored in tasks.live(tx):
        held = Entry(stored, leases={})
        tx.learn(stored.key, held)
        task = replace(stored, live_subtasks=0)
        task = _reaped(tx, task) if task.state is TaskState.CANCELLING else _settled(tx, held, task)
        if task != stored:
            task = changes.write(tx, held, task)
        if task.state.may_start_records:
            found.append(unfinished(tx, task))
    return found


def unfinished(source: Reader | Transaction, task: Task) -> LiveTask:
    """See Store.unfinished."""
    pending = rg.subtract([(0, task.total)], outcomes.done(source, task))
    began = outcomes.attempts(source, task.key, task.generation) if task.subtasks else {}
    if began:
        began = {index: each for index, each in began.items() if outcomes.holds(pending, index)}
    return LiveTask(task=task, pending=pending, attempts=began)


def _held(tx: Transaction, lease: Lease) -> Entry:
    held = tasks.entry(tx, lease.task_key)
    if held is None or held.task.generation != lease.generation:
        raise StaleLease(f"the task of lease {lease.epoch} is gone or has begun another generation")
    return held


def _settled(tx: Transaction, held: Entry, task: Task) -> Task:
    """The task in the state that follows now that records of it ended or a lease did; `held` knows what still lives."""
    if task.state not in (TaskState.RUNNING, TaskState.PAUSING):
        return task
    now_us = tx.clock.now_us()
    within = task.settings.allows(task.failed, task.total)
    if task.ended == task.total:
        if task.failed == task.total:
            error = task_bytes.all_failed_error(task, outcomes.failures(tx, task.key, task.generation))
            return replace(task.enter(after(task.state, Event.ALL_FAILED), now_us), error=error)
        if within:
            return task.enter(after(task.state, Event.ALL_SUCCEEDED_OR_SOME_FAILED), now_us)
        return _stopped_by_policy(task.enter(after(task.state, Event.TOO_MANY_FAILED), now_us))
    if not within:
        return _stopped_by_policy(task.enter(after(task.state, Event.STOP), now_us))
    if task.state is TaskState.PAUSING and not leases.of_task(tx, held):
        return task.enter(after(task.state, Event.NOTHING_RUNS), now_us)
    return task


def _stopped_by_policy(task: Task) -> Task:
    return replace(task, stop_reason=StopReason.FAILURE_POLICY, error=task_bytes.failure_policy_error(task))


def _reaped(tx: Transaction, task: Task) -> Task:
    """A CANCELLING task whose processes are gone."""
    cancelled = task.stop_reason is StopReason.CANCEL
    event = Event.REAPED_AFTER_CANCEL if cancelled else Event.REAPED_AFTER_STOP
    return task.enter(after(task.state, event), tx.clock.now_us())
