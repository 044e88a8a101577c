"""What of one live task is still to be run? Its pending indexes, its subtasks, its pace."""

from __future__ import annotations

from collections import deque

from batchyard_server.dispatch.protocols import Subtask
from batchyard_server.dispatch.sizing import Pace
from batchyard_server.model import ranges as rg
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Attempts, Task


class Held:
    """Records of a queue that are not pending before a moment. `queue` is None once they wait no more."""

    __slots__ = ("queue", "ranges")

    def __init__(self, queue: TaskQueue, ranges: rg.Ranges) -> None:
        self.queue: TaskQueue | None = queue
        self.ranges = ranges


class TaskQueue:
    """One QUEUED, RUNNING or CANCELLING task in memory. The store is the truth; this is rebuilt from it at start.

    Attributes:
        pending: indexes that can run, ascending. With those of `held`, of `subtasks` and of the ones being cut they
            are all that have no outcome.
        held: those that failed and wait for their next try; kept by Retrier.
        cutting: a subtask is being prepared and is not in `subtasks` yet. Only one at a time: where it ends depends
            on what is stored together, and the next one that begins there need not take a segment apart.
        resting: nothing is cut for a while, since its inputs could not be read.
        ending: it was CANCELLING and its last worker is gone, which is being told to the store.
        in_line: kept by Ready.
    """

    __slots__ = (
        "attempts",
        "cutting",
        "ending",
        "held",
        "in_line",
        "pace",
        "pending",
        "pending_count",
        "resting",
        "subtasks",
        "task",
    )

    def __init__(self, task: Task, pending: rg.Ranges, attempts: dict[int, Attempts]) -> None:
        self.task = task
        self.pending: deque[tuple[int, int]] = deque(pending)
        self.pending_count = rg.count(pending)
        self.attempts = attempts
        self.held: set[Held] = set()
        self.subtasks: set[Subtask] = set()
        self.pace = Pace()
        self.cutting = False
        self.resting = False
        self.ending = False
        self.in_line = False

    @property
    def is_cancelling(self) -> bool:
        """Whether it only waits for its workers to be gone."""
        return self.task.state is TaskState.CANCELLING

    @property
    def is_ready(self) -> bool:
        """Whether a subtask can be cut now."""
        return self.pending_count > 0 and not self.resting and not self.cutting

    @property
    def is_idle(self) -> bool:
        """Whether no worker has, or is about to get, any of its records."""
        return not self.subtasks and not self.cutting

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
    """The queues that have pending records, by handler, in round robin."""

    def __init__(self) -> None:
        self._by_handler: dict[str, deque[TaskQueue]] = {}

    def add(self, queue: TaskQueue) -> None:
        """Put a queue at the end of its handler's line, if it is not in it."""
        if not queue.in_line:
            queue.in_line = True
            self._by_handler.setdefault(queue.task.handler, deque()).append(queue)

    def handlers(self) -> list[str]:
        """Handlers with a ready queue, the one that was served longest ago first."""
        return [handler for handler in list(self._by_handler) if self.peek(handler)]

    def peek(self, handler: str) -> TaskQueue | None:
        """The next queue of the handler; drops those that have nothing to give."""
        line = self._by_handler.get(handler)
        while line:
            if line[0].is_ready:
                return line[0]
            line.popleft().in_line = False
        self._by_handler.pop(handler, None)
        return None

    def rotate(self, handler: str) -> None:
        """Served: its first queue goes to the end of the handler's line, the handler to the end of all."""
        line = self._by_handler.pop(handler)
        line.rotate(-1)
        self._by_handler[handler] = line
