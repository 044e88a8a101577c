"""Does every record end exactly once, whatever happens in whatever order?

Dispatcher, executor and slots are real; the store commits, the workers run, crash and answer when the seed says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.model import ranges as rg
from batchyard_server.model.errors import BatchyardError, Reason, ResourceExhausted, Unavailable
from batchyard_server.model.states import SubtaskState, TaskState
from batchyard_server.model.task import Task
from tests.support.dispatch import FakeWorker
from tests.support.memory_store import Held
from tests.unit.dispatch.stage import MAX_WORKER_LOST, NODE, Stage, reason

PAUSED = (TaskState.PAUSING, TaskState.PAUSED)
HANDLERS = ("first", "second", "third")
ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: Unavailable(Reason.STORE_UNAVAILABLE, "a test says so"),
    lambda: ResourceExhausted(Reason.DISK_FULL, "a test says so", subject="disk"),
    lambda: ValueError("a test says so"),
)


class Play:
    """One run of one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.stage = Stage(slots=self.random.randint(1, 4), handlers=HANDLERS, automatic=False)
        self.store = self.stage.store
        self.store.on_final = self.on_final
        self.stage.launcher.on_start = self.on_start
        self.crash_share = self.random.choice((0.0, 0.04))
        self.poison: set[tuple[str, int]] = set()  # records that crash their worker each time
        self.cancelled: set[int] = set()
        self.paused: set[int] = set()  # at some time
        self.verbs: set[asyncio.Task[None]] = set()
        self.begun: Counter[tuple[str, int]] = Counter()
        self.crashed: Counter[tuple[str, int]] = Counter()
        self.timed_out: set[tuple[str, int]] = set()
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
        held = self.store.by_name(name)
        assert held.task.handler == worker.handler
        assert index not in held.outcomes
        others = [each for each in self.workers if each is not worker and not each.dead]
        assert (name, index) not in [(w.current.batch_task, w.running) for w in others if w.current is not None]
        known = held.attempts.get(index)
        assert known is None or known.retry_us <= self.stage.clock.now_us(), "it begins before its time"
        self.begun[name, index] += 1
        if held.task.key not in self.cancelled:
            self.check_attempt(held, index, attempt)

    def check_attempt(self, held: Held, index: int, attempt: int) -> None:
        """What runs without a lease, since a pause came before that, is not known to have begun."""
        begun = self.begun[str(held.task.name), index]
        assert attempt == begun or (attempt <= begun and (self.forgot or held.task.key in self.paused))

    def on_acked(self, flushes: list[tuple[str, rg.Ranges]]) -> None:
        for name, ranges in flushes:
            held = self.store.by_name(name)
            if held.task.key not in self.cancelled | self.paused:
                assert all(index in held.outcomes or index in held.history for index in rg.indexes(ranges))

    def on_final(self, task: Task) -> None:
        """CANCELLED says that nothing of the task lives; but of a QUEUED or PAUSED task nothing was known to live."""
        if task.state is TaskState.CANCELLED and task.subtasks and task.key not in self.paused:
            for worker in self.workers:
                assert worker.current is None or worker.current.batch_task != str(task.name)
                assert all(run.batch_task != str(task.name) for run in worker.runs)

    # -- what happens ---------------------------------------------------------------------------------------------

    def create(self) -> None:
        held = self.stage.create(
            self.random.choice((1, 1, 3, 10, 100)),
            handler=self.random.choice(HANDLERS),
            size=self.random.choice((0, 3000)),
            record_timeout_us=self.random.choice((0, 1_000_000)),
            max_retry_count=self.random.choice((0, 0, 1, 3, -1)),
            initial_backoff_us=self.random.choice((0, 300_000)),
            max_backoff_us=1_000_000,
        )
        if self.random.random() < 0.2:
            self.poison.add((str(held.task.name), self.random.randrange(held.task.total)))

    def cancel(self) -> None:
        live = [held.task.key for held in self.store.held.values() if not held.task.state.is_final]
        if live:
            key = self.random.choice(live)
            self.cancelled.add(key)
            self.store.cancel(key)

    def pause(self) -> None:
        """Some task is paused, or goes on."""
        live = [held for held in self.store.held.values() if not held.task.state.is_final]
        if live:
            held = self.random.choice(live)
            self.paused.add(held.task.key)
            goes_on = held.task.state in PAUSED or self.random.random() < 0.2
            self.ask(self.stage.resume(held) if goes_on else self.stage.pause(held))

    def ask(self, verb: Coroutine[Any, Any, None]) -> None:
        """A caller waits for the answer, which may be an error."""

        async def call() -> None:
            with contextlib.suppress(BatchyardError, ValueError):
                await verb

        task = asyncio.ensure_future(call())
        self.verbs.add(task)
        task.add_done_callback(self.verbs.discard)

    async def hang_up(self) -> None:
        """Nobody waits for an answer any more."""
        await self.stage.turn(1)  # else those that were not begun complain
        for verb in list(self.verbs):
            verb.cancel()
        await self.stage.turn(3)
        assert not self.verbs

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
            if worker.killed and worker.current is not None and worker.running is not None:
                task = self.store.by_name(worker.current.batch_task).task
                ran_us = (self.stage.clock.monotonic_ns() - worker.progress().start_ns) / 1000
                if 0 < task.settings.record_timeout_us < ran_us:
                    self.timed_out.add((str(task.name), worker.running))

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
        if worker.blamed is not None and not worker.killed:
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
            await self.hang_up()
            self.stage.die()
        self.stage.assemble()

    async def play(self, actions: int) -> None:
        choices = [self.create] * 2 + [self.cancel, self.fail] + [self.commit] * 6
        choices += [self.pause] * self.random.choice((0, 0, 3))
        choices += [self.advance] * self.random.choice((0, 2, 2))  # 0: records are short, subtasks are large
        choices += [self.work] * 20 + [self.store.read] * 2 + [self.take_back] * self.random.choice((0, 2, 8))
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
            if all(held.task.state.is_final for held in self.store.held.values()):
                break
            if not self.verbs:
                for held in self.store.held.values():
                    if held.task.state in PAUSED:
                        self.ask(self.stage.resume(held))
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

    def check_history(self, held: Held) -> None:
        """No execution is kept twice, and retries are as many as may be."""
        allowed = held.task.settings.max_retry_count
        for index in range(held.task.total):
            past = held.history.get(index, [])
            numbers = [each.attempt for each in past]
            outcome = held.outcomes.get(index)
            ended = [*numbers, outcome.attempt] if outcome is not None else numbers
            assert ended == sorted(set(ended))
            retries = sum(each.state == RecordInfo.FAILED for each in past)
            assert retries <= allowed or allowed < 0
            if held.task.key in self.cancelled or outcome is None or outcome.state != RecordInfo.FAILED:
                continue
            if reason(outcome) != Reason.WORKER_LOST:
                assert retries == allowed
        self.retried += sum(len(each) for each in held.history.values())

    def check(self) -> None:
        for held in self.store.held.values():
            self.check_history(held)
            name = str(held.task.name)
            if held.task.state is TaskState.CANCELLED:
                assert held.task.key in self.cancelled
                continue
            assert sorted(held.outcomes) == list(range(held.task.total))
            assert held.task.ended == held.task.total
            for index, record in held.outcomes.items():
                self.check_attempt(held, index, record.attempt)
                if reason(record) == Reason.WORKER_LOST:
                    assert self.crashed[name, index] > MAX_WORKER_LOST
                elif reason(record) == Reason.RECORD_TIMEOUT:
                    assert (name, index) in self.timed_out
                elif not self.forgot and self.crashed[name, index] > MAX_WORKER_LOST:
                    # Its outcome had been sent when the worker crashed after it.
                    assert record.attempt <= self.crashed[name, index]
        for held in self.store.held.values():
            assert not held.leases
            assert sorted(held.ended) == list(range(1, held.task.next_epoch)), "every lease ended once"
            assert held.nodes <= {NODE}
            for end in held.ended.values():
                assert bool(end.error) == (end.state in (SubtaskState.LOST, SubtaskState.KILLED)) or self.forgot


async def play(seed: int, actions: int = 400) -> Play:
    game = Play(seed)
    await game.play(actions)
    await game.finish()
    game.check()
    await game.stage.stop()
    game.stage.check_books()
    return game


@pytest.mark.parametrize("seed", range(60))
async def test_every_record_ends_exactly_once(seed: int) -> None:
    await play(seed)


async def test_retries_are_played() -> None:
    games = [await play(seed) for seed in range(200, 210)]
    assert sum(game.retried for game in games) > 40


async def test_pauses_are_played() -> None:
    games = [await play(seed) for seed in range(300, 310)]
    assert sum(len(game.paused) for game in games) > 10


async def test_trims_are_played() -> None:
    logs = [(await play(seed)).store.log for seed in range(110, 123)]
    assert sum(log.count("shrink: ok") for log in logs) > 10
