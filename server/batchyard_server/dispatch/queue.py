"""What of one live task is still to be run, and whose turn is it? Pending indexes, subtasks, pace; and the line."""

from __future__ import annotations

from bisect import insort
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterator

from batchyard_server.dispatch.protocols import Subtask
from batchyard_server.dispatch.sizing import Pace
from batchyard_server.model import ranges as rg
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Attempts, Task

SCATTERED = 32  # ranges of pending records, more than which are no remains of what was run in order


class Held:
    """Records of a queue that are not pending before a moment. `queue` is None once they wait no more."""

    __slots__ = ("queue", "ranges")

    def __init__(self, queue: TaskQueue, ranges: rg.Ranges) -> None:
        self.queue: TaskQueue | None = queue
        self.ranges = ranges


class TaskQueue:
    """One live task, in one generation, in memory. The store is the truth; this is rebuilt from it at start.

    Attributes:
        pending: indexes that can run, ascending. With those of `held`, of `subtasks` and of the ones being cut they
            are all that have no outcome.
        held: those that failed and wait for their next try; kept by Retrier.
        cutting: how many subtasks are being prepared and are not in `subtasks` yet.
        slots: how many of its subtasks each slot has or is about to get, by the slot's name.
        resting: nothing is cut for a while, since its inputs could not be read.
        barred: nothing is cut, since the task is perhaps about to be paused.
        ending: it was CANCELLING and its last worker is gone, which is being told to the store.
        dropped: it stands for its task no more; only what workers still have of it is waited for.
        in_line: kept by Ready.
    """

    __slots__ = (
        "attempts",
        "barred",
        "cutting",
        "dropped",
        "ending",
        "held",
        "in_line",
        "pace",
        "pending",
        "pending_count",
        "resting",
        "slots",
        "subtasks",
        "task",
    )

    def __init__(self, task: Task, pending: rg.Ranges, attempts: dict[int, Attempts]) -> None:
        self.task = task
        self.pending: deque[tuple[int, int]] = deque(pending)
        self.pending_count = rg.count(pending)
        self.attempts = attempts
        self.held: set[Held] = set()
        self.subtasks: dict[Subtask, None] = {}  # in the order of their leases
        self.slots: Counter[str] = Counter()
        self.pace = Pace()
        self.cutting = 0
        self.resting = False
        self.barred = False
        self.ending = False
        self.dropped = False
        self.in_line: int | None = None

    @property
    def is_cancelling(self) -> bool:
        """Whether it only waits for its workers to be gone."""
        return self.task.state is TaskState.CANCELLING

    @property
    def may_start(self) -> bool:
        """Whether records of it may begin."""
        return self.task.state.may_start_records and not self.barred and not self.dropped

    @property
    def is_waiting(self) -> bool:
        """Whether it has records for slots; while it `is_busy` it cannot give them yet."""
        return self.pending_count > 0 and not self.resting and self.may_start

    @property
    def is_busy(self) -> bool:
        """Whether no other subtask can be cut before one that is being cut.

        Where that one ends depends on what is stored together, and the next one that begins there need not take a
        segment apart. Of records that lie scattered two are cut at once, since reading them takes longest.
        """
        return self.cutting >= (2 if len(self.pending) > SCATTERED else 1)

    @property
    def within(self) -> Collection[str] | None:
        """The only slots that may get more of it, None = any one: those that it has once they are parallel_count.

        A slot runs one record at a time, so never more records of it run than it has slots.
        """
        most = self.task.settings.parallel_count
        if not most or len(self.slots) < most:
            return None
        return self.slots if len(self.slots) == most else ()

    @property
    def is_idle(self) -> bool:
        """Whether no worker has, or is about to get, any of its records."""
        return not self.subtasks and not self.cutting

    def leave(self, slot: str) -> None:
        """A subtask of it has ended at this slot, or does not come there after all."""
        self.slots[slot] -= 1
        if not self.slots[slot]:
            del self.slots[slot]

    def take(self, most: int) -> rg.Ranges:
        """Take the first `most` pending indexes out."""
        taken: rg.Ranges = []
        while most > 0 and self.pending:
            start, end = self.pending.popleft()
            size = min(most, end - start)
            taken.append((start, start + size))
            if start + size < end:
                self.pending.appendleft((start + size, end))
            most -= size
        self.pending_count -= rg.count(taken)
        return taken

    def give_back(self, ranges: rg.Ranges) -> None:
        """Make indexes pending again, in their place."""
        if ranges:
            self.pending = deque(rg.normalize([*ranges, *self.pending]))
            self.pending_count += rg.count(ranges)

    def withhold(self, ranges: rg.Ranges) -> None:
        """Take pending indexes out, for `hold`."""
        self.pending = deque(rg.subtract(self.pending, ranges))
        self.pending_count -= rg.count(ranges)

    def hold(self, ranges: rg.Ranges) -> Held:
        """Keep indexes that are not pending until `let_go`."""
        held = Held(self, ranges)
        self.held.add(held)
        return held

    def let_go(self, held: Held) -> None:
        """Keep them no more; the caller gives them back."""
        self.held.discard(held)
        held.queue = None

    def forget_pending(self) -> None:
        """Run nothing more of it."""
        self.pending.clear()
        self.pending_count = 0
        for held in list(self.held):
            self.let_go(held)

    def attempts_of(self, ranges: rg.Ranges) -> dict[int, Attempts]:
        """What is known of earlier executions of these indexes."""
        if not self.attempts:
            return {}
        return {index: self.attempts[index] for index in rg.indexes(ranges) if index in self.attempts}

    def forget_attempts(self, ranges: rg.Ranges) -> None:
        """These indexes have their outcome."""
        if self.attempts:
            for index in rg.indexes(ranges):
                self.attempts.pop(index, None)


