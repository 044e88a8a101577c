"""Which queue gets which slot now, and how many records? And for whom is a slot asked to make room?

turns ─▶ slot of the executor ─▶ size ─▶ ticket ─▶ Cut
  └ none is free, and nothing of the one whose turn it is was at a worker yet ─▶ some slot gives back what waits
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import NamedTuple

from batchyard_server.dispatch.gates import Gates
from batchyard_server.dispatch.protocols import Claim, Executor, Slot, Subtask
from batchyard_server.dispatch.queue import TaskQueue
from batchyard_server.dispatch.shares import Shares
from batchyard_server.dispatch.sizing import CROWDED_NS, PACED_NS, TARGET_NS, Pace
from batchyard_server.dispatch.tickets import Ticket
from batchyard_server.dispatch.turns import Turns
from batchyard_server.model import ranges as rg

TAKE_BACK_NS = 20_000_000  # less work than this at a slot is not taken back: it has ended before others have begun


class Cut(NamedTuple):
    """A subtask to be: these records of the queue go to the slot, which has reserved the estimate."""

    queue: TaskQueue
    slot: Slot
    wanted: rg.Ranges
    estimate_ns: int | None
    ticket: Ticket


class Chooser:
    """Gives slots to queues.

    Attributes:
        slots: how many the executor has.
        paces: by handler, for tasks that are new.
    """

    def __init__(self, executor: Executor, turns: Turns, shares: Shares, gates: Gates, *, slots: int) -> None:
        self._executor = executor
        self._turns = turns
        self._shares = shares
        self._gates = gates
        self.slots = slots
        self.paces: defaultdict[str, Pace] = defaultdict(Pace)
        self._at: defaultdict[str, dict[Subtask, None]] = defaultdict(dict)  # what each slot has, in its order

    def next(self) -> Cut | None:
        """Cut one subtask, if there is a slot for one."""
        turns, claims = self._turns.look(self._executor.can_start)
        for turn in turns:
            for queue in turn.queues:
                cut = self._cut(queue, claims)
                if cut is not None:
                    return cut
        for turn in turns:
            queue = next((each for each in turn.queues if each.within is None), None)
            if turn.claim.waits and queue is not None and not (queue.hurried or queue.served):
                self._hurry(queue, claims)
        return None

    def _cut(self, queue: TaskQueue, claims: Mapping[str, Claim]) -> Cut | None:
        if queue.is_busy:
            return None
        handler = queue.task.handler
        if queue.pace.record_ns is None:
            queue.pace.record_ns = self.paces[handler].record_ns
        gate = self._gates.of(handler)
        size = self._size(queue)
        estimate = queue.pace.estimate_ns(size)
        # What is to begin at once has no use for a slot that has room behind something else.
        expected = estimate if gate.bucket is None else None
        slot = self._executor.slot_for(handler, expected, claims, _both(queue.within, gate.within))
        if slot is None or (gate.bucket is not None and not slot.begins_at_once):
            return None
        slot.reserve(estimate)
        queue.slots[slot.name] += 1
        queue.cutting += 1
        self._turns.rotate(queue)
        share = self._shares.of(queue.task.project)
        ticket = Ticket(self._shares, share, gate, slot=slot.name, count=size, ns=estimate)
        return Cut(queue, slot, queue.take(size), estimate, ticket)

    def _size(self, queue: TaskQueue) -> int:
        gate = self._gates.of(queue.task.handler)
        slots = min(self.slots, gate.concurrency or self.slots)
        sharing = min(slots, queue.task.settings.parallel_count or slots)
        if gate.bucket is not None:
            return min(queue.pace.size(queue.pending_count, sharing, PACED_NS), int(gate.bucket.level))
        crowded = self._turns.is_crowded(queue, slots)
        return queue.pace.size(queue.pending_count, sharing, CROWDED_NS if crowded else TARGET_NS)

    # -- what is where --------------------------------------------------------------------------------------------

    def sent(self, subtask: Subtask) -> None:
        """A subtask is at its slot."""
        self._at[subtask.lease.worker][subtask] = None

    def over(self, subtask: Subtask) -> None:
        """The slot has it no more: nothing of it will begin."""
        subtask.ticket.end()
        del self._at[subtask.lease.worker][subtask]

    def _hurry(self, queue: TaskQueue, claims: Mapping[str, Claim]) -> None:
        """It is its turn, and no slot is free. Once, for its first record: let a slot begin nothing of what it has.

        The slot is one of the project that has most of them, then one of the task that has.
        """
        found = [
            subtasks
            for name, subtasks in self._at.items()
            if subtasks and self._executor.suits(name, queue.task.handler, claims) and _gives_way(subtasks, queue)
        ]
        if not found:
            return
        projects: defaultdict[str, int] = defaultdict(int)
        tasks: defaultdict[int, int] = defaultdict(int)
        for subtasks in self._at.values():
            for subtask in list(subtasks)[:1]:
                projects[subtask.task.project] += 1
                tasks[subtask.task.key] += 1
        most = max(found, key=lambda each: max((projects[one.task.project], tasks[one.task.key]) for one in each))
        queue.hurried = True
        for subtask in list(most):
            subtask.ticket.asked_back = True
            self._executor.withdraw(subtask, kill=False)


def _gives_way(subtasks: Collection[Subtask], queue: TaskQueue) -> bool:
    """Whether a slot that has these would be free for the queue much sooner without those that have not begun."""
    if any(subtask.ticket.asked_back for subtask in subtasks):
        return False
    task = queue.task
    if any(
        each.task.project == task.project and each.task.settings.priority > task.settings.priority for each in subtasks
    ):
        return False
    return sum(each.ticket.rest_ns(begun=at == 0) for at, each in enumerate(subtasks)) >= TAKE_BACK_NS


def _both(one: Collection[str] | None, other: Collection[str] | None) -> Collection[str] | None:
    """The slots that are allowed by both; None = any one."""
    if one is None or other is None:
        return other if one is None else one
    return set(one) & set(other)
