"""Random runs: what happens when is the seed's choice, and what must hold at every moment is asserted.

Dispatcher, executor and slots are real; the store commits, the workers run, crash and answer when the seed says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

from batchyard_server.model import ranges as rg
from batchyard_server.model.errors import BatchyardError, Reason, ResourceExhausted, StaleLease, Unavailable
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Task
from tests.support.dispatch import FakeWorker
from tests.support.memory_store import Held
from tests.unit.dispatch.stage import Stage


class Fault(Exception):
    """A fault of the store."""


HANDLERS = ("first", "second", "third")
LIMITS = {"second": {"concurrency": 1}, "third": {"rate": 300.0}}
ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: Unavailable(Reason.STORE_UNAVAILABLE, "a test says so"),
    lambda: ResourceExhausted(Reason.DISK_FULL, "a test says so", subject="disk"),
    lambda: Fault("a test says so"),
)


class Play:
    """One run of one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        slots = self.random.randint(1, 4)
        self.stage = Stage(slots=slots, handlers=HANDLERS, limits=LIMITS, weights={"q": 2.0}, automatic=False)
        self.store = self.stage.store
        self.store.on_final = self.on_final
        self.store.on_generation = self.on_generation
        self.stage.launcher.on_start = self.on_start
        self.crash_share = self.random.choice((0.0, 0.04))
        self.poison: set[tuple[str, int]] = set()  # records that crash their worker each time
        self.cancelled: set[int] = set()  # in the present generation
        self.stopped: set[int] = set()  # in any one
        self.configured: set[int] = set()
        self.deleted: set[str] = set()
        self.begun: Counter[tuple[str, int]] = Counter()  # of the present generation, as the next two
        self.crashed: Counter[tuple[str, int]] = Counter()
        self.timed_out: set[tuple[str, int]] = set()
        self.calls: set[asyncio.Task[None]] = set()
        self.retried = 0
        self.forgot = False  # a server that was killed does not know everything that had begun

    @property
    def workers(self) -> list[FakeWorker]:
        return self.stage.workers

    # -- what must hold at every moment ---------------------------------------------------------------------------

    def on_start(self, worker: FakeWorker) -> None:
        worker.begun = lambda name, index, attempt: self.on_begun(worker, name, index, attempt)
        worker.acked = self.on_acked

    def on_begun(self, worker: FakeWorker, name: str, index: int, attempt: int) -> None:
        if name in self.deleted:
            return  # the worker has not heard of it yet
        held = self.store.by_name(name)
        assert held.task.handler == worker.handler
        assert worker.current is not None
        if worker.current.generation != held.task.generation:
            assert held.task.state is not TaskState.RUNNING
            return
        assert index not in held.outcomes
        others = [each for each in self.workers if each is not worker and each.running is not None and not each.dead]
        if worker.handler == "second":
            assert all(each.handler != "second" for each in others)
        beside = [each.running for each in others if each.current is not None and each.current.batch_task == name]
        assert index not in beside
        if held.task.key not in self.configured:
            assert len(beside) < (held.task.settings.parallel_count or 5)
        known = held.attempts.get(index)
        assert known is None or known.retry_us <= self.stage.clock.now_us(), "it begins before its time"
        self.begun[name, index] += 1
        if held.task.key not in self.cancelled:
            self.check_attempt(name, index, attempt)

    def check_attempt(self, name: str, index: int, attempt: int) -> None:
        assert attempt == self.begun[name, index] or (self.forgot and attempt <= self.begun[name, index])

    def on_acked(self, flushes: list[tuple[str, rg.Ranges]]) -> None:
        for name, ranges in flushes:
            if name in self.deleted:
                continue
            held = self.store.by_name(name)
            if held.task.key not in self.stopped and held.task.generation == 1:
                assert all(index in held.outcomes or index in held.history for index in rg.indexes(ranges))

    def on_final(self, before: Task, task: Task) -> None:
        """CANCELLED says that nothing of the task lives; but of a QUEUED task nothing was known to live."""
        if task.state is TaskState.CANCELLED and before.state is not TaskState.QUEUED:
            for worker in self.workers:
                assert worker.current is None or worker.current.batch_task != str(task.name)
                assert all(run.batch_task != str(task.name) for run in worker.runs)

    def on_generation(self, task: Task) -> None:
        """Everything is counted anew."""
        self.cancelled.discard(task.key)
        for index in range(task.total):
            for counted in (self.begun, self.crashed):
                del counted[str(task.name), index]
            self.timed_out.discard((str(task.name), index))

    # -- what happens ---------------------------------------------------------------------------------------------

    def create(self) -> None:
        held = self.stage.create(
            self.random.choice((1, 1, 3, 10, 100)),
            handler=self.random.choice(HANDLERS),
            project=self.random.choice(("p", "p", "q")),
            size=self.random.choice((0, 3000)),
            max_retry_count=self.random.choice((0, 0, 1, 3, -1)),
            initial_backoff_us=self.random.choice((0, 300_000)),
            max_backoff_us=1_000_000,
            **self.settings(),
        )
        if self.random.random() < 0.2:
            self.poison.add((str(held.task.name), self.random.randrange(held.task.total)))

    def settings(self) -> dict[str, int]:
        return {
            "record_timeout_us": self.random.choice((0, 1_000_000)),
            "priority": self.random.choice((0, 0, 0, 7, -3)),
            "parallel_count": self.random.choice((0, 0, 0, 1, 2)),
        }

    def some(self, *, final: bool) -> Held | None:
        """Some task that is, or is not, final."""
        found = [held for held in self.store.held.values() if held.task.state.is_final is final]
        return self.random.choice(found) if found else None

    def cancel(self) -> None:
        held = self.some(final=False)
        if held is not None:
            self.cancelled.add(held.task.key)
            self.stopped.add(held.task.key)
            self.store.cancel(held.task.key)

    def delete(self) -> None:
        held = self.some(final=self.random.random() < 0.5)
        if held is not None:
            self.deleted.add(str(held.task.name))
            self.store.delete(held.task.key)

    def pause(self) -> None:
        held = self.some(final=False)
        if held is not None:
            self.call(lambda: self.stage.pause(held))

    def resume(self) -> None:
        held = self.some(final=False)
        if held is not None:
            self.call(lambda: self.stage.resume(held))

    def configure(self) -> None:
        held = self.some(final=False)
        if held is not None:
            self.configured.add(held.task.key)
            settings = self.settings()
            self.call(lambda: self.stage.configure(held, **settings))

    def reactivate(self) -> None:
        held = self.some(final=True)
        if held is not None:
            everything = self.random.random() < 0.5
            self.call(lambda: self.stage.reactivate(held, everything=everything))

    def call(self, verb: Callable[[], Awaitable[None]]) -> None:
        """A caller, who may be refused or find the store failing, or go away."""
        call = asyncio.ensure_future(self.refusable(verb))
        self.calls.add(call)
        call.add_done_callback(self.calls.discard)

    async def refusable(self, verb: Callable[[], Awaitable[None]]) -> None:
        with contextlib.suppress(BatchyardError, StaleLease, Fault):
            await verb()

    def hang_up(self) -> None:
        """Callers go away; what they asked for may come all the same."""
        for call in list(self.calls):
            call.cancel()

    def take_back(self) -> None:
        """What has not begun of some subtask is asked back, as when its record is slow or the server drains."""
        found = [subtask for subtask, _ in self.stage.executor.running()]
        if found:
            longest = max(found, key=lambda each: each.count)
            self.stage.executor.withdraw(self.random.choice((longest, *found)), kill=False)
            if self.random.random() < 0.8:
                for worker in self.workers:
                    worker.read()

    def commit(self) -> None:
        self.store.commit(self.random.randint(1, 5))

    def fail(self) -> None:
        """From now on a part of the writes and reads fails, perhaps none."""
        error, part = self.random.choice((None, None, *ERRORS)), self.random.random()
        self.store.fail = lambda _: error() if error is not None and self.random.random() < part else None

    def advance(self) -> None:
        self.tick(self.random.choice((0.001, 0.01, 0.06, 0.2, 0.6, 1.5, 6.0)))

    def tick(self, seconds: float) -> None:
        """Time passes; note which records may be ended for it."""
        before = [worker for worker in self.workers if not worker.killed]
        self.stage.tick(seconds)
        for worker in before:
            task = self.task_at(worker)
            if worker.killed and task is not None and worker.running is not None:
                ran_us = (self.stage.clock.monotonic_ns() - worker.progress().start_ns) / 1000
                if 0 < task.settings.record_timeout_us < ran_us:
                    self.timed_out.add((str(task.name), worker.running))

    def task_at(self, worker: FakeWorker) -> Task | None:
        """The task of a worker's subtask, if it is there, in that generation."""
        if worker.current is None or worker.current.batch_task in self.deleted:
            return None
        task = self.store.by_name(worker.current.batch_task).task
        return task if task.generation == worker.current.generation else None

    def work(self) -> None:
        """Something happens at one worker."""
        if not self.workers:
            return
        worker = self.random.choice(self.workers)
        roll = self.random.random()
        if worker.dead or (worker.killed and roll < 0.5):
            worker.reap()
            return
        if not worker.is_loaded:
            worker.load("broken" if roll < 0.1 else "")
        elif self.random.random() < self.crash_share:
            self.crash(worker)
            return
        elif roll < 0.15:
            worker.read()
        elif roll < 0.25:
            worker.flush()
        else:
            self.run(worker)
        if self.random.random() < 0.7 and not worker.dead:
            worker.deliver(self.random.randint(1, 3))

    def run(self, worker: FakeWorker) -> None:
        for _ in range(self.random.choice((1, 1, 2, 5, 50))):
            if worker.unacked > 3:
                worker.read()
                break
            roll = self.random.random()
            if not self.step(worker, failed=roll < 0.1, flush=self.random.random() < 0.3, over=roll > 0.97):
                break

    def step(self, worker: FakeWorker, **how: bool) -> bool:
        """The worker goes on, unless its record kills it; whether it still lives."""
        if worker.current is not None and (worker.current.batch_task, worker.running) in self.poison:
            self.crash(worker)
            return False
        worker.step(**how)
        return True

    def crash(self, worker: FakeWorker) -> None:
        if worker.blamed is not None and not worker.killed and self.task_at(worker) is not None:
            self.crashed[worker.blamed] += 1
        worker.crash()

    async def restart(self) -> None:
        """The server ends, in order or not, and another one goes on."""
        if self.random.random() < 0.5:
            self.store.fail = lambda _: None
            await self.stage.stop()
            self.stage.check_slots()
        else:
            self.forgot = True
        self.stage.die()
        self.stage.assemble()

    async def play(self, actions: int) -> None:
        seldom = self.random.random()
        choices = [self.create] * 2 + [self.cancel, self.fail] + [self.commit] * 6
        choices += [self.advance] * self.random.choice((0, 2, 2))  # 0: records are short, subtasks are large
        choices += [self.work] * 20 + [self.store.read] * 2 + [self.take_back] * self.random.choice((0, 2, 8))
        if self.random.random() < 0.7:
            choices += [self.pause, self.resume, self.resume] * self.random.choice((1, 3)) + [self.configure]
            choices += [self.reactivate, self.delete][: self.random.randint(0, 2)] + [self.hang_up] * (seldom > 0.8)
        self.store.slow_reads = self.random.random() < 0.5
        self.create()
        for _ in range(actions):
            self.random.choice(choices)()
            if self.random.random() < 0.002:
                await self.restart()
            await self.stage.turn(self.random.choice((0, 1, 3)))

    # -- the end --------------------------------------------------------------------------------------------------

    async def finish(self) -> None:
        """From now on everything works, until all is done."""
        self.store.fail = lambda _: None
        self.store.slow_reads = False
        self.store.read()
        for _ in range(3000):
            self.resume_all()
            if not self.calls and all(held.task.state.is_final for held in self.store.held.values()):
                break
            for worker in self.workers:
                if worker.dead or worker.killed:
                    worker.reap()
                    continue
                if not worker.is_loaded:
                    worker.load()
                elif not self.step(worker, flush=True):
                    continue
                worker.deliver()
            self.store.commit()
            await self.stage.turn(3)
            self.tick(0.02)
        else:
            raise AssertionError("it does not come to an end")

    def resume_all(self) -> None:
        if not self.calls:
            for held in self.store.held.values():
                if held.task.state in (TaskState.PAUSING, TaskState.PAUSED):
                    self.call(partial(self.stage.resume, held))