class Ready:
    """The queues that have pending records: by priority, then by handler, in round robin."""

    def __init__(self) -> None:
        self._lines: dict[int, dict[str, OrderedDict[TaskQueue, None]]] = {}
        self._priorities: list[int] = []  # ascending

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, queue: TaskQueue) -> None:
        """Put a queue at the end of its line, if it is not in it."""
        priority = queue.task.settings.priority
        if queue.in_line == priority:
            return
        self.remove(queue)
        if priority not in self._lines:
            self._lines[priority] = {}
            insort(self._priorities, priority)
        self._lines[priority].setdefault(queue.task.handler, OrderedDict())[queue] = None
        queue.in_line = priority

    def remove(self, queue: TaskQueue) -> None:
        """Take a queue out of its line, if it is in one."""
        priority, handler = queue.in_line, queue.task.handler
        if priority is None:
            return
        lines = self._lines[priority]
        del lines[handler][queue]
        if not lines[handler]:
            del lines[handler]
        if not lines:
            del self._lines[priority]
            self._priorities.remove(priority)
        queue.in_line = None

    def classes(self) -> Iterator[dict[str, list[TaskQueue]]]:
        """By priority, the highest first: who is next of each handler; the one that was served longest ago first.

        The last queue of a handler may get any slot. Those before it come first, but only certain slots may get more of
        them, or they are being cut. They are few, because each of them has a slot: the cost does not depend on how many
        queues wait.
        """
        for priority in self._priorities[::-1]:
            handlers = list(self._lines.get(priority, ()))
            ready = {handler: found for handler in handlers if (found := self._next(priority, handler))}
            if ready:
                yield ready

    def _next(self, priority: int, handler: str) -> list[TaskQueue]:
        """Who is next of a line; takes out those that have nothing to give."""
        found: list[TaskQueue] = []
        idle: list[TaskQueue] = []
        for queue in self._lines[priority][handler]:
            if not queue.is_waiting:
                idle.append(queue)
                continue
            found.append(queue)
            if queue.within is None and not queue.is_busy:
                break
        for queue in idle:
            self.remove(queue)
        return found

    def rotate(self, queue: TaskQueue) -> None:
        """Served: it goes to the end of its handler's line, the handler to the end of all of this priority."""
        assert queue.in_line is not None
        lines = self._lines[queue.in_line]
        line = lines.pop(queue.task.handler)
        line.move_to_end(queue)
        lines[queue.task.handler] = line
