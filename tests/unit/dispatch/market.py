"""Projects that want workers: how long their records take is the test's choice, and who had how much is counted.

Dispatcher, executor and slots are real; time passes in steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from batchyard_server.dispatch.protocols import Subtask
from batchyard_server.model.names import parse_task
from batchyard_server.model.states import TaskState
from tests.support.dispatch import FakeWorker
from tests.support.memory_store import Held
from tests.unit.dispatch.stage import Stage


class Start(NamedTuple):
    """A record that began, at that many seconds."""

    at: float
    project: str
    task: str
    index: int
    handler: str


class Market:
    """One server with fake workers.

    Attributes:
        starts: in order.
        worked: nanoseconds of handler work, by project.
        most: how many records ran at once at most, by handler.
        taken_back: the projects of the subtasks that workers were asked to give back.
    """

    def __init__(self, *, slots: int, handlers: Sequence[str] = ("echo",), step: float = 0.02, **options: Any) -> None:
        self.stage = Stage(slots=slots, handlers=handlers, **options)
        self.step = step
        self.starts: list[Start] = []
        self.worked: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self._seconds: dict[str, float] = {}  # that a record takes, by task
        self._due: dict[FakeWorker, int] = {}
        self.stage.launcher.on_start = self.on_start
        self.taken_back: list[str] = []
        withdraw = self.stage.executor.withdraw

        def noted(subtask: Subtask, *, kill: bool) -> None:
            self.taken_back.append(subtask.task.project)
            withdraw(subtask, kill=kill)

        self.stage.executor.withdraw = noted  # type: ignore[method-assign]

    @property
    def now(self) -> float:
        """Seconds."""
        return self.stage.clock.monotonic_ns() / 1e9

    def create(self, project: str, records: int, seconds: float, **options: Any) -> Held:
        """A task whose records take so long."""
        # Known before it is stored: the first record may begin at once.
        self._seconds[str(len(self._seconds))] = seconds
        return self.stage.create(records, project=project, **options)

    def on_start(self, worker: FakeWorker) -> None:
        def begun(name: str, index: int, _attempt: int) -> None:
            task = parse_task(name)
            self.starts.append(Start(self.now, task.project, task.task, index, worker.handler))
            took_ns = round(self._seconds[task.task[1:]] * 1e9)
            self._due[worker] = self.stage.clock.monotonic_ns() + took_ns
            self.worked[task.project] += took_ns

        worker.begun = begun

    async def go(self, seconds: float) -> Counter[str]:
        """Time passes; what each project's records that began in it take."""
        before = Counter(self.worked)
        for _ in range(round(seconds / self.step)):
            for worker in self.stage.workers:
                self._move(worker)
                worker.deliver()
            running = Counter(each.handler for each in self.stage.workers if each.running is not None)
            self.most |= running
            await self.stage.turn(4)
            self.stage.tick(self.step)
        return self.worked - before

    def _move(self, worker: FakeWorker) -> None:
        if worker.killed or worker.dead:
            worker.reap()
        elif not worker.is_loaded:
            worker.load()
        else:
            worker.read()
            if worker.running is not None and self.stage.clock.monotonic_ns() >= self._due[worker]:
                worker.step(flush=True)
            if worker.running is None:
                worker.step()

    async def warm(self) -> None:
        """Every slot has a worker that has loaded the first handler."""
        held = self.create("warm", self.stage.slots, self.step, handler=self.stage.handlers[0])
        while not held.task.state.is_final:
            await self.go(self.step)
        self.starts.clear()
        self.worked.clear()

    async def finish(self) -> None:
        """Everything comes to its end, and nothing is left."""
        for _ in range(1000):
            if all(held.task.state.is_final for held in self.stage.store.held.values()):
                break
            await self.go(100 * self.step)
        assert {held.task.state for held in self.stage.store.held.values()} == {TaskState.SUCCEEDED}
        await self.stage.stop()
        self.stage.check_books()

    def first(self, held: Held) -> Start:
        """When its first record began."""
        return next(each for each in self.starts if each.task == held.task.task_id)
